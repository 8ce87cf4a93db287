"""What detect says of a text and a picture."""

from __future__ import annotations

from dataclasses import dataclass

from clipalign.results.provenance import Provenance


@dataclass(frozen=True, slots=True)
class WordScore:
    """One word of a caption.

    Attributes:
        text: the word as it stands in the caption.
        start: first character, counted in the caption as given.
        end: one past the last character.
        attribution: mean signed attribution over the word's tokens (CLIP4DM, eq. for R at the EOT row); negative means
            the word pulls text and image apart. None when the word was not scored.
        misaligned: whether the chosen mode calls the word wrong for the image.
        scored: False for words beyond the model's context, and for those it reads nothing of.
    """

    text: str
    start: int
    end: int
    attribution: float | None
    misaligned: bool
    scored: bool


@dataclass(frozen=True, slots=True)
class DetectResult:
    """How one text fits one image, word by word (CLIP4DM).

    Attributes:
        id: identifier of the pair, or the image's name.
        image: path, URL or name of the image as given.
        text: the caption as given.
        model: model name as given.
        cosine: cosine of image and text (template included), -1 to 1; higher fits better.
        clip_score: ``2.5 * max(cosine, 0)``, 0 to 2.5; higher fits better.
        f_clip_score: ``sum_negative_attribution * (1 - clip_score / 2.5)``; at most 0 in threshold mode while epsilon
            is not positive, closer to 0 fits better.
        sum_negative_attribution: sum over the misaligned words, 0 when there are none.
        misaligned: their texts, most negative first.
        words: all words of the caption in reading order, without those of punctuation alone.
        n_tokens: tokens of template and caption before truncation, start and end tokens included.
        truncated: whether text fell outside the context.
        unknown_words: words that an embedded model never saw; empty for models with an open vocabulary.
        references: reference captions, if any.
        ref_clip_score: RefCLIPScore (Hessel et al., 2021), 0 to 2.5, or None without references.
        provenance: model, versions, settings.
        warnings: what a reader must know about this pair, a sentence each.
    """

    id: str
    image: str
    text: str
    model: str
    cosine: float
    clip_score: float
    f_clip_score: float
    sum_negative_attribution: float
    misaligned: tuple[str, ...]
    words: tuple[WordScore, ...]
    n_tokens: int
    truncated: bool
    provenance: Provenance
    unknown_words: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    ref_clip_score: float | None = None
    warnings: tuple[str, ...] = ()
