"""What ``download`` shows: the list, what was done, and how far a file has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from clipalign.output.console import notices, progress_console, visible, width

if TYPE_CHECKING:
    from clipalign.download.catalog import Status

LINE_SECONDS: Final = 10.0
"""Between two lines where there is no bar."""

STATES: Final = {
    ("here", True): "here, verified",
    ("here", False): "here, not verified",
    ("part", False): "here in part",
    ("absent", False): "not here",
    ("by hand", False): "by hand",
    ("damaged", False): "damaged",
}
NAME_CELLS: Final = 18


def size_of(size: int) -> str:
    """``605 MB``, or a dash where it is unknown."""
    from clipalign.download.fetch import in_bytes

    return in_bytes(size) if size else "-"


def listing(rows: Sequence[Status]) -> str:
    """Models and data sets: a line of what and how it stands, then license and source, then what it is."""
    room = width()
    lines: list[str] = []
    for kind, heading in (("model", "Models"), ("dataset", "Data sets")):
        chosen = [row for row in rows if row.kind == kind]
        if not chosen:
            continue
        lines += [*([""] if lines else []), heading]
        for row in chosen:
            state = STATES.get((row.state, row.verified), row.state)
            lines.append(f"  {visible(row.name):{NAME_CELLS}} {size_of(row.size_bytes):>8}  {state}")
            license = visible(row.license or "not stated")
            about = [row.license_class if license == "not stated" else f"{row.license_class} ({license})"]
            about.append(visible(row.source))
            if row.commands:
                about.append(f"for {', '.join(row.commands)}")
            if row.needs:
                about.append(f"needs {', '.join(row.needs)}")
            lines += _wrapped(" · ".join(about), room)
            if row.title:
                lines += _wrapped(visible(row.title + (f" ({row.note})" if row.note else "")), room)
    return "\n".join([*lines, ""])


def _wrapped(text: str, room: int) -> list[str]:
    import textwrap

    indent = " " * 6
    return textwrap.wrap(text, room, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def listing_record(rows: Sequence[Status], cache_dir: str) -> dict[str, object]:
    """The list as a JSON document."""
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
def shown(
    title: str, *, quiet: bool, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """Show a file's progress: a bar on a terminal's stderr, a plain line now and then elsewhere.

    Args:
        title: what is fetched.
        quiet: show nothing.
        clock: seconds that only grow.
    """
    console = None if quiet else progress_console()
    if console is None:
        yield _lines(title, clock) if not quiet else lambda done, total: None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.text import Text

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(Text(visible(title)).plain, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _lines(title: str, clock: Callable[[], float]) -> Callable[[int, int], None]:
    told = clock()

    def advance(done: int, total: int) -> None:
        nonlocal told
        if clock() - told < LINE_SECONDS or done == total:
            return
        told = clock()
        whole = f" of {size_of(total)} ({100 * done // total} %)" if total else ""
        notices.tell(f"{title}: {size_of(done)}{whole}")

    return advance
