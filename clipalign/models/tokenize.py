"""Caption to tokens: ids, the end token's place, and which characters of the caption each token came from.

The ids are exactly those of the model's own open_clip tokenizer. That tokenizer repairs text (mojibake, HTML entities,
curly quotes, control characters), folds white space and lower-cases before it splits, so positions in the repaired text
are traced to positions in the text as given.

What does not fit the context is counted and located. With CLIP's own tokenizer, text never turns into a control token:
a caption that spells out ``<end_of_text>`` is read as punctuation and letters.
"""

from __future__ import annotations

import heapq
import string
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import regex  # type: ignore[import-untyped, unused-ignore]

from clipalign.data.words import check_length
from clipalign.errors import ModelMismatch, UsageError
from clipalign.models.load import import_open_clip

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel

Span = tuple[int, int]  # first character and one past the last, in the text as given

# How OpenAI's CLIP cuts text before byte-pair encoding (open_clip's SimpleTokenizer.pat), less the control tokens.
_PIECE = regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""", regex.IGNORECASE)

_END_OF_WORD = "</w>"

_CLIPS_TOKENS = 3  # start, end and class token of the tokenizer mode clips

_LONG_PIECE = 100
"""Bytes beyond which a run of letters is merged by our own loop; no word of a language is that long."""

# How far, in characters, a repaired stretch may be from its origin before the rest is taken as one repaired stretch.
# The longest HTML entity, &CounterClockwiseContourIntegral;, has 33.
_LONGEST_REPAIR = 40
_STRETCHES = sorted(
    ((here, there) for here in range(_LONGEST_REPAIR) for there in range(_LONGEST_REPAIR) if here or there),
    key=lambda widths: (sum(widths), abs(widths[0] - widths[1])),
)
_AGREEMENT = 3
_NOWHERE: Span = (0, 0)
_PUNCTUATION = frozenset(string.punctuation)

# Alike for the comparison: quotes that ftfy straightens and the two small sigmas; control characters, which it drops,
# count as white space.
_ALIKE = {
    **dict.fromkeys(map(ord, "\u02bc\u2018\u2019\u201a\u201b"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f"), '"'),
    **dict.fromkeys([*range(0x20), 0x7F], " "),
    ord("ς"): "σ",
}


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as the text tower reads it.

    Attributes:
        text: the text as given (template included where there is one).
        ids: token ids from the start token to the end token, at index ``eot``, cut to the context (T).
        spans: for each token the characters of ``text`` it came from; None for start and end token, and for tokens of
            white space alone (T).
        padding: ids of the rest of the context, after the end token; towers that are not causal see them.
        n_tokens: tokens before the cut, start and end included.
        cut_at: first character of the first token that was cut, or the length of ``text``.
        unlocated: why ``spans`` and ``cut_at`` are unknown; empty where they are known.
    """

    text: str
    ids: tuple[int, ...]
    eot: int
    spans: tuple[Span | None, ...]
    padding: tuple[int, ...]
    n_tokens: int
    truncated: bool
    cut_at: int
    unlocated: str = ""


def tokenize_text(loaded: LoadedModel, text: str) -> TokenizedText:
    """Tokenize ``text`` for ``loaded``, keeping every token's position.

    Raises:
        UsageError: a tokenizer of an unknown kind.
        ModelMismatch: the tokenizer makes tokens that the model has no row for.
        TextUnusable: the text is too long.
    """
    check_length(text)
    tokenizer: Any = loaded.tokenizer
    kinds = import_open_clip().tokenizer
    if isinstance(tokenizer, kinds.SimpleTokenizer):
        encoded = _encode_with_clip(tokenizer, text, loaded.context_tokens)
    elif isinstance(tokenizer, kinds.HFTokenizer):
        encoded = _encode_with_hub(tokenizer, text, loaded.context_tokens)
    else:
        raise UsageError(
            f"the tokenizer {type(tokenizer).__name__} of {loaded.architecture} is not served",
            hint="use a model with CLIP's own tokenizer, for example --model ViT-B-32",
        )
    check_vocabulary(loaded.network, max(encoded.ids, default=0), loaded.row.name)
    return encoded


def check_located(texts: Iterable[TokenizedText]) -> None:
    """Check that the characters of the texts' tokens are known; UsageError if not."""
    for text in texts:
        if text.unlocated:
            raise UsageError(
                f"{text.unlocated}: its tokens cannot be located in the text",
                hint="use a model with CLIP's own tokenizer, for example --model ViT-B-32",
            )


def check_vocabulary(network: Any, highest: int, name: str) -> None:
    """Check that a model has a row for every token up to ``highest``; ModelMismatch if not."""
    rows = _vocabulary_rows(network)
    if rows is not None and highest >= rows:
        raise ModelMismatch(
            f"{name} knows {rows} tokens, and its tokenizer makes others",
            hint="these weights were trained with another vocabulary; its tokenizer belongs into a config",
            input=name,
        )


