"""Disks that fill up, memory that runs out, a stdout that takes nothing: a sentence, and with room again all is there.

    python -m tests.hardening limits --cases 120 --seed 0

The scenes are those of :mod:`tests.hardening.kills`. A disk is a small file system in memory where that may be
mounted; elsewhere, and besides, the system's limit on a file's size. After a failure there is room again, and
``--resume`` must come to the end of a run that nothing happened to.
"""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from tests.hardening.kills import Whole, scenes, unbroken
from tests.hardening.kills_scenes import GOLDEN, TINY, TINY_LONG, Scene, fresh, strays, tree
from tests.hardening.process import Ended, Run, run_until, warm
from tests.hardening.report import Asked, Part, row_of, typed_command

FAILURES: Final = ("lost, doubled or torn", "left behind", "traceback", "wrong status", "no sentence", "hang")
CASES: Final = 160
MINUTES: Final = 15.0
SCALE: Final = 0.3
MIB: Final = 1 << 20
SPARE_BYTES: Final = 512 * MIB
"""Room that there is again."""

INTERNAL: Final = 70
MEMORY_ROOM: Final = (20, 400)
"""MB of address space that a run may take besides what it was born with, from and to."""


Problems: TypeAlias = list[tuple[str, str]]
"""Failures, and a sentence about each."""

Trial: TypeAlias = Callable[[Whole, random.Random], Problems]


@dataclass(frozen=True)
class Case:
    """One way to be short of something.

    Attributes:
        what: row of the report.
        scene: what runs.
        run: it, short of that; gives what is wrong, failure and sentence.
    """

    what: str
    scene: Scene
    run: Trial


def _sentence(ended: Ended, right: frozenset[int], *, silent: frozenset[int] = frozenset({0, 1, 3})) -> Problems:
    """What is wrong with how a run ended."""
    said = " ".join(ended.err.split())[-300:]
    if ended.hung:
        return [("hang", said)]
    if "Traceback" in ended.err:
        return [("traceback", said)]
    if ended.status not in right:
        return [("wrong status", f"{ended.status}: {said}")]
    if ended.status not in silent and ended.err.count("error:") + ended.err.count('{"error":{') != 1:
        return [("no sentence", f"{ended.status}: {said}")]
    if "this is a defect" in said:
        return [("no sentence", f"{ended.status}: {said}")]
    return []


# --- disks ------------------------------------------------------------------------------------------------------------


