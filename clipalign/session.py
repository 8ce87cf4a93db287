"""A loaded model with its commands as methods: what Python programs use.

The methods run the same code as the commands. Torch is loaded with the model, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

from clipalign.device import choose_device
from clipalign.errors import UsageError
from clipalign.models.registry import DEFAULT_MODEL
from clipalign.notebook import table_of
from clipalign.results import ClassifyResult, DetectResult, Failure, LongResult

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch import Tensor

    from clipalign.data.in_memory import ImageLike, Prepared
    from clipalign.keywords import ClassKeywords, DetectKeywords, LongKeywords
    from clipalign.methods.classify import Classifier
    from clipalign.methods.detect import Pair
    from clipalign.methods.scores import Scorer
    from clipalign.models.model import LoadedModel

    PairLike = Pair | Sequence[Any] | Mapping[str, Any]
    OnError = Literal["skip", "fail"]
    OnProgress = Callable[[int], object] | None

R = TypeVar("R")
S = TypeVar("S", bound="DataclassInstance")


def load(
    model: str = DEFAULT_MODEL,
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    cache_dir: str | Path | None = None,
    offline: bool = False,
    timeout: float | None = None,
    threads: int | None = None,
    quick_gelu: bool | None = None,
    keep_vectors: float = 0,
) -> Session:
    """Load a model from this machine.

    Args:
        model: as ``--model``: registry name, ``NAME@TAG``, ``NAME@FILE``, ``CONFIG.json@FILE``, a checkpoint, a folder,
            or a repository of the Hub.
        device: ``auto`` (the first GPU, or the process's own), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto`` (fp32, the reference), ``fp32``, ``bf16``, ``fp16``, or ``int8``, which needs
            OpenVINO and has texts in bf16 where the CPU has it.
        engine: of image towers: ``torch``, ``openvino``, or ``auto`` (OpenVINO for int8, else torch).
        cache_dir: clipalign's cache folder, where it is not the usual one.
        offline: whether pictures at addresses are refused.
        timeout: seconds for a picture at an address, headers, body and retries together, 0.1 to 3600; None for 30.
        threads: CPU threads of torch, for the whole process; None leaves them.
        quick_gelu: activation of a checkpoint that does not say; None guesses, and the model's notes say so.
        keep_vectors: gigabytes of vectors of pictures to keep in the cache folder for later runs; 0 for none.

    Raises:
        UsageError, UnknownModel, MissingWeights, VerificationFailed, ModelMismatch, DeviceUnavailable.

    Example:
        >>> session = clipalign.load("pictogram", device="cpu")
        >>> session.detect("images/fruit.png", "two apples and a pear")
        DetectResult(image='images/fruit.png', text='two apples and a pear', clip_score=..., misaligned=('pear',))
    """
    from clipalign.config.groups import RecordSettings
    from clipalign.config.settings import declared, read_value
    from clipalign.models.load import load_model
    from clipalign.models.registry import find_model, with_activation

    if not isinstance(model, str):
        raise UsageError("the model is named by a text", hint="clipalign.load('ViT-B-32')", input="model")
    if timeout is not None:
        timeout = read_value(declared(RecordSettings)["timeout"], timeout, origin="timeout")
    keep_vectors = read_value(declared(RecordSettings)["keep_vectors"], keep_vectors, origin="keep_vectors")
    row = with_activation(find_model(model), quick_gelu)
    choice = choose_device(device, precision, threads, engine=engine)
    loaded = load_model(row, choice=choice, cache_dir=cache_dir, offline=offline)
    return Session(loaded, offline=offline, cache_dir=cache_dir, timeout=timeout, keep_vectors=keep_vectors)


def wrap(
    model: Any,
    tokenizer: Any = None,
    preprocess: Any = None,
    *,
    name: str = "",
    cache_dir: str | Path | None = None,
    offline: bool = False,
    timeout: float | None = None,
) -> Session:
    """A session around a model that is in memory already, on the device and in the precision that it has.

    A model of open_clip is used as it stands and not changed; results name the weights it had when it was wrapped. Of a
    CLIP or SigLIP of transformers a copy is made.

    Args:
        model: of open_clip or transformers, in evaluation mode.
        tokenizer: of the same library; None for CLIP's own.
        preprocess: of open_clip, the evaluation transform; of transformers, the image processor; or a mapping with
            ``mean``, ``std``, ``interpolation``, ``resize_mode``. None for what the model says of itself.
        name: what results call the model; None for its class.
        cache_dir: as for :func:`load`.
        offline: as for :func:`load`.
        timeout: as for :func:`load`.

    Raises:
        UsageError, ModelMismatch.

    Example:
        >>> import open_clip
        >>> model = open_clip.create_model("RN50").eval()
        >>> session = clipalign.wrap(model, name="untrained")
        >>> session.detect("images/fruit.png", "two apples").model
        'untrained'
    """
    from clipalign.models.wrap import wrap_model

    loaded = wrap_model(model, tokenizer=tokenizer, preprocess=preprocess, name=name)
    return Session(loaded, offline=offline, cache_dir=cache_dir, timeout=timeout)


@dataclass(frozen=True, eq=False, repr=False)
class Session:
    """A model in memory.

    A picture is a path, an http(s) or data: address, bytes, a file object, a Pillow image (taken as it stands; files
    are turned as their EXIF says), a NumPy array (H, W, 3) of uint8, a torch tensor (3, H, W) of uint8 or of floats
    from 0 to 1, a :class:`~clipalign.Prepared` tensor, or ``{"bytes": …, "path": …}`` as in Hugging Face's data sets.

    A pair is ``(image, text)``, ``(image, text, references)``, :class:`~clipalign.Pair`, or a mapping with ``image``,
    ``text`` and perhaps ``id`` and ``references``.

    Attributes:
        loaded: the model.
        offline: whether pictures at addresses are refused.
        cache_dir: clipalign's cache folder, where it is not the usual one; vectors of classes are kept there.
        timeout: seconds for a picture at an address; None for 30.
        keep_vectors: gigabytes of vectors of pictures kept there.

    Example:
        >>> session = clipalign.load("pictogram")
        >>> session.score_long("images/fruit.png", "There are two apples. There is a pear.").lowering[0].text
        'There is a pear.'
    """

    loaded: LoadedModel
    offline: bool = False
    cache_dir: str | Path | None = None
    timeout: float | None = None
    keep_vectors: float = 0

    def __repr__(self) -> str:
        choice = self.loaded.choice
        return f"Session(model={self.loaded.row.name!r}, device={choice.device!r}, precision={choice.precision!r})"

    def _repr_html_(self) -> str:
        """A table for notebooks: which model this is, and where it runs."""
        loaded = self.loaded
        return table_of(
            {
                "model": loaded.row.name,
                "weights": loaded.weights_sha256[:12],
                "runs on": f"{loaded.choice.device} {loaded.choice.precision}",
                "reads": f"{loaded.context_tokens} tokens, {loaded.image_size} pixels a side",
                "notes": "; ".join(loaded.notes) or "none",
            }
        )

    def detect(
        self,
        image: ImageLike,
        text: str,
        *,
        references: Sequence[str] | None = (),
        **settings: Unpack[DetectKeywords],
    ) -> DetectResult:
        """Which words of ``text`` do not fit ``image``.

        Args:
            image: see :class:`Session`.
            text: the caption.
            references: other captions of the image, for RefCLIPScore.
            settings: ``mode``, ``epsilon``, ``layers``, ``template``, ``calibration``, ``suggest``, ``candidates``,
                ``explain``, ``fast_decode``, ``batch_size``, ``seed``.

        Raises:
            ImageUnreadable, TextUnusable, InputUnreadable (a pair that is none), UsageError.

        Example:
            >>> result = clipalign.load("pictogram").detect("images/fruit.png", "two apples and a pear")
            >>> [(word.text, round(word.attribution, 3)) for word in result.words if word.misaligned]
            [('pear', -0.0...)]
        """
        return self.detect_many([(image, text, references)], **settings)[0]

    def detect_many(self, pairs: Iterable[PairLike], **settings: Unpack[DetectKeywords]) -> list[DetectResult]:
        """The same for many pairs, in their order; the first that cannot be scored is raised.

        Example:
            >>> pairs = [("images/fruit.png", text) for text in ("two apples", "two apples and a pear")]
            >>> [result.misaligned for result in clipalign.load("pictogram").detect_many(pairs)]
            [(), ('pear',)]
        """
        results = self.detect_iter(pairs, on_error="fail", **settings)
        return [result for result in results if isinstance(result, DetectResult)]

    def detect_iter(
        self,
        pairs: Iterable[PairLike],
        *,
        on_error: OnError = "skip",
        on_progress: OnProgress = None,
        **settings: Unpack[DetectKeywords],
    ) -> Iterator[DetectResult | Failure]:
        """The same for a stream of any length, in memory that does not grow with it.

        Pairs are read a little ahead, and pictures prepared in threads while the model runs. A picture that neighboring
        pairs share, as the same path, address, bytes or Pillow image, is decoded and encoded once.

        Args:
            pairs: see :class:`Session`; what their iterator raises is raised here, after the results before it.
            on_error: ``skip``: a pair that cannot be scored gives a :class:`~clipalign.Failure` in its place; ``fail``:
                its error is raised, after the results before it.
            on_progress: called with the number of pairs done so far, after each.
            settings: as for :meth:`detect`.

        Example:
            >>> session = clipalign.load("pictogram")
            >>> pairs = [("images/fruit.png", "two apples"), ("images/none.png", "a pear")]
            >>> for result in session.detect_iter(pairs):
            ...     print(result.error.message if isinstance(result, clipalign.Failure) else result.misaligned)
            ()
            there is no file images/none.png
        """
        scorer = self.scorer("detect", **settings)
        return self.run(scorer, pairs, on_error=on_error, on_progress=on_progress)

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
            settings: ``method``, ``crops``, ``alpha``, ``image_logscale``, ``text_logscale``, ``template``, ``top``,
                ``probabilities``, ``reject_below``, ``explain``, ``batch_size``, ``seed``.

        Raises:
            UsageError: a setting out of its range, a class without descriptions, two of one name.

        Example:
            >>> classifier = clipalign.load("pictogram").classifier(["an apple", "a car"])
            >>> classifier.classify("images/fruit.png").label
            'an apple'
        """
        from clipalign.cache import VECTORS_FOLDER, cache_folder
        from clipalign.data.classes import Classes, check_descriptions
        from clipalign.methods.classify import make_classifier
        from clipalign.methods.settings import ClassifySettings

        chosen = _settings_of(ClassifySettings, "classify", settings)
        lists = {"labels": labels, "templates": templates, "words": words}
        labels, templates, words = (_texts(given, name) for name, given in lists.items())
        described = None if descriptions is None else check_descriptions(descriptions, source="descriptions")
        classes = Classes(labels, described, templates, words)
        # Weights that the caller holds may change without a word.
        cache = cache_folder(self.cache_dir) / VECTORS_FOLDER if self.loaded.row.weights else None
        return make_classifier(self.loaded, classes, chosen, cache=cache, offline=self.offline, timeout=self.timeout)

    def classify(
        self, image: ImageLike, labels: Sequence[str] = (), **settings: Unpack[ClassKeywords]
    ) -> ClassifyResult:
        """The classes that fit ``image`` best, best first.

        Args:
            image: see :class:`Session`; nothing that was prepared, since it is cropped.
            labels: names of the classes.
            settings: as for :meth:`classifier`, ``descriptions`` among them.

        Raises:
            ImageUnreadable, UsageError.

        Example:
            >>> session = clipalign.load("pictogram")
            >>> session.classify("images/fruit.png", ["an apple", "a car"])
            ClassifyResult(image='images/fruit.png', label='an apple', score=...)
        """
        return self.classifier(labels, **settings).classify(image)

    def classify_many(
        self, images: Iterable[ImageLike], labels: Sequence[str] = (), **settings: Unpack[ClassKeywords]
    ) -> list[ClassifyResult]:
        """The same for many pictures, in their order; the first that cannot be read is raised.

        Example:
            >>> images = ["images/fruit.png", "images/fruit.png"]
            >>> [one.label for one in clipalign.load("pictogram").classify_many(images, ["an apple", "a car"])]
            ['an apple', 'an apple']
        """
        results = self.classify_iter(images, labels, on_error="fail", **settings)
        return [result for result in results if isinstance(result, ClassifyResult)]

    def classify_iter(
        self,
        images: Iterable[ImageLike],
        labels: Sequence[str] = (),
        *,
        on_error: OnError = "skip",
        on_progress: OnProgress = None,
        **settings: Unpack[ClassKeywords],
    ) -> Iterator[ClassifyResult | Failure]:
        """The same for a stream of any length; see :meth:`detect_iter`. The classes are encoded once.

        Args:
            images: pictures, or mappings with ``image`` and perhaps ``id``.
            labels: names of the classes.
            on_error: ``skip`` or ``fail``.
            on_progress: called with the number of pictures done so far, after each.
            settings: as for :meth:`classifier`.

        Example:
            >>> images = ["images/fruit.png", "images/none.png"]
            >>> for result in clipalign.load("pictogram").classify_iter(images, ["an apple", "a car"]):
            ...     print("lost" if isinstance(result, clipalign.Failure) else result.label)
            an apple
            lost
        """
        scorer = self.scorer("classify", labels=labels, **settings)
        return self.run(scorer, images, needs_text=False, on_error=on_error, on_progress=on_progress)

    def score_long(self, image: ImageLike, text: str, **settings: Unpack[LongKeywords]) -> LongResult:
        """How well a long ``text`` fits ``image``, and which sentence raises or lowers the score.

        Args:
            image: see :class:`Session`.
            text: of any length; what lies beyond the model's context is reported, not scored.
            settings: ``by``, ``contribution``, ``margin``, ``stretch``, ``fast_decode``,
                ``batch_size``, ``seed``.

        Raises:
            ImageUnreadable, TextUnusable, InputUnreadable (a pair that is none), UsageError.

        Example:
            >>> session = clipalign.load("pictogram")
            >>> result = session.score_long("images/fruit.png", "There are two apples. There is a pear.")
            >>> [sentence.text for sentence in result.lowering]
            ['There is a pear.']
        """
        return self.score_long_many([(image, text)], **settings)[0]

    def score_long_many(self, pairs: Iterable[PairLike], **settings: Unpack[LongKeywords]) -> list[LongResult]:
        """The same for many pairs, in their order; the first that cannot be scored is raised.

        Example:
            >>> pairs = [("images/fruit.png", "Two apples. A pear."), ("images/fruit.png", "Two apples.")]
            >>> [len(result.sentences) for result in clipalign.load("pictogram").score_long_many(pairs)]
            [2, 1]
        """
        results = self.score_long_iter(pairs, on_error="fail", **settings)
        return [result for result in results if isinstance(result, LongResult)]

    def score_long_iter(
        self,
        pairs: Iterable[PairLike],
        *,
        on_error: OnError = "skip",
        on_progress: OnProgress = None,
        **settings: Unpack[LongKeywords],
    ) -> Iterator[LongResult | Failure]:
        """The same for a stream of any length; see :meth:`detect_iter`. References are not used.

        Example:
            >>> pairs = ({"image": "images/fruit.png", "text": text} for text in ("Two apples.", ""))
            >>> [type(result).__name__ for result in clipalign.load("pictogram").score_long_iter(pairs)]
            ['LongResult', 'Failure']
        """
        scorer = self.scorer("score-long", **settings)
        return self.run(scorer, pairs, on_error=on_error, on_progress=on_progress)

    def encode_images(self, images: ImageLike | Iterable[ImageLike], *, batch_size: int = 32) -> Tensor:
        """Unit vectors of pictures, fp32 on the model's device: (B, E), for one picture too.

        Args:
            images: one, a list, or a batch: a tensor (B, 3, H, W), or :class:`~clipalign.Prepared` of (B, 3, S, S).
            batch_size: pictures a batch.

        Raises:
            ImageUnreadable, UsageError, ModelMismatch (vectors that are not finite).

        Example:
            >>> clipalign.load("pictogram").encode_images(["images/fruit.png"] * 2).shape
            torch.Size([2, ...])
        """
        import torch

        from clipalign.data.in_memory import each_picture
        from clipalign.models.encode import encode_images

        pictures = each_picture(images)
        batches = iter(lambda: [self.preprocess(one).tensor for one in islice(pictures, batch_size)], [])
        vectors = [encode_images(self.loaded, torch.stack(batch)) for batch in batches]
        if not vectors:
            raise UsageError("there are no images to encode", input="images")
        return torch.cat(vectors)

    def encode_texts(self, texts: str | Iterable[str], *, batch_size: int = 64) -> Tensor:
        """Unit vectors of texts as they stand, without a template, cut to the model's context: (B, E).

        Raises:
            UsageError, TextUnusable, ModelMismatch (vectors that are not finite).

        Example:
            >>> session = clipalign.load("pictogram")
            >>> vectors = session.encode_texts(["an apple", "a car"]) @ session.encode_images("images/fruit.png").T
            >>> bool(vectors[0] > vectors[1])
            True
        """
        from clipalign.models.encode import encode_texts

        chosen = _texts([texts] if isinstance(texts, str) else texts, "texts")
        if not chosen:
            raise UsageError("there are no texts to encode", input="texts")
        return encode_texts(self.loaded, chosen, batch_size=batch_size)

    def preprocess(self, image: ImageLike) -> Prepared:
        """A picture as the model takes it, on the CPU: resized, cropped or padded, normalized (3, S, S).

        Raises:
            ImageUnreadable, UsageError.

        Example:
            >>> clipalign.load("pictogram").preprocess("images/fruit.png").tensor.dtype
            torch.float32
        """
        from PIL.Image import Image

        from clipalign.data.images import open_image
        from clipalign.data.in_memory import Prepared, picture_source
        from clipalign.data.transforms import to_tensor

        source = picture_source(image)
        if not isinstance(source, Prepared):
            exif = not isinstance(source, Image)
            source = open_image(source, exif=exif, offline=self.offline, timeout=self.timeout)
        return Prepared(to_tensor(source, self.loaded))

    def to(self, device: str) -> Session:
        """Move the model, in place as ``torch.nn.Module.to`` does; returns the session itself.

        Raises:
            DeviceUnavailable: there is no such device.

        Example:
            >>> clipalign.load("pictogram").to("cpu").loaded.choice.device
            'cpu'
        """
        loaded = self.loaded
        before = loaded.choice
        loaded.choice = choose_device(device, before.precision, before.threads, engine=before.engine)
        loaded.network.to(loaded.choice.device)
        return self

    def scorer(self, method: str, /, **settings: Any) -> Scorer[Any]:
        """A method ready for :meth:`run`: ``detect``, ``classify`` (as :meth:`classifier` takes it), ``score-long``.

        Raises:
            UsageError: a setting that the method does not have, or out of its range.

        Example:
            >>> session = clipalign.load("pictogram")
            >>> scorer = session.scorer("detect", mode="most-negative")
            >>> [one.misaligned for one in session.run(scorer, [("images/fruit.png", "two pears")])]
            [('pears',)]
        """
        from clipalign.methods.classify import ClassifyScorer
        from clipalign.methods.detect import DetectScorer
        from clipalign.methods.score_long import LongScorer
        from clipalign.methods.settings import DetectSettings, LongSettings

        if method == "detect":
            return DetectScorer.of(self.loaded, _settings_of(DetectSettings, method, settings))
        if method == "classify":
            return ClassifyScorer(self.classifier(**settings))
        return LongScorer(self.loaded, _settings_of(LongSettings, method, settings))

    def run(
        self,
        scorer: Scorer[R],
        items: Iterable[Any],
        *,
        needs_text: bool = True,
        on_error: OnError = "skip",
        on_progress: OnProgress = None,
    ) -> Iterator[R | Failure]:
        """Pairs or pictures through a method that is ready to score; :meth:`detect_iter` and its like end here.

        Args:
            scorer: see :meth:`scorer`.
            items: pairs, or without ``needs_text`` pictures.
            needs_text: whether an item without a text is a bad one.
            on_error: ``skip`` or ``fail``, as for :meth:`detect_iter`.
            on_progress: as for :meth:`detect_iter`.

        Example:
            >>> session = clipalign.load("pictogram")
            >>> scorer = session.scorer("classify", labels=["an apple", "a car"])
            >>> [one.label for one in session.run(scorer, ["images/fruit.png"], needs_text=False)]
            ['an apple']
        """
        from clipalign.models.vector_store import VectorStore
        from clipalign.runs.batch import run_batch
        from clipalign.runs.pairs import records_of

        if on_error not in ("skip", "fail"):
            raise UsageError(f"on_error must be skip or fail, not {on_error!r}", input="on_error")
        if isinstance(items, str | bytes | Mapping):
            raise UsageError(f"one {type(items).__name__} is no list", hint="give a list", input="pairs")
        broken: list[Exception] = []
        records = records_of(items, needs_text=needs_text, broken=broken)
        store = VectorStore(scorer.picture_key, keep_gb=self.keep_vectors, cache_dir=self.cache_dir)
        outcomes = run_batch(
            records, scorer, offline=self.offline, timeout=self.timeout, on_error=on_error, store=store
        )

        def answers() -> Iterator[R | Failure]:
            for done, outcome in enumerate(outcomes, 1):
                yield outcome.answer
                if on_progress is not None:
                    on_progress(done)
            for error in broken:
                raise error

        return answers()


def _texts(given: Iterable[str], name: str) -> tuple[str, ...]:
    """A list of texts, seen to be one."""
    if isinstance(given, str):
        raise UsageError(f"{name} must be a list, not one string", hint=f"{name}=[{given!r}]", input=name)
    if not isinstance(given, Iterable):
        raise UsageError(f"{name} must be a list, not {type(given).__name__}", input=name)
    found = tuple(given)
    for one in found:
        if not isinstance(one, str):
            raise UsageError(f"each of {name} must be a string, not {type(one).__name__}", input=name)
    return found


def _settings_of(kind: type[S], method: str, given: Mapping[str, Any]) -> S:
    """The settings of a method, or a sentence about a name that it does not have."""
    known = [field.name for field in fields(kind)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UsageError(f"{method} has no setting {', '.join(unknown)}", hint=f"it has {', '.join(known)}")
    return kind(**given)