def _vocabulary_rows(network: Any) -> int | None:
    for tower in (network, getattr(network, "text", None)):
        rows = getattr(tower, "vocab_size", None)
        if isinstance(rows, int):
            return rows
    return None


def _encode_with_clip(tokenizer: Any, text: str, context_tokens: int) -> TokenizedText:
    cleaned: str = tokenizer.clean_fn(text)
    limit = context_tokens - 2  # the start and the end token
    ids: list[int] = []
    places: list[Span] = []
    cut_from = len(cleaned)
    n_inner = 0
    for match in _PIECE.finditer(cleaned):
        start = match.start()
        for token_id, first, last in _byte_pairs(tokenizer, match.group()):
            if n_inner < limit:
                ids.append(token_id)
                places.append((start + first, start + last))
            elif n_inner == limit:
                cut_from = start + first
            n_inner += 1
    truncated = n_inner > limit
    origins = trace_characters(text, cleaned, cut_from + 1)
    spans = [_join(origins, first, last) for first, last in places]
    return TokenizedText(
        text=text,
        ids=(tokenizer.sot_token_id, *ids, tokenizer.eot_token_id),
        eot=len(ids) + 1,
        spans=(None, *spans, None),
        padding=(0,) * (limit - len(ids)),
        n_tokens=n_inner + 2,
        truncated=truncated,
        cut_at=origins[cut_from][0] if truncated else len(text),
    )


def _byte_pairs(tokenizer: Any, piece: str) -> Iterator[tuple[int, int, int]]:
    """Ids of one piece's tokens with the piece's characters they cover; a character cut by a token belongs to both."""
    character_of_byte = [index for index, character in enumerate(piece) for _ in character.encode()]
    symbols = "".join(tokenizer.byte_encoder[byte] for byte in piece.encode())
    begin = 0
    units = tokenizer.bpe(symbols).split(" ") if len(symbols) <= _LONG_PIECE else _merged(tokenizer, symbols)
    for unit in units:
        end = begin + len(unit.removesuffix(_END_OF_WORD))
        yield tokenizer.encoder[unit], character_of_byte[begin], character_of_byte[end - 1] + 1
        begin = end


def _merged(tokenizer: Any, symbols: str) -> list[str]:
    """What the tokenizer's own ``bpe`` gives, in n log n steps: its loop takes minutes for a run of 10,000 letters.

    Merging the best pair leftmost first equals merging all its occurrences at once, because a merge only makes pairs of
    lower rank.
    """
    ranks: dict[tuple[str, str], int] = tokenizer.bpe_ranks
    units: list[str] = [*symbols[:-1], symbols[-1] + _END_OF_WORD]
    after = [*range(1, len(units)), -1]
    before = list(range(-1, len(units) - 1))
    waiting: list[tuple[int, int, str, str]] = []

    def offer(left: int) -> None:
        if left >= 0 and after[left] >= 0:
            pair = (units[left], units[after[left]])
            if pair in ranks:
                heapq.heappush(waiting, (ranks[pair], left, *pair))

    for place in range(len(units)):
        offer(place)
    while waiting:
        _, left, first, second = heapq.heappop(waiting)
        right = after[left]
        if right < 0 or (units[left], units[right]) != (first, second):
            continue  # one of the two has been merged with another neighbor since
        units[left], units[right] = first + second, ""
        after[left] = after[right]
        if after[left] >= 0:
            before[after[left]] = left
        offer(before[left])
        offer(left)
    return [unit for unit in units if unit]


