"""``python -m tests.hardening [PART…]``: put clipalign through it, and renew the report."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Final

from tests.hardening import inputs
from tests.hardening.arena import PROGRAM
from tests.hardening.report import FIGURES, write_report

OTHER_PARTS: Final = ("kills", "limits", "soak")
"""Modules beside this one; ``run(*, cases, seed, jobs, minutes)`` of each writes its figures and returns its part."""


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
    parser.add_argument("--case", metavar="GENERATOR:NUMBER", help="one case of the inputs once more")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="with --case: where its files are written")
    parser.add_argument("--program", default=PROGRAM, help="module:function that gets the inputs instead of clipalign")
    parser.add_argument(
        "--figures", type=Path, default=FIGURES, help="where the inputs' figures are written; elsewhere no report is"
    )
    given = parser.parse_args()
    named = given.parts or ["inputs", *OTHER_PARTS]
    unknown = [name for name in named if name not in ("inputs", "report", *inputs.CASES, *OTHER_PARTS)]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}")
    if given.case:
        if given.keep is None:
            parser.error("--case needs --keep DIR")
        verdict = inputs.again(given.case, cases=given.cases, seed=given.seed, folder=given.keep, program=given.program)
        return int(bool(verdict.failures))

    done = []
    generators = [name for name in named if name in inputs.CASES]
    if "inputs" in named or generators:
        done += inputs.run(
            cases=given.cases, seed=given.seed, jobs=given.jobs, names=[] if "inputs" in named else generators,
            program=given.program, figures=given.figures,
        )  # fmt: skip
    for name in named:
        if name in OTHER_PARTS:
            module = importlib.import_module(f"tests.hardening.{name}")
            done.append(module.run(cases=given.cases, seed=given.seed, jobs=given.jobs, minutes=given.minutes))
    if given.figures == FIGURES:
        write_report()
    failed = sum(sum(row.failures.values()) for part in done for row in part.rows)
    print(f"{sum(row.cases for part in done for row in part.rows):,} cases, {failed} failures")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
