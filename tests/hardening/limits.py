"""Disks that fill up, memory that runs out, a stdout that takes nothing: a sentence, and with room again all is there.

    python -m tests.hardening limits --cases 120 --seed 0

The scenes are those of :mod:`tests.hardening.kills`. A disk is a small file system in memory where that may be
mounted; elsewhere, and besides, the system's limit on a file's size. After a failure there is room again, and
``--resume`` must come to the end of a run that nothing happened to.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.hardening.kills import Whole, scenes, unbroken
from tests.hardening.kills_process import Ended, Run, run_until, warm
from tests.hardening.kills_scenes import GOLDEN, TINY, TINY_LONG, Scene, fresh, strays, tree
from tests.hardening.report import Part, Row, keep_figures, typed_command

FAILURES: Final = ("lost, doubled or torn", "left behind", "traceback", "wrong status", "no sentence", "hang")
MIB: Final = 1 << 20
SPARE_BYTES: Final = 512 * MIB
"""Room that there is again."""

INTERNAL: Final = 70
MEMORY_ROOM: Final = (20, 400)
"""MB of address space that a run may take besides what it was born with, from and to."""


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
    run: Callable[[Whole, random.Random], list[tuple[str, str]]]


def _sentence(ended: Ended, right: frozenset[int], *, silent: frozenset[int] = frozenset({0, 1, 3})) -> list[Any]:
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


def _full(scene: Scene, *, mounted: bool) -> Callable[[Whole, random.Random], list[tuple[str, str]]]:
    """A disk that is full at some byte of what the run writes, and then has room."""

    def run(whole: Whole, rng: random.Random) -> list[tuple[str, str]]:
        with tempfile.TemporaryDirectory(prefix="clipalign-limits-") as name:
            folder, says = Path(name) / "here", Path(name) / "says"
            says.mkdir()
            scene.lay_out(fresh(folder))
            before = used_bytes(folder)
            produced = max(4096, used_bytes(whole.folder) - before)
            largest = max((path.stat().st_size for path in tree(whole.folder).values() if path.is_file()), default=1)
            if not mounted:
                limit = rng.randint(0, largest)
                return _filled(scene, whole, folder, says, lambda: _limit_files(limit), lambda: None)
            shutil.rmtree(folder)
            with small_disk(folder, before + 65_536 + rng.randint(0, produced)) as make_room:
                scene.lay_out(folder)
                return _filled(scene, whole, folder, says, None, make_room)

    return run


def _limit_files(size_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def _filled(
    scene: Scene,
    whole: Whole,
    folder: Path,
    says: Path,
    limit: Callable[[], None] | None,
    make_room: Callable[[], None],
) -> list[tuple[str, str]]:
    stop = scene.serves(folder) if scene.serves is not None else None
    try:
        found: list[tuple[str, str]] = []
        for line in scene.lines(folder):
            prepare = scene.prepare(folder)

            def short(prepare: Callable[[], None] | None = prepare) -> None:
                if prepare is not None:
                    prepare()
                if limit is not None:
                    limit()

            ended = run_until(Run(line, folder, short, says=says))
            found += _sentence(ended, scene.done | {INTERNAL}, silent=scene.done)
            make_room()
            if ended.status not in scene.done:
                found += [("lost, doubled or torn", said) for said in scene.look(folder)]
                ended = run_until(Run([*line, *scene.resume], folder, scene.prepare(folder), says=says))
                found += _sentence(ended, scene.done, silent=scene.done)
            if found:
                return found
        found += [("lost, doubled or torn", said) for said in scene.compare(folder, whole.folder)]
        return found + [("left behind", said) for said in strays(folder, whole.folder, _kept_or(scene))]
    finally:
        if stop is not None:
            stop()


def _kept_or(scene: Scene) -> Callable[[str], bool]:
    """A cache that could not be written is no loss."""
    return lambda name: scene.stray(name) or "/.cache/clipalign/" in name or name.endswith("pictures.safetensors")


# --- memory -----------------------------------------------------------------------------------------------------------


def _device_runs_out(scene: Scene) -> Callable[[Whole, random.Random], list[tuple[str, str]]]:
    """A device without memory at some calls of the network: same numbers, and one warning."""

    def run(whole: Whole, rng: random.Random) -> list[tuple[str, str]]:
        moments = frozenset(rng.sample(range(1, 60), 2))

        def short() -> None:
            prepare = scene.prepare(folder)
            if prepare is not None:
                prepare()
            _fail_at(moments)

        with tempfile.TemporaryDirectory(prefix="clipalign-limits-") as name:
            folder, says = Path(name) / "here", Path(name) / "says"
            says.mkdir()
            scene.lay_out(fresh(folder))
            found: list[tuple[str, str]] = []
            for line in scene.lines(folder):
                ended = run_until(Run([word for word in line if word != "-q"], folder, short, says=says))
                found += _sentence(ended, scene.done, silent=scene.done)
                if ended.err.count("memory ran out") != 1:
                    found.append(("no sentence", f"memory ran out {ended.err.count('memory ran out')} times"))
            return found or [("lost, doubled or torn", said) for said in scene.compare(folder, whole.folder)]

    return run


def _fail_at(moments: frozenset[int]) -> None:
    """Have calls of a network's blocks fail, those of these numbers, as a device without memory has them fail."""
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    from clipalign.models import load

    calls = itertools.count()
    load_network = load.load_network

    def load_and_watch(*given: Any, **named: Any) -> Any:
        """The network is on the processor until it is built; a network of a user's config is tried out there."""
        network = load_network(*given, **named)
        register_module_forward_pre_hook(hook)
        return network

    def hook(module: Any, given: Any) -> None:
        if isinstance(module, torch.nn.Linear | torch.nn.LayerNorm) and next(calls) in moments:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB (simulated)")

    load.load_network = load_and_watch


