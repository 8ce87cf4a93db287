"""Committed figures: JSON with one entry a line, which is short and differs by the lines that changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

WIDTH: Final = 600
"""Characters that a list or an object may have to stand on one line."""


def write_figures(path: Path, figures: Any) -> None:
    """Write ``figures`` to ``path``, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(dumps(figures) + "\n", encoding="utf-8")
    part.replace(path)


def dumps(value: Any) -> str:
    """``value`` as JSON; what is longer than :data:`WIDTH` is opened, an item a line."""
    text = json.dumps(rounded(value), ensure_ascii=False)
    if len(text) <= WIDTH or not isinstance(value, dict | list):
        return text
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(dumps, value)) + "\n]"
    items = (f"{json.dumps(key, ensure_ascii=False)}: {dumps(item)}" for key, item in value.items())
    return "{\n" + ",\n".join(items) + "\n}"


def rounded(value: Any) -> Any:
    """``value`` with eight significant digits of each float."""
    match value:
        case float():
            return float(f"{value:.8g}")
        case dict():
            return {key: rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [rounded(item) for item in value]
    return value
