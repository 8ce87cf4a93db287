"""A loaded model with its commands as methods: what Python programs use.

    model = clipalign.load("ViT-B-32")
    result = model.detect("photo.jpg", "a cup of coke")

The methods take the very route that the command line takes. Torch is loaded with the model, not before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from clipalign.device import choose_device
from clipalign.errors import UsageError
from clipalign.registry import DEFAULT_MODEL
from clipalign.results import DetectResult, LongResult

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from clipalign.methods.detect import Pair
    from clipalign.pipeline.model import LoadedModel

    ImageLike: TypeAlias = str | bytes | Path | Image | Tensor


def load(
    model: str = DEFAULT_MODEL,
    *,
    device: str = "auto",
    precision: str = "auto",
    cache_dir: str | Path | None = None,
    offline: bool = False,
    threads: int | None = None,
) -> Session:
    """Load a model from this machine.

    Args:
        model: as ``--model``: registry name, ``NAME@TAG``, ``NAME@FILE``, ``CONFIG.json@FILE`` or a checkpoint's path.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto`` (fp32, the reference), ``fp32``, ``bf16`` or ``fp16``.
        cache_dir: clipalign's cache folder, where it is not the usual one.
        offline: whether pictures at addresses are refused.
        threads: CPU threads of torch, for the whole process; None leaves them.

    Raises:
        UnknownModel, MissingWeights, VerificationFailed, ModelMismatch, DeviceUnavailable.
    """
    from clipalign.pipeline.model import load_model
    from clipalign.registry import find_model

    row = find_model(model)
    choice = choose_device(device, precision, threads)
    return Session(load_model(row, choice=choice, cache_dir=cache_dir, offline=offline), offline=offline)


@dataclass(frozen=True, eq=False)
class Session:
    """A model in memory.

    Attributes:
        loaded: the model.
        offline: whether pictures at addresses are refused.
    """

    loaded: LoadedModel
    offline: bool = False

    def detect(
        self, image: ImageLike, text: str, *, references: Sequence[str] | None = (), **settings: Any
    ) -> DetectResult:
        """Which words of ``text`` do not fit ``image``.

        Args:
            image: a path, an http(s) address, ``-`` for stdin, bytes, a Pillow image, a prepared tensor (3, S, S), or
                features (E). Files are turned as their EXIF says; a Pillow image is taken as it stands.
            text: the caption.
            references: other captions of the image, for RefCLIPScore.
            settings: fields of ``clipalign.methods.detect.DetectSettings``: ``mode``, ``epsilon``, ``layers``,
                ``template``, ``alignment``, ``batch_size``, ``seed``.

        Raises:
            ImageUnreadable, TextUnusable, UsageError.
        """
        return self.detect_many([(image, text, references)], **settings)[0]

    def detect_many(self, pairs: Iterable[Pair | Sequence[Any]], **settings: Any) -> list[DetectResult]:
        """The same for many pairs at once; results in their order.

        A picture that occurs several times, as the same path, address or object, is read and encoded once.

        Args:
            pairs: ``(image, text)``, ``(image, text, references)`` or ``clipalign.Pair``.
            settings: as for :meth:`detect`.

        Raises:
            ImageUnreadable, TextUnusable, UsageError.
        """
        from clipalign.methods.detect import DetectSettings, detect_pairs

        known = [field.name for field in fields(DetectSettings)]
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise UsageError(f"detect has no setting {', '.join(unknown)}", hint=f"it has {', '.join(known)}")
        return detect_pairs(self.loaded, self._read(pairs), DetectSettings(**settings))

    def score_long(self, image: ImageLike, text: str, **settings: Any) -> LongResult:
        """How well a long ``text`` fits ``image``, and which sentence earns or loses what.

        Args:
            image: as for :meth:`detect`.
            text: of any length; what lies beyond the model's context is reported, not scored.
            settings: fields of ``clipalign.methods.score_long.LongSettings``: ``by``, ``margin``, ``stretch``,
                ``batch_size``, ``seed``.

        Raises:
            ImageUnreadable, TextUnusable, UsageError.
        """
        return self.score_long_many([(image, text)], **settings)[0]

    def score_long_many(self, pairs: Iterable[Pair | Sequence[Any]], **settings: Any) -> list[LongResult]:
        """The same for many pairs at once, such as several texts about one picture; results in their order.

        Args:
            pairs: ``(image, text)`` or ``clipalign.Pair``; each distinct picture is read and encoded once.
            settings: as for :meth:`score_long`.

        Raises:
            ImageUnreadable, TextUnusable, UsageError.
        """
        from clipalign.methods.score_long import LongSettings, score_long_pairs

        known = [field.name for field in fields(LongSettings)]
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise UsageError(f"score_long has no setting {', '.join(unknown)}", hint=f"it has {', '.join(known)}")
        return score_long_pairs(self.loaded, self._read(pairs), LongSettings(**settings))

    def _read(self, pairs: Iterable[Pair | Sequence[Any]]) -> list[Pair]:
        """Pairs with their names; what is no file is fetched here, where it is known whether that is allowed."""
        from clipalign.methods.detect import Pair
        from clipalign.pipeline.images import is_file_name, open_image

        opened: dict[str | bytes, Image] = {}
        ready = []
        for pair in pairs:
            if not isinstance(pair, Pair):
                pair = Pair(pair[0], pair[1], references=pair[2] if len(pair) > 2 else ())
            image: Any = pair.image
            name = pair.image_name or (str(image) if isinstance(image, (str, Path)) else "")
            if isinstance(image, bytes) or (isinstance(image, str) and not is_file_name(image)):
                if image not in opened:
                    opened[image] = open_image(image, offline=self.offline)
                image = opened[image]
            ready.append(replace(pair, image=image, references=_references(pair.references), image_name=name))
        return ready


def _references(given: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(given, str):
        raise UsageError(
            "references must be a list of captions, not one string", hint=f"references=[{given!r}]", input="references"
        )
    return tuple(given or ())
