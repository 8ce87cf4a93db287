"""Runs of the program that end badly on purpose: a signal at a moment, or before a file operation.

A run is a fork of this process, which has imported what takes long, and takes the very path of ``python -m clipalign``
from there; ``cold`` starts the interpreter instead. Fork before anything has started a thread or computed anything.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]

WARM: Final = (
    "torch",
    "requests",
    "huggingface_hub",
    "safetensors.torch",
    "clipalign.cli",
    "clipalign.commands.detect",
    "clipalign.commands.classify",
    "clipalign.commands.score_long",
    "clipalign.commands.eval",
    "clipalign.commands.train_specs",
    "clipalign.commands.download",
    "clipalign.models.load",
    "clipalign.runs.batch",
    "clipalign.evaluation.evaluate",
    "clipalign.training.loop",
)

HANG_SECONDS: Final = 60.0
"""How long a run may go on behind its signal, or from its start where there is none."""

_LOOK_SECONDS: Final = 0.002

WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES: Final = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"})


@dataclass(frozen=True)
class Blow:
    """What ends a run.

    Attributes:
        signal: its number.
        after_seconds: from the start of the run; None where it comes before a file operation.
        at_operation: the number, from 1 on, of the file operation inside the run's folder that it comes before.
        again_seconds: when the same signal comes a second time, after the first; None for once.
    """

    signal: signal.Signals
    after_seconds: float | None = None
    at_operation: int | None = None
    again_seconds: float | None = None

    def __str__(self) -> str:
        when = f"after {self.after_seconds:.4f} s" if self.after_seconds is not None else f"at {self.at_operation}"
        return f"{self.signal.name} {when}{' twice' if self.again_seconds else ''}"


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        status: of its exit, or the signal's number below 0.
        seconds: it took.
        err: its stderr.
        struck: whether the blow reached it.
        hung: whether it had to be killed.
        orphans: whether processes it had started were still there a while after its end.
    """

    status: int
    seconds: float
    err: str
    struck: bool
    hung: bool = False
    orphans: bool = False


@dataclass(frozen=True)
class Run:
    """A command line.

    Attributes:
        arguments: after ``clipalign``.
        folder: it works in; home, cache and what it says lie there too.
        prepare: called in the process before the command.
        environment: beside a clean one.
        says: folder that its stderr is kept in, where it is not the run's own.
        stdout: what its stdout is: a file's name, or ``pipe`` for one that nobody reads.
    """

    arguments: Sequence[str]
    folder: Path
    prepare: Callable[[], None] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    says: Path | None = None
    stdout: str = os.devnull


def warm() -> None:
    """Import what takes long, once, before the first fork."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", NO_COLOR="1", COLUMNS="80", LC_ALL="C.UTF-8")
    for name in WARM:
        import_module(name)
    import torch

    from clipalign.models.load import import_open_clip

    import_open_clip()
    torch.set_num_threads(1)


def clean_environment(folder: Path) -> dict[str, str]:
    """A user's environment without anything of this machine's, with a home in ``folder``."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV", "SYSTEMROOT") if name in os.environ}
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    fixed = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "80", "LC_ALL": "C.UTF-8"}
    return {**kept, **fixed, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "PYTHONPATH": str(ROOT)}


