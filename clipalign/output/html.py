r"""Pages that need nothing but themselves: no network, no other file, no JavaScript to be read.

Templates escape every text, and write out characters that show nothing or reorder a line, as ``\u202e``. Style, script
and pictures are in the page, and its security policy forbids all else, including scripts with another hash. Many
records fold into batches, of which the first is open; what a page of too many leaves out is said at its top.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from clipalign.output.console import visible
from clipalign.output.formats import Fields, Writer
from clipalign.output.records import (
    Entry,
    EntryList,
    RecordFormatter,
    RecordStore,
    count_text,
    is_error,
    named_scores,
)
from clipalign.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_CARDS: Final = 2_000
"""The worst records are kept: a page of them has some 6 MB without its pictures, and opens in a second or two."""

MAX_PICTURE_CHARACTERS: Final = 24 * 2**20
"""Total of all thumbnails of a page; the worst records keep theirs."""

BATCH: Final = 50
"""Cards that a batch holds; a page of so many has no batches."""

THUMBNAIL_PX, LARGE_PX = 192, 640
"""Longer side of the pictures on a page of many, and of a single one."""

BUFFERED: Final = 200

BAR_UNITS: Final = 100

SIGNS: Final = {"": "", "wrong": "✗", "hit": "✓", "missed": "–"}
"""What stands before a word or a verdict of each kind."""

_PICTURE_TYPES: Final = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"))
_DATA_URL: Final = re.compile(r"data:image/(webp|jpeg|png);base64,[A-Za-z0-9+/]+={0,2}")


class HtmlWriter(Writer):
    """Write one page: summary and provenance, then a card a record, the worst first; one record alone is a card."""

    def document(
        self, formatter: RecordFormatter, store: RecordStore, *, summary: Fields, provenance: Fields
    ) -> Iterator[bytes]:
        return _page(formatter, store, summary, provenance, several=summary["records"] != 1)

    def results(self, formatter: RecordFormatter, entries: list[Entry]) -> bytes:
        """Return the texts about one picture as in the table: ranked, the picture once, nothing counted."""
        first, *others = sorted(entries, key=lambda entry: formatter.rank(entry.record))
        shown = EntryList([first, *(entry._replace(thumbnail="") for entry in others)])
        provenance = first.record.get("provenance") or {}
        return b"".join(_page(formatter, shown, {"records": len(entries)}, provenance, several=False))


def _page(
    formatter: RecordFormatter, store: RecordStore, summary: Fields, provenance: Fields, *, several: bool
) -> Iterator[bytes]:
    places = heapq.nsmallest(MAX_CARDS, _places(formatter, store, worst_first=several))
    pictured = _pictured(places)
    scale = formatter.scale_of([store.at(place.place).record for place in places if not place.error])
    records = f": {count_text(summary['records'], formatter.noun)}" if several else ""
    stream = (
        _environment()
        .get_template("page.html")
        .stream(
            formatter=formatter,
            title=f"clipalign {formatter.command}{records}",
            several=several,
            summary=summary,
            means=named_scores(summary["mean"], formatter.scores) if several else (),
            notes=_notes(formatter, summary, places, pictured),
            legend=scale.legend,
            scale=scale.shapes,
            provenance=provenance,
            batches=_batches(formatter, store, scale, places, pictured),
            styles=("page.css",),
            scripts=("page.js",) if several else (),
        )
    )
    stream.enable_buffering(BUFFERED)
    yield from (piece.encode("utf-8") for piece in stream)


class _Place(NamedTuple):
    """A card's origin, sorted for the page: errors last, the worst first, else as in the input."""

    error: bool
    goodness: float
    number: int
    place: int
    picture_characters: int


def _places(formatter: RecordFormatter, store: RecordStore, *, worst_first: bool) -> Iterator[_Place]:
    # A first pass keeps numbers alone, so that a page of a million records needs no memory for their texts.
    for number, (place, entry) in enumerate(store.read()):
        error = is_error(entry.record)
        goodness = -formatter.badness(entry.record) if worst_first and not error else 0.0
        yield _Place(error, goodness, number, place, len(entry.thumbnail))


def _pictured(places: Sequence[_Place]) -> int:
    total = 0
    for position, place in enumerate(places):
        total += place.picture_characters
        if total > MAX_PICTURE_CHARACTERS:
            return position
    return len(places)


