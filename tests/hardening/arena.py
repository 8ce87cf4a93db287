"""The place where broken inputs meet the program: one fork of a warm process for each case, and a verdict on it.

Importing torch and open_clip takes seconds, a case a fraction of one: so they are imported once, with one thread and
none started, and every case gets a fork of its own with its own folder, cache, environment and standard streams. It
runs what ``python -m clipalign`` runs. What it took is the kernel's own figure; who does not end in time is killed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from tests.hardening.verdicts import judge

ROOT: Final = Path(__file__).parents[2]
GOLDEN: Final = ROOT / "tests" / "golden"

SECONDS: Final = 30.0
"""Longest that a case may take."""

MEMORY_BYTES: Final = 1_500_000_000
"""Most that a case may take beside what the warm process holds. The largest picture that is decoded has 100 million
pixels: 400 MB with transparency, as much again while it is laid over white, 300 MB of white and 100 MB of mask make 1.2
GB; a checkpoint of these cases has less."""

LAST_RESORT_BYTES: Final = 12_000_000_000
"""Where the kernel refuses a case more, so that a defect does not take the machine along."""

TINY: Final = "../models/tiny-clip.json@../models/tiny-clip.safetensors"
"""The golden tiny CLIP, as ``--model`` finds it from the folder of a case: the quickest model there is."""

TINY_LONG: Final = "../models/tiny-longclip.safetensors"
"""The golden tiny Long-CLIP, likewise."""

MODELS: Final = ("tiny-clip.json", "tiny-clip.safetensors", "tiny-longclip.safetensors")

FAILURES: Final = ("traceback", "crash", "hang", "memory", "wrong status", "stdout", "stderr", "content")
"""Columns of the report: a Python traceback; death by a signal; longer than allowed; more memory than allowed; an exit
status that is not right here; on stdout not the format that was asked for; on stderr no sentence, or something a
terminal would obey; and what a kind of case itself looks at: the caption that comes back, code that must not run."""

PROGRAM: Final = "clipalign.__main__:run"

_ENVIRONMENT: Final = {
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "COLUMNS": "80",
    "LINES": "24",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PATH": os.defpath,
}
_LOOK_SECONDS: Final = 0.002
_FOLDER: Final = "case"

Check: TypeAlias = "Callable[[Outcome], Iterable[str]]"


class Link(bytes):
    """Content of a file that is a symbolic link: where it leads."""


@dataclass(frozen=True)
class Case:
    """One command line and the files it meets.

    Attributes:
        kind: row of the report, such as ``mutated JPEG``.
        command: ``detect``, ``classify``, …
        arguments: of the command; paths are relative to the case's own fresh folder, tiny models lie in ``../models``.
        files: what is in that folder, by relative name; a name that ends with a slash is an empty folder, a content
            that is a :class:`Link` makes a symbolic link.
        stdin: what is piped in.
        statuses: exit statuses that are right here; 70 never is, unless it is named.
        environment: beside a clean one.
        check: looks at the outcome, and says in a sentence each what is wrong with it: failures of ``content``.
    """

    kind: str
    command: str
    arguments: tuple[str, ...]
    files: Mapping[str, bytes]
    stdin: bytes = b""
    statuses: frozenset[int] = frozenset({0, 1, 2, 3, 4})
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    check: Check | None = None


@dataclass(frozen=True)
class Outcome:
    """What a case left.

    Attributes:
        case: itself.
        folder: where it ran, with what it wrote; gone when the verdict is spoken.
        status: exit status; minus the signal for a process that died of one.
        stdout: all of it.
        stderr: all of it.
    """

    case: Case
    folder: Path
    status: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Verdict:
    """What is to be said about a case.

    Attributes:
        number: the case's place in what was handed to :func:`fight`, from 0.
        case: itself.
        status: as in :class:`Outcome`.
        seconds: wall clock.
        peak_bytes: most memory held at once, beside what the warm process holds.
        failures: of :data:`FAILURES`, each with what it was about; empty for a case that went as it should.
    """

    number: int
    case: Case
    status: int
    seconds: float
    peak_bytes: int
    failures: Mapping[str, str]


@dataclass
class _Fighter:
    """A case that is running."""

    number: int
    case: Case
    pid: int
    home: Path
    started: float
    held_bytes: int


def warm_up() -> None:
    """Import what a command may need, before the first fork, with one thread and none started."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    import torch
    from PIL import Image

    import clipalign
    from clipalign.errors import MissingExtra
    from clipalign.models.load import import_open_clip

    torch.set_num_threads(1)
    import_open_clip()
    Image.init()
    for module in pkgutil.walk_packages(clipalign.__path__, "clipalign."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(MissingExtra):
                importlib.import_module(module.name)
    importlib.import_module("clipalign.__main__")
    for name in _scouted():
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork must not touch, and so copy, every page


def _scouted() -> list[str]:
    """Modules that a run imports besides: a fork runs each command once and tells."""
    with tempfile.TemporaryDirectory(prefix="arena-") as name:
        folder = Path(name)
        lay_out_models(folder)
        picture, model = (GOLDEN / "images" / "0.png").read_bytes(), ("--model", TINY)
        files = {"a.png": picture, "labels.txt": b"cat\ndog\n", "a.jsonl": b'{"image":"a.png","text":"a cat"}\n'}
        lines = (
            ("detect", "a.png", "a cat", *model, "--output", "a.html"),
            ("detect", "--input", "a.jsonl", *model),
            ("classify", "a.png", "--labels", "labels.txt", *model, "--output", "b.html"),
            ("score-long", "a.png", "A cat. A dog.", *model),
            ("eval", "--dataset", "pictogram-foil", "--limit", "2", "--model", "pictogram"),
            ("download", "--list"),
            ("train-specs", "--data", "nowhere", "--output", "b"),
            ("detect",),
        )
        for number, (command, *arguments) in enumerate(lines):
            case = Case("scout", command, tuple(arguments), files if number == 0 else {})
            if number == 0:
                lay_out(case, folder / "scout")
            (folder / "home").mkdir(exist_ok=True)
            (folder / "home" / "stdin").write_bytes(b"")
            pid = os.fork()
            if pid == 0:
                sys.modules["tests.hardening.scouted"] = _Scout(folder / "modules")  # type: ignore[assignment]
                _fight_it_out(case, folder / "scout", folder / "home", "tests.hardening.scouted:run")
            os.waitpid(pid, 0)
        return sorted(set((folder / "modules").read_text().split()) - set(sys.modules))


class _Scout:
    """A program that leaves the names of all modules in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def run(self) -> int:
        module, _, function = PROGRAM.partition(":")
        status: int = getattr(importlib.import_module(module), function)()
        with self.file.open("a") as stream:
            stream.write("\n".join(sys.modules) + "\n")
        return status


def fight(
    cases: Iterable[Case],
    *,
    jobs: int = 1,
    seconds: float = SECONDS,
    memory_bytes: int = MEMORY_BYTES,
    program: str = PROGRAM,
) -> Iterator[Verdict]:
    """Run each case in a fork of this process and judge it; verdicts come as cases end.

    This process must have no threads and should be warm (:func:`warm_up`).

    Args:
        cases: what to run.
        jobs: how many at a time.
        seconds: after which a case is killed.
        memory_bytes: beside what this process holds.
        program: ``module:function`` of what runs; it reads ``sys.argv`` and returns the exit status.
    """
    waiting = enumerate(cases)
    running: list[_Fighter] = []
    with tempfile.TemporaryDirectory(prefix="arena-") as name:
        folder = Path(name)
        lay_out_models(folder)
        try:
            more = True
            while more or running:
                while more and len(running) < jobs:
                    following = next(waiting, None)
                    if following is None:
                        more = False
                    else:
                        running.append(_enter(*following, folder, program))
                for fighter in list(running):
                    verdict = _look(fighter, seconds, memory_bytes)
                    if verdict is not None:
                        running.remove(fighter)
                        yield verdict
                time.sleep(_LOOK_SECONDS)
        finally:
            for fighter in running:
                _kill(fighter.pid)
                os.waitpid(fighter.pid, 0)


def lay_out_models(folder: Path) -> None:
    """The tiny models in ``folder/models``, where cases look for them."""
    (folder / "models").mkdir(exist_ok=True)
    for name in MODELS:
        with contextlib.suppress(FileExistsError):
            (folder / "models" / name).symlink_to(GOLDEN / name)


def lay_out(case: Case, folder: Path) -> None:
    """The files of ``case`` in ``folder``."""
    folder.mkdir(parents=True)
    for name, content in case.files.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(os.fsdecode(content)) if isinstance(content, Link) else path.write_bytes(content)


def environment_of(case: Case, home: Path) -> dict[str, str]:
    """What the case finds in its environment; ``home`` is a folder of its own beside the one it works in."""
    return {**_ENVIRONMENT, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), **case.environment}


def _enter(number: int, case: Case, folder: Path, program: str) -> _Fighter:
    place = folder / f"{number}"
    # Cases look for ../models: the case's folder and its home are neighbours of it.
    lay_out(case, folder / f"{number}-{_FOLDER}")
    place.mkdir()
    (place / "stdin").write_bytes(case.stdin)
    held = _held_bytes()
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        _fight_it_out(case, folder / f"{number}-{_FOLDER}", place, program)
    return _Fighter(number, case, pid, place, started, held)


def _fight_it_out(case: Case, folder: Path, home: Path, program: str) -> None:
    """The child: never returns."""
    import resource

    status = 70
    try:
        os.setsid()  # whatever it starts ends with it
        faulthandler.disable()  # a crash is seen by its signal
        resource.setrlimit(resource.RLIMIT_DATA, (LAST_RESORT_BYTES, LAST_RESORT_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, name, flags in (
            (0, "stdin", os.O_RDONLY),
            (1, "stdout", os.O_WRONLY | os.O_CREAT),
            (2, "stderr", os.O_WRONLY | os.O_CREAT),
        ):
            os.dup2(os.open(home / name, flags, 0o600), number)
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment_of(case, home))
        sys.argv = ["clipalign", case.command, *case.arguments]
        module, _, function = program.partition(":")
        status = getattr(importlib.import_module(module), function)()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 70
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(status if isinstance(status, int) and 0 <= status < 256 else 70)


def _look(fighter: _Fighter, seconds: float, memory_bytes: int) -> Verdict | None:
    """The verdict, where the case has ended or must end now."""
    pid, encoded, used = os.wait4(fighter.pid, os.WNOHANG)
    took = time.perf_counter() - fighter.started
    late = pid == 0 and took > seconds
    if late:
        _kill(fighter.pid)
        _, encoded, used = os.wait4(fighter.pid, 0)
    elif pid == 0:
        return None
    _kill(fighter.pid)  # what it may have started and left
    folder = fighter.home.with_name(f"{fighter.home.name}-{_FOLDER}")
    outcome = Outcome(
        fighter.case,
        folder,
        os.waitstatus_to_exitcode(encoded),
        (fighter.home / "stdout").read_bytes() if (fighter.home / "stdout").exists() else b"",
        (fighter.home / "stderr").read_bytes() if (fighter.home / "stderr").exists() else b"",
    )
    peak = max(0, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) - fighter.held_bytes)
    failures: dict[str, str] = {}
    if late:
        failures["hang"] = f"still running after {seconds:.0f} s"
    else:
        failures |= judge(outcome)
    if peak > memory_bytes:
        failures["memory"] = f"{peak / 1e6:.0f} MB, allowed are {memory_bytes / 1e6:.0f}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(fighter.home, ignore_errors=True)
    return Verdict(fighter.number, fighter.case, outcome.status, took, peak, failures)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _held_bytes() -> int:
    """What a fork of this process holds from its first moment on: pages of files are not among it."""
    import resource

    try:
        _, resident, of_files, *_ = Path("/proc/self/statm").read_text().split()
        return (int(resident) - int(of_files)) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def shown_arguments(case: Case) -> str:
    """The command line as a shell would take it, long arguments cut."""
    import shlex

    words = [word if len(word) <= 80 else word[:77] + "…" for word in (case.command, *case.arguments)]
    return json.dumps(shlex.join(words))[1:-1]
