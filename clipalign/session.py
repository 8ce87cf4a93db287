"""A loaded model with its commands as methods: what Python programs use.

    model = clipalign.load("ViT-B-32")
    result = model.detect("photo.jpg", "a cup of coke")

The methods run the same code as the commands. Torch is loaded with the model, not before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from clipalign.device import choose_device
from clipalign.errors import UsageError
from clipalign.models.registry import DEFAULT_MODEL
from clipalign.results import ClassifyResult, DetectResult, LongResult

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from PIL.Image import Image
    from torch import Tensor

    from clipalign.methods.classify import Classifier
    from clipalign.methods.detect import Pair
    from clipalign.models.model import LoadedModel

    ImageLike: TypeAlias = str | bytes | os.PathLike[str] | Image | Tensor

T = TypeVar("T", bound="DataclassInstance")


def load(
    model: str = DEFAULT_MODEL,
    *,
    device: str = "auto",
    precision: str = "auto",
    cache_dir: str | Path | None = None,
    offline: bool = False,
    timeout: float | None = None,
    threads: int | None = None,
) -> Session:
    """Load a model from this machine.

    Args:
        model: as ``--model``: registry name, ``NAME@TAG``, ``NAME@FILE``, ``CONFIG.json@FILE`` or a checkpoint's path.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto`` (fp32, the reference), ``fp32``, ``bf16`` or ``fp16``.
        cache_dir: clipalign's cache folder, where it is not the usual one.
        offline: whether pictures at addresses are refused.
        timeout: seconds for a picture at an address, headers, body and retries together, 0.1 to 3600; None for 30.
        threads: CPU threads of torch, for the whole process; None leaves them.

    Raises:
        UsageError, UnknownModel, MissingWeights, VerificationFailed, ModelMismatch, DeviceUnavailable.
    """
    from clipalign.config.groups import RecordSettings
    from clipalign.config.settings import declared, read_value
    from clipalign.models.load import load_model
    from clipalign.models.registry import find_model

    if not isinstance(model, str):
        raise UsageError("the model is named by a text", hint="clipalign.load('ViT-B-32')", input="model")
    if timeout is not None:
        timeout = read_value(declared(RecordSettings)["timeout"], timeout, origin="timeout")
    row = find_model(model)
    choice = choose_device(device, precision, threads)
    loaded = load_model(row, choice=choice, cache_dir=cache_dir, offline=offline)
    return Session(loaded, offline=offline, cache_dir=cache_dir, timeout=timeout)


@dataclass(frozen=True, eq=False)
class Session:
    """A model in memory.

    Attributes:
        loaded: the model.
        offline: whether pictures at addresses are refused.
        cache_dir: clipalign's cache folder, where it is not the usual one; vectors of classes are kept there.
        timeout: seconds for a picture at an address; None for 30.
    """

    loaded: LoadedModel
    offline: bool = False
    cache_dir: str | Path | None = None
    timeout: float | None = None

    def detect(
        self, image: ImageLike, text: str, *, references: Sequence[str] | None = (), **settings: Any
    ) -> DetectResult:
        """Which words of ``text`` do not fit ``image``.

        Args:
            image: a path, an http(s) address, ``-`` for stdin, bytes, a Pillow image, a prepared tensor (3, S, S), or
                features (E). Files are turned as their EXIF says; a Pillow image is taken as it stands.
            text: the caption.
            references: other captions of the image, for RefCLIPScore.
            settings: fields of ``clipalign.methods.settings.DetectSettings``: ``mode``, ``epsilon``, ``layers``,
                ``template``, ``batch_size``, ``seed``.

        Raises:
            ImageUnreadable, TextUnusable, InputUnreadable (a tensor that does not fit), UsageError.
        """
        return self.detect_many([(image, text, references)], **settings)[0]

    def detect_many(self, pairs: Iterable[Pair | Sequence[Any]], **settings: Any) -> list[DetectResult]:
        """The same for many pairs at once; results in their order.

        A picture that occurs several times, as the same path, address or object, is read and encoded once.

        Args:
            pairs: ``(image, text)``, ``(image, text, references)`` or ``clipalign.Pair``.
            settings: as for :meth:`detect`.

        Raises:
            ImageUnreadable, TextUnusable, InputUnreadable (a tensor that does not fit), UsageError.
        """
        from clipalign.methods.detect import detect_pairs
        from clipalign.methods.settings import DetectSettings

        chosen = _settings_of(DetectSettings, "detect", settings)
        return detect_pairs(self.loaded, self._read(pairs), chosen)

    def classifier(
        self,
        labels: Sequence[str] = (),
        *,
        descriptions: Mapping[str, Sequence[str]] | None = None,
        templates: Sequence[str] = (),
        words: Sequence[str] = (),
        **settings: Any,
    ) -> Classifier:
        """The classes of :meth:`classify`, encoded once for any number of pictures: ``classifier.classify(image)``.

        Args:
            labels: names of the classes; may be left out where ``descriptions`` has them.
            descriptions: sentences by class, for ``wca``, ``cupl`` and ``clip-d``.
            templates: of ``clip-e``, with ``{}`` for the name; OpenAI's 80 without any.
            words: that ``waffle`` draws from.
            settings: fields of ``clipalign.methods.settings.ClassifySettings``: ``method``, ``crops``,
                ``alpha``, ``image_logscale``, ``text_logscale``, ``prompt``, ``top``, ``explain``, ``batch_size``,
                ``seed``.

        Raises:
            UsageError: a setting out of its range, a class without descriptions, two of one name.
        """
        from clipalign.cache import VECTORS_FOLDER, cache_folder
        from clipalign.data.classes import Classes, check_descriptions
        from clipalign.methods.classify import make_classifier
        from clipalign.methods.settings import ClassifySettings

        chosen = _settings_of(ClassifySettings, "classify", settings)
        for name, value in (("labels", labels), ("templates", templates), ("words", words)):
            if isinstance(value, str):
                raise UsageError(f"{name} must be a list, not one string", hint=f"{name}=[{value!r}]", input=name)
        labels, templates, words = tuple(labels), tuple(templates), tuple(words)
        for name, value in (("labels", labels), ("templates", templates), ("words", words)):
            for one in value:
                _text(one, f"each of {name}")
        described = None if descriptions is None else check_descriptions(descriptions, source="descriptions")
        classes = Classes(labels, described, templates, words)
        cache = cache_folder(self.cache_dir) / VECTORS_FOLDER
        return make_classifier(self.loaded, classes, chosen, cache=cache, offline=self.offline, timeout=self.timeout)

    def classify(self, image: ImageLike, labels: Sequence[str] = (), **settings: Any) -> ClassifyResult:
        """The classes that fit ``image`` best, best first.

        Args:
            image: a path, an http(s) address, ``-`` for stdin, bytes, or a Pillow image, which is taken as it stands.
            labels: names of the classes.
            settings: as for :meth:`classifier`, ``descriptions`` among them.

        Raises:
            ImageUnreadable, InputUnreadable (a tensor), UsageError.
        """
        return self.classify_many([image], labels, **settings)[0]

    def classify_many(
        self, images: Iterable[ImageLike], labels: Sequence[str] = (), **settings: Any
    ) -> list[ClassifyResult]:
        """The same for many pictures; results in their order."""
        classifier = self.classifier(labels, **settings)
        return [classifier.classify(_picture(image)) for image in images]

    def score_long(self, image: ImageLike, text: str, **settings: Any) -> LongResult:
        """How well a long ``text`` fits ``image``, and which sentence raises or lowers the score.

        Args:
            image: as for :meth:`detect`.
            text: of any length; what lies beyond the model's context is reported, not scored.
            settings: fields of ``clipalign.methods.settings.LongSettings``: ``by``, ``margin``, ``stretch``,
                ``batch_size``, ``seed``.

        Raises:
            ImageUnreadable, TextUnusable, InputUnreadable (a tensor that does not fit), UsageError.
        """
        return self.score_long_many([(image, text)], **settings)[0]

    def score_long_many(self, pairs: Iterable[Pair | Sequence[Any]], **settings: Any) -> list[LongResult]:
        """The same for many pairs at once, such as several texts about one picture; results in their order.

        Args:
            pairs: ``(image, text)`` or ``clipalign.Pair``; each distinct picture is read and encoded once.
            settings: as for :meth:`score_long`.

        Raises:
            ImageUnreadable, TextUnusable, InputUnreadable (a tensor that does not fit), UsageError.
        """
        from clipalign.methods.score_long import score_long_pairs
        from clipalign.methods.settings import LongSettings

        chosen = _settings_of(LongSettings, "score_long", settings)
        return score_long_pairs(self.loaded, self._read(pairs), chosen)

    def _read(self, pairs: Iterable[Pair | Sequence[Any]]) -> list[Pair]:
        """Pairs with their names; what is no file is fetched here, where it is known whether that is allowed."""
        from clipalign.data.images import open_image
        from clipalign.data.sources import is_file_name
        from clipalign.methods.detect import Pair

        opened: dict[str | bytes, Image] = {}
        ready = []
        for pair in pairs:
            if not isinstance(pair, Pair):
                if isinstance(pair, str | bytes) or not isinstance(pair, Sequence) or len(pair) < 2:
                    raise UsageError(
                        f"a pair must be an image and a text, not {type(pair).__name__}",
                        hint="(image, text), or clipalign.Pair",
                        input="pairs",
                    )
                pair = Pair(pair[0], pair[1], references=pair[2] if len(pair) > 2 else ())
            image: Any = _picture(pair.image)
            _text(pair.text, "the text")
            name = pair.image_name or (str(image) if isinstance(image, (str, Path)) else "")
            if isinstance(image, bytes) or (isinstance(image, str) and not is_file_name(image)):
                if image not in opened:
                    opened[image] = open_image(image, offline=self.offline, timeout=self.timeout)
                image = opened[image]
            ready.append(replace(pair, image=image, references=_references(pair.references), image_name=name))
        return ready


def _picture(image: Any) -> Any:
    """``image``, where it is of a type that can be read; a file of any library's as a :class:`Path`."""
    from PIL.Image import Image
    from torch import Tensor

    if not isinstance(image, str | bytes | os.PathLike | Image | Tensor):
        raise UsageError(
            f"an image must be a path, an address, bytes or a Pillow image, not {type(image).__name__}",
            hint="PIL.Image.fromarray makes a picture of a NumPy array",
            input="image",
        )
    if isinstance(image, os.PathLike):
        return Path(os.fsdecode(image))
    return image


def _text(value: object, what: str) -> None:
    """See that a text is one."""
    if not isinstance(value, str):
        raise UsageError(f"{what} must be a string, not {type(value).__name__}", input="text")


def _settings_of(kind: type[T], method: str, given: Mapping[str, Any]) -> T:
    """The settings of a method, or a sentence about a name that it does not have."""
    known = [field.name for field in fields(kind)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UsageError(f"{method} has no setting {', '.join(unknown)}", hint=f"it has {', '.join(known)}")
    return kind(**given)


def _references(given: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(given, str):
        raise UsageError(
            "references must be a list of captions, not one string", hint=f"references=[{given!r}]", input="references"
        )
    return tuple(given or ())
