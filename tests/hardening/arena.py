"""The place where broken inputs meet the program: one run (:mod:`.process`) for each case, and a verdict on it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from tests.hardening.process import GOLDEN, LOOK_SECONDS, Run, Started, freeze, run_clipalign, warm
from tests.hardening.verdicts import judge

SECONDS: Final = 30.0
"""Longest that a case may take."""

MEMORY_BYTES: Final = 1_500_000_000
"""Most that a case may take beside what the warm process holds. The largest picture that is decoded has 100 million
pixels: 400 MB with transparency, as much again while it is laid over white, 300 MB of white and 100 MB of mask make 1.2
GB; a checkpoint of these cases has less."""

TINY: Final = "../models/tiny-clip.json@../models/tiny-clip.safetensors"
"""The golden tiny CLIP, as ``--model`` finds it from the folder of a case: the quickest model there is."""

TINY_LONG: Final = "../models/tiny-longclip.safetensors"
"""The golden tiny Long-CLIP, likewise."""

MODELS: Final = ("tiny-clip.json", "tiny-clip.safetensors", "tiny-longclip.safetensors")

FAILURES: Final = ("traceback", "crash", "hang", "memory", "wrong status", "stdout", "stderr", "content")
"""Columns of the report: a Python traceback; death by a signal; longer than allowed; more memory than allowed; an exit
status that is not right here; on stdout not the format that was asked for; on stderr no sentence, or something a
terminal would obey; and what a kind of case itself looks at: the caption that comes back, code that must not run."""

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
        program: what runs instead of the command line; it has ``command`` and ``arguments`` in ``sys.argv``.
    """

    kind: str
    command: str
    arguments: tuple[str, ...]
    files: Mapping[str, bytes]
    stdin: bytes = b""
    statuses: frozenset[int] = frozenset({0, 1, 2, 3, 4})
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    check: Check | None = None
    program: Callable[[], int] | None = None


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


def in_turn(kinds: Sequence[Callable[[Random], Case]], random: Random, number: int) -> Iterator[Case]:
    """``number`` cases, every kind in turn."""
    for index in range(number):
        yield kinds[index % len(kinds)](random)


class _Fighter(NamedTuple):
    number: int
    case: Case
    started: Started


def warm_up() -> None:
    """Import what a command may need, before the first fork."""
    warm()
    for name in _scouted():
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    freeze()


def _scouted() -> list[str]:
    """Modules that a run imports besides: a fork runs each command once and tells."""
    with tempfile.TemporaryDirectory(prefix="arena-") as name:
        folder = Path(name)

        def scouted() -> int:
            status = run_clipalign()
            with (folder / "modules").open("a") as stream:
                stream.write("\n".join(sys.modules) + "\n")
            return status

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
        lay_out(Case("scout", "detect", (), files), folder / "scout")
        for line in lines:
            Started(Run(line, folder / "scout", program=scouted)).end(seconds=SECONDS)
        return sorted(set((folder / "modules").read_text().split()) - set(sys.modules))


def fight(
    cases: Iterable[Case],
    *,
    jobs: int = 1,
    seconds: float = SECONDS,
    memory_bytes: int = MEMORY_BYTES,
    program: Callable[[], int] = run_clipalign,
) -> Iterator[Verdict]:
    """Run each case in a fork of this process and judge it; verdicts come as cases end.

    This process must have no threads and should be warm (:func:`warm_up`).

    Args:
        cases: what to run.
        jobs: how many at a time.
        seconds: after which a case is killed.
        memory_bytes: beside what this process holds.
        program: what runs.
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
                    if fighter.started.is_gone() or time.monotonic() > fighter.started.began + seconds:
                        running.remove(fighter)
                        yield _judged(fighter, seconds, memory_bytes)
                time.sleep(LOOK_SECONDS)
        finally:
            for fighter in running:
                fighter.started.end(seconds=0)


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


def environment_of(case: Case) -> dict[str, str]:
    """What the case finds in its environment beside a clean one."""
    return {"HF_HUB_OFFLINE": "1", **case.environment}


def _enter(number: int, case: Case, folder: Path, program: Callable[[], int]) -> _Fighter:
    # Cases look for ../models: the case's folder and its home are neighbors of it.
    home, place = folder / f"{number}", folder / f"{number}-case"
    lay_out(case, place)
    home.mkdir()
    line = (case.command, *case.arguments)
    environment = environment_of(case)
    program = case.program or program
    run = Run(line, place, None, environment, home=home, says=home, stdin=case.stdin, stdout="", program=program)
    return _Fighter(number, case, Started(run))


def _judged(fighter: _Fighter, seconds: float, memory_bytes: int) -> Verdict:
    case, run = fighter.case, fighter.started.run
    ended = fighter.started.end(seconds=0, patience_seconds=0)
    outcome = Outcome(case, run.folder, ended.status, ended.out, ended.err.encode())
    failures = {"hang": f"still running after {seconds:.0f} s"} if ended.hung else judge(outcome)
    if ended.peak_bytes > memory_bytes:
        failures["memory"] = f"{ended.peak_bytes / 1e6:.0f} MB, allowed are {memory_bytes / 1e6:.0f}"
    for folder in (run.folder, run.home):
        shutil.rmtree(folder or run.folder, ignore_errors=True)
    return Verdict(fighter.number, case, ended.status, ended.seconds, ended.peak_bytes, failures)


def shown_arguments(case: Case) -> str:
    """The command line as a shell would take it, long arguments cut."""
    words = [word if len(word) <= 80 else word[:77] + "…" for word in (case.command, *case.arguments)]
    return json.dumps(shlex.join(words))[1:-1]
