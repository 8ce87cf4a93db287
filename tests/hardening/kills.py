"""Runs that are killed at random moments and gone on with, until they are done: nothing may be lost or doubled.

    python -m tests.hardening kills --cases 500 --seed 0

A scene (:mod:`tests.hardening.kills_scenes`) is played in a folder of its own: its command is started, ended by a
signal, started again with ``--resume``, and so on, until it comes to its end. Then the folder is held against one in
which nothing happened: every record once, in order, whole, with the same numbers; no file more, no file less. Three
quarters of the moments are drawn evenly from the time that the rest of the run is expected to take, one quarter evenly
from the file operations of a run, which are where a kill hurts most and take next to no time.
"""

from __future__ import annotations

import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.hardening.kills_scenes import Scene, batch_scenes, fresh, strays
from tests.hardening.process import Blow, Ended, Run, Started, count_operations, run_until, warm
from tests.hardening.report import Asked, Part, Row, row_of, typed_command

SHARES: Final = {"batch": 0.5, "downloads": 0.24, "eval": 0.16, "training": 0.1}
"""Of all kills."""

SIGNALS: Final = ("SIGKILL",) * 7 + ("SIGTERM", "SIGINT", "SIGHUP")
AT_OPERATIONS: Final = 0.25
TWICE: Final = 0.3
"""Of Ctrl-C: a second one follows."""

MOST_KILLS: Final = 5
"""Of one line, before it is left to end."""

FAILURES: Final = (
    "lost, doubled or torn", "other numbers", "left behind", "refused", "traceback", "wrong status", "hang", "orphans",
)  # fmt: skip
KILLS: Final = 500
MINUTES: Final = 30.0
"""After which no play is begun."""


@dataclass(frozen=True)
class Whole:
    """A scene to which nothing happened.

    Attributes:
        folder: as it was left.
        seconds: of each line.
        operations: of files, of each line.
    """

    folder: Path
    seconds: tuple[float, ...]
    operations: tuple[int, ...]


@dataclass
class Played:
    """What came of one play.

    Attributes:
        kind: of the scene.
        seed: of the play.
        blows: that reached a run.
        runs: in all.
        problems: failure and sentence.
        seconds: it took.
    """

    kind: str
    seed: int
    blows: list[str] = field(default_factory=list)
    runs: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0


def scenes(scale: float = 1.0) -> dict[str, Scene]:
    """All scenes by their kind."""
    from tests.hardening.kills_downloads import download_scenes
    from tests.hardening.kills_runs import eval_scenes, training_scenes

    found = [*batch_scenes(scale), *download_scenes(scale), *eval_scenes(scale), *training_scenes(scale)]
    return {scene.kind: scene for scene in found}


# --- one play ---------------------------------------------------------------------------------------------------------


def unbroken(scene: Scene, folder: Path) -> Whole:
    """Play a scene without harm.

    Raises:
        RuntimeError: it does not end well, and there is nothing to compare with.
    """
    seconds, operations = [], []
    scene.lay_out(fresh(folder))
    stop = scene.serves(folder) if scene.serves is not None else None
    try:
        for line in scene.lines(folder):
            ended, count = count_operations(Run(line, folder, scene.prepare(folder)))
            if ended.status not in scene.done:
                raise RuntimeError(f"{scene.kind} ended with {ended.status}: {ended.err}")
            seconds.append(ended.seconds)
            operations.append(count)
    finally:
        if stop is not None:
            stop()
    return Whole(folder, tuple(seconds), tuple(operations))


