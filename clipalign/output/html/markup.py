"""HTML that cannot be broken out of: a text of others becomes :class:`Markup` by being escaped, and in no other way.

Captions, file names and error messages are anybody's. :func:`tag` escapes whatever is no ``Markup`` yet, attribute
values always, so that forgetting to escape is not possible. Characters that show nothing or reorder a line are written
out, as they are on a terminal: ``\\u202e``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from clipalign.output.console import visible

VOID_TAGS: Final = frozenset({"br", "circle", "hr", "img", "input", "line", "meta", "rect"})
"""Elements without an end tag: those of HTML, and shapes of SVG, which close themselves."""

_SHAPES: Final = frozenset({"circle", "line", "rect"})
_SAFE_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
_SAFE_SOURCE: Final = re.compile(r"data:image/(webp|jpeg|png);base64,[A-Za-z0-9+/]+={0,2}|#[a-zA-Z0-9_-]+")
_ENTITIES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "`": "&#96;", "=": "&#61;"}
)


class Markup(str):
    """A piece of HTML; made by :func:`escaped`, :func:`tag` and :func:`joined`, or of constants and files of ours."""

    __slots__ = ()


def escaped(text: str, *, keep_lines: bool = False) -> Markup:
    """``text`` as it may stand between tags and in quoted attribute values.

    Args:
        text: anything, lone surrogates and NUL included.
        keep_lines: leave line feeds as they are, for texts of several paragraphs.
    """
    lines = text.replace("\r\n", "\n").split("\n") if keep_lines else [text]
    return Markup("\n".join(visible(line).translate(_ENTITIES) for line in lines))


def tag(name: str, *children: str, attributes: Mapping[str, str | int | float | bool | None] | None = None) -> Markup:
    """An element; children that are no :class:`Markup` are escaped.

    Args:
        name: of the element, from our own code.
        children: what stands in it.
        attributes: values are escaped; True gives an attribute without a value, False and None leave it out.

    Raises:
        ValueError: a name that no element or attribute of ours has: an event handler, a ``style``, an address that is
            no inlined picture. The page's security policy forbids them too.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an element")
    opening = name + "".join(_attribute(key, value) for key, value in (attributes or {}).items())
    if name in VOID_TAGS:
        return Markup(f"<{opening}/>" if name in _SHAPES else f"<{opening}>")
    return Markup(f"<{opening}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """Pieces behind each other, escaped where they are no :class:`Markup`."""
    return Markup("".join(child if isinstance(child, Markup) else escaped(child) for child in children))


def _attribute(name: str, value: str | int | float | bool | None) -> str:
    lowered = name.lower()
    if not _SAFE_NAME.fullmatch(name) or lowered.startswith("on") or lowered == "style":
        raise ValueError(f"{name!r} is no attribute for a page of results")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    if lowered in ("src", "href") and not _SAFE_SOURCE.fullmatch(str(value)):
        raise ValueError(f"{name} may hold an inlined picture or a place in the page, nothing else")
    return f' {name}="{value if lowered in ("src", "href") else escaped(str(value))}"'
