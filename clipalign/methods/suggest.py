"""What a misaligned word may have been meant to be.

Candidates of the word's kind are put in its place, and the whole captions ranked by their cosine with the picture; they
share the caption's beginning. A candidate that does not raise the cosine is none, so there is none where the word as
written is the best. Names that mean the same count as one, in the number (one dog, two dogs) of the word as written; a
thing that the caption names elsewhere is left out. A name of several words is replaced as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from torch import Tensor

from clipalign.data.classes import read_lines
from clipalign.data.word_kinds import FUNCTION_WORDS, ROWS, bare, exchanged, inside, row_of
from clipalign.device import with_oom_retry
from clipalign.models.encode import encode_tokens
from clipalign.models.tokenize import tokenize_text
from clipalign.results import Candidate, Suggestion

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel
    from clipalign.results import DetectResult, WordScore

NOUNS: Final = Path(__file__).parents[1] / "data" / "nouns.txt"
PICTOGRAMS: Final = Path(__file__).parents[1] / "pictogram" / "objects.tsv"

_PLURAL_RULES: Final = ((r"([^aeiou])y$", r"\1ies"), (r"(s|x|z|ch|sh|to)$", r"\1es"), (r"$", "s"))


@dataclass(frozen=True)
class Entry:
    """One thing: its names in the singular and in the plural, and the row of words that may replace it."""

    row: int | None
    names: tuple[str, ...]
    plurals: tuple[str, ...] = ()

    def forms(self, *, plural: bool) -> tuple[str, ...]:
        return self.plurals if plural and self.plurals else self.names


class Place(NamedTuple):
    """The characters of a caption that a candidate replaces, what stands there, and whether that is a plural."""

    start: int
    end: int
    row: int | None
    entry: Entry | None
    plural: bool


class Lexicon:
    """Entries, found by any of their names."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)
        self._by_name: dict[str, tuple[Entry, bool]] = {}
        for entry in self._entries:
            for plural, names in ((True, entry.plurals), (False, entry.names)):
                self._by_name |= dict.fromkeys(names, (entry, plural))
        self._words = max((name.count(" ") + 1 for name in self._by_name), default=1)

    def places(self, words: Sequence[WordScore]) -> Iterator[Place]:
        """The names in a caption of these words, the longest first at every place, and single words between them."""
        index = 0
        while index < len(words):
            for length in range(min(self._words, len(words) - index), 0, -1):
                parts = words[index : index + length]
                known = self._by_name.get(" ".join(bare(part.text) for part in parts))
                if known or length == 1:
                    break
            index += length
            start, end = inside(parts[0].text, parts[0].start)[0], inside(parts[-1].text, parts[-1].start)[1]
            if known:
                yield Place(start, end, known[0].row, *known)
            else:
                word = bare(parts[0].text)
                yield Place(start, end, row_of(word), None, word.endswith("s") and not word.endswith("ss"))

    def entry_of(self, name: str) -> Entry | None:
        known = self._by_name.get(name)
        return known and known[0]

    def options(self, place: Place, others: Iterable[Place]) -> list[tuple[Entry, str]]:
        """Candidates for what stands at ``place`` in a caption that names ``others``."""
        named = [other.entry for other in others if other.row is None]
        return [
            (entry, name)
            for entry in self._entries
            if entry.row == place.row and entry != place.entry and entry not in named
            for name in entry.forms(plural=place.plural)
        ]


def suggest(
    loaded: LoadedModel,
    lexicon: Lexicon,
    image: Tensor,
    result: DetectResult,
    *,
    template: str,
    count: int,
    batch_size: int,
) -> tuple[Suggestion, ...]:
    """Up to ``count`` candidates for each misaligned word of a result, with the picture's unit vector (E)."""
    caption, misaligned = result.text, [word for word in result.words if word.misaligned]
    places = list(lexicon.places(result.words))
    found = []
    for place in places:
        wrong = any(word.start < place.end and place.start < word.end for word in misaligned)
        if not wrong or (
            place.entry is None and (place.row is not None or _is_no_thing(caption[place.start : place.end]))
        ):
            continue
        options = lexicon.options(place, (other for other in places if other != place))
        candidates = _ranked(loaded, image, caption, place, options, template=template, batch_size=batch_size)[:count]
        if candidates:
            found.append(Suggestion(caption[place.start : place.end], place.start, place.end, tuple(candidates)))
    return tuple(found)


