"""``python -m tests.hardening [PART…]``: put clipalign through it, and renew the report."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.hardening import inputs
from tests.hardening.report import FIGURES, Asked, Part, keep_figures, write_report

OTHER_PARTS: Final = ("kills", "limits", "soak")
"""Modules beside this one with a function ``run``."""


def main() -> int:
    """Run what was named and return 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.hardening", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", help=f"inputs (or {', '.join(inputs.CASES)}), {', '.join(OTHER_PARTS)}, report"
    )
    parser.add_argument(
        "--cases", type=int, help="how many in each part, the inputs sharing theirs (default: its own number)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time (default: 2)")
    parser.add_argument("--minutes", type=float, help="how long parts that have no end go on (default: their own)")
    parser.add_argument("--only", nargs="+", default=[], help="scenes of kills and limits with one of these in it")
    parser.add_argument("--scale", type=float, help="of the inputs of kills and limits (default: their own)")
    parser.add_argument("--cold", type=int, default=8, help="plays of kills with real processes (default: 8)")
    parser.add_argument("--case", metavar="GENERATOR:NUMBER", help="one case of the inputs once more")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="with --case: where its files are written")
    parser.add_argument(
        "--figures", type=Path, default=FIGURES, help="where the figures are written; elsewhere no report is"
    )
    given = parser.parse_args()
    named = given.parts or ["inputs", *OTHER_PARTS]
    unknown = [name for name in named if name not in ("inputs", "report", *inputs.CASES, *OTHER_PARTS)]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}")
    if given.case:
        if given.keep is None:
            parser.error("--case needs --keep DIR")
        verdict = inputs.again(given.case, cases=given.cases, seed=given.seed, folder=given.keep)
        return int(bool(verdict.failures))

    asked = Asked(given.cases, given.seed, given.jobs, given.minutes, given.only, given.scale, given.cold)
    cases = failed = 0
    for part in _parts(named, asked):
        keep_figures(part, given.figures)
        cases += sum(row.cases for row in part.rows)
        failed += sum(sum(row.failures.values()) for row in part.rows)
    if given.figures == FIGURES:
        write_report()
    print(f"{cases:,} cases, {failed} failures")
    return int(failed > 0)


def _parts(named: Sequence[str], asked: Asked) -> Iterator[Part]:
    generators = [name for name in named if name in inputs.CASES]
    if "inputs" in named or generators:
        yield from inputs.run(asked, [] if "inputs" in named else generators)
    for name in named:
        if name in OTHER_PARTS:
            yield importlib.import_module(f"tests.hardening.{name}").run(asked)


if __name__ == "__main__":
    sys.exit(main())
