"""Runs of the program under watch: forks of this warm process, which may be struck by a signal or held to a limit.

A run is a fork of this process, which has imported what takes long, and takes the very path of ``python -m clipalign``
from there; ``cold`` starts the interpreter instead. It has its own folder, home, environment and standard streams, and
a process group that ends with it. Fork before anything has started a thread or computed anything.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import pkgutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
GOLDEN: Final = ROOT / "tests" / "golden"

HANG_SECONDS: Final = 60.0
"""How long a run may go on behind its signal, or from its start where there is none."""

LAST_RESORT_BYTES: Final = 12_000_000_000
"""Where the kernel refuses a run more, so that a defect does not take the machine along."""

LOOK_SECONDS: Final = 0.002

WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES: Final = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"})
_RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024


def run_clipalign() -> int:
    """What ``python -m clipalign`` runs."""
    program = import_module("clipalign.__main__")
    sys.modules["__main__"] = program  # what processes that it starts import again
    status: int = program.run()
    return status


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
        peak_bytes: most memory held at once, beside what this process held.
        out, err: its streams; ``out`` is empty where it went elsewhere.
        struck: whether the blow reached it.
        hung: whether it had to be killed.
        orphans: whether processes it had started were still there a while after its end.
    """

    status: int
    seconds: float
    peak_bytes: int
    out: bytes
    err: str
    struck: bool = False
    hung: bool = False
    orphans: bool = False


@dataclass(frozen=True)
class Run:
    """A command line of ``program``, which reads ``sys.argv`` and returns the exit status.

    Attributes:
        arguments: after ``clipalign``.
        folder: it works in.
        prepare: called in the process before the command.
        environment: beside a clean one.
        home: its home folder, with its caches; ``home`` in ``folder`` by default.
        says: folder of its streams; ``folder`` by default.
        stdin: what is piped in.
        stdout: a file's name, ``pipe`` for a pipe that nobody reads, or empty to be kept for :class:`Ended`.
    """

    arguments: Sequence[str]
    folder: Path
    prepare: Callable[[], None] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    home: Path | None = None
    says: Path | None = None
    stdin: bytes = b""
    stdout: str = os.devnull
    program: Callable[[], int] = run_clipalign


def warm() -> None:
    """Import what a command may need, once, before the first fork, with one thread and none started."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    import torch
    from PIL import Image

    import clipalign
    from clipalign.errors import MissingExtra
    from clipalign.models.load import import_open_clip

    torch.set_num_threads(1)
    import_open_clip()
    Image.init()
    modules = [module.name for module in pkgutil.walk_packages(clipalign.__path__, "clipalign.")]
    for name in (*modules, "requests", "huggingface_hub", "safetensors.torch"):
        with suppress(MissingExtra):
            import_module(name)
    freeze()


def freeze() -> None:
    """Keep collections in forks from touching, and so copying, every page."""
    gc.collect()
    gc.freeze()


def clean_environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """A user's environment without anything of this machine's."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV", "SYSTEMROOT") if name in os.environ}
    fixed = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "80", "LINES": "24"}
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "PYTHONPATH": str(ROOT)}
    fixed |= {"CLIPALIGN_ENGINE": "torch"}  # "auto" goes by what was measured, which may differ from run to run
    return {**kept, **fixed, "LC_ALL": "C.UTF-8", "TERM": "dumb", **places, **more}


