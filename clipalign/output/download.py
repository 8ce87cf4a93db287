"""What ``download`` shows: the list, what was done, and how far a file has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from clipalign.output.console import notices, visible, width
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
NAME_CELLS, LICENSE_CELLS = 30, 18


def size_of(size: int) -> str:
    """Return ``605 MB``, or a dash if unknown."""
    from clipalign.download.fetch import in_bytes

    return in_bytes(size) if size else "-"


def listing(rows: Sequence[Status]) -> str:
    """Return a line a model and data set; with ``-v`` each with license, source, use and title below it."""
    lines: list[str] = []
    for kind, heading in (("model", "Models"), ("dataset", "Data sets")):
        chosen = [row for row in rows if row.kind == kind]
        if not chosen:
            continue
        lines += [*([""] if lines else []), f"{heading:{NAME_CELLS}}     size  {'license':{LICENSE_CELLS}} state"]
        for row in chosen:
            state = STATES.get((row.state, row.verified), row.state)
            name = f"{visible(row.name):{NAME_CELLS}} {size_of(row.size_bytes):>8}  "
            space = max(0, LICENSE_CELLS + NAME_CELLS + 11 - len(name))  # a long name takes it from the next column
            lines.append(f"{name}{row.license_class:{space}} {state}")
            if notices.verbose:
                lines += _details(row)
    if not notices.verbose:
        lines += ["", "-v: license, source and use of each"]
    return "\n".join([*lines, ""])


def _details(row: Status) -> list[str]:
    about = [visible(row.license or "license not stated"), visible(row.source)]
    if row.commands:
        about.append(f"for {', '.join(row.commands)}")
    if row.needs:
        about.append(f"needs {', '.join(row.needs)}")
    title = visible(row.title + (f" ({row.note})" if row.note else "")) if row.title else ""
    return [*_wrapped(" · ".join(about), width()), *_wrapped(title, width())]


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
