"""How far a long run is: a bar on a terminal's stderr, else a plain line now and then; nothing with ``-q``.

Lines are left out with ``--format json``, where they would wait for the end of the run.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final

from clipalign.output.console import notices, progress_console, stdout_is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress as Bar
    from rich.progress import TaskID

LINE_SECONDS: Final = 30.0
"""Between two lines where nobody sees a bar move."""


class Progress:
    """A run's progress, shown while the block runs.

    Args:
        noun: one record and several, ``("pair", "pairs")``.
        total: how many there are; None where that is not known.
        results_on_stdout: results appear as they come; on a terminal they are the progress.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        noun: tuple[str, str],
        *,
        total: int | None,
        results_on_stdout: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._noun = noun
        self._total = total
        self._clock = clock
        self._began = self._told = clock()
        self._done = self._skipped = self._unreadable = 0
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        seen = results_on_stdout and stdout_is_terminal()
        console = None if notices.quiet or seen else progress_console()
        self._lines = console is None and not seen and not notices.json
        if console is not None:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn(noun[1]),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TextColumn("{task.fields[unreadable]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
            )
            self._bar = Bar(*columns, console=console, transient=True)
            self._task = self._bar.add_task(noun[1], total=total, rate="", unreadable="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def skip(self, unreadable: bool = False) -> None:
        """A record of an earlier run."""
        self._skipped += 1
        self._advance(unreadable)

    def advance(self, unreadable: bool = False) -> None:
        """A record that is done with now."""
        self._advance(unreadable)

    def _advance(self, unreadable: bool) -> None:
        self._done += 1
        self._unreadable += unreadable
        if self._bar is not None and self._task is not None:
            found = f"{self._unreadable} unreadable" if self._unreadable else ""
            self._bar.update(self._task, advance=1, rate=self._rate(), unreadable=found)
        elif self._lines and self._clock() - self._told >= LINE_SECONDS:
            self._told = self._clock()
            notices.tell(self.line())

    def line(self) -> str:
        """``1200 of 3000 pairs, 41.3/s, 2 unreadable, 44 s left``."""
        of = f" of {self._total}" if self._total is not None else ""
        noun = self._noun[0] if self._done == 1 and not of else self._noun[1]
        pieces = [f"{self._done}{of} {noun}", self._rate()]
        if self._unreadable:
            pieces.append(f"{self._unreadable} unreadable")
        now = self._done - self._skipped
        if self._total is not None and now:
            left = (self._clock() - self._began) / now * (self._total - self._done)
            pieces.append(f"{left:.0f} s left" if left < 120 else f"{left / 60:.0f} min left")
        return ", ".join(filter(None, pieces))

    def _rate(self) -> str:
        seconds = self._clock() - self._began
        now = self._done - self._skipped
        return f"{now / seconds:.1f}/s" if seconds > 0 and now else ""