def can_mount() -> bool:
    """Whether a file system of its own can be had here."""
    with tempfile.TemporaryDirectory() as name:
        try:
            with small_disk(Path(name), MIB):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Callable[[], None]]:
    """A file system of that size at ``folder``; what is given makes room in it."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "clipalign", str(folder)], check=True)

    def make_room() -> None:
        subprocess.run(["mount", "-o", f"remount,size={size_bytes + SPARE_BYTES}", str(folder)], check=True)

    try:
        yield make_room
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def used_bytes(folder: Path) -> int:
    """What its files take in whole pages."""
    return sum(-(-path.lstat().st_size // 4096) * 4096 + 4096 for path in folder.rglob("*"))


def _full(scene: Scene, *, mounted: bool) -> Trial:
    """A disk that is full at some byte of what the run writes, and then has room."""

    def run(whole: Whole, rng: random.Random) -> Problems:
        with _place(scene) as (folder, says):
            before = used_bytes(folder)
            produced = max(4096, used_bytes(whole.folder) - before)
            largest = max((path.stat().st_size for path in tree(whole.folder).values() if path.is_file()), default=1)
            short = Short(frozenset({INTERNAL}))
            if not mounted:
                limit = rng.randint(0, largest)
                return _lives_through(scene, whole, folder, says, replace(short, begin=lambda: _limit_files(limit)))
            shutil.rmtree(folder)
            with small_disk(folder, before + 65_536 + rng.randint(0, produced)) as make_room:
                scene.lay_out(folder)
                return _lives_through(scene, whole, folder, says, replace(short, end=make_room))

    return run


@contextmanager
def _place(scene: Scene) -> Iterator[tuple[Path, Path]]:
    """A fresh folder of the scene, and one beside it for what its runs say."""
    with tempfile.TemporaryDirectory(prefix="clipalign-limits-") as name:
        folder, says = Path(name) / "here", Path(name) / "says"
        says.mkdir()
        scene.lay_out(fresh(folder))
        yield folder, says


def _limit_files(size_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


@dataclass(frozen=True)
class Short:
    """What a run is short of.

    Attributes:
        right: statuses that it may end with besides its own.
        begin: makes it short, in its process.
        end: gives it what it lacked.
        check: what else must be true of how it ended.
        quiet: whether it has ``-q``.
    """

    right: frozenset[int] = frozenset()
    begin: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None
    check: Callable[[Ended], Problems] = lambda ended: []
    quiet: bool = True


def _lives_through(scene: Scene, whole: Whole, folder: Path, says: Path, short: Short) -> Problems:
    """What is wrong with runs that are short of something, go on with it where they failed, and come to their end."""
    stop = scene.serves(folder) if scene.serves is not None else None
    try:
        for line in scene.lines(folder):
            words = [word for word in line if short.quiet or word != "-q"]
            ended = run_until(Run(words, folder, _both(scene.prepare(folder), short.begin), says=says))
            found = _sentence(ended, scene.done | short.right, silent=scene.done) + short.check(ended)
            short.end()
            if ended.status not in scene.done and not found:
                found = [("lost, doubled or torn", said) for said in scene.look(folder)]
                ended = run_until(Run([*line, *scene.resume], folder, scene.prepare(folder), says=says))
                found += _sentence(ended, scene.done, silent=scene.done)
            if found:
                return found
        found = [("lost, doubled or torn", said) for said in scene.compare(folder, whole.folder)]
        return found + [("left behind", said) for said in strays(folder, whole.folder, _kept_or(scene))]
    finally:
        if stop is not None:
            stop()


def _both(prepare: Callable[[], None] | None, begin: Callable[[], None]) -> Callable[[], None]:
    def both() -> None:
        if prepare is not None:
            prepare()
        begin()

    return both


def _kept_or(scene: Scene) -> Callable[[str], bool]:
    """A cache that could not be written is no loss."""
    return lambda name: scene.stray(name) or "/.cache/clipalign/" in name or name.endswith("pictures.safetensors")


# --- memory -----------------------------------------------------------------------------------------------------------


def _device_runs_out(scene: Scene) -> Trial:
    """A device without memory at some calls of the network: same numbers, and one warning."""

    def warned(ended: Ended) -> Problems:
        times = ended.err.count("memory ran out")
        return [("no sentence", f"memory ran out {times} times")] if times != 1 else []

    def run(whole: Whole, rng: random.Random) -> Problems:
        moments = frozenset(rng.sample(range(1, 60), 2))
        with _place(scene) as (folder, says):
            short = Short(begin=lambda: _fail_at(moments), check=warned, quiet=False)
            return _lives_through(scene, whole, folder, says, short)

    return run


def _fail_at(moments: frozenset[int]) -> None:
    """Have calls of a network's blocks fail, those of these numbers, as a device without memory has them fail."""
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    from clipalign.models import build, load

    calls = itertools.count()

    def load_and_watch(*given: Any, **named: Any) -> Any:
        """The network is on the processor until it is built; a network of a user's config is tried out there."""
        network = build.load_network(*given, **named)
        register_module_forward_pre_hook(hook)
        return network

    def hook(module: Any, given: Any) -> None:
        if isinstance(module, torch.nn.Linear | torch.nn.LayerNorm) and next(calls) in moments:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB (simulated)")

    vars(load)["load_network"] = load_and_watch


def _address_space(scene: Scene) -> Trial:
    """A process that may not take more than so much: it ends with a sentence, or does its work."""

    def run(whole: Whole, rng: random.Random) -> Problems:
        room = rng.randint(*MEMORY_ROOM) * MIB

        def begin() -> None:
            import resource

            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, resource.RLIM_INFINITY))

        with _place(scene) as (folder, says):
            short = Short(frozenset({2, 4, INTERNAL}), begin)
            found = _lives_through(scene, whole, folder, says, short)
            return [(failure, f"{room // MIB} MB of room: {said}") for failure, said in found]

    return run


# --- stdout -----------------------------------------------------------------------------------------------------------


def stdout_lines() -> list[list[str]]:
    """A line for every command and format whose result goes to stdout."""
    image, more = str(GOLDEN / "images" / "0.png"), ["--image-root", str(GOLDEN / "images"), "--input", "pairs.jsonl"]
    found = [["detect", image, "a red car", "--model", TINY, "--format", form] for form in ("table", "json", "html")]
    for form in ("table", "json", "jsonl", "csv", "html", "github"):
        found.append(["detect", *more, "--model", TINY, "--format", form])
        found.append(["score-long", *more, "--model", TINY_LONG, "--format", form])
        found.append(["classify", image, "--model", TINY, "--descriptions", "classes.json", "--format", form])
    found += [["download", "--list", "--format", form] for form in ("table", "json")]
    limit = ["eval", "--dataset", "pictogram-foil", "--limit", "4", "--model", TINY]
    found += [[*limit, "--format", "table"], [*limit, "--format", "json"], ["--help"], ["--version"], ["detect", "-h"]]
    return found