def _notes(
    formatter: RecordFormatter, summary: Mapping[str, Any], places: Sequence[_Place], pictured: int
) -> list[str]:
    notes = []
    shown = count_text(len(places), formatter.noun)
    if left_out := summary["records"] - len(places):
        notes.append(f"The worst {shown} are shown; {left_out:,} others are only counted.")
    if any(place.picture_characters for place in places[pictured:]):
        first = count_text(pictured, formatter.noun)
        notes.append(f"Only the first {first} have their picture, to keep the page small.")
    return notes


def _batches(
    formatter: RecordFormatter, store: RecordStore, scale: Scale, places: Sequence[_Place], pictured: int
) -> Iterator[dict[str, Any]]:
    """Yield what can be read in batches, one alone without a label, then what cannot."""
    readable = sum(not place.error for place in places)
    starts = [*range(0, readable, BATCH), *([readable] if readable < len(places) else [])]
    for start, end in pairwise([*starts, len(places)]):
        errors = start == readable
        label = f"{start + 1:,} to {end:,} of {readable:,} {formatter.noun[1]}" if readable > BATCH else ""
        yield {
            "errors": errors,
            "label": f"{count_text(end - start, formatter.noun)} unreadable" if errors else label,
            "open": start == 0 or len(places) <= BATCH,
            "cards": _cards(formatter, store, scale, places[start:end], pictured - start),
        }


def _cards(
    formatter: RecordFormatter, store: RecordStore, scale: Scale, places: Sequence[_Place], pictured: int
) -> Iterator[dict[str, Any]]:
    for position, place in enumerate(places):
        entry = store.at(place.place)
        yield card_of(formatter, entry if position < pictured else entry._replace(thumbnail=""), scale, place.number)


def card_of(formatter: RecordFormatter, entry: Entry, scale: Scale, number: int) -> dict[str, Any]:
    """Return what the template of a card shows; raise ``ValueError`` if the thumbnail is no picture.

    ``number`` tells it from the other cards of its page.
    """
    if entry.thumbnail and not _DATA_URL.fullmatch(entry.thumbnail):
        raise ValueError("a thumbnail is a picture as a data: URL, and nothing else")
    card: dict[str, Any] = {"record": entry.record, "entry": entry, "thumbnail": entry.thumbnail, "number": number}
    card["wide"] = False
    if is_error(entry.record):
        return card | {"kind": "error", "template": "error.html"}
    kind = "found" if formatter.found(entry.record) else "fine"
    return card | {"kind": kind, "template": f"{formatter.command}.html"} | formatter.card(entry.record, scale)


@cache
def source_hash(name: str) -> str:
    """Return the security policy's hash of an included file; raise ``ValueError`` if it would end its element."""
    text = _environment().get_template(name).render()
    if "</" in text or "<!--" in text:
        raise ValueError(f"{name} cannot be inlined: it ends its own element")
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def render_template(name: str, **values: Any) -> str:
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("clipalign.output"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        version=__version__, bar_units=BAR_UNITS, signs=SIGNS, flat=_flat, source_hash=source_hash
    )
    environment.filters["words"] = lambda name: name.replace("_", " ")
    return environment


def _shown(value: object) -> object:
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "\n".join(map(visible, value.split("\n")))


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif isinstance(value, list):
            yield from ((name, str(one)) for one in value)
        else:
            yield name, "–" if value is None or value == "" else str(value)


class Rect(NamedTuple):
    kind: str
    x: float
    y: float
    width: float
    height: float


AXIS: Final = Rect("axis", BAR_UNITS - 0.5, 0, 1, 10)
"""Where bars of both signs begin."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What all bars of a page have in common.

    Attributes:
        low, high: the values at their ends.
        shapes: what is drawn behind each of them, once in the page.
        legend: what a reader should know of them, a sentence.
    """

    low: float = 0.0
    high: float = 1.0
    shapes: tuple[Rect, ...] = ()
    legend: str = ""

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def signed_bar(value: float | None, *, largest: float, wrong: bool = False) -> list[Rect]:
    """Return a bar left or right of its axis by the sign, a side filled by ``largest``; none for None and near 0."""
    length = 0.0 if value is None or largest <= 0.0 else round(min(1.0, abs(value) / largest) * BAR_UNITS, 1)
    if value is None or not length:
        return []
    side = "wrong" if wrong else "minus" if value < 0 else "plus"
    return [Rect(side, BAR_UNITS - length if value < 0 else BAR_UNITS, 1, length, 8)]


def data_url(picture: bytes | None) -> str:
    """Return a small WebP, JPEG or PNG as a ``data:`` URL; empty for None."""
    if not picture:
        return ""
    kind = next((name for start, name in _PICTURE_TYPES if picture.startswith(start)), "webp")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"
