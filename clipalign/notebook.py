"""Results as HTML for notebooks: texts with what does not fit marked, and numbers; every text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_MARK = "background:#fdd;color:#900;text-decoration:underline"


def html_of(record: Mapping[str, Any]) -> str:
    """A fragment about a result, from its JSON record (``to_dict``)."""
    parts = []
    if error := record.get("error"):
        parts.append(f"<p><b>{escape(error['message'])}</b> {escape(error['hint'] or '')}</p>")
    if "text" in record:
        parts.append(f"<p>{_marked(record['text'], record.get('words') or record.get('sentences') or ())}</p>")
    metrics = record.get("metrics") or {one["name"]: one["score"] for one in record.get("classes", ())}
    numbers = metrics or {name: value for name, value in record.items() if isinstance(value, float)}
    if numbers:
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{value:.4f}</td></tr>" for name, value in numbers.items())
        parts.append(f"<table>{rows}</table>")
    parts += [f"<p><small>{escape(warning)}</small></p>" for warning in record.get("warnings", ())]
    return f"<div>{''.join(parts)}</div>"


def _marked(text: str, pieces: Sequence[Mapping[str, Any]]) -> str:
    """The text, its misaligned words or lowering sentences marked, with their numbers to point at."""
    shown, at = [], 0
    for piece in pieces:
        if piece.get("misaligned") or piece.get("lowers"):
            number = piece.get("attribution", piece.get("contribution"))
            inside = escape(text[piece["start"] : piece["end"]])
            shown += [escape(text[at : piece["start"]]), f'<span style="{_MARK}" title="{number:.4f}">{inside}</span>']
            at = piece["end"]
    return "".join([*shown, escape(text[at:])])
