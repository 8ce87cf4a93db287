"""Pictures read, decoded and prepared ahead in threads while the model runs, in bounded number.

:func:`prefetched` serves records in order; :class:`Prefetcher` serves those that share pictures, or whose order is not
known beforehand. An error in a thread costs its own record (:meth:`Prefetcher.take`). The end of the process waits for
no thread.
"""

from __future__ import annotations

import _thread
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from clipalign.errors import ClipalignError, record_failed

A = TypeVar("A")
T = TypeVar("T")

MAX_WORKERS: Final = 16
"""Default limit of pictures decoded at once; more only wait for each other."""

READERS: Final = 16
"""Minimum number of pictures read at once: disks and servers answer many as fast as one."""

EVAL_WORKERS: Final = 4

_POLL_SECONDS: Final = 0.5
"""Interval of a wait, since Windows delivers no Ctrl-C to a thread that waits for a lock."""

_START_SECONDS: Final = 10.0

_CLOSE_SECONDS: Final = 2.0
"""Limit for threads in the middle of a picture at the end of a run."""


def workers_for_this_machine() -> int:
    """Return the number of CPUs of this process, a part of them under ``torchrun``; 2 to :data:`MAX_WORKERS`."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(2, min(MAX_WORKERS, cpus // max(1, int(processes) if processes.isdecimal() else 1)))


class Prefetcher(Generic[T]):
    """Threads that call functions in order; a context manager that ends them.

    They do not use ``threading.Thread``, whose ``start`` waits forever for a thread without memory for its first line.
    At most ``threads`` run, each started with one of the first functions.
    """

    def __init__(self, threads: int = EVAL_WORKERS) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], T], Future[T]] | None] = queue.SimpleQueue()
        self._expected: dict[Hashable, Future[T]] = {}
        self._closed = threading.Event()
        self._died = False
        self._threads = threads
        self._running: list[_thread.LockType] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        for _ in self._running:
            self._tasks.put(None)
        until = time.monotonic() + _CLOSE_SECONDS
        while self._running:
            self._running.pop().acquire(timeout=max(0.0, until - time.monotonic()))

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Return a future of ``function``; raise ``MemoryError`` if a thread could not start."""
        if len(self._running) < self._threads:
            self._running.append(self._start())
        future: Future[T] = Future()
        self._tasks.put((function, future))
        return future

    def result(self, future: Future[T]) -> T:
        """Wait for a future of :meth:`submit` so that Ctrl-C works; raise ``MemoryError`` if a thread died of that."""
        while True:
            try:
                return future.result(_POLL_SECONDS)
            except TimeoutError:
                if future.done():
                    return future.result()
                if self._died:
                    raise MemoryError("a thread that prepares pictures ran out of memory") from None

    def outcome(self, future: Future[T], name: str) -> T | ClipalignError:
        """Return the result, or the error of the record ``name``; ``MemoryError``, not one record's, is raised."""
        try:
            return self.result(future)
        except ClipalignError as error:
            error.input = error.input or name
            return error
        except MemoryError:
            raise
        except Exception as error:
            return record_failed(error, name)

    def expect(self, key: Hashable, function: Callable[[], T]) -> None:
        if key not in self._expected:
            self._expected[key] = self.submit(function)

    def take(self, key: Hashable, name: str) -> T | ClipalignError:
        """Return and forget the :meth:`outcome` of an expected key."""
        return self.outcome(self._expected.pop(key), name)

    def _start(self) -> _thread.LockType:
        """Start a thread; return the lock held while it runs."""
        started, running = _thread.allocate_lock(), _thread.allocate_lock()
        started.acquire()
        running.acquire()
        _thread.start_new_thread(self._run, (started, running))
        if not started.acquire(timeout=_START_SECONDS):
            raise MemoryError("a thread that prepares pictures could not begin")
        return running

    def _run(self, started: _thread.LockType, running: _thread.LockType) -> None:
        try:
            started.release()
            while (task := self._tasks.get()) is not None and not self._closed.is_set():
                function, future = task
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)
                del task, function, future  # a thread that waits must not hold a picture
        except BaseException:
            self._died = True  # and nothing else: that would take memory
        finally:
            running.release()


def prefetched(
    items: Iterable[A], function: Callable[[A], T], *, threads: int = EVAL_WORKERS, ahead: int
) -> Generator[T, None, None]:
    """Yield ``function(item)`` for each item, in order, while threads work on the next ones.

    Items are read in this thread; ``ahead`` are submitted before the first is waited for.
    """
    with Prefetcher[T](threads) as workers:
        waiting: deque[Future[T]] = deque()
        for item in items:
            waiting.append(workers.submit(partial(function, item)))
            if len(waiting) > ahead:
                yield workers.result(waiting.popleft())
        while waiting:
            yield workers.result(waiting.popleft())
