"""Which words of a text do not fit an image (CLIP4DM, Nam et al., AAAI 2025, arXiv 2412.18404).

Pictures → unit vectors, each distinct picture once; template and caption → tokens → attribution → words; from these
CLIPScore, F-CLIPScore and, with references, RefCLIPScore (Hessel et al., EMNLP 2021, arXiv 2104.08718). Positions are
characters of the text as given, without the template.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor

from clipalign.data.transforms import PreparedPicture, prepare_whole
from clipalign.data.words import (
    Mode,
    Word,
    WordReading,
    check_length,
    reported_words,
    unknown_words,
    word_scores,
    words_to_score,
)
from clipalign.device import with_oom_retry
from clipalign.errors import ClipalignError, InputUnreadable, ModelMismatch, TextUnusable, UsageError, name_some
from clipalign.methods.explain import explain
from clipalign.methods.scores import (
    ScoreItem,
    clip_score,
    decoding_fast,
    f_clip_score,
    provenance_of,
    ref_clip_score,
)
from clipalign.methods.settings import DEFAULT_TEMPLATE, DetectSettings
from clipalign.methods.suggest import lexicon_for, suggest
from clipalign.models.attribution import TokenAttribution, attribute
from clipalign.models.encode import (
    EncodedPicture,
    ImageSource,
    encode_each,
    encode_prepared,
    encode_tokens,
    not_finite,
    prepared,
)
from clipalign.models.heat import check_explainable
from clipalign.models.tokenize import TokenizedText, tokenize_text
from clipalign.models.vector_store import picture_key
from clipalign.results import DetectResult, Provenance

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from clipalign.calibration import SavedCalibration
    from clipalign.data.in_memory import Prepared
    from clipalign.models.model import LoadedModel


_NAMED_CHARACTERS = 40
"""Characters of a word that a warning shows: a text without a space is one word, however long."""


@dataclass(frozen=True, eq=False)
class Pair:
    """An image and a text about it.

    Attributes:
        image: a file, a Pillow image (not turned any more), a preprocessed tensor (3, S, S), or image features (E).
            Pairs with the same file or object share its encoding.
        text: the caption.
        references: other captions of the image, for RefCLIPScore.
        id: identifier of the pair; the image's name where None.
        image_name: path, URL or name of the image, for results and errors.
    """

    image: ImageSource
    text: str
    references: tuple[str, ...] = ()
    id: str | None = None
    image_name: str = ""


class _References(NamedTuple):
    """Cosine of a pair's nearest reference, None without any, and the references cut by the context."""

    cosine: float | None
    cut: tuple[str, ...]


class _Evidence(NamedTuple):
    pair: Pair
    words: list[Word]
    text: TokenizedText
    attribution: TokenAttribution
    references: _References


def detect_pairs(
    loaded: LoadedModel, pairs: Sequence[Pair], settings: DetectSettings | None = None
) -> list[DetectResult]:
    """Score every pair, word by word; results in the order of ``pairs``.

    Raises:
        UsageError: a setting out of its range, or a text tower without attention to read.
        TextUnusable: a text without a word to score, or a text or reference that is too long.
        InputUnreadable: a file that is no picture, an image tensor of the wrong shape or with values that are not
            finite.
        ModelMismatch: the model gave numbers that are not finite.
    """
    resolved(loaded, settings or DetectSettings())
    for pair in pairs:  # before any picture is encoded
        _words(pair)
    outcomes = detect_each(loaded, pairs, settings)
    for outcome in outcomes:
        if isinstance(outcome, ClipalignError):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, DetectResult)]


