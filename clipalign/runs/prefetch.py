"""Work done ahead in threads while the model runs: pictures fetched, decoded and prepared, in bounded number.

The end of the process waits for none of them: a picture that a slow server still sends keeps nobody waiting.
"""

from __future__ import annotations

import _thread
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

T = TypeVar("T")

MAX_WORKERS: Final = 16
"""Pictures decoded at once when nobody said how many; more of them only wait for each other."""

READERS: Final = 16
"""Pictures read at once, at least: a disk or a server answers many as soon as one."""

_LOOK_SECONDS: Final = 0.5
"""How often a wait looks up, since Windows delivers no Ctrl-C to a thread that waits for a lock."""

_BEGIN_SECONDS: Final = 10.0
"""How long a thread may take to run its first line, on a machine however busy."""

_FAREWELL_SECONDS: Final = 2.0
"""How long the end of a run waits for threads that are in the middle of a picture."""


def workers_for_this_machine() -> int:
    """As many as this process has CPUs, of which ``torchrun`` gives each a part; at most :data:`MAX_WORKERS`.

    At least two, so that one that waits for a disk does not stop the rest.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(2, min(MAX_WORKERS, cpus // max(1, int(processes) if processes.isdecimal() else 1)))


class Workers(Generic[T]):
    """Threads that call functions in the order they are handed in; a context manager that ends them.

    They are started without ``threading.Thread``, whose ``start`` waits for ever for a thread that had not the memory
    for its first line.

    Attributes:
        died: whether a thread had not even the memory to say what went wrong.
    """

    def __init__(self, threads: int) -> None:
        """Start them.

        Args:
            threads: how many, at least 1.

        Raises:
            MemoryError: one of them did not come to its first line.
        """
        self._tasks: queue.SimpleQueue[tuple[Callable[[], T], Future[T]] | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self.died = False
        self._at_work: list[_thread.LockType] = []
        try:
            for _ in range(threads):
                self._at_work.append(self._start())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads; what is not begun is dropped."""
        self.close()

    def close(self) -> None:
        """End the threads; what is not begun is dropped."""
        self._ended.set()
        for _ in self._at_work:
            self._tasks.put(None)
        until = time.monotonic() + _FAREWELL_SECONDS
        while self._at_work:
            self._at_work.pop().acquire(timeout=max(0.0, until - time.monotonic()))

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Have ``function`` called; its result, or what it raises, is the future's."""
        future: Future[T] = Future()
        self._tasks.put((function, future))
        return future

    def _start(self) -> _thread.LockType:
        """One thread more; what is given is locked while it is at work."""
        begun, at_work = _thread.allocate_lock(), _thread.allocate_lock()
        begun.acquire()
        at_work.acquire()
        _thread.start_new_thread(self._work, (begun, at_work))
        if not begun.acquire(timeout=_BEGIN_SECONDS):
            raise MemoryError("a thread that prepares pictures could not begin")
        return at_work

    def _work(self, begun: _thread.LockType, at_work: _thread.LockType) -> None:
        try:
            begun.release()
            self._go_on()
        except BaseException:
            self.died = True  # and nothing else: that would take memory
        finally:
            at_work.release()

    def _go_on(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self._ended.is_set():
                return
            function, future = task
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
            del task, function, future  # a thread that waits must not hold a picture


def wait_for(future: Future[T], workers: Workers[T]) -> T:
    """What ``future`` holds once ``workers`` have filled it, waited for in a way that Ctrl-C ends.

    Raises:
        MemoryError: a thread died of that, perhaps the one that would have filled it.
        BaseException: what the function that was handed in raised.
    """
    while True:
        try:
            return future.result(_LOOK_SECONDS)
        except TimeoutError:
            if future.done():
                return future.result()
            if workers.died:
                raise MemoryError("a thread that prepares pictures could not even say what went wrong") from None
