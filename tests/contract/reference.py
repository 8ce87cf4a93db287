"""The page of the Python API: what programs may import, from the docstrings, and the recipes, from ``tests/recipes``.

python -m tests.contract.pages        renews it with the other pages
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final

import clipalign

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "clipalign" / "API.md"
MARK: Final = "<!-- reference -->\n"

GROUPS: Final = {
    "Models": ("load", "wrap", "Session", "Pair", "Prepared"),
    "Results": (
        *("DetectResult", "WordScore", "ClassifyResult", "ClassScore", "LongResult", "SentenceScore", "EvalResult"),
        *("Failure", "Provenance", "to_frame", "progress_bar"),
    ),
    "Data frameworks": ("mapper", "Mapper", "metrics.ClipScore", "metrics.FClipScore", "metrics.SpecsScore"),
    "Benchmarks and downloads": ("evaluate", "download", "list_models", "list_datasets"),
    "Errors": tuple(name for name in clipalign.__all__ if clipalign._HOMES.get(name) == "clipalign.errors"),
}
"""By heading; every public name stands somewhere."""

_SECTION: Final = re.compile(r"\n(?=(?:Args|Attributes|Returns|Raises|Example):\n)")
_RECIPE: Final = re.compile(r"(<!-- recipe (\w+\.py) -->\n```python\n).*?(?=```\n)", re.DOTALL)

Documented = ast.FunctionDef | ast.ClassDef


def node_of(name: str) -> Documented:
    """The definition of a public name; nothing is imported, as some modules need what is not installed."""
    home = "clipalign.download.named" if name == "download" else clipalign._HOMES.get(name, "clipalign.metrics")
    module = ast.parse((ROOT / (home.replace(".", "/") + ".py")).read_text(encoding="utf-8"))
    name = name.rpartition(".")[2]
    return next(one for one in module.body if isinstance(one, Documented) and one.name == name)


def methods_of(node: Documented) -> Iterator[ast.FunctionDef]:
    """Public methods and properties of a class."""
    for one in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(one, ast.FunctionDef) and not one.name.startswith("_"):
            yield one


def examples() -> Iterator[tuple[str, str]]:
    """Every public name, and ``Session.method``, with what its docstring shows; an empty text for nothing."""
    for names in GROUPS.values():
        for name in names:
            node = node_of(name)
            yield name, _example(node)
            yield from ((f"{name}.{one.name}", _example(one)) for one in methods_of(node))


def _example(node: Documented) -> str:
    found = [part for part in _SECTION.split(ast.get_docstring(node) or "") if part.startswith("Example:\n")]
    return dedent(found[0].partition("\n")[2]) if found else ""


def renewed() -> str:
    """The page as it should be."""
    head = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    head = _RECIPE.sub(lambda found: found[1] + (ROOT / "tests" / "recipes" / found[2]).read_text("utf-8"), head)
    parts = [head + MARK]
    for title, names in GROUPS.items():
        parts.append(f"## {title}\n")
        for name in names:
            node = node_of(name)
            if title == "Errors":
                parts.append(f"- `{name}`: {_inline((ast.get_docstring(node) or '').partition('.')[0])}.")
                continue
            parts.append(f"### {name}\n\n{_signature(name, node)}{_markdown(node)}")
            parts += [
                f"#### {name}.{one.name}\n\n{_signature(one.name, one)}{_markdown(one)}" for one in methods_of(node)
            ]
        parts.append("")
    return "\n".join(parts).rstrip("\n") + "\n"


def _signature(name: str, node: Documented) -> str:
    if isinstance(node, ast.ClassDef) or any(ast.unparse(one) == "property" for one in node.decorator_list):
        return ""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = ast.unparse(node.args).removeprefix("self, ").removeprefix("self")
    return f"```text\n{name}({arguments}){returns}\n```\n\n"


def _markdown(node: Documented) -> str:
    parts = []
    for part in _SECTION.split(ast.get_docstring(node) or ""):
        title, _, body = part.partition(":\n")
        if title == "Example":
            parts.append(f"```text\n{dedent(body).strip()}\n```")
        elif title in ("Args", "Attributes"):
            items = (" ".join(item.split()) for item in re.split(r"\n(?=\S)", dedent(body).strip()))
            parts.append(
                "\n".join(f"- `{name}`: {_inline(said)}" for name, _, said in (one.partition(": ") for one in items))
            )
        elif title in ("Returns", "Raises"):
            parts.append(f"{title}: {_inline(' '.join(body.split()))}")
        else:
            parts += [_inline(" ".join(one.split())) for one in part.strip().split("\n\n")]
    return "\n\n".join(parts) + "\n"


def _inline(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:clipalign\.(?:\w+\.)*)?([\w.]+)`", r"`\1`", text)
    return text.replace("``", "`")
