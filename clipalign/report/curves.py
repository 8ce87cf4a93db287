"""The curves of a training run as a PNG: terms of the loss, increments on held-out samples. Extra ``report``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from clipalign.extras import need

TERMS: Final = ("loss", "contrastive", "detail", "negative", "short")
SHARES: Final = ("positive", "negative", "average")
INCHES: Final = (7.0, 7.0)
DPI: Final = 120


def draw_curves(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw what ``metrics.jsonl`` holds.

    Args:
        records: of steps (``step``, ``loss``, its terms) and of validations (``step``, ``validation``).
        path: of the PNG; replaced whole.

    Raises:
        MissingExtra: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    need("matplotlib", extra="report", what="drawing curves")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    steps = [record for record in records if record.get("loss") is not None]
    for name, style in zip(TERMS, ("-", "--", "-.", ":", "-"), strict=True):
        if any(record.get(name) for record in steps):
            above.plot([record["step"] for record in steps], [record.get(name) for record in steps], style, label=name)
    above.set_ylabel("weighted loss")
    measured = [record for record in records if record.get("validation")]
    for name, marker in zip(SHARES, ("o", "s", "x"), strict=True):
        shares = [record["validation"][name] for record in measured]
        below.plot([record["step"] for record in measured], shares, marker=marker, label=f"{name} increments")
    below.set_ylabel("share of held-out details")
    below.set_ylim(0, 1)
    below.set_xlabel("step")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend(fontsize="small")
    part = path.with_name(path.name + ".part")
    figure.savefig(part, dpi=DPI, format="png")
    part.replace(path)
