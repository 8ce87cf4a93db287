"""The part of broken inputs: generators of cases, the arena, and the figures that come of both."""

from __future__ import annotations

import importlib
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.hardening.arena import (
    FAILURES,
    MEMORY_BYTES,
    SECONDS,
    Case,
    Verdict,
    environment_of,
    fight,
    lay_out,
    lay_out_models,
    shown_arguments,
    warm_up,
)
from tests.hardening.process import clean_environment, run_clipalign
from tests.hardening.report import Asked, Part, Row, row_of, typed_command

CASES: Final[Mapping[str, int]] = {
    "pictures": 4600,
    "captions": 2000,
    "checkpoints": 2000,
    "annotations": 1600,
    "tables": 1300,
    "options": 4600,
    "folders": 700,
}
"""Generators, each a module beside this one with ``cases(random, number)``, and how many cases are its share."""

_TELL_SECONDS: Final = 20.0


def cases_of(name: str, number: int, seed: int) -> Iterator[Case]:
    """The cases of a generator: the same for the same seed; fewer of them are the first of more."""
    module = importlib.import_module(f"tests.hardening.{name}")
    found: Iterator[Case] = module.cases(Random(f"{name}/{seed}"), number)
    return found


def shares(number: int | None, names: Sequence[str]) -> dict[str, int]:
    """How many cases each generator makes when there are to be ``number`` in all; their own shares for None."""
    own = {name: share for name, share in CASES.items() if not names or name in names}
    if number is None:
        return own
    total = sum(own.values()) or 1
    return {name: max(1, round(number * share / total)) for name, share in own.items()}


def run(asked: Asked, names: Sequence[str] = ()) -> Iterator[Part]:
    """Run all generators, or those of ``names``."""
    warm_up()
    seed = asked.seed
    for name, number in shares(asked.cases, names).items():
        started = time.perf_counter()
        verdicts: list[Verdict] = []
        told = started
        for verdict in fight(cases_of(name, number, seed), jobs=asked.jobs):
            verdicts.append(verdict)
            if verdict.failures:
                say(f"{name}:{verdict.number} {verdict.case.kind}: {dict(verdict.failures)}")
                say(f"  {shown_arguments(verdict.case)}")
            if time.perf_counter() - told > _TELL_SECONDS:
                told = time.perf_counter()
                say(f"{name}: {len(verdicts)} of {number}, {len(verdicts) / (told - started):.1f} a second")
        part = part_of(name, verdicts, number=number, seed=seed, seconds=time.perf_counter() - started)
        failed = sum(bool(verdict.failures) for verdict in verdicts)
        say(f"{name}: {len(verdicts)} cases in {part.seconds:.0f} s, {failed} failed")
        yield part


def part_of(name: str, verdicts: Sequence[Verdict], *, number: int, seed: int, seconds: float) -> Part:
    """The figures of a generator's cases, a row a kind."""
    kinds: dict[str, list[Verdict]] = {}
    for verdict in sorted(verdicts, key=lambda verdict: verdict.number):
        kinds.setdefault(verdict.case.kind, []).append(verdict)
    slowest = max((verdict.seconds for verdict in verdicts), default=0.0)
    largest = max((verdict.peak_bytes for verdict in verdicts), default=0)
    return Part(
        part=name,
        seed=seed,
        seconds=seconds,
        rows=[_row(kind, those) for kind, those in kinds.items()],
        command=typed_command(),
        failing=[_failing(name, verdict, number=number, seed=seed) for verdict in verdicts if verdict.failures],
        bounds=(
            f"Allowed: {SECONDS:.0f} s and {MEMORY_BYTES / 1e6:,.0f} MB beside the warm process; "
            f"the slowest case took {slowest:.1f} s, the largest {largest / 1e6:,.0f} MB."
        ),
    )


def _row(kind: str, verdicts: Sequence[Verdict]) -> Row:
    statuses = Counter(verdict.status for verdict in verdicts)
    commands = sorted({verdict.case.command for verdict in verdicts})
    problems = (column for verdict in verdicts for column in verdict.failures)
    note = "status " + ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))
    return row_of(kind, commands, len(verdicts), problems, FAILURES, note)


def _failing(name: str, verdict: Verdict, *, number: int, seed: int) -> dict[str, Any]:
    again = f"python -m tests.hardening inputs --case {name}:{verdict.number} --cases {number} --seed {seed} --keep DIR"
    return {"case": again, "kind": verdict.case.kind, "failures": dict(verdict.failures)}


def keep(spec: str, *, cases: int | None, seed: int, folder: Path) -> Case:
    """Write the files of the case ``GENERATOR:NUMBER`` into ``folder`` and print the command line that runs it."""
    name, _, index = spec.partition(":")
    number = max(int(index) + 1, cases or CASES[name])
    case = next(case for at, case in enumerate(cases_of(name, number, seed)) if at == int(index))
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    lay_out_models(folder)
    lay_out(case, folder / "case")
    (folder / "stdin").write_bytes(case.stdin)
    environment = clean_environment(folder / "home", environment_of(case))
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items() if name != "PATH")
    program = ["-m", "clipalign"]
    if case.program is not None:
        program = ["-c", f"import {case.program.__module__} as cases; cases.{case.program.__name__}()"]
    line = shlex.join(["python", *program, case.command, *case.arguments])
    print(f"# {case.kind}; right are {sorted(case.statuses)}")
    print(
        f"cd {shlex.quote(str(folder / 'case'))} && {variables} {line} < ../stdin".encode("utf-8", "replace").decode()
    )
    return case


def again(
    spec: str, *, cases: int | None, seed: int, folder: Path, program: Callable[[], int] = run_clipalign
) -> Verdict:
    """:func:`keep`, and run it in the arena."""
    case = keep(spec, cases=cases, seed=seed, folder=folder)
    warm_up()
    verdict = next(iter(fight([case], program=program)))
    print(f"status {verdict.status}, {verdict.seconds:.2f} s, {verdict.peak_bytes / 1e6:.0f} MB")
    print(f"failures: {dict(verdict.failures) or 'none'}")
    return verdict


def say(line: str) -> None:
    """A line of progress."""
    print(line.encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)
