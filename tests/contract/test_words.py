"""The words of code, help, messages and pages: the field's English in American spelling, and no dialect of our own."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

METAPHORS: Final = re.compile(
    r"\b(houses?|rooms?|doors?|routes?|errands?|guests?|shel(?:f|ves)|showcases?)\b", re.IGNORECASE
)
"""Buildings are no software: say package, module, command, evaluator, layer."""

BRITISH: Final = re.compile(
    r"\b\w*(?:licenc|colour|behaviour|favour|neighbour|labelled|labelling|catalogue|centre\b|centres\b|grey|localis|"
    r"normalis|optimis|initialis|recognis|organis|summaris|tokenis|serialis|generalis|judgement|cancelled|modelling|harbour|learnt|misspelt|minimis|maximis|vectoris)\w*",
    re.IGNORECASE,
)

PHRASES: Final = re.compile(
    r"it falls as a cosine|beginnings of each caption|not to be had|of no kind that is read|judgement of them means",
    re.IGNORECASE,
)

NAMES: Final = frozenset(
    [
        "Errand",
        "Wanted",
        "Fetched",
        "Brought",
        "Kept",
        "Standing",
        "Finished",
        "Book",
        "Sink",
        "FrontDoor",
        "Patience",
        "PassingError",
        "take_up",
        "as_state",
        "told",
        "one_by_one",
        "halving",
        "meant_by",
        "finished_run",
    ]
)
"""Names of classes and functions that the table of words replaces."""

MODULES: Final = frozenset(
    [
        "meant",
        "settled",
        "many",
        "evaluate_more",
        "shelf",
        "axes",
        "ranks",
        "shares",
        "world",
        "stream",
        "find",
        "finished",
        "showcase",
        "growing",
        "specs_mover",
        "pipeline",
        "inputs",
        "benchmarks",
        "report",
        "downloads",
    ]
)
"""Names of modules and packages that it replaces; ``runs/batch.py`` is the plan's own."""

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
        *(ROOT / "clipalign").rglob("*.md"),
        *(ROOT / "tests").rglob("*.md"),
        *(ROOT / "clipalign").rglob("*.py"),
        *(ROOT / "clipalign").rglob("*.j2"),
        *(ROOT / ".assets").rglob("*.md"),
        *(ROOT / "completions").iterdir(),
    )
    if path.is_file() and path.name != "CHANGELOG.md"
]


@pytest.mark.parametrize("pattern", [METAPHORS, BRITISH, PHRASES], ids=["metaphors", "spelling", "phrases"])
def test_what_people_read_is_in_the_words_of_the_field(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {hit.group()}"
        for path in PAGES
        for number, line in enumerate(text_of(path).splitlines(), 1)
        for hit in pattern.finditer(line)
    ]
    assert not found, "\n".join(found)


def test_classes_functions_and_modules_have_the_names_of_the_field() -> None:
    found = []
    for path in (ROOT / "clipalign").rglob("*.py"):
        place = path.relative_to(ROOT)
        found += [f"{place}: {part}" for part in (path.stem, *place.parts[1:-1]) if part in MODULES]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) if name in NAMES:
                    found.append(f"{place}:{node.lineno}: {name}")
    assert not found, "\n".join(found)