class Started:
    """A run under way, the first of its own process group."""

    def __init__(self, run: Run, *, at_operation: tuple[int, signal.Signals] | None = None, cold: bool = False) -> None:
        self.run = run
        self.err = (run.says or run.folder) / f"said-{time.monotonic_ns()}.err"
        self.began = time.monotonic()
        environment = clean_environment(run.folder) | dict(run.environment)
        if cold:
            with self.err.open("wb") as err:
                process = subprocess.Popen(
                    [sys.executable, "-m", "clipalign", *run.arguments],
                    cwd=run.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err,
                    start_new_session=True,
                )  # fmt: skip
            self.pid = process.pid
            process.returncode = 0  # waited for here
            return
        before = signal.pthread_sigmask(
            signal.SIG_BLOCK, _catchable()
        )  # a fork's own first steps are not the product's
        self.pid = os.fork()
        if self.pid == 0:
            status = 99
            try:
                status = _child(run, self.err, environment, at_operation)
            except KeyboardInterrupt:
                status = 130
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def strike(self, blow: Blow) -> bool:
        """Send the signal at its moment; False where the run was done before."""
        assert blow.after_seconds is not None
        for seconds in (blow.after_seconds, blow.again_seconds):
            if seconds is None:
                break
            until = time.monotonic() + seconds - (time.monotonic() - self.began if seconds == blow.after_seconds else 0)
            while (left := until - time.monotonic()) > 0:
                if self._gone() is not None:
                    return seconds != blow.after_seconds
                time.sleep(min(left, _LOOK_SECONDS))
            with suppress(ProcessLookupError):
                os.kill(self.pid, blow.signal)
        return True

    _status: int | None = None

    def _gone(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def end(self, *, struck: bool = False, seconds: float = HANG_SECONDS) -> Ended:
        """Wait for it."""
        until, hung = time.monotonic() + seconds, False
        while self._gone() is None:
            if time.monotonic() > until and not hung:
                hung = True
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(_LOOK_SECONDS)
        took = time.monotonic() - self.began
        orphans = self._orphans()
        said = self.err.read_text(encoding="utf-8", errors="replace") if self.err.exists() else ""
        self.err.unlink(missing_ok=True)
        assert self._status is not None
        return Ended(self._status, took, said, struck, hung, orphans)

    def _orphans(self) -> bool:
        """Whether others of its group outlive it by more than a moment; they are ended then."""
        until = time.monotonic() + 5
        while True:
            try:
                os.killpg(self.pid, 0)
            except (ProcessLookupError, PermissionError):
                return False
            if time.monotonic() > until:
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                return True
            time.sleep(_LOOK_SECONDS)


def run_until(run: Run, blow: Blow | None = None, *, cold: bool = False, seconds: float = HANG_SECONDS) -> Ended:
    """A run to its end, whatever ends it."""
    if blow is None:
        return Started(run, cold=cold).end(seconds=seconds)
    if blow.at_operation is not None:
        ended = Started(run, at_operation=(blow.at_operation, blow.signal)).end(seconds=seconds)
        return Ended(ended.status, ended.seconds, ended.err, ended.status < 0, ended.hung, ended.orphans)
    started = Started(run, cold=cold)
    return started.end(struck=started.strike(blow), seconds=seconds)


def count_operations(run: Run) -> tuple[Ended, int]:
    """A whole run, and the number of its file operations."""
    place = run.folder / "operations"
    ended = Started(
        Run(run.arguments, run.folder, _then(run.prepare, lambda: _count_into(place)), run.environment)
    ).end(seconds=5 * HANG_SECONDS)
    count = int(place.read_text() or 0) if place.exists() else 0
    place.unlink(missing_ok=True)
    return ended, count


def _then(*calls: Callable[[], None] | None) -> Callable[[], None]:
    def both() -> None:
        for call in calls:
            if call is not None:
                call()

    return both


def _count_into(place: Path) -> None:
    handle = os.open(place, os.O_WRONLY | os.O_CREAT)
    count = 0

    def counted() -> None:
        nonlocal count
        count += 1
        os.pwrite(handle, str(count).encode(), 0)

    watch(place.parent, counted)


def watch(folder: Path, told: Callable[[], None]) -> None:
    """Have ``told`` called before this process opens to write, makes, moves or deletes a file in ``folder``."""
    top = str(folder)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = given
            if not (isinstance(flags, int) and flags & WRITING):
                return
        elif event in _CHANGES:
            path = given[0]
        else:
            return
        if isinstance(path, (str, os.PathLike)):
            name = os.path.abspath(os.fspath(path))  # noqa: PTH100  (of whatever it is, without asking the disk)
            if isinstance(name, str) and name.startswith(top) and "said-" not in name:
                told()

    sys.addaudithook(hook)


def _catchable() -> tuple[signal.Signals, ...]:
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def _closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def _child(run: Run, err: Path, environment: Mapping[str, str], at_operation: tuple[int, signal.Signals] | None) -> int:
    """What the fork does; returns the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    os.chdir(run.folder)
    os.environ.clear()
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_RDWR)
    out = _closed_pipe() if run.stdout == "pipe" else os.open(run.stdout, os.O_WRONLY | os.O_CREAT, 0o666)
    said = os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for handle, wanted in ((nowhere, 0), (out, 1), (said, 2)):
        os.dup2(handle, wanted)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
        for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    from huggingface_hub import constants

    constants.HF_HUB_CACHE = str(Path(environment["HOME"]) / "hub")
    constants.HF_TOKEN_PATH = str(Path(environment["HOME"]) / "token")
    if run.prepare is not None:
        run.prepare()
    if at_operation is not None:
        left, number = at_operation

        def count_down() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)
                time.sleep(HANG_SECONDS)  # the signal comes first

        watch(run.folder, count_down)
    program = import_module("clipalign.__main__")
    sys.modules["__main__"] = program  # what processes that it starts import again
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _catchable())
    sys.argv = ["clipalign", *run.arguments]
    status: int = program.run()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    return status