def play(scene: Scene, whole: Whole, seed: int, *, kills: int = MOST_KILLS, cold: bool = False) -> Played:
    """Play a scene with at most ``kills`` blows a line, and see what is left."""
    rng = random.Random(f"{scene.kind}:{seed}")
    played = Played(scene.kind, seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clipalign-kills-") as name:
        folder = Path(name) / "here"
        scene.lay_out(fresh(folder))
        stop = scene.serves(folder) if scene.serves is not None else None
        try:
            for number, line in enumerate(scene.lines(folder)):
                if not _line(scene, whole, folder, number, line, rng, played, kills=kills, cold=cold):
                    break
            else:
                _compare(scene, whole, folder, played)
        finally:
            if stop is not None:
                stop()
    played.seconds = time.monotonic() - began
    return played


def _line(
    scene: Scene,
    whole: Whole,
    folder: Path,
    number: int,
    line: Sequence[str],
    rng: random.Random,
    played: Played,
    *,
    kills: int,
    cold: bool,
) -> bool:
    """One command line to its end; False where it does not come to one."""
    wanted = rng.randint(1, kills)
    again: tuple[str, ...] = ()
    for left in range(wanted, -1, -1):
        run = Run([*line, *again], folder, scene.prepare(folder))
        blow = _drawn(scene, whole, folder, number, rng, cold=cold) if left else None
        ended = _together(scene, run, blow, rng, played) if scene.together else run_until(run, blow, cold=cold)
        played.runs += 1
        if blow is not None and ended.struck:
            played.blows.append(f"line {number + 1}: {blow}")
        _judge(scene, blow, ended, played)
        if ended.status in scene.done:
            return True
        if blow is None or played.problems:
            return False
        played.problems += [("lost, doubled or torn", said) for said in scene.look(folder)]
        again = scene.resume
    return False


def _drawn(scene: Scene, whole: Whole, folder: Path, line: int, rng: random.Random, *, cold: bool) -> Blow:
    """A blow at a moment of what is expected to be left."""
    if not cold and rng.random() < AT_OPERATIONS:
        return Blow(signal.SIGKILL, at_operation=rng.randint(1, max(1, whole.operations[line])))
    number = signal.Signals[rng.choice(SIGNALS)]
    rest = whole.seconds[line] * max(0.1, 1 - scene.progress(folder, line)) + (4.0 if cold else 0.0)
    twice = rng.uniform(0.0, 0.1) if number == signal.SIGINT and rng.random() < TWICE else None
    return Blow(number, after_seconds=rng.uniform(0.0, rest), again_seconds=twice)


def _together(scene: Scene, run: Run, blow: Blow | None, rng: random.Random, played: Played) -> Ended:
    """A run that is struck, and beside it one that is not and must end well; alone where the time is not the moment."""
    if blow is None or blow.after_seconds is None:
        return run_until(run, blow)
    first = Started(run)
    time.sleep(rng.uniform(0, 0.2))
    second = Started(run)
    ended = first.end(struck=first.strike(blow))
    beside = second.end()
    played.runs += 1
    _judge(scene, None, beside, played)
    return ended


def _judge(scene: Scene, blow: Blow | None, ended: Ended, played: Played) -> None:
    """How a run ended, against how it may end."""
    right = set(scene.done)
    if blow is not None:
        right |= {-blow.signal} | (scene.ends_itself if blow.signal != signal.SIGKILL else set())
    said = " ".join(ended.err.split())[-400:]
    if ended.hung:
        played.problems.append(("hang", f"{blow or 'nothing'}: {said}"))
    elif "Traceback" in ended.err:
        played.problems.append(("traceback", f"{blow or 'nothing'}: {said}"))
    elif ended.status not in right:
        failure = "refused" if ended.status == 2 else "wrong status"
        played.problems.append((failure, f"{ended.status} after {blow or 'nothing'}: {said}"))
    if ended.orphans:
        played.problems.append(("orphans", f"processes were left after {blow or 'nothing'}"))


def _compare(scene: Scene, whole: Whole, folder: Path, played: Played) -> None:
    for said in scene.compare(folder, whole.folder):
        failure = "lost, doubled or torn" if "lost" in said or "missing" in said or "no " in said else "other numbers"
        played.problems.append((failure, said))
    played.problems += [("left behind", said) for said in strays(folder, whole.folder, scene.stray)]


# --- all of them ------------------------------------------------------------------------------------------------------


def play_all(chosen: dict[str, Scene], asked: Asked) -> Iterator[Played]:
    """Plays until so many blows were struck, or the time is over, each group to its share; cold ones come last."""
    global _SCENES
    _SCENES = chosen
    began = time.monotonic()
    kills, seed, jobs = asked.cases or KILLS, asked.seed, asked.jobs
    seconds = 60 * (asked.minutes or MINUTES)
    groups = {scene.group for scene in chosen.values()}
    total = sum(SHARES[group] for group in groups)
    quota = {group: kills * SHARES[group] / total for group in groups}
    struck: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(prefix="clipalign-whole-") as name,
        ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork")) as pool,
    ):
        kinds = list(chosen)
        folders = [Path(name) / str(number) for number in range(len(kinds))]
        wholes = dict(zip(kinds, pool.map(_unbroken, kinds, folders), strict=True))
        waiting: dict[Future[Played], str] = {}
        turns: Counter[str] = Counter()
        expected: Counter[str] = Counter()
        while True:
            while len(waiting) < jobs + 1 and time.monotonic() - began < seconds:
                behind = [group for group in sorted(groups) if struck[group] + expected[group] < quota[group]]
                if not behind:
                    break
                group = min(behind, key=lambda one: (struck[one] + expected[one]) / quota[one])
                mine = [kind for kind in kinds if chosen[kind].group == group]
                kind = mine[turns[group] % len(mine)]
                waiting[pool.submit(_play, kind, wholes[kind], seed * 100_000 + sum(turns.values()))] = group
                turns[group] += 1
                expected[group] += 1
            if not waiting:
                break
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                group = waiting.pop(future)
                expected[group] -= 1
                played = future.result()
                struck[group] += len(played.blows)
                yield played
        possible = [kind for kind in kinds if chosen[kind].cold]
        for number in range(asked.cold if possible else 0):
            kind = possible[number % len(possible)]
            yield pool.submit(_play, kind, wholes[kind], seed * 100_000 + 90_000 + number, cold=True).result()