class Started:
    """A run under way, the first of its own process group."""

    def __init__(self, run: Run, *, at_operation: tuple[int, signal.Signals] | None = None, cold: bool = False) -> None:
        self.run = run
        home, says = run.home or run.folder / "home", run.says or run.folder
        home.mkdir(parents=True, exist_ok=True)
        self._streams = [says / f"said-{time.monotonic_ns()}.{name}" for name in ("in", "out", "err")]
        self._streams[0].write_bytes(run.stdin)
        self._status: int | None = None
        self._peak_bytes = 0
        self._held_bytes = 0 if cold else held_bytes()
        self.began = time.monotonic()
        environment = clean_environment(home, run.environment)
        if cold:
            with self._streams[2].open("wb") as err:
                process = subprocess.Popen(
                    [sys.executable, "-m", "clipalign", *run.arguments],
                    cwd=run.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err,
                    start_new_session=True,
                )  # fmt: skip
            self.pid = process.pid
            process.returncode = 0  # waited for here
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _catchable())  # a fork's first steps are not the product's
        self.pid = os.fork()
        if self.pid == 0:
            _be_the_run(run, self._streams, environment, at_operation)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def strike(self, blow: Blow) -> bool:
        """Send the signal at its moment; False where the run was done before."""
        assert blow.after_seconds is not None
        for seconds in (blow.after_seconds, blow.again_seconds):
            if seconds is None:
                break
            until = time.monotonic() + seconds - (time.monotonic() - self.began if seconds == blow.after_seconds else 0)
            while (left := until - time.monotonic()) > 0:
                if self.is_gone():
                    return seconds != blow.after_seconds
                time.sleep(min(left, LOOK_SECONDS))
            with suppress(ProcessLookupError):
                os.kill(self.pid, blow.signal)
        return True

    def is_gone(self) -> bool:
        """Whether it has ended."""
        if self._status is None:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
                self._peak_bytes = max(0, used.ru_maxrss * _RSS_UNIT - self._held_bytes)
        return self._status is not None

    def kill(self) -> None:
        """End it, and whatever it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):  # a fork that had no group of its own yet
            if self._status is None:
                os.kill(self.pid, signal.SIGKILL)

    def end(self, *, struck: bool = False, seconds: float = HANG_SECONDS, patience_seconds: float = 5.0) -> Ended:
        """Wait for it, and ``patience_seconds`` for what it has started."""
        until, hung = time.monotonic() + seconds, False
        while not self.is_gone():
            if time.monotonic() > until and not hung:
                hung = True
                self.kill()
            time.sleep(LOOK_SECONDS)
        took = time.monotonic() - self.began
        orphans = self._orphans(patience_seconds)
        out, err = (path.read_bytes() if path.exists() else b"" for path in self._streams[1:])
        for path in self._streams:
            path.unlink(missing_ok=True)
        assert self._status is not None
        said = err.decode("utf-8", "replace")
        return Ended(self._status, took, self._peak_bytes, out, said, struck, hung, orphans)

    def _orphans(self, seconds: float) -> bool:
        """Whether others of its group outlive it by more than a moment; they are ended then."""
        until = time.monotonic() + seconds
        while True:
            try:
                os.killpg(self.pid, 0)
            except (ProcessLookupError, PermissionError):
                return False
            if time.monotonic() > until:
                self.kill()
                return True
            time.sleep(LOOK_SECONDS)


def held_bytes() -> int:
    """What a fork of this process holds from its first moment on: pages of files are not among it."""
    import resource

    try:
        _, resident, of_files, *_ = Path("/proc/self/statm").read_text().split()
        return (int(resident) - int(of_files)) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def run_until(run: Run, blow: Blow | None = None, *, cold: bool = False) -> Ended:
    """A run to its end, whatever ends it."""
    if blow is None:
        return Started(run, cold=cold).end()
    if blow.at_operation is not None:
        ended = Started(run, at_operation=(blow.at_operation, blow.signal)).end()
        return replace(ended, struck=ended.status < 0)
    started = Started(run, cold=cold)
    return started.end(struck=started.strike(blow))


def count_operations(run: Run) -> tuple[Ended, int]:
    """A whole run, and the number of its file operations."""
    place = run.folder / "operations"

    def prepare() -> None:
        if run.prepare is not None:
            run.prepare()
        handle = os.open(place, os.O_WRONLY | os.O_CREAT)
        count = 0

        def counted() -> None:
            nonlocal count
            count += 1
            os.pwrite(handle, str(count).encode(), 0)

        watch(run.folder, counted)

    ended = Started(replace(run, prepare=prepare)).end(seconds=5 * HANG_SECONDS)
    count = int(place.read_text() or 0) if place.exists() else 0
    place.unlink(missing_ok=True)
    return ended, count


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


def _be_the_run(
    run: Run, streams: Sequence[Path], environment: Mapping[str, str], at_operation: tuple[int, signal.Signals] | None
) -> None:
    """What the fork does; never returns."""
    status: object = 70
    try:
        status = _run(run, streams, environment, at_operation)
    except SystemExit as error:
        status = error.code
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(status if isinstance(status, int) and 0 <= status < 256 else 70)


def _run(
    run: Run, streams: Sequence[Path], environment: Mapping[str, str], at_operation: tuple[int, signal.Signals] | None
) -> int:
    import resource

    os.setsid()  # whatever it starts ends with it
    sys.dont_write_bytecode = True  # where files may not grow it would be cut short, and met by others
    faulthandler.disable()  # a crash is seen by its signal
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (LAST_RESORT_BYTES, LAST_RESORT_BYTES))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(run.folder)
    os.environ.clear()
    os.environ.update(environment)
    said_in, said_out, said_err = streams
    made = os.O_WRONLY | os.O_CREAT
    handles = (
        os.open(said_in, os.O_RDONLY),
        _closed_pipe() if run.stdout == "pipe" else os.open(run.stdout or said_out, made, 0o666),
        os.open(said_err, made | os.O_TRUNC, 0o666),
    )
    for place, handle in enumerate(handles):
        os.dup2(handle, place)
    for name, place, mode, errors in (
        ("stdin", 0, "r", "surrogateescape"), ("stdout", 1, "w", "surrogateescape"),
        ("stderr", 2, "w", "backslashreplace"),
    ):  # fmt: skip
        setattr(sys, name, open(place, mode, encoding="utf-8", errors=errors, closefd=False))  # noqa: SIM115
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
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _catchable())
    sys.argv = ["clipalign", *run.arguments]
    return run.program()


def _catchable() -> tuple[signal.Signals, ...]:
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def _closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer
