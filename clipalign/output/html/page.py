"""The page itself: summary and provenance above, a card a record below, the worst first.

One file that asks nobody for anything: style, script and pictures are in it, and its security policy forbids all else,
scripts by any hash but its own included. Without JavaScript everything can be read and shown by kind; filter and other
orders come with it. Pages stay usable with thousands of records; what is left out of larger ones is said at the top.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from clipalign.output.html import parts
from clipalign.output.html.markup import Markup, joined, tag
from clipalign.output.records import Book, Entry, RecordView, counted, is_error, number_text, score_name
from clipalign.version import __version__

MAX_CARDS: Final = 20_000
"""More than this a browser does not lay out with pleasure; the worst are kept."""

MAX_PICTURE_CHARACTERS: Final = 48 * 2**20
"""All thumbnails of a page together; the worst records keep theirs."""

LARGE: Final = 2_000
"""Cards from which on the page says that it is large."""


class _Place(NamedTuple):
    """Where a card comes from, in the order of the page: errors last, the worst first, else as in the input."""

    error: bool
    goodness: float
    number: int
    place: int
    picture_characters: int


def page(
    view: RecordView, book: Book, *, summary: Mapping[str, Any], provenance: Mapping[str, Any]
) -> Iterator[Markup]:
    """The page in pieces.

    Args:
        view: of the command.
        book: its records.
        summary: of :meth:`clipalign.output.records.Tally.summary`.
        provenance: of the run.
    """
    places = heapq.nsmallest(MAX_CARDS, _places(view, book))
    pictured = _pictured(places)
    yield head(f"clipalign {view.command}: {counted(summary['records'], view.noun)}")
    yield Markup("<body>\n")
    yield _header(view, summary, provenance, notes=_notes(view, summary, places, pictured))
    yield _controls(view, summary)
    yield Markup("<main>\n")
    first_error = True
    for position, place in enumerate(places):
        entry = book.at(place.place)
        anchor = "unreadable" if place.error and first_error else None
        first_error = first_error and not place.error
        yield _card(view, entry, place, thumbnail=entry.thumbnail if position < pictured else "", anchor=anchor)
    made_by = tag("p", f"made by clipalign {__version__}")
    yield joined(
        Markup("</main>\n"), tag("footer", made_by), _inlined("script", "page.js"), Markup("\n</body></html>\n")
    )


def _places(view: RecordView, book: Book) -> Iterator[_Place]:
    for number, (place, entry) in enumerate(book.read()):
        error = is_error(entry.record)
        goodness = 0.0 if error else -view.badness(entry.record)
        yield _Place(error, goodness, number, place, len(entry.thumbnail))


def _pictured(places: Sequence[_Place]) -> int:
    """How many of the first cards keep their picture."""
    total = 0
    for position, place in enumerate(places):
        total += place.picture_characters
        if total > MAX_PICTURE_CHARACTERS:
            return position
    return len(places)


def _notes(view: RecordView, summary: Mapping[str, Any], places: Sequence[_Place], pictured: int) -> list[str]:
    notes = []
    if left_out := summary["records"] - len(places):
        notes.append(f"The worst {counted(len(places), view.noun)} are shown; {left_out:,} others are only counted.")
    elif len(places) >= LARGE:
        notes.append(f"This page is large: {counted(len(places), view.noun)}. Filtering may take a moment.")
    if any(place.picture_characters for place in places[pictured:]):
        notes.append(f"Only the first {counted(pictured, view.noun)} have their picture, to keep the page small.")
    return notes


def head(title: str, *, styles: Sequence[str] = ("page.css",), scripts: Sequence[str] = ("page.js",)) -> Markup:
    """A page up to its body: its style, and a policy that forbids all that is not in it.

    Args:
        title: of the page.
        styles: files of this package, inlined.
        scripts: files of this package that the page will inline, and no others may run.
    """
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hashes(styles)}",
            f"script-src {_hashes(scripts)}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    metas = [
        tag("meta", attributes={"charset": "utf-8"}),
        # Written out: an escaped "=" or "'" would do in a browser, but a policy should be readable as it stands.
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        tag("meta", attributes={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", attributes={"name": "color-scheme", "content": "light dark"}),
        tag("meta", attributes={"name": "referrer", "content": "no-referrer"}),
        tag("title", title),
        *(_inlined("style", name) for name in styles),
    ]
    lines = joined(*(joined(meta, Markup("\n")) for meta in metas))
    return joined(Markup('<!doctype html>\n<html lang="en">\n'), tag("head", Markup("\n"), lines), Markup("\n"))


@cache
def _source(name: str) -> str:
    """A file of this package, as it is inlined: what the browser hashes."""
    text = files("clipalign.output.html").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")
    if "</" in text or "<!--" in text:
        raise ValueError(f"{name} cannot be inlined: it ends its own element")
    return text


def _hash(name: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_source(name).encode("utf-8")).digest()).decode("ascii")


def _hashes(names: Sequence[str]) -> str:
    return " ".join(f"'{_hash(name)}'" for name in names) or "'none'"


def _inlined(element: str, name: str) -> Markup:
    return Markup(f"<{element}>{_source(name)}</{element}>")


def _header(
    view: RecordView, summary: Mapping[str, Any], provenance: Mapping[str, Any], *, notes: Sequence[str]
) -> Markup:
    return tag(
        "header",
        tag("h1", f"clipalign {view.command}"),
        tag("dl", *_counts(view, summary), attributes={"class": "counts"}),
        _frequent(view, summary),
        *(tag("p", note, attributes={"class": "note"}) for note in notes),
        parts.folded(f"model and settings: {provenance.get('model', '')}", provenance_table(provenance)),
    )


def _counts(view: RecordView, summary: Mapping[str, Any]) -> Iterator[Markup]:
    unreadable: Any = summary["unreadable"]
    if unreadable:
        unreadable = tag("a", f"{unreadable:,}", attributes={"href": "#unreadable"})
    named: list[tuple[str, str]] = [
        (view.noun[1], f"{summary['records']:,}"),
        *([(view.found_name.replace("_", " "), f"{summary[view.found_name]:,}")] if view.found_name else []),
        ("unreadable", unreadable if isinstance(unreadable, Markup) else "0"),
    ]
    means = ((name, summary["mean"][name]) for name in view.scores)
    named += [(f"mean {score_name(name)}", number_text(value)) for name, value in means if value is not None]
    return (tag("div", tag("dt", name), tag("dd", number)) for name, number in named)


def _frequent(view: RecordView, summary: Mapping[str, Any]) -> Markup:
    words = summary.get(view.frequent_name) or []
    if not words:
        return Markup("")
    about = "at least " if summary["counts_are_lower_bounds"] else ""
    items = [
        tag("li", tag("b", word["text"], attributes={"dir": "auto"}), f" {about}{word['count']:,}") for word in words
    ]
    title = f"most frequent {view.frequent_name.replace('_', ' ')}"
    return tag("section", tag("h2", title), tag("ul", *items), attributes={"class": "frequent"})


def provenance_table(provenance: Mapping[str, Any]) -> Markup:
    """Model, versions and settings, a row each."""
    rows = [
        tag("tr", tag("th", name.replace("_", " "), attributes={"scope": "row"}), tag("td", value))
        for name, value in _flat(provenance)
    ]
    return tag("table", tag("tbody", *rows), attributes={"class": "provenance"})


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif isinstance(value, list):
            yield from ((name, str(one)) for one in value)
        else:
            yield name, "–" if value is None or value == "" else str(value)


def _controls(view: RecordView, summary: Mapping[str, Any]) -> Markup:
    """Kinds are shown by style alone; what needs the script stays hidden until it runs."""
    kinds = [("all", "all"), ("found", view.found_name.replace("_", " ")), ("unreadable", "unreadable")]
    radios = [
        tag(
            "label",
            tag("input", attributes={"type": "radio", "name": "show", "id": f"show-{kind}", "checked": kind == "all"}),
            label,
        )
        for kind, label in kinds
        if label and (kind != "unreadable" or summary["unreadable"])
    ]
    sorts = [
        ("worst first", "worst", False),
        ("as in the input", "number", False),
        *((sort.label, f"s{place}", sort.descending) for place, sort in enumerate(view.sorts)),
    ]
    options = [
        tag("option", label, attributes={"value": key, "data-descending": descending})
        for label, key, descending in sorts
    ]
    scripted = tag(
        "div",
        tag("label", "find ", tag("input", attributes={"type": "search", "id": "find", "autocomplete": "off"})),
        tag("label", "order ", tag("select", *options, attributes={"id": "order"})),
        tag("output", "", attributes={"id": "shown"}),
        attributes={"id": "scripted", "hidden": True},
    )
    shown = tag("fieldset", tag("legend", "show"), *radios)
    return joined(tag("nav", shown, scripted, attributes={"aria-label": "choose records"}), Markup("\n"))


def _card(view: RecordView, entry: Entry, place: _Place, *, thumbnail: str, anchor: str | None) -> Markup:
    record = entry.record
    kind = "error" if place.error else "found" if view.found(record) else "fine"
    attributes: dict[str, str | int | float | bool | None] = {
        "class": f"card {kind}",
        "id": anchor,
        "data-number": place.number,
    }
    if place.error:
        inside = _error_card(entry, thumbnail)
    else:
        for position, sort in enumerate(view.sorts):
            value = record.get(sort.key)
            attributes[f"data-s{position}"] = value if isinstance(value, int | float) else None
        inside = view.card(record, thumbnail)
    return joined(tag("article", inside, attributes=attributes), Markup("\n"))


def _error_card(entry: Entry, thumbnail: str) -> Markup:
    record = entry.record
    error = record["error"]
    where = f"{entry.file}, line {entry.line}" if entry.line else entry.file
    body = tag(
        "div",
        parts.heading(str(record.get("id", "")), str(record.get("image", ""))),
        parts.caption(joined(str(record.get("text", "")))),
        tag("p", f"unreadable: {error.get('message', '')}", attributes={"class": "verdict wrong", "dir": "auto"}),
        tag("p", str(error["hint"]), attributes={"class": "hint"}) if error.get("hint") else Markup(""),
        tag("p", where, attributes={"class": "hint"}) if where else Markup(""),
        attributes={"class": "body"},
    )
    return joined(parts.picture(thumbnail, alt=f"picture of {record.get('id', '')}"), body)
