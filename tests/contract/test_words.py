"""The words of code, help, messages and pages: the field's English in American spelling, and no dialect of our own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

METAPHORS: Final = re.compile(
    r"\b(houses?|rooms?|doors?|routes?|(?<!math\.)floors?|errands?|guests?|shel(?:f|ves)|showcases?)\b", re.IGNORECASE
)
"""Buildings are no software: say package, module, command, evaluator, layer."""

BRITISH: Final = re.compile(
    r"\b\w*(?:licenc|colour|behaviour|favour|neighbour|labelled|labelling|catalogue|centre\b|centres\b|grey|localis|"
    r"normalis|optimis|initialis|recognis|organis|summaris|tokenis|serialis|generalis|judgement|cancelled|modelling|harbour|learnt|misspelt|minimis|maximis|vectoris)\w*",
    re.IGNORECASE,
)

PHRASES: Final = re.compile(
    r"it falls as a cosine|at its height|beginnings of each caption|\b(?:to|may|can|could) be had\b|of no kind|"
    r"judgement of them means|name was meant|\bgoes by\b|\bbrings its own\b|\bwhat it brings\b",
    re.IGNORECASE,
)

PACKAGES: Final = frozenset(["pipeline", "inputs", "batch", "benchmarks", "report", "downloads", "settings"])
"""Names of packages that the table replaces; ``runs/batch.py`` and modules of settings are the plan's own."""

PACKAGES_NAMED: Final = re.compile(rf"(?<![\w/.-])(?:clipalign/)?(?:{'|'.join(sorted(PACKAGES - {'benchmarks'}))})/")
"""Paths that begin with one; ``tests`` has a folder benchmarks."""

MODULES: Final = frozenset(
    """
    meant settled many evaluate_more shelf axes ranks shares world stream find finished showcase growing
    specs_mover pipeline inputs benchmarks report downloads
    """.split()  # noqa: SIM905  (one name a line would be a page)
)
"""Names of modules that it replaces."""

NAMES: Final = frozenset(
    """
    Errand Wanted Fetched Brought Kept Standing Finished Book Sink FrontDoor Patience PassingError SpecsMover
    take_up as_state told one_by_one halving meant_by finished_run
    """.split()  # noqa: SIM905  (one name a line would be a page)
)
"""Names of classes, functions, arguments and variables that it replaces."""

QUOTED: Final = {
    "human-judgement": "the name of a benchmark, which runs and scripts know",
}
"""Words that are kept, each with the reason."""


def text_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    for word in QUOTED:
        text = text.replace(word, "").replace(word.replace("-", "_"), "")
    return text


PAGES: Final = [
    path
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / ".github").rglob("*.md"),
        *(ROOT / ".github").rglob("*.yml"),
        *(ROOT / "clipalign").rglob("*.md"),
        *(ROOT / "clipalign").rglob("*.py"),
        *(ROOT / "clipalign").rglob("*.toml"),
        *(ROOT / "clipalign/output/templates").iterdir(),
        *(ROOT / "tests").rglob("*.md"),
        *(ROOT / ".assets").rglob("*.md"),
        *(ROOT / "completions").iterdir(),
    )
    if path.is_file() and path.name != "CHANGELOG.md"
]


@pytest.mark.parametrize(
    "pattern", [METAPHORS, BRITISH, PHRASES, PACKAGES_NAMED], ids=["metaphors", "spelling", "phrases", "packages"]
)
def test_what_people_read_is_in_the_words_of_the_field(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {hit.group()}"
        for path in PAGES
        for number, line in enumerate(text_of(path).splitlines(), 1)
        for hit in pattern.finditer(line)
    ]
    assert not found, "\n".join(found)


def names_in(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every class, function, argument, variable, attribute and keyword."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case (
                ast.ClassDef(name=name)
                | ast.FunctionDef(name=name)
                | ast.arg(arg=name)
                | ast.keyword(arg=str(name))
                | ast.Name(id=name)
                | ast.Attribute(attr=name)
            ):
                yield node.lineno, name


def test_classes_functions_and_modules_have_the_names_of_the_field() -> None:
    found = []
    for path in (ROOT / "clipalign").rglob("*.py"):
        place = path.relative_to(ROOT)
        found += [f"{place}: {part}" for part in place.parts[1:-1] if part in PACKAGES]
        found += [f"{place}: {path.stem}"] if path.stem in MODULES else []
        found += [f"{place}:{line}: {name}" for line, name in names_in(path) if name in NAMES]
    assert not (ROOT / "clipalign/evaluation/table.py").exists(), "benchmarks by name stand in registry.py"
    assert not found, "\n".join(found)