def detect_each(
    loaded: LoadedModel, pairs: Sequence[Pair], settings: DetectSettings | None = None
) -> list[DetectResult | ClipalignError]:
    """As :func:`detect_pairs`, with the error of a pair that cannot be scored in its place.

    Raises:
        UsageError: a setting out of its range, or a text tower without attention to read.
    """
    settings = settings or DetectSettings()
    loaded, chosen = decoding_fast(loaded, settings.fast_decode), resolved(loaded, settings)
    outcomes: dict[int, DetectResult | ClipalignError] = {}
    words: dict[int, list[Word]] = {}
    for index, pair in enumerate(pairs):
        try:
            words[index] = _words(pair)
        except TextUnusable as error:
            outcomes[index] = error
    images = _encode_images(loaded, {index: pairs[index] for index in words}, chosen)
    outcomes |= {index: image for index, image in images.items() if isinstance(image, ClipalignError)}
    vectors = {index: image for index, image in images.items() if isinstance(image, Tensor)}
    if not vectors:
        return [outcomes[index] for index in range(len(pairs))]
    texts = [tokenize_text(loaded, chosen.template + pairs[index].text) for index in vectors]
    stacked = torch.stack(list(vectors.values()))
    attributions = with_oom_retry(
        chosen.batch_size, lambda size: attribute(loaded, stacked, texts, layers=chosen.layers, batch_size=size)
    )
    readable = [pairs[index] for index in vectors]
    references = _read_references(loaded, readable, attributions, chosen)
    provenance = _provenance(loaded, chosen)
    for index, text, attribution, reference in zip(vectors, texts, attributions, references, strict=True):
        evidence = _Evidence(pairs[index], words[index], text, attribution, reference)
        try:
            result = _result(loaded, chosen, provenance, evidence)
            if chosen.suggest:
                result = _with_suggestions(loaded, chosen, result, vectors[index])
            outcomes[index] = _with_heat(loaded, chosen, result, pairs[index]) if chosen.explain else result
        except (TextUnusable, ModelMismatch, InputUnreadable) as error:
            outcomes[index] = error
    return [outcomes[index] for index in range(len(pairs))]


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    mode: Mode
    epsilon: float
    layers: int
    template: str
    batch_size: int
    seed: int
    suggest: int
    candidates: Path | None
    explain: bool
    calibration: dict[str, object] | None = None
    notes: tuple[str, ...] = ()


def epsilon_note(loaded: LoadedModel, settings: DetectSettings) -> str:
    """The warning where epsilon is a guess: neither given nor tested on these weights; empty otherwise."""
    if (
        settings.epsilon is not None
        or settings.calibration
        or loaded.row.epsilon_tested
        or Mode(settings.mode) is not Mode.THRESHOLD
    ):
        return ""
    return (
        f"epsilon {loaded.row.epsilon:g} is a guess for {loaded.row.name}, and so are the words it marks: "
        "see eval --calibrate, and give --epsilon"
    )


def resolved(loaded: LoadedModel, settings: DetectSettings) -> ResolvedSettings:
    """The settings for this model; UsageError if the template takes all tokens of the context."""
    template_tokens = tokenize_text(loaded, settings.template).n_tokens
    if template_tokens >= loaded.context_tokens:
        raise UsageError(
            f"the template takes {template_tokens} of the model's {loaded.context_tokens} tokens, all of them",
            hint="use a shorter --template",
            input="--template",
        )
    if settings.candidates is not None and not settings.suggest:
        raise UsageError("candidates without a number of suggestions", hint="add --suggest N", input="--candidates")
    if settings.suggest:
        lexicon_for(loaded.vocabulary, settings.candidates)  # a file that cannot be read is told before the work
    if settings.explain:
        check_explainable(loaded)
    made = settings.calibration
    if made is not None:
        _check_calibration(loaded, settings, made)
        settings = replace(settings, epsilon=made.epsilon, layers=made.layers, template=made.template)
    return ResolvedSettings(
        mode=Mode(settings.mode),
        epsilon=loaded.row.epsilon if settings.epsilon is None else settings.epsilon,
        layers=loaded.row.layers if settings.layers is None else settings.layers,
        template=settings.template,
        batch_size=settings.batch_size,
        seed=settings.seed,
        suggest=settings.suggest,
        candidates=settings.candidates,
        explain=settings.explain,
        calibration=None if made is None else _about(made),
        notes=tuple(filter(None, [made.promise if made else epsilon_note(loaded, settings)])),
    )


def _about(made: SavedCalibration) -> dict[str, object]:
    return {"dataset": made.dataset, "false_alarms": made.false_alarms and asdict(made.false_alarms)}


def _check_calibration(loaded: LoadedModel, settings: DetectSettings, made: SavedCalibration) -> None:
    """Raise ``UsageError`` for a calibration that was made with other weights or settings."""
    other = ""
    if made.weights_sha256 != loaded.weights_sha256:
        other = (
            f"weights {made.weights_sha256[:12]} of {made.model}, not {loaded.weights_sha256[:12]} of {loaded.row.name}"
        )
    elif settings.layers not in (None, made.layers):
        other = f"layers {made.layers}"
    elif settings.template not in (DEFAULT_TEMPLATE, made.template):
        other = f"template {made.template!r}"
    elif settings.epsilon not in (None, made.epsilon):
        other = f"epsilon {made.epsilon:g}"
    elif settings.mode != Mode.THRESHOLD.value:
        other = "mode threshold"
    if other:
        hint = "calibrate with this model and these settings"
        raise UsageError(f"the calibration was made for {other}", hint=hint, input="--calibration")


