"""Imports point downwards only: the table of layers on the architecture page, held against the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "clipalign"

UPWARD: Final = {
    ("data/remote.py", "download"): "what is at an address is fetched like everything else",
    ("data/transforms.py", "models"): "for the checker of types alone",
}
"""Imports that point upwards, each with the reason."""


def layers() -> list[set[str]]:
    """The names of packages and modules that each row of the table holds, from the top."""
    page, _, _ = (PACKAGE / "README.md").read_text(encoding="utf-8").partition("\n## ")
    rows = re.findall(r"^\| [\w ]+ \| (`[^|]+`) \|", page, re.MULTILINE)
    return [{name.strip("/").removesuffix(".py") for name in re.findall(r"`([^`]+)`", row)} for row in rows]


def imports() -> Iterator[tuple[Path, str]]:
    """Every module and the first part of the name, below ``clipalign``, of what it imports."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clipalign"):
                parts = (node.module or "").split(".")[1:]
                yield from ((path, first) for first in (parts[:1] or [alias.name for alias in node.names]))


def test_every_package_and_module_stands_in_a_row() -> None:
    there = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set().union(*layers()) == there - {"__init__"}


def test_imports_point_downwards() -> None:
    rows = layers()
    level = {name: number for number, names in enumerate(rows) for name in names}
    upward = set()
    for path, name in imports():
        place = path.relative_to(PACKAGE)
        own = place.parts[0].removesuffix(".py")
        if own == "__init__" or name in ("__version__", own):
            continue
        within = level[own] == level[name] and level[own] in (0, len(rows) - 1)
        if level[name] <= level[own] and not within:
            upward.add((place.as_posix(), name))
    assert upward == set(UPWARD)
