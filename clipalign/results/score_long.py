"""What score-long says of a long text and a picture."""

from __future__ import annotations

from dataclasses import dataclass

from clipalign.results.provenance import Provenance


@dataclass(frozen=True, slots=True)
class SentenceScore:
    """One sentence or phrase of a long text, and the score of the text up to its end.

    Attributes:
        text: the piece as it stands in the text.
        start: first character, counted in the text as given.
        end: one past the last character.
        cosine: of image and text up to here, -1 to 1; None when the model read nothing of the piece.
        specs_score: ``(cosine + 1) / 2``, 0 to 1; higher fits better; None as ``cosine``.
        increment: ``specs_score`` less that of the piece before, -1 to 1; negative where the piece lowers the score;
            None for the first piece and for pieces that were not scored.
        lowers: whether it lowers the score by more than the margin of the run.
        cut: whether the context ended within it, so that its beginning alone was scored.
    """

    text: str
    start: int
    end: int
    cosine: float | None
    specs_score: float | None
    increment: float | None
    lowers: bool = False
    cut: bool = False

    @property
    def scored(self) -> bool:
        """Whether the model read any of it."""
        return self.cosine is not None


@dataclass(frozen=True, slots=True)
class LongResult:
    """How one long text fits one image, sentence by sentence (SPECS, Long-CLIP).

    Attributes:
        id: identifier of the pair, or the image's name.
        image: path, URL or name of the image as given.
        text: the text as given.
        model: model name as given.
        cosine: cosine of image and text as far as it was read, -1 to 1; higher fits better.
        specs_score: ``(cosine + 1) / 2``, 0 to 1; higher fits better. SPECS' published score under SPECS' weights, the
            same formula under others.
        clip_score: ``2.5 * max(cosine, 0)``, 0 to 2.5; None for SPECS' weights, whose cosines are often negative.
        n_tokens: tokens of the text before truncation, start and end tokens included.
        truncated: whether text fell outside the context.
        sentences: all sentences, or phrases, in reading order.
        provenance: model, versions, settings.
        unknown_words: words that an embedded model never saw; empty for models with an open vocabulary.
        warnings: what a reader must know, a sentence each.
    """

    id: str
    image: str
    text: str
    model: str
    cosine: float
    specs_score: float
    clip_score: float | None
    n_tokens: int
    truncated: bool
    sentences: tuple[SentenceScore, ...]
    provenance: Provenance
    unknown_words: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def lowering(self) -> tuple[SentenceScore, ...]:
        """The sentences that lower the score by more than the margin."""
        return tuple(sentence for sentence in self.sentences if sentence.lowers)