def _encode_images(
    loaded: LoadedModel, pairs: dict[int, Pair], chosen: ResolvedSettings
) -> dict[int, Tensor | ClipalignError]:
    if not pairs:
        return {}
    images = [pair.image for pair in pairs.values()]
    names = [_name(pair) for pair in pairs.values()]
    found = with_oom_retry(chosen.batch_size, lambda size: encode_each(loaded, images, names=names, batch_size=size))
    return dict(zip(pairs, found, strict=True))


def detect_provenance(loaded: LoadedModel, settings: DetectSettings | None = None) -> Provenance:
    """The provenance of every result, known before anything is scored; UsageError for a setting out of its range."""
    settings = settings or DetectSettings()
    return _provenance(decoding_fast(loaded, settings.fast_decode), resolved(loaded, settings))


def _provenance(loaded: LoadedModel, chosen: ResolvedSettings) -> Provenance:
    settings: dict[str, object] = asdict(chosen) | {"mode": chosen.mode.value}
    del settings["seed"], settings["notes"]
    if chosen.calibration is None:
        del settings["calibration"]
    if not chosen.suggest:
        del settings["suggest"], settings["candidates"]
    if not chosen.explain:
        del settings["explain"]
    return provenance_of(loaded, settings, seed=chosen.seed, notes=chosen.notes)


def _words(pair: Pair) -> list[Word]:
    for text in pair.references:
        check_length(text, _name(pair))
    return words_to_score(pair.text, _name(pair))


def _name(pair: Pair) -> str:
    return pair.id if pair.id is not None else pair.image_name


def _read_references(
    loaded: LoadedModel, pairs: Sequence[Pair], attributions: Sequence[TokenAttribution], chosen: ResolvedSettings
) -> list[_References]:
    distinct = list(dict.fromkeys(reference for pair in pairs for reference in pair.references))
    if not distinct:
        return [_References(None, ())] * len(pairs)
    texts = {reference: tokenize_text(loaded, chosen.template + reference) for reference in distinct}
    vectors = with_oom_retry(
        chosen.batch_size, lambda size: encode_tokens(loaded, list(texts.values()), batch_size=size).cpu()
    )
    rows = {reference: row for row, reference in enumerate(distinct)}
    found = []
    for pair, attribution in zip(pairs, attributions, strict=True):
        chosen_rows = [rows[reference] for reference in pair.references]
        cosines = vectors[chosen_rows] @ attribution.text_features
        cut = tuple(reference for reference in pair.references if texts[reference].truncated)
        found.append(_References(float(cosines.max()) if chosen_rows else None, cut))
    return found


def _result(loaded: LoadedModel, chosen: ResolvedSettings, provenance: Provenance, evidence: _Evidence) -> DetectResult:
    pair, words, text, attribution, references = evidence
    tokens = attribution.tokens.tolist()
    if not all(map(math.isfinite, (attribution.cosine, *tokens))):
        raise not_finite(loaded, _name(pair))
    offset = len(chosen.template)
    places = [None if span is None else (span[0] - offset, span[1] - offset) for span in text.spans]
    reported = reported_words(words)
    reading = word_scores(
        reported,
        places,
        tokens,
        mode=chosen.mode,
        epsilon=chosen.epsilon,
        cut_at=text.cut_at - offset,
    )
    if not any(word.scored for word in reading.words):
        raise TextUnusable(
            f"the model reads nothing in the text {pair.text.strip()[:20]!r}",
            hint="give a text with at least one word; a long --template leaves fewer tokens",
            input=_name(pair),
        )
    score = clip_score(attribution.cosine)
    unknown = () if loaded.vocabulary is None else unknown_words(reported, loaded.vocabulary)
    return DetectResult(
        id=_name(pair),
        image=pair.image_name,
        text=pair.text,
        model=loaded.row.name,
        cosine=attribution.cosine,
        clip_score=score,
        f_clip_score=f_clip_score(reading.sum_negative_attribution, score),
        sum_negative_attribution=reading.sum_negative_attribution,
        misaligned=tuple(word.text for word in reading.misaligned),
        words=reading.words,
        n_tokens=text.n_tokens,
        truncated=text.truncated,
        provenance=provenance,
        unknown_words=unknown,
        references=tuple(pair.references),
        ref_clip_score=None if references.cosine is None else ref_clip_score(score, references.cosine),
        warnings=_warnings(loaded, reading, unknown, references.cut),
    )


