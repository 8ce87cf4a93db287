"""The page of the Python API is what the docstrings say, and their examples run."""

from __future__ import annotations

import doctest
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

import clipalign
from tests.contract.pages import EXAMPLES
from tests.contract.reference import GROUPS, PAGE, examples, renewed

SHOWN = dict(examples())
NEEDS = {"to_frame": "pandas", "metrics": "torchmetrics"}
RESULTS = ("Pair", "Provenance", "Mapper", *GROUPS["Results"], *GROUPS["Errors"])
"""What functions take and return: shown by them."""


def test_the_page_is_renewed() -> None:
    assert PAGE.read_text(encoding="utf-8") == renewed(), "python -m tests.contract.pages"


def test_every_public_name_stands_on_it() -> None:
    listed = {name for names in GROUPS.values() for name in names if not name.startswith("metrics.")}
    assert listed == set(clipalign.__all__) - {"__version__"}


@pytest.mark.parametrize("name", [name for name in SHOWN if name.partition(".")[0] not in RESULTS])
def test_every_function_has_an_example(name: str) -> None:
    assert SHOWN[name]


@pytest.mark.parametrize("name", [name for name, example in SHOWN.items() if example])
def test_the_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = NEEDS.get(name.partition(".")[0])
    if library and find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    monkeypatch.chdir(tmp_path / "examples")
    test = doctest.DocTestParser().get_doctest(SHOWN[name], {"clipalign": clipalign}, name, None, None)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert not said, "".join(said)