def _is_no_thing(text: str) -> bool:
    return bare(text) in FUNCTION_WORDS or bare(text).endswith("ing")


def _ranked(
    loaded: LoadedModel, image: Tensor, caption: str, place: Place, options: Sequence[tuple[Entry, str]],
    *, template: str, batch_size: int,
) -> list[Candidate]:  # fmt: skip
    """The best name of each entry that raises the cosine, the best first."""
    texts = [caption, *(exchanged(caption, place[:2], name)[0] for _, name in options)]
    tokens = [tokenize_text(loaded, template + text) for text in texts]
    vectors = with_oom_retry(batch_size, lambda size: encode_tokens(loaded, tokens, batch_size=size))
    written, *cosines = (vectors @ image.to(vectors.device)).tolist()
    ranked = sorted(zip(cosines, options, strict=True), key=lambda one: -one[0])
    best: dict[Entry, Candidate] = {}
    for cosine, (entry, name) in ranked:
        if cosine > written:
            best.setdefault(entry, Candidate(name, cosine - written))
    return list(best.values())


def lexicon_for(vocabulary: frozenset[str] | None, path: Path | None) -> Lexicon:
    """The candidates in a file, or for an embedded model its own things, else common ones; and words of other kinds.

    Raises:
        ClipalignError: the file cannot be read, or holds nothing.
    """
    state = None
    if path is not None:
        with suppress(OSError, ValueError):  # what reads it says why
            state = path.stat().st_mtime_ns, path.stat().st_size
    return _lexicon(vocabulary, path, state)


@lru_cache(8)
def _lexicon(vocabulary: frozenset[str] | None, path: Path | None, state: tuple[int, int] | None) -> Lexicon:
    """The same for a ``state`` of the file, which a program may change while it runs."""
    if path is not None:
        return Lexicon(_entries(read_lines(path, what="candidates")))
    if vocabulary is None:
        return Lexicon([*_entries(read_lines(NOUNS, what="candidates")), *_kinds()])
    return Lexicon(_known(_pictograms(), vocabulary))


def _kinds() -> Iterator[Entry]:
    return (Entry(row, group) for row, groups in enumerate(ROWS) for group in groups)


def _pictograms() -> Iterator[Entry]:
    for line in PICTOGRAMS.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            _, name, plural, synonyms = [*line.split("\t"), ""][:4]
            yield Entry(None, (name, *filter(None, synonyms.split(","))), (plural,))
    yield from _kinds()


def _known(entries: Iterable[Entry], vocabulary: frozenset[str]) -> Iterator[Entry]:
    for entry in entries:
        if names := tuple(name for name in entry.names if vocabulary.issuperset(name.split())):
            yield Entry(entry.row, names, entry.plurals)


def _entries(lines: Iterable[str]) -> Iterator[Entry]:
    """An entry a line: ``name, name``, each perhaps with its plural after a slash."""
    for line in lines:
        forms = [name.casefold().partition("/") for name in line.split(",") if name.strip()]
        names = tuple(" ".join(name.split()) for name, _, _ in forms)
        if names and not line.startswith("#"):
            plurals = tuple(plural.strip() or _plural(name) for name, (_, _, plural) in zip(names, forms, strict=True))
            row = row_of(names[0])
            yield Entry(row, names, plurals if row is None else ())


def _plural(name: str) -> str:
    rule, ending = next(one for one in _PLURAL_RULES if re.search(one[0], name))
    return re.sub(rule, ending, name, count=1)