def _with_suggestions(
    loaded: LoadedModel, chosen: ResolvedSettings, result: DetectResult, image: Tensor
) -> DetectResult:
    found = suggest(
        loaded,
        lexicon_for(loaded.vocabulary, chosen.candidates),
        image,
        result,
        template=chosen.template,
        count=chosen.suggest,
        batch_size=chosen.batch_size,
    )
    return replace(result, suggestions=found)


def _with_heat(loaded: LoadedModel, chosen: ResolvedSettings, result: DetectResult, pair: Pair) -> DetectResult:
    if isinstance(pair.image, Tensor) and pair.image.ndim == 1:
        raise InputUnreadable("image features show no place", hint="give the picture", input=_name(pair))
    picture = prepared(loaded, pair.image, _name(pair))
    maps = explain(loaded, picture, result, template=chosen.template, batch_size=chosen.batch_size)
    return replace(result, heat_maps=maps)


def _warnings(
    loaded: LoadedModel, reading: WordReading, unknown: Sequence[str], cut_references: Sequence[str]
) -> tuple[str, ...]:
    limit = f"the model's context of {loaded.context_tokens} tokens"
    found = (
        (f"not scored, beyond {limit}", [word.text for word in reading.beyond]),
        (f"scored by its beginning alone, cut by {limit}", [word.text for word in reading.cut]),
        ("not scored, the model reads nothing there", [word.text for word in reading.unread]),
        (f"not in the vocabulary of {loaded.row.name}, scores unreliable", list(unknown)),
        (f"references cut by {limit}", [f"{text[:20]}…" for text in cut_references]),
    )
    return tuple(f"{what}: {_enumerate(words)}" for what, words in found if words)


def _enumerate(words: Sequence[str]) -> str:
    shown = [word if len(word) <= _NAMED_CHARACTERS else f"{word[:_NAMED_CHARACTERS]}…" for word in words]
    return name_some(shown)


WINDOW_BATCHES: Final = 4
"""Batches of texts in a window: enough that neighbors in sorted order share prefixes, few enough to lose."""


@dataclass(frozen=True)
class DetectScorer:
    """Find the words of each record's text that do not fit its picture; a ``clipalign.methods.scores.Scorer``."""

    loaded: LoadedModel
    settings: DetectSettings
    provenance: Provenance

    @classmethod
    def of(cls, loaded: LoadedModel, settings: DetectSettings) -> DetectScorer:
        """Check the settings; UsageError for a setting out of its range."""
        loaded = decoding_fast(loaded, settings.fast_decode)
        return cls(loaded, settings, detect_provenance(loaded, settings))

    @property
    def window_records(self) -> int:
        return WINDOW_BATCHES * self.settings.batch_size

    @property
    def pictures_ahead(self) -> int:
        return 2 * self.settings.batch_size

    @property
    def shorter_px(self) -> int | None:
        return self.loaded.shorter_px

    @property
    def picture_key(self) -> dict[str, object] | None:
        return None if self.settings.explain else picture_key(self.loaded)

    def prepare(self, picture: Image | Prepared) -> PreparedPicture:
        return prepare_whole(picture, self.loaded)

    def encode(self, prepared: Sequence[PreparedPicture]) -> Sequence[EncodedPicture | ClipalignError]:
        if self.settings.explain:  # the pictures themselves are looked at once more, beside their captions
            return [EncodedPicture(one.pixels[None], (), one.size) for one in prepared]
        return with_oom_retry(
            self.settings.batch_size, lambda size: encode_prepared(self.loaded, prepared, batch_size=size)
        )

    def score(self, items: Sequence[ScoreItem]) -> list[DetectResult | ClipalignError]:
        pairs = [
            Pair(picture.vectors[0], record.text, record.references, record.id, record.image_name)
            for record, picture in items
        ]
        return detect_each(self.loaded, pairs, self.settings)