_SCENES: dict[str, Scene] = {}
"""Of this process and its forks: scenes hold functions, which cannot be sent from one to the other."""


def _unbroken(kind: str, folder: Path) -> Whole:
    return unbroken(_SCENES[kind], folder)


def _play(kind: str, whole: Whole, seed: int, *, cold: bool = False) -> Played:
    return play(_SCENES[kind], whole, seed, kills=2 if cold else MOST_KILLS, cold=cold)


# --- the report -------------------------------------------------------------------------------------------------------


def rows_of(plays: Sequence[Played], chosen: dict[str, Scene]) -> list[Row]:
    """A row a scene: how often it was struck, by what, and what went wrong."""
    found = []
    for kind, scene in chosen.items():
        mine = [one for one in plays if one.kind == kind]
        blows = [blow for one in mine for blow in one.blows]
        by_signal = Counter(word for blow in blows for word in blow.split() if word.startswith("SIG"))
        at = sum(" at " in blow for blow in blows)
        signals = ", ".join(f"{count} {name}" for name, count in sorted(by_signal.items()))
        note = f"{len(mine)} plays, {sum(one.runs for one in mine)} runs; {signals}; {at} before file operations"
        problems = (failure for one in mine for failure, _ in one.problems)
        found.append(row_of(kind, list(scene.commands), len(blows), problems, FAILURES, note))
    return found


def run(asked: Asked) -> Part:
    """Strike so many times, and see what came of it; failures are told as they come."""
    warm()
    began = time.monotonic()
    found = scenes(asked.scale or 1.0)
    chosen = {kind: scene for kind, scene in found.items() if not asked.only or any(one in kind for one in asked.only)}
    plays: list[Played] = []
    for played in play_all(chosen, asked):
        plays.append(played)
        for failure, said in played.problems:
            print(f"{played.kind}, seed {played.seed}: {failure}: {said}; {played.blows}", file=sys.stderr, flush=True)
    failing = [
        {"case": f"{one.kind}, seed {one.seed}: {', '.join(one.blows)}", "failures": {failure: said}}
        for one in plays
        for failure, said in one.problems
    ]
    bounds = "Every record once, in order, whole and with the numbers of an unbroken run; no file more and none less."
    return Part("kills", asked.seed, time.monotonic() - began, rows_of(plays, chosen), typed_command(), failing, bounds)
