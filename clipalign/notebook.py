"""Results and progress as HTML for notebooks: texts with what does not fit marked, and numbers; every text escaped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

_SECONDS = 0.2  # between two pictures of a bar
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
        parts.append(table_of({name: f"{value:.4f}" for name, value in numbers.items()}))
    parts += [f"<p><small>{escape(warning)}</small></p>" for warning in record.get("warnings", ())]
    return f"<div>{''.join(parts)}</div>"


def table_of(values: Mapping[str, object]) -> str:
    """A row a value, after its name."""
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in values.items())
    return f"<table>{''.join(rows)}</table>"


def progress_bar(total: int, *, clock: Callable[[], float] = time.monotonic) -> Callable[[int], None]:
    """A bar below the cell of a notebook, for ``on_progress``; gone when ``total`` are done, nothing elsewhere.

    Example:
        >>> pairs = [("images/fruit.png", "two apples"), ("images/cat.png", "a cat")]
        >>> session = clipalign.load("pictogram")
        >>> results = list(session.detect_iter(pairs, on_progress=clipalign.progress_bar(len(pairs))))
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return lambda done: None
    ipython = sys.modules["IPython.display"]  # which every shell of IPython has imported
    handle = ipython.display(ipython.HTML(""), display_id=True)
    began = shown = clock()

    def update(done: int) -> None:
        nonlocal shown
        now = clock()
        if done < total and now - shown < _SECONDS:
            return
        shown, left = now, (now - began) / max(done, 1) * (total - done)
        bar = f'<progress value="{done}" max="{total}"></progress> {done:,} of {total:,}, {time_left(left)}'
        handle.update(ipython.HTML(bar if done < total else ""))

    return update


def time_left(seconds: float) -> str:
    """Return ``44 s left``, ``12 min left`` or ``3 h left``."""
    if seconds < 120:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 120 * 60 else f"{seconds / 3600:.0f} h left"


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
