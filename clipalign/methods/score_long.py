"""How well a long text fits an image, sentence by sentence (SPECS, arXiv 2509.03897; Long-CLIP, arXiv 2403.15378).

A text cut into pieces gives the prefixes ``p_1 ⊂ p_2 ⊂ … ⊂ p_n``; each has a cosine with the image, and the increment
of a piece is what it adds to the score of the text before it. A specific and right detail should raise the score, a
wrong one lower it; which do is told by their contributions, which do not depend on the place
(:mod:`clipalign.methods.contributions`). In a causal tower texts with a common beginning share its work, and all
prefixes of a text cost an end token each; other towers read every text anew. Pieces cut off by the context are marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import torch
from torch import Tensor

from clipalign.data.sentences import Cut, Piece, split_text
from clipalign.data.transforms import PreparedPicture, prepare_whole
from clipalign.data.words import reported_words, split_words, unknown_words, words_to_score
from clipalign.device import with_oom_retry
from clipalign.errors import ClipalignError, TextUnusable
from clipalign.methods.contributions import MOST_SHAPLEY, Chosen, Contribution, Kind, contributions, needed
from clipalign.methods.scores import clip_score, decoding_fast, provenance_of, specs_score, unknown_warning
from clipalign.methods.settings import LongSettings
from clipalign.models.encode import EncodedPicture, encode_distinct, encode_prepared, encode_tokens
from clipalign.models.long_context import KEPT_POSITIONS, can_be_stretched, stretched
from clipalign.models.registry import LONG_CONTEXT_TOKENS
from clipalign.models.tokenize import TokenizedText, check_located, tokenize_text
from clipalign.models.vector_store import picture_key
from clipalign.results import LongResult, SentenceScore

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipalign.data.in_memory import Prepared
    from clipalign.methods.detect import Pair
    from clipalign.methods.scores import ScoreItem
    from clipalign.models.model import LoadedModel

WINDOW_RECORDS: Final = 64
PICTURES_AHEAD: Final = 64
"""Texts scored together, and prepared pictures held at most, in a batch run."""

_QUOTED_CHARACTERS: Final = 40  # how much of a sentence a warning quotes


class _Asked(NamedTuple):
    """A text as tokens, cut to the context, and the texts to score: its prefixes, then others of its pieces.

    ``cut`` is the index of the piece in which the context ends, -1 where it ends in none.
    """

    text: TokenizedText
    pieces: list[Piece]
    prefixes: list[TokenizedText]
    others: dict[Chosen, TokenizedText]
    kind: Kind
    cut: int

    @property
    def scored(self) -> list[TokenizedText]:
        return [*self.prefixes, *self.others.values()]


def score_long_pairs(
    loaded: LoadedModel, pairs: Sequence[Pair], settings: LongSettings | None = None
) -> list[LongResult]:
    """Score every text with its image, sentence by sentence; results in the order of ``pairs``.

    A file or picture that occurs several times is encoded once; references are not used. Where the settings stretch the
    model, a stretched copy is used.

    Raises:
        UsageError: a setting out of its range.
        TextUnusable: a text without a word, or too long.
        InputUnreadable: a file that is no picture, an image tensor of the wrong shape or with values that are not
            finite.
        ModelMismatch: the model gave numbers that are not finite.
    """
    scorer = LongScorer(loaded, settings)
    if not pairs:
        return []
    named = [replace(pair, id=pair.id if pair.id is not None else pair.image_name) for pair in pairs]
    asked = [scorer.ask(pair.text, str(pair.id)) for pair in named]
    for one in asked:
        if isinstance(one, ClipalignError):
            raise one
    features = with_oom_retry(
        scorer.settings.batch_size,
        lambda size: encode_distinct(
            scorer.loaded, [pair.image for pair in named], names=[str(pair.id) for pair in named], batch_size=size
        ),
    )
    names = [(str(pair.id), pair.image_name) for pair in named]
    return scorer.answer([one for one in asked if not isinstance(one, ClipalignError)], list(features), names)


def with_long_context(loaded: LoadedModel, *, stretch: bool) -> LoadedModel:
    """With ``stretch``, a stretched copy of a model that reads fewer than 248 tokens; else the model itself."""
    short = loaded.context_tokens < LONG_CONTEXT_TOKENS
    return stretched(loaded) if stretch and short and can_be_stretched(loaded) else loaded


class LongScorer:
    """The method, ready to score: one text, many, or the records of a batch run.

    ``loaded`` is the model that is used, stretched where the settings say so and its tower allows it.

    Raises:
        UsageError: a setting out of its range.
    """

    window_records = WINDOW_RECORDS
    pictures_ahead = PICTURES_AHEAD

    def __init__(self, loaded: LoadedModel, settings: LongSettings | None = None) -> None:
        self.settings = settings = settings or LongSettings()
        self._by = Cut(settings.by)
        longer = with_long_context(loaded, stretch=settings.stretch)
        self._stretched = longer is not loaded
        self.loaded = decoding_fast(longer, settings.fast_decode)
        self.provenance = provenance_of(
            self.loaded,
            {
                "by": self._by.value,
                "contribution": settings.contribution,
                "margin": settings.margin,
                "stretch": settings.stretch,
                "context_tokens": self.loaded.context_tokens,
                "batch_size": settings.batch_size,
            },
            seed=settings.seed,
        )

    @property
    def shorter_px(self) -> int | None:
        return self.loaded.shorter_px

    @property
    def picture_key(self) -> dict[str, object] | None:
        return picture_key(self.loaded)

    def prepare(self, picture: Image | Prepared) -> PreparedPicture:
        return prepare_whole(picture, self.loaded)

    def encode(self, prepared: Sequence[PreparedPicture]) -> Sequence[EncodedPicture | ClipalignError]:
        return with_oom_retry(
            self.settings.batch_size, lambda size: encode_prepared(self.loaded, prepared, batch_size=size)
        )

    def score(self, items: Sequence[ScoreItem]) -> list[LongResult | ClipalignError]:
        asked = [self.ask(item.record.text, item.record.id) for item in items]
        usable = [(one, item) for one, item in zip(asked, items, strict=True) if not isinstance(one, ClipalignError)]
        names = [(item.record.id, item.record.image_name) for _, item in usable]
        results = iter(self.answer([one for one, _ in usable], [item.picture.vectors[0] for _, item in usable], names))
        return [one if isinstance(one, ClipalignError) else next(results) for one in asked]

    def ask(self, text: str, name: str) -> _Asked | TextUnusable:
        """Cut and tokenize one text; return the error where there is nothing to score in it, or too much."""
        try:
            words_to_score(text, name)
        except TextUnusable as error:
            return error
        whole = tokenize_text(self.loaded, text)
        check_located([whole])
        if not any(span is not None for span in whole.spans):
            what = f"the model reads nothing in the text {text.strip()[:20]!r}"
            return TextUnusable(what, hint="give a text with at least one word", input=name)
        pieces = split_text(text, self._by)
        prefixes: list[TokenizedText] = []
        cut = -1
        for index, piece in enumerate(pieces):
            if whole.truncated and piece.start >= whole.cut_at:
                break
            if whole.truncated and piece.end > whole.cut_at:
                cut = index
            last = index == len(pieces) - 1 or cut >= 0
            prefixes.append(whole if last else tokenize_text(self.loaded, text[: piece.end]))
        kind = Kind(self.settings.contribution)
        if kind is Kind.SHAPLEY and len(prefixes) > MOST_SHAPLEY:
            kind = Kind.LEAVE_ONE_OUT
        known = {tuple(range(count)) for count in range(1, len(prefixes) + 1)}
        starts = [piece.start for piece in pieces[: len(prefixes)]]
        parts = [
            text[start:end]
            for start, end in zip(starts, [*starts[1:], min(pieces[len(prefixes) - 1].end, whole.cut_at)], strict=True)
        ]
        others = {
            chosen: tokenize_text(self.loaded, "".join(parts[index] for index in chosen).rstrip())
            for chosen in sorted(needed(kind, len(prefixes), self.settings.seed) - known)
        }
        return _Asked(whole, pieces, prefixes, others, kind, cut)

    def answer(
        self, asked: Sequence[_Asked], features: Sequence[Tensor], names: Sequence[tuple[str, str]]
    ) -> list[LongResult]:
        """Score tokenized texts, each with its image's unit vector (E); ``names`` are identifiers and image names."""
        if not asked:
            return []
        flat = [text for one in asked for text in one.scored]
        vectors = with_oom_retry(
            self.settings.batch_size, lambda size: encode_tokens(self.loaded, flat, batch_size=size)
        )
        rows = torch.split(vectors, [len(one.scored) for one in asked])
        return [
            self._result(one, (row * image.to(row.device)).sum(-1).tolist(), id, name)
            for one, row, image, (id, name) in zip(asked, rows, features, names, strict=True)
        ]

    def _result(self, asked: _Asked, found: Sequence[float], id: str, image: str) -> LongResult:
        cosines = _cosines(asked, found[: len(asked.prefixes)])
        scores = {tuple(range(count)): specs_score(cosine) for count, cosine in enumerate(cosines, 1)}
        scores |= {
            chosen: specs_score(cosine)
            for chosen, cosine in zip(asked.others, found[len(asked.prefixes) :], strict=True)
        }
        shares = contributions(asked.kind, len(cosines), self.settings.seed, scores)
        text, row = asked.text.text, self.loaded.row
        vocabulary = self.loaded.vocabulary
        unknown = () if vocabulary is None else unknown_words(reported_words(split_words(text)), vocabulary)
        return LongResult(
            id=id,
            image=image,
            text=text,
            model=row.name,
            cosine=cosines[-1],
            specs_score=specs_score(cosines[-1]),
            clip_score=None if row.is_specs else clip_score(cosines[-1]),
            n_tokens=asked.text.n_tokens,
            truncated=asked.text.truncated,
            sentences=self._sentences(asked, cosines, shares),
            provenance=self.provenance,
            unknown_words=unknown,
            warnings=self._warnings(asked, unknown),
        )

    def _sentences(
        self, asked: _Asked, cosines: Sequence[float], shares: Sequence[Contribution]
    ) -> tuple[SentenceScore, ...]:
        scores: list[SentenceScore] = []
        for index, (piece, cosine, share) in enumerate(zip(asked.pieces, cosines, shares, strict=False)):
            score = specs_score(cosine)
            scores.append(
                SentenceScore(
                    *piece,
                    cosine,
                    score,
                    increment=score - specs_score(cosines[index - 1]) if index else None,
                    contribution=share.value,
                    standard_error=share.error,
                    lowers=share.value is not None and share.value < -self.settings.margin,
                    cut=index == asked.cut,
                )
            )
        return (*scores, *(SentenceScore(*piece, None, None) for piece in asked.pieces[len(cosines) :]))

    def _warnings(self, asked: _Asked, unknown: Sequence[str]) -> tuple[str, ...]:
        warnings = []
        whole, pieces, model = asked.text, asked.pieces, self.loaded.row.name
        if whole.truncated:
            ends = ""
            if asked.cut >= 0:
                read = whole.text[: whole.cut_at].rstrip()
                tail = read[max(pieces[asked.cut].start, len(read) - _QUOTED_CHARACTERS) :]
                ends = f"; {self._by.value} {asked.cut + 1} is scored by its beginning alone, up to “…{tail}”"
            warnings.append(f"{model} reads {self.loaded.context_tokens} of the text's {whole.n_tokens} tokens{ends}")
        if beyond := pieces[len(asked.prefixes) :]:
            first, many = beyond[0].text, f"{len(beyond)} {self._by.value}{'s' if len(beyond) > 1 else ''}"
            quoted = first if len(first) <= _QUOTED_CHARACTERS else f"{first[:_QUOTED_CHARACTERS].rstrip()}…"
            warnings.append(f"not scored, beyond the model's context: {many}, from “{quoted}” on")
        if asked.kind != self.settings.contribution:
            warnings.append(
                f"contributions are leave-one-out: {len(asked.prefixes)} {self._by.value}s are more than the "
                f"{MOST_SHAPLEY} that {self.settings.contribution} takes"
            )
        if self._stretched and len(whole.ids) > KEPT_POSITIONS:
            warnings.append(
                f"{model} was stretched to {self.loaded.context_tokens} tokens and never trained on texts of this "
                "length; --no-stretch scores with the context it was trained for"
            )
        if unknown:
            warnings.append(unknown_warning(self.loaded, unknown))
        return tuple(warnings)


def _cosines(asked: _Asked, found: Sequence[float]) -> list[float]:
    """``found``, with exactly equal cosines for prefixes of the same tokens."""
    cosines: list[float] = []
    for index, cosine in enumerate(found):
        same = index > 0 and asked.prefixes[index].ids == asked.prefixes[index - 1].ids
        cosines.append(cosines[-1] if same else cosine)
    return cosines
