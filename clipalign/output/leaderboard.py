"""Runs of several data sets and models in one table: for the terminal, as a record, and as a page.

A row is a metric of a data set, a column a run. Of data sets that say where a caption is wrong, LA and the accuracies
are shown, each also by kind; of others every metric that is not of a part. All the rest is in the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.text import Text

from clipalign.output.console import visible
from clipalign.output.html import render_template
from clipalign.output.table import column_table, fitting, folding, hidden_columns, printed

LOCALIZED: Final = ("la", "published_la", "pair_accuracy", "text_accuracy", "best_accuracy", "pairs_ranked_right")
_OF_NO_RUN: Final = ("metric", "n", "chance", "published")
_UNLIKE: Final = ("data", "batch_size")  # settings that do not tell runs apart

Document = Mapping[str, Any]
"""A run as in its ``result.json``."""


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Runs, and the data sets that are missing: why, and how to get each."""

    title: str
    runs: Sequence[Document]
    missing: Mapping[str, str]

    @property
    def labels(self) -> list[str]:
        """Of each run: its model, with the settings in which runs of one data set and model differ."""
        return [" ".join([run["model"], *_apart(run, self.runs)]) for run in self.runs]

    @property
    def notes(self) -> list[str]:
        lost = [run for run in self.runs if run["counts"].get("unreadable")]
        found = [f"missing: {name}: {why}" for name, why in self.missing.items()]
        found += [f"{run['dataset']}, {run['model']}: {run['counts']['unreadable']:,} unreadable" for run in lost]
        return found


def _apart(run: Document, runs: Sequence[Document]) -> Iterator[str]:
    twins = [one["settings"] for one in runs if (one["dataset"], one["model"]) == (run["dataset"], run["model"])]
    for name, value in run["settings"].items():
        if name not in _UNLIKE and any(one.get(name) != value for one in twins):
            yield f"{name}={value}"


def leaderboard_record(board: Leaderboard) -> dict[str, object]:
    return {
        "datasets": list(dict.fromkeys(run["dataset"] for run in board.runs)),
        "models": list(dict.fromkeys(run["model"] for run in board.runs)),
        "missing": dict(board.missing),
        "runs": list(board.runs),
    }


def leaderboard_table(board: Leaderboard) -> str:
    columns, sources = _columns(board)
    runs = [name for name in columns if name not in _OF_NO_RUN]
    shown = fitting(columns, ("published", "n", "chance", *reversed(runs[1:])))
    notes = [f"[{place}] {source}" for place, source in enumerate(sources, 1)]
    notes += [f"note: {note}" for note in (*board.notes, *hidden_columns(columns, shown))]
    notes.append(f"note: {_legend(columns)}")
    title = folding(board.title, "bold")
    return printed([title, Text(""), column_table(shown), Text(""), *map(folding, notes)])


def _legend(columns: Mapping[str, Sequence[str]]) -> str:
    starred = any(cell.endswith("*") for cells in columns.values() for cell in cells)
    return "± is half of the 95% interval" + ("; * is the highest of its row" if starred else "")


def leaderboard_page(board: Leaderboard) -> str:
    """The same as one self-contained page."""
    columns, sources = _columns(board)
    filled = {name: cells for name, cells in columns.items() if any(cells)}
    return render_template(
        "leaderboard.html",
        title=board.title,
        heads=list(filled),
        rows=list(zip(*filled.values(), strict=True)),
        origins=sources,
        notes=board.notes,
        legend=_legend(columns),
        styles=("page.css", "eval.css"),
        scripts=(),
    )


def _columns(board: Leaderboard) -> tuple[dict[str, list[str]], list[str]]:
    """Cells by column, and the sources of published numbers in the order of their marks."""
    labels = dict.fromkeys(board.labels)
    sources: dict[str, int] = {}
    columns: dict[str, list[str]] = {name: [] for name in (*_OF_NO_RUN, *map(visible, labels))}
    for dataset in dict.fromkeys(run["dataset"] for run in board.runs):
        runs = {label: run for label, run in zip(board.labels, board.runs, strict=True) if run["dataset"] == dataset}
        for metric in _metrics(list(runs.values())):
            having = [run for run in runs.values() if metric in run["metrics"]]
            about = having[0]["intervals"][metric]
            counts = sorted({run["intervals"][metric]["n"] for run in having})
            known = [one for run in having for one in run["published"].get(metric, ())][:1]
            places = [sources.setdefault(f"{one['backbone']}, {one['source']}", len(sources) + 1) for one in known]
            columns["metric"].append(visible(f"{dataset} {metric}"))
            columns["n"].append(" to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1]))))
            columns["chance"].append("" if about["chance"] is None else f"{about['chance']:.3f}")
            columns["published"].append(f"{known[0]['value']:.3f} [{places[0]}]" if known else "")
            values = {run["metrics"][metric] for run in having if len(counts) == 1}  # others are not compared
            for label in labels:
                run = runs.get(label)
                cell = "" if run is None or metric not in run["metrics"] else _cell(run, metric)
                star = "*" if cell and len(values) > 1 and run and run["metrics"][metric] == max(values) else ""
                columns[visible(label)].append(cell + star)
    return columns, list(sources)


def _metrics(runs: Sequence[Document]) -> list[str]:
    names = list(dict.fromkeys(name for run in runs for name in run["metrics"]))
    located = [name for family in LOCALIZED for name in names if name == family or name.startswith(f"{family}_")]
    return located or [name for name in names if not any(name.startswith(f"{other}_") for other in names)]


def _cell(run: Document, metric: str) -> str:
    about = run["intervals"][metric]
    if about["low"] is None:
        return f"{run['metrics'][metric]:.3f}"
    return f"{run['metrics'][metric]:.3f} ±{(about['high'] - about['low']) / 2:.3f}"
