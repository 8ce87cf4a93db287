"""Notebooks: the example runs from top to bottom, sessions and results are shown, a bar comes and goes."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from clipalign.notebook import progress_bar
from tests.cli.run import ROOT
from tests.tiny import load_tiny

EXAMPLE = ROOT / ".assets" / "examples" / "notebook.ipynb"


def run_cells(notebook: dict[str, Any]) -> list[Any]:
    """Run the code cells in one namespace and return the values of their last expressions, as a notebook shows them."""
    names: dict[str, Any] = {}
    shown = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            *statements, last = ast.parse("".join(cell["source"])).body
            assert isinstance(last, ast.Expr)
            exec(compile(ast.Module(statements, []), EXAMPLE.name, "exec"), names)
            shown.append(eval(compile(ast.Expression(last.value), EXAMPLE.name, "eval"), names))
    return shown


def test_the_example_runs_and_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EXAMPLE.parent, tmp_path / "examples")
    monkeypatch.chdir(tmp_path / "examples")
    session, pair, misaligned, picture, text = run_cells(json.loads(EXAMPLE.read_text(encoding="utf-8")))
    assert "<td>pictogram</td>" in session._repr_html_()
    assert ">pear</span>" in pair._repr_html_() and "banana" in str(pair.suggestions)
    assert misaligned == {"fruit": ("pear",), "night": ("white",)}
    assert picture.classes[0].name == "cat" and "<th>cat</th>" in picture._repr_html_()
    assert ">There is a dog.</span>" in text._repr_html_()


def test_the_example_holds_no_outputs() -> None:
    notebook = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook["cells"])
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


def test_a_session_is_shown_with_its_model() -> None:
    from clipalign.session import Session

    shown = Session(load_tiny())._repr_html_()
    assert "<th>model</th>" in shown and "cpu fp32" in shown and "77 tokens" in shown


def test_the_bar_moves_now_and_then_and_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    display = ModuleType("IPython.display")
    vars(display).update(HTML=str, display=lambda html, display_id: SimpleNamespace(update=shown.append))
    shell = ModuleType("IPython")
    vars(shell).update(get_ipython=object, display=display)
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    times = iter((0.0, 0.1, 1.0, 1.1, 2.0))
    update = progress_bar(4, clock=lambda: next(times))
    for done in (1, 2, 3, 4):
        update(done)
    assert shown == ['<progress value="2" max="4"></progress> 2 of 4, 1 s left', ""]


def test_without_a_notebook_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    progress_bar(3)(1)
    assert capsys.readouterr().out == ""
