"""What ``download`` shows: the list, what was done, and how far a file has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from clipalign.output.console import visible, width
from clipalign.output.progress import BYTES, Progress

if TYPE_CHECKING:
    from clipalign.download.catalog import Status

STATES: Final = {
    ("here", True): "here, verified",
    ("here", False): "here, not verified",
    ("part", False): "here in part",
    ("absent", False): "not here",
    ("by hand", False): "by hand",
    ("damaged", False): "damaged",
}
NAME_CELLS: Final = (18, 30)
"""Columns of a name: minimum, maximum."""


def size_of(size: int) -> str:
    """Return ``605 MB``, or a dash if unknown."""
    from clipalign.download.fetch import in_bytes

    return in_bytes(size) if size else "-"


def listing(rows: Sequence[Status]) -> str:
    """Return a text of models and data sets: name, size and state, then license and source, then title."""
    space = width()
    least, most = NAME_CELLS
    cells = min(most, max([least, *(len(visible(row.name)) for row in rows)]))
    lines: list[str] = []
    for kind, heading in (("model", "Models"), ("dataset", "Data sets")):
        chosen = [row for row in rows if row.kind == kind]
        if not chosen:
            continue
        lines += [*([""] if lines else []), heading]
        for row in chosen:
            state = STATES.get((row.state, row.verified), row.state)
            lines.append(f"  {visible(row.name):{cells}} {size_of(row.size_bytes):>8}  {state}")
            license = visible(row.license or "not stated")
            about = [row.license_class if license == "not stated" else f"{row.license_class} ({license})"]
            about.append(visible(row.source))
            if row.commands:
                about.append(f"for {', '.join(row.commands)}")
            if row.needs:
                about.append(f"needs {', '.join(row.needs)}")
            lines += _wrapped(" · ".join(about), space)
            if row.title:
                lines += _wrapped(visible(row.title + (f" ({row.note})" if row.note else "")), space)
    return "\n".join([*lines, ""])


def _wrapped(text: str, space: int) -> list[str]:
    import textwrap

    indent = " " * 6
    return textwrap.wrap(text, space, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def listing_record(rows: Sequence[Status], cache_dir: str) -> dict[str, object]:
    return {
        "cache_dir": cache_dir,
        "models": [_status(row) for row in rows if row.kind == "model"],
        "datasets": [_status(row) for row in rows if row.kind == "dataset"],
    }


def _status(row: Status) -> dict[str, object]:
    return {
        "name": row.name,
        "title": row.title,
        "size_bytes": row.size_bytes or None,
        "license": row.license or None,
        "license_class": row.license_class,
        "source": row.source,
        "state": row.state,
        "here": row.state == "here",
        "verified": row.verified,
        "path": str(row.place),
        "commands": list(row.commands),
        "needs": list(row.needs),
        "note": row.note or None,
    }


@contextmanager
def fetch_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of a download; yields a function of bytes so far and total bytes (0: unknown)."""
    with Progress(BYTES, title=title) as progress:
        yield progress.update