def _stdout(line: list[str], out: str) -> Trial:
    """``/dev/full`` ends a command with 70 and a sentence; a reader that is gone ends it in silence."""

    def run(whole: Whole, rng: random.Random) -> Problems:
        with tempfile.TemporaryDirectory(prefix="clipalign-limits-") as name:
            folder = Path(name)
            _CLASSIFY.lay_out(folder)
            ended = run_until(Run(line, folder, stdout=out))
            if out == "pipe":
                found = _sentence(ended, frozenset({0, 1, 3}))
                return found or ([("no sentence", ended.err)] if "error:" in ended.err else [])
            right = {0, INTERNAL} if line[-1] == "github" else {INTERNAL}  # nothing is written where nothing is wrong
            return _sentence(ended, frozenset(right))

    return run


_CLASSIFY: Final = scenes(0.05)["classify, jsonl"]


# --- all of them ------------------------------------------------------------------------------------------------------


def cases(number: int, *, mounted: bool, scale: float) -> Iterator[Case]:
    """As many, a turn of every kind after the other; every line of stdout once, first."""
    for line in stdout_lines():
        for out in ("/dev/full", "pipe"):
            what = f"stdout is {'full' if out != 'pipe' else 'a pipe that nobody reads'}"
            yield Case(what, replace(_CLASSIFY, kind=" ".join(line[:1]), commands=(line[0],)), _stdout(line, out))
    found = list(scenes(scale).values())
    files = [scene for scene in found if not scene.together]
    networks = [scene for scene in found if scene.group in ("batch", "eval")]
    kinds: list[list[Case]] = [
        [Case("a file may not grow further", scene, _full(scene, mounted=False)) for scene in files],
        [Case("the device's memory runs out", scene, _device_runs_out(scene)) for scene in networks],
        [Case("the address space is limited", scene, _address_space(scene)) for scene in networks],
    ]
    if mounted:
        kinds.append([Case("the disk is full", scene, _full(scene, mounted=True)) for scene in files])
    turns = [itertools.cycle(kind) for kind in kinds]
    for place in range(number):
        yield next(turns[place % len(turns)])


def run(asked: Asked) -> Part:
    """So many cases beside those of stdout, or as many as the time allows."""
    warm()
    began = time.monotonic()
    seed, scale, seconds = asked.seed, asked.scale or SCALE, 60 * (asked.minutes or MINUTES)
    mounted = can_mount()
    wholes: dict[str, Whole] = {}
    done: dict[str, list[tuple[Case, Problems]]] = {}
    failing: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="clipalign-whole-") as name:
        for place, case in enumerate(_some(cases(asked.cases or CASES, mounted=mounted, scale=scale), asked.only)):
            if time.monotonic() - began > seconds:
                break
            if "stdout" not in case.what and case.scene.kind not in wholes:
                wholes[case.scene.kind] = unbroken(case.scene, Path(name) / str(place))
            whole = wholes.get(case.scene.kind, Whole(Path(name), (), ()))
            problems = case.run(whole, random.Random(f"{case.what}:{case.scene.kind}:{seed}:{place}"))
            done.setdefault(case.what, []).append((case, problems))
            for failure, said in problems:
                where = f"{case.what}: {case.scene.kind}, seed {seed}, {place}"
                failing.append({"case": where, "failures": {failure: said}})
                print(f"{where}: {failure}: {said}", file=sys.stderr, flush=True)
    rows = []
    for what, those in done.items():
        commands = sorted({command for case, _ in those for command in case.scene.commands})
        found = (failure for _, problems in those for failure, _ in problems)
        rows.append(row_of(what, commands, len(those), found, FAILURES))
    if not mounted:
        rows.append(row_of("the disk is full", [], 0, (), FAILURES, "no file system may be mounted here"))
    bounds = "Each ends with a sentence and its status; with space again --resume comes to the end of an unbroken run."
    return Part("limits", seed, time.monotonic() - began, rows, typed_command(), failing, bounds)


def _some(found: Iterator[Case], only: Sequence[str]) -> Iterator[Case]:
    return (case for case in found if not only or any(word in f"{case.what}: {case.scene.kind}" for word in only))