def _encode_with_hub(tokenizer: Any, text: str, context_tokens: int) -> TokenizedText:
    """The same for a tokenizer from the ``tokenizers`` library, which keeps offsets into the cleaned text itself."""
    inner = tokenizer.tokenizer
    cleaned: str = tokenizer.clean_fn(text)
    row: list[int] = tokenizer([text], context_length=context_tokens)[0].tolist()
    if tokenizer.tokenizer_mode:
        # "clips" puts a class token at the end, after the padding.
        n_tokens = len(inner(cleaned, add_special_tokens=False)["input_ids"]) + _CLIPS_TOKENS
        return _unlocated(text, row, context_tokens, n_tokens, f"the tokenizer mode {tokenizer.tokenizer_mode!r}")
    if not getattr(inner, "is_fast", False):
        n_tokens = len(inner(cleaned)["input_ids"])
        return _unlocated(text, row, min(n_tokens, context_tokens), n_tokens, f"the tokenizer {type(inner).__name__}")
    whole = inner(cleaned, return_offsets_mapping=True, return_special_tokens_mask=True)
    places: list[Span] = [(int(first), int(last)) for first, last in whole["offset_mapping"]]
    inside = [
        not special and not cleaned[first:last].isspace() and first < last
        for special, (first, last) in zip(whole["special_tokens_mask"], places, strict=True)
    ]
    n_tokens = len(places)
    truncated = n_tokens > context_tokens
    kept = min(n_tokens, context_tokens)
    if truncated:  # the tokenizer drops text, not the end token
        places = [*places[: kept - 1], places[-1]]
        inside = [*inside[: kept - 1], inside[-1]]
    if not tokenizer.strip_sep_token and row[: kept - 1] != list(whole["input_ids"][: kept - 1]):
        return _unlocated(text, row, kept, n_tokens, f"the padding of {type(inner).__name__}")
    origins = trace_characters(text, cleaned)
    spans = [_join(origins, *place) if real else None for place, real in zip(places, inside, strict=True)]
    cut_at = len(text)
    if truncated:
        cut_at = _join(origins, int(whole["offset_mapping"][kept - 1][0]), len(origins))[0]
    return TokenizedText(
        text=text,
        ids=tuple(row[:kept]),
        eot=kept - 1,
        spans=tuple(spans),
        padding=tuple(row[kept:]),
        n_tokens=n_tokens,
        truncated=truncated,
        cut_at=cut_at,
    )


def _unlocated(text: str, row: list[int], kept: int, n_tokens: int, why: str) -> TokenizedText:
    return TokenizedText(
        text=text,
        ids=tuple(row[:kept]),
        eot=kept - 1,
        spans=(None,) * kept,
        padding=tuple(row[kept:]),
        n_tokens=n_tokens,
        truncated=n_tokens > len(row),
        cut_at=len(text),
        unlocated=why,
    )


def _join(origins: Sequence[Span], first: int, last: int) -> Span:
    """The characters of the given text behind the characters ``first`` to ``last`` of the cleaned text."""
    solid = [span for span in origins[first:last] if span != _NOWHERE] or [_NOWHERE]
    return min(start for start, _ in solid), max(end for _, end in solid)


def trace_characters(text: str, cleaned: str, until: int | None = None) -> list[Span]:
    """For every character of ``cleaned`` the characters of ``text`` it came from; ``(0, 0)`` for white space.

    Compared are both sides without white space and control characters, whatever the case, width, composition and shape
    of quotes. Where they agree, characters pair up; other stretches pair one to one when both sides are equally long,
    else as a whole. Characters from ``until`` on are not traced.
    """
    if text.isascii() and text.isprintable() and cleaned == text.lower():  # the rest would find the same, slowly
        end = len(cleaned) if until is None else until
        return [(i, i + 1) if c != " " and i < end else _NOWHERE for i, c in enumerate(cleaned)]
    target, target_places = _folded(cleaned)
    # Punctuation the cleaned text never holds was dropped from it; left in, it would break the agreement every time.
    source, source_places = _folded(text, without=_PUNCTUATION.difference(target))
    origins = [_NOWHERE] * len(cleaned)
    limit = len(target) if until is None else bisect_left(target_places, until)
    here = there = 0
    while there < limit:
        agree = source[here : here + 1] == target[there]
        width_here, width_there = (1, 1) if agree else _repaired_stretch(source, target, here, there)
        # Something out of nothing (no characters here) belongs to the character it stands at.
        stretch = source_places[here : here + width_here] or source_places[here : here + 1] or source_places[-1:] or [0]
        for step in range(width_there):
            pair = stretch[step : step + 1] if width_here == width_there else stretch
            begin, end = origins[target_places[there + step]]
            # One character may fold to several: it spans the origins of them all.
            begin = min(begin, pair[0]) if end else pair[0]
            origins[target_places[there + step]] = (begin, max(end, pair[-1] + 1))
        here += width_here
        there += width_there
    return origins


def _folded(text: str, *, without: frozenset[str] = frozenset()) -> tuple[str, list[int]]:
    """What of ``text`` is compared, and where each of its characters is (some characters fold to several)."""
    folded: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        parts = character if character.isascii() else unicodedata.normalize("NFKD", character.lower())
        for part in parts.lower().translate(_ALIKE):
            if not part.isspace() and part not in without:
                folded.append(part)
                places.append(place)
    return "".join(folded), places


def _repaired_stretch(source: str, target: str, here: int, there: int) -> tuple[int, int]:
    """The shortest stretches after which both sides agree again; everything that is left when they never do."""
    rest_here, rest_there = len(source) - here, len(target) - there
    for width_here, width_there in _STRETCHES:
        if width_here <= rest_here and width_there <= rest_there:
            after_here, after_there = here + width_here, there + width_there
            if source[after_here : after_here + _AGREEMENT] == target[after_there : after_there + _AGREEMENT]:
                return width_here, width_there
    return rest_here, rest_there
