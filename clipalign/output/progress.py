"""How far a long run is: a bar on a terminal's stderr, else a line now and then; nothing with ``--quiet``.

Lines are left out with ``--format json``, where they would wait for the end of the run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from clipalign.notebook import time_left
from clipalign.output.console import notices, progress_console, stdout_is_terminal, visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

BYTES: Final = ("byte", "bytes")
LINE_SECONDS: Final = 30.0
PACE_SECONDS: Final = 30.0
"""Rate and time left go by the last half minute: the first items are slow ones, or quick ones."""
FIRST_SECONDS: Final = 3.0
"""Before that nothing is said of the time left."""


class Progress:
    """Show how far a run is while its block runs.

    Args:
        noun: singular and plural of what is counted, ``("pair", "pairs")``; :data:`BYTES` are shown as sizes.
        total: None or 0 if unknown.
        results_on_stdout: results appear as they come; on a terminal they replace the progress.
    """

    def __init__(
        self,
        noun: tuple[str, str],
        *,
        total: int | None = None,
        title: str = "",
        shown: bool = True,
        results_on_stdout: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._clock = clock
        self._last_line = clock()
        self._bar: Bar | None = None
        shown = shown and not notices.quiet and not (results_on_stdout and stdout_is_terminal())
        console = progress_console() if shown else None
        self._lines = shown and console is None and not notices.json
        self.restart(noun, total=total)
        if console is not None:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                BarColumn(20), TextColumn("{task.description}", markup=False), console=console, transient=True
            )
            self._bar.add_task(self.line(), total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def restart(self, noun: tuple[str, str], *, total: int | None, done: int = 0) -> None:
        """Count something else, of which ``done`` were done earlier."""
        self._noun, self._total, self._done = noun, total or None, done
        self._marks = deque([(self._clock(), done)])  # when how many were done, a second apart
        self._unreadable, self._note = 0, ""

    def skip(self, *, unreadable: bool = False) -> None:
        self._marks = deque((then, done + 1) for then, done in self._marks)
        self.advance(unreadable=unreadable)

    def advance(self, count: int = 1, *, unreadable: bool = False) -> None:
        self._unreadable += unreadable
        self.update(self._done + count)

    def update(self, done: int, total: int | None = None, *, note: str = "") -> None:
        """Show that ``done`` are done, of ``total`` if known, with a ``note`` about the last."""
        self._done, self._note = done, note
        self._total = total or self._total
        now = self._clock()
        if now - self._marks[-1][0] >= 1:
            self._marks.append((now, done))
        while len(self._marks) > 2 and self._marks[1][0] <= now - PACE_SECONDS:
            self._marks.popleft()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=self._total, description=self.line())
        elif self._lines and self._clock() - self._last_line >= LINE_SECONDS:
            self._last_line = self._clock()
            notices.tell(self.line())

    def line(self) -> str:
        """Return ``1200 of 3000 pairs, 41.3/s, 44 s left, 2 unreadable``; what a narrow terminal cuts comes last."""
        then, before = self._marks[0]
        seconds, done_now = self._clock() - then, self._done - before
        rate = done_now / seconds if seconds > 0 else 0.0
        pieces = [self._count(), self._per_second(rate)]
        if self._total is not None and rate > 0 and seconds >= FIRST_SECONDS and self._done < self._total:
            pieces.append(time_left((self._total - self._done) / rate))
        if self._unreadable:
            pieces.append(f"{self._unreadable} unreadable")
        pieces.append(self._note)
        return visible((f"{self._title}: " if self._title else "") + ", ".join(filter(None, pieces)))

    def _count(self) -> str:
        if self._noun == BYTES:
            return _size(self._done) + (f" of {_size(self._total)}" if self._total else "")
        of = f" of {self._total:,}" if self._total else ""
        return f"{self._done:,}{of} {self._noun[0] if self._done == 1 and not of else self._noun[1]}"

    def _per_second(self, rate: float) -> str:
        if not rate:
            return ""
        return f"{_size(round(rate))}/s" if self._noun == BYTES else f"{rate:.{1 if rate >= 1 else 2}f}/s"


def _size(size: int) -> str:
    from clipalign.download.fetch import in_bytes  # whoever counts bytes has it loaded

    return in_bytes(size)