def _address_space(scene: Scene) -> Callable[[Whole, random.Random], list[tuple[str, str]]]:
    """A process that may not take more than so much: it ends with a sentence, or does its work."""

    def run(whole: Whole, rng: random.Random) -> list[tuple[str, str]]:
        import resource

        room = rng.randint(*MEMORY_ROOM) * MIB

        def short() -> None:
            prepare = scene.prepare(folder)
            if prepare is not None:
                prepare()
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, resource.RLIM_INFINITY))

        with tempfile.TemporaryDirectory(prefix="clipalign-limits-") as name:
            folder, says = Path(name) / "here", Path(name) / "says"
            says.mkdir()
            scene.lay_out(fresh(folder))
            for line in scene.lines(folder):
                ended = run_until(Run(line, folder, short, says=says))
                found = _sentence(ended, scene.done | {2, 4, INTERNAL}, silent=scene.done)
                if not found and ended.status not in scene.done:
                    ended = run_until(Run([*line, *scene.resume], folder, scene.prepare(folder), says=says))
                    found = _sentence(ended, scene.done, silent=scene.done)
                if found:
                    return [(failure, f"{room // MIB} MB of room: {said}") for failure, said in found]
            return [("lost, doubled or torn", said) for said in scene.compare(folder, whole.folder)]

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


def _stdout(line: list[str], out: str) -> Callable[[Whole, random.Random], list[tuple[str, str]]]:
    """``/dev/full`` ends a command with 70 and a sentence; a reader that is gone ends it in silence."""

    def run(whole: Whole, rng: random.Random) -> list[tuple[str, str]]:
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


_CLASSIFY: Final = scenes(["batch"], 0.05)["classify, jsonl"]


# --- all of them ------------------------------------------------------------------------------------------------------


def cases(number: int, *, mounted: bool, scale: float = 0.3) -> Iterator[Case]:
    """As many, a turn of every kind after the other; every line of stdout once, first."""
    for line in stdout_lines():
        for out in ("/dev/full", "pipe"):
            what = f"stdout is {'full' if out != 'pipe' else 'a pipe that nobody reads'}"
            yield Case(what, replace(_CLASSIFY, kind=" ".join(line[:1]), commands=(line[0],)), _stdout(line, out))
    found = list(scenes(scale=scale).values())
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


def run(*, cases: int | None = None, seed: int = 0, jobs: int = 2, minutes: float | None = None) -> Part:
    """Put every command that writes through it, and keep the figures."""
    part = limits(cases or 160, seed=seed, seconds=(minutes or 15) * 60)
    keep_figures(part)
    return part


def limits(number: int, *, seed: int, seconds: float, scale: float = 0.3, only: Sequence[str] = ()) -> Part:
    """So many cases beside those of stdout, or as many as the time allows; ``only`` those with one of these in it."""
    warm()
    began = time.monotonic()
    mounted = can_mount()
    wholes: dict[str, Whole] = {}
    done: Counter[str] = Counter()
    failures: dict[str, Counter[str]] = {}
    commands: dict[str, set[str]] = {}
    failing: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="clipalign-whole-") as name:
        for place, case in enumerate(_some(cases(number, mounted=mounted, scale=scale), only)):
            if time.monotonic() - began > seconds:
                break
            if "stdout" not in case.what and case.scene.kind not in wholes:
                wholes[case.scene.kind] = unbroken(case.scene, Path(name) / str(place))
            whole = wholes.get(case.scene.kind, Whole(Path(name), (), ()))
            problems = case.run(whole, random.Random(f"{case.what}:{case.scene.kind}:{seed}:{place}"))
            done[case.what] += 1
            failures.setdefault(case.what, Counter()).update(failure for failure, _ in problems)
            commands.setdefault(case.what, set()).update(case.scene.commands)
            for failure, said in problems:
                failing.append(
                    {"case": f"{case.what}: {case.scene.kind}, seed {seed}, {place}", "failures": {failure: said}}
                )
                print(f"{case.what}: {case.scene.kind}, {place}: {failure}: {said}", file=sys.stderr, flush=True)
    rows = [
        Row(what, sorted(commands[what]), done[what], {failure: failures[what][failure] for failure in FAILURES})
        for what in done
    ]
    if not mounted:
        rows.append(Row("the disk is full", [], 0, dict.fromkeys(FAILURES, 0), "no file system may be mounted here"))
    bounds = "Each ends with a sentence and its status; with space again --resume comes to the end of an unbroken run."
    return Part("limits", seed, time.monotonic() - began, rows, typed_command(), failing, bounds)


def _some(found: Iterator[Case], only: Sequence[str]) -> Iterator[Case]:
    return (case for case in found if not only or any(word in f"{case.what}: {case.scene.kind}" for word in only))


def main() -> None:
    """Some of the cases, without figures: ``python -m tests.hardening.limits NUMBER SEED [ONLY…]``.

    The variable ``SCALE`` is that of the inputs.
    """
    number, seed, *only = sys.argv[1:]
    part = limits(int(number), seed=int(seed), seconds=1e9, only=only, scale=float(os.environ.get("SCALE", "0.3")))
    print(json.dumps([asdict(row) for row in part.rows]))
    sys.exit(bool(part.failing))


if __name__ == "__main__":
    main()
