"""What cards of all commands share: the picture, scores, signed bars, warnings."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Final

from clipalign.output.html.markup import Markup, escaped, joined, tag

BAR_UNITS: Final = 100
"""Length of one side of a bar in its own coordinates."""

_PICTURE_TYPES: Final = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"))


def data_address(picture: bytes | None) -> str:
    """A small WebP, JPEG or PNG as an address that holds it; empty for None."""
    if not picture:
        return ""
    kind = next((name for start, name in _PICTURE_TYPES if picture.startswith(start)), "webp")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def picture(thumbnail: str, *, alt: str) -> Markup:
    """A thumbnail, or an empty frame in its place where there is none.

    Args:
        thumbnail: a ``data:`` address, or an empty string.
        alt: what a reader who sees no pictures is told.
    """
    if not thumbnail:
        return tag("div", "no picture", attributes={"class": "picture none"})
    image = tag("img", attributes={"src": thumbnail, "alt": alt, "loading": "lazy", "decoding": "async"})
    return tag("div", image, attributes={"class": "picture"})


def heading(name: str, detail: str = "") -> Markup:
    """A card's first line: what the record is called, and its image where that is another name."""
    parts: list[str] = [tag("span", name, attributes={"class": "id", "dir": "auto"})]
    if detail and detail != name:
        parts.append(tag("span", detail, attributes={"class": "image", "dir": "auto"}))
    return tag("h2", *parts)


def scores(named: Iterable[tuple[str, str]]) -> Markup:
    """Names and numbers in a line that wraps."""
    pairs = (tag("div", tag("dt", name), tag("dd", number)) for name, number in named)
    return tag("dl", *pairs, attributes={"class": "scores"})


def signed_bar(value: float | None, *, largest: float, wrong: bool = False) -> Markup:
    """A bar to the left of its axis where ``value`` is negative, to the right where it is positive.

    Args:
        value: None draws the axis alone.
        largest: the absolute value that fills one side, at least 0.
        wrong: drawn as what is wrong; colour only repeats what the words beside it say.
    """
    share = 0.0 if value is None or largest <= 0.0 else min(1.0, abs(value) / largest)
    length = round(share * BAR_UNITS, 1)
    if value and not length:
        length = 1.0  # a bar that is not nothing shows
    side = "wrong" if wrong else "minus" if value is not None and value < 0 else "plus"
    start = BAR_UNITS - length if value is not None and value < 0 else BAR_UNITS
    shapes = [tag("rect", attributes={"class": side, "x": start, "y": 1, "width": length, "height": 8})]
    shapes.append(tag("rect", attributes={"class": "axis", "x": BAR_UNITS - 0.5, "y": 0, "width": 1, "height": 10}))
    box = {"class": "bar", "viewBox": f"0 0 {2 * BAR_UNITS} 10", "preserveAspectRatio": "none", "aria-hidden": "true"}
    return tag("svg", *shapes, attributes=box)


def marked_text(text: str, spans: Sequence[tuple[int, int]], *, title: str = "") -> Markup:
    """``text`` with some of its stretches marked, by sign, line and weight as well as by colour.

    Args:
        text: as given.
        spans: first character and one past the last, in order, not overlapping.
        title: said of each marked stretch where the pointer rests on it.
    """
    pieces: list[str] = []
    position = 0
    for start, end in spans:
        pieces.append(escaped(text[position:start]))
        pieces.append(tag("mark", text[start:end], attributes={"title": title or None}))
        position = end
    return joined(*pieces, escaped(text[position:]))


def caption(content: Markup) -> Markup:
    """The text of a record; its direction follows its own script."""
    return tag("p", content, attributes={"class": "caption", "dir": "auto"})


def warnings(sentences: Iterable[str]) -> Markup:
    """What a reader must know, a line each; nothing where there is nothing."""
    items = [tag("li", sentence) for sentence in sentences]
    return tag("ul", *items, attributes={"class": "warnings"}) if items else Markup("")


def folded(summary: str, *content: str) -> Markup:
    """Details that open on demand, without JavaScript."""
    return tag("details", tag("summary", summary), *content)
