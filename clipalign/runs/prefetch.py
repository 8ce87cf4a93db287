"""Pictures read, decoded and prepared ahead in threads while the model runs, in bounded number.

For records in order there is :func:`prefetched`; where records share pictures, or the order is not known beforehand,
:class:`Prefetcher` keeps what is under way by key. An error in a thread costs its own record (:meth:`Prefetcher.take`).
The end of the process waits for no thread: a slow server keeps nobody waiting.
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
"""Pictures decoded at once when nobody said how many; more of them only wait for each other."""

READERS: Final = 16
"""Pictures read at once, at least: a disk or a server answers many as soon as one."""

EVAL_WORKERS: Final = 4
"""Threads that prepare pictures of a benchmark."""

_POLL_SECONDS: Final = 0.5
"""How often a wait looks up, since Windows delivers no Ctrl-C to a thread that waits for a lock."""

_START_SECONDS: Final = 10.0
"""How long a thread may take to run its first line, on a machine however busy."""

_CLOSE_SECONDS: Final = 2.0
"""How long the end of a run waits for threads that are in the middle of a picture."""


def workers_for_this_machine() -> int:
    """As many as this process has CPUs, of which ``torchrun`` gives each a part; at most :data:`MAX_WORKERS`.

    At least two, so that one that waits for a disk does not stop the rest.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(2, min(MAX_WORKERS, cpus // max(1, int(processes) if processes.isdecimal() else 1)))


class Prefetcher(Generic[T]):
    """Threads that call functions in the order they are handed in; a context manager that ends them.

    They are started without ``threading.Thread``, whose ``start`` waits forever for a thread that had not the memory
    for its first line.

    Args:
        threads: how many at most, at least 1; one is started with each of the first functions.
    """

    def __init__(self, threads: int = EVAL_WORKERS) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], T], Future[T]] | None] = queue.SimpleQueue()
        self._expected: dict[Hashable, Future[T]] = {}
        self._closed = threading.Event()
        self._died = False
        self._threads = threads
        self._running: list[_thread.LockType] = []

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As :meth:`close`."""
        self.close()

    def close(self) -> None:
        """End the threads; what is not begun is dropped."""
        self._closed.set()
        for _ in self._running:
            self._tasks.put(None)
        until = time.monotonic() + _CLOSE_SECONDS
        while self._running:
            self._running.pop().acquire(timeout=max(0.0, until - time.monotonic()))

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Have ``function`` called; its result, or what it raises, is the future's.

        Raises:
            MemoryError: a thread could not start.
        """
        if len(self._running) < self._threads:
            self._running.append(self._start())
        future: Future[T] = Future()
        self._tasks.put((function, future))
        return future

    def result(self, future: Future[T]) -> T:
        """What a future of :meth:`submit` holds once it is done, waited for in a way that Ctrl-C ends.

        Raises:
            MemoryError: a thread died of that, perhaps the one that would have filled it.
            BaseException: what the function raised.
        """
        while True:
            try:
                return future.result(_POLL_SECONDS)
            except TimeoutError:
                if future.done():
                    return future.result()
                if self._died:
                    raise MemoryError("a thread that prepares pictures ran out of memory") from None

    def outcome(self, future: Future[T], name: str) -> T | ClipalignError:
        """The same, with an error of the record ``name`` as a value.

        Raises:
            MemoryError: no matter of one record.
        """
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
        """Have ``function`` called for ``key``, unless that is under way."""
        if key not in self._expected:
            self._expected[key] = self.submit(function)

    def take(self, key: Hashable, name: str) -> T | ClipalignError:
        """The outcome of an expected key, which is forgotten then; see :meth:`outcome`."""
        return self.outcome(self._expected.pop(key), name)

    def _start(self) -> _thread.LockType:
        """Start a thread; the lock returned is held while it runs."""
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

    Args:
        items: read in this thread, as they are needed.
        function: called in a thread; what it raises is raised here.
        threads: how many, at least 1.
        ahead: items handed to threads before the first of them is waited for, at least 0.
    """
    with Prefetcher[T](threads) as workers:
        waiting: deque[Future[T]] = deque()
        for item in items:
            waiting.append(workers.submit(partial(function, item)))
            if len(waiting) > ahead:
                yield workers.result(waiting.popleft())
        while waiting:
            yield workers.result(waiting.popleft())
