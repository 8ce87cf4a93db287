"""``eval`` in every format: a run beside published numbers, two runs, a sweep, a calibration; the report as a page.

Published numbers are shown for comparison only; nothing passes or fails by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from clipalign.errors import UsageError, name_some
from clipalign.eval_results import (
    Calibration,
    ComparedMetric,
    Comparison,
    Distribution,
    EvalReport,
    EvalResult,
    Example,
    Metric,
    Published,
    Verification,
)
from clipalign.files import write_whole
from clipalign.output.console import visible
from clipalign.output.detect import DetectFormatter
from clipalign.output.html import Rect, Scale, card_of, data_url, render_template
from clipalign.output.json import encode
from clipalign.output.records import Entry
from clipalign.output.table import column_table, fitting, folding, hidden_columns, printed, provenance_line
from clipalign.plain import plain

MOST_NUMBERS: Final = 3
"""Published numbers shown per metric: the model's own backbone first, then other methods, then other backbones."""

SMALLEST_P: Final = 1e-4
"""Smaller p-values are shown as below it."""

DIGITS: Final = 3
"""Significant digits of a threshold."""

REPORT_FILE: Final = "report.html"
SCALE_UNITS: Final = 200

BINS: Final = 40
BIN_WIDTH: Final = 10
PLOT_HEIGHT: Final = 100

LEGEND: Final[tuple[tuple[str, str], ...]] = (
    ("value", "ours"),
    ("interval", "its 95% bootstrap interval"),
    ("chance", "what a guess reaches (below the line)"),
    ("published", "published, to read beside ours and not to pass (above the line)"),
)


def eval_table(result: EvalResult) -> str:
    """Return a row a metric, ours beside the published numbers with their backbones and sources."""
    numbers = {metric.name: _nearest(result, metric) for metric in result.metrics}
    sources = list(dict.fromkeys(_source(number) for shown in numbers.values() for number in shown))
    rows: list[tuple[str, ...]] = []
    for metric in result.metrics:
        interval = "" if metric.low is None or metric.high is None else f"{metric.low:.3f} to {metric.high:.3f}"
        chance = "" if metric.chance is None else f"{metric.chance:.4f}"
        ours = (metric.name, f"{metric.value:.4f}", interval, str(metric.n), chance)
        known = [
            (f"{number.value:.4f} [{sources.index(_source(number)) + 1}]", f"{metric.value - number.value:+.4f}")
            for number in numbers[metric.name]
        ]
        rows.append((*ours, *(known[0] if known else ("", ""))))
        rows += [("", "", "", "", "", *other) for other in known[1:]]
    names = ("metric", "ours", "95% interval", "n", "chance", "published", "diff")
    every = _columns(names, rows)
    columns = fitting(every, ("chance", "n", "95% interval", "diff", "published"))
    notes = [f"[{place}] {source}" for place, source in enumerate(sources, 1)]
    measured = [number for number in result.published if number.metric in numbers]
    if left_out := len(measured) - sum(map(len, numbers.values())):
        notes.append(f"{left_out} more published numbers, of other backbones: --format json")
    notes += [f"note: {note}" for note in (*result.notes, *hidden_columns(every, columns))]
    title = folding(f"{result.dataset}: {result.model}, {_counts(result)}", "bold")
    origin = plain(result.provenance)
    provenance = provenance_line(origin, also=[f"seed {origin['seed']}"])
    table: list[RenderableType] = [column_table(columns), Text("")] if rows else []
    return printed([title, Text(""), *table, *map(folding, notes), provenance])


def _columns(names: Sequence[str], rows: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    cells = list(rows)
    return {name: [row[place] for row in cells] for place, name in enumerate(names)}


def _counts(result: EvalResult) -> str:
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in result.counts.items() if number)


def _source(number: Published) -> str:
    return f"{number.backbone}, {number.source}"


def _nearest(result: EvalResult, metric: Metric) -> list[Published]:
    """Return the published numbers shown for a metric, in the papers' order."""
    known = [number for number in result.published if number.metric == metric.name]
    own = _plain(result.model.partition("@")[0])

    def distance(number: Published) -> int:
        if own and own in _plain(number.backbone):
            return 0
        return 2 if "ViT" in number.backbone else 1

    nearest = sorted(known, key=distance)[:MOST_NUMBERS]
    if nearest and distance(nearest[0]) == 0 and len(known) > MOST_NUMBERS - 1:
        nearest = [number for number in nearest if distance(number) < 2]
    return [number for number in known if number in nearest]


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def comparison_record(comparison: Comparison) -> dict[str, object]:
    return {
        "dataset": comparison.dataset,
        "runs": [
            {"model": model, "folder": place} for model, place in zip(comparison.models, comparison.places, strict=True)
        ],
        "metrics": {
            metric.name: {
                "values": [metric.first, metric.second],
                "difference": metric.difference,
                "low": metric.low,
                "high": metric.high,
                "p_value": metric.p_value,
                "test": metric.test or None,
                "n": metric.n,
            }
            for metric in comparison.metrics
        },
        "differing": {name: [first, second] for name, first, second in comparison.differing},
        "worse": list(comparison.worse),
        "notes": list(comparison.notes),
    }


def comparison_table(comparison: Comparison) -> str:
    heads = [
        folding(f"[{letter}] {model}  {place}")
        for letter, model, place in zip("AB", comparison.models, comparison.places, strict=True)
    ]
    columns = {
        "metric": [metric.name for metric in comparison.metrics],
        "A": [f"{metric.first:.4f}" for metric in comparison.metrics],
        "B": [f"{metric.second:.4f}" for metric in comparison.metrics],
        "B-A": [f"{metric.difference:+.4f}" for metric in comparison.metrics],
        "95% interval": [
            "" if metric.low is None or metric.high is None else f"{metric.low:+.3f} to {metric.high:+.3f}"
            for metric in comparison.metrics
        ],
        "p": [_p(metric) for metric in comparison.metrics],
        "n": [str(metric.n) for metric in comparison.metrics],
    }
    differing = [folding(f"{name}: A {first}, B {second}", "dim") for name, first, second in comparison.differing]
    shown = fitting(columns, ("n", "95% interval", "p"))
    notes = [folding(f"note: {note}") for note in (*comparison.notes, *hidden_columns(columns, shown))]
    title = folding(f"{comparison.dataset}: two runs" if comparison.dataset else "two outputs", "bold")
    verdict = folding(
        f"B is worse: {', '.join(comparison.worse)}" if comparison.worse else "B is not shown to be worse"
    )
    return printed([title, *heads, Text(""), column_table(shown), Text(""), verdict, *differing, *notes])


def _p(metric: ComparedMetric) -> str:
    if metric.p_value is None:
        return ""
    return f"<{SMALLEST_P}" if metric.p_value < SMALLEST_P else f"{metric.p_value:.4f}"


def verification_table(found: Verification) -> str:
    scored = found.records - len(found.unreadable)
    came_out = scored - len(found.different)
    lines = [
        f"{came_out:,} of {scored:,} records come out the same; largest difference of a cosine {found.largest:.1g}",
        *([f"different: {name_some(found.different)}"] if found.different else []),
        *([f"cannot be read any more: {name_some(found.unreadable)}"] if found.unreadable else []),
        *(["--data-root names the folder of their pictures"] if found.unreadable else []),
        *(f"{name}: then {then}, now {now}" for name, then, now in found.differing),
    ]
    return printed([folding(f"{found.place}, scored again with {found.model}", "bold"), *map(folding, lines)])


Row = tuple[Mapping[str, object], EvalResult]
"""Values of the swept settings, and the result."""


def sweep_record(rows: Sequence[Row]) -> dict[str, object]:
    return {
        "dataset": rows[0][1].dataset,
        "swept": list(dict.fromkeys(name for values, _ in rows for name in values)),
        "runs": [{"swept": dict(values), **result.to_dict()} for values, result in rows],
    }


def sweep_table(rows: Sequence[Row]) -> str:
    """Return a row a combination, a column a metric; the best value of each metric has a star."""
    first = rows[0][1]
    swept = dict.fromkeys(name for values, _ in rows for name in values)
    columns = {name: [visible(str(values.get(name, ""))) for values, _ in rows] for name in swept}
    names = _wholes_first(list(dict.fromkeys(metric.name for _, result in rows for metric in result.metrics)))
    found = [{metric.name: metric.value for metric in result.metrics} for _, result in rows]
    columns |= {name: _starred([metrics.get(name) for metrics in found]) for name in names}
    shown = fitting(columns, reversed(names))
    notes = [note for note in first.notes if all(note in result.notes for _, result in rows)]
    notes += hidden_columns(columns, shown)
    if any("*" in cell for name in names for cell in shown.get(name, ())):
        notes.append("* is the highest of its column, on the data it was chosen on")
    title = folding(f"{first.dataset}: {len(rows)} runs, {_counts(first)}", "bold")
    return printed([title, Text(""), column_table(shown), Text(""), *(folding(f"note: {note}") for note in notes)])


def precision_table(rows: Sequence[Row]) -> str:
    """Return a row an engine and precision and metric, with its interval."""
    first = rows[0][1]
    cells = [
        (
            *(map(str, values.values()) if not place else ("", "")),
            metric.name,
            f"{metric.value:.4g}",
            "" if metric.low is None or metric.high is None else f"{metric.low:.4g} to {metric.high:.4g}",
            f"{metric.n}",
        )
        for values, result in rows
        for place, metric in enumerate(result.metrics)
    ]
    every = _columns(("engine", "precision", "against torch in fp32", "value", "95% interval", "n"), cells)
    title = folding(f"{first.dataset}: {first.model}, {_counts(first)}", "bold")
    notes = dict.fromkeys(note for _, result in rows for note in result.notes)
    shown = column_table(fitting(every, ("n",)))
    return printed([title, Text(""), shown, Text(""), *(folding(f"note: {note}") for note in notes)])


def _wholes_first(names: Sequence[str]) -> list[str]:
    """Put ``la`` before ``la_object`` and ``published_la``: subsets and others' counts come last."""
    return sorted(
        names, key=lambda name: (name.startswith("published_"), any(name.startswith(f"{other}_") for other in names))
    )


def _starred(values: Sequence[float | None]) -> list[str]:
    known = {value for value in values if value is not None}
    best = max(known) if len(known) > 1 else None
    return ["" if one is None else f"{one:.4f}{'*' if one == best else ' '}" for one in values]


def calibration_record(calibration: Calibration) -> dict[str, Any]:
    record = plain(calibration)
    record["provenance"] = record.pop("provenance")  # last, as in every record
    return record


def calibration_table(calibration: Calibration) -> str:
    rows = [
        (
            f"{one.layers}{'*' if one == calibration.chosen else ' '}",
            f"{one.la:.4f}",
            f"{one.la_low:.3f} to {one.la_high:.3f}",
            rounded(one.epsilon),
            f"{one.epsilon_low:.1e} to {one.epsilon_high:.1e}",
            f"{one.precision:.3f}",
            f"{one.recall:.3f}",
            f"{one.f1:.3f}",
            f"{one.held_out_f1:.3f}",
        )
        for one in calibration.layers
    ]
    names = ("layers", "LA", "95% interval", "epsilon", "epsilon 95%", "P", "R", "F1", "F1 held out")
    every = _columns(names, rows)
    columns = fitting(every, ("P", "R", "95% interval", "epsilon 95%"))
    best = calibration.saved
    title = folding(f"{calibration.model}, calibrated on {calibration.dataset}", "bold")
    lines = [f"proposed: --layers {best.layers} --epsilon {rounded(best.epsilon)}"]
    if best.promise:
        lines.append(best.promise)
    if calibration.found is not None:
        lines.append(f"found: {calibration.found:.1%} of {calibration.counts['false_captions']:,} false captions")
    lines += [f"note: {note}" for note in (*calibration.notes, *hidden_columns(every, columns))]
    table: list[Any] = [column_table(columns), Text("")] if rows else []
    return printed([title, Text(""), *table, *map(folding, lines)])


def rounded(epsilon: float) -> str:
    """Format an epsilon as it is typed: ``-4.37e-05``."""
    return f"{epsilon:.{DIGITS}g}"


def save_calibration(calibration: Calibration, place: Path) -> None:
    """Write what ``detect --calibration`` takes; ``UsageError`` if the file cannot be written."""
    try:
        write_whole(place, encode(calibration.saved, indent=True))
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}", input="--save") from error


def eval_page(shown: EvalReport) -> str:
    """Return the report about a run as one self-contained page.

    It shows metrics with their intervals beside published numbers, the distribution of scores, and the samples with the
    worst and best results.
    """
    document: Mapping[str, Any] = shown.document
    formatter = DetectFormatter()
    scale = formatter.scale_of([one.record for one in (*shown.worst, *shown.best)])
    origin = {name: value for name, value in document["provenance"].items() if name not in ("model", "settings")}
    return render_template(
        "eval.html",
        title=f"clipalign eval: {document['dataset']}, {document['model']}",
        document=document,
        provenance={"model": document["model"], **origin, "settings": document["settings"]},
        legend=[one for one in LEGEND if one[0] != "published" or document["published"]],
        scale_units=SCALE_UNITS,
        metrics=[_metric(document, name) | {"about": said} for name, said in _explained(document["metrics"])],
        plots=[_plot(one) for one in shown.distributions],
        scale=scale.shapes,
        bars=scale.legend,
        examples=[
            ("Most wrong", _cards(formatter, scale, shown.worst, 0)),
            ("Most right", _cards(formatter, scale, shown.best, len(shown.worst))),
        ],
        styles=("page.css", "eval.css"),
        scripts=(),
    )


def _metric(document: Mapping[str, Any], name: str) -> dict[str, object]:
    value = float(document["metrics"][name])
    interval = document["intervals"][name]
    low, high, chance = interval["low"], interval["high"], interval["chance"]
    known = document["published"].get(name, [])
    return {
        "name": name,
        "value": f"{value:.4f}",
        "numbers": (
            "" if low is None else f"{low:.3f} to {high:.3f}",
            "" if chance is None else f"{chance:.3f}",
            f"{interval['n']:,}",
        ),
        "scale": _scale(value, low, high, chance, [one["value"] for one in known]),
        "published": [
            f"{one['value']:.3f} ({value - one['value']:+.3f})  {one['backbone']}, {one['source']}" for one in known
        ],
    }


def _scale(
    value: float, low: float | None, high: float | None, chance: float | None, known: Sequence[float]
) -> list[Rect]:
    """Draw from 0 to 1, or from -1 if any value is below 0; values outside are drawn at the end."""
    everything = [one for one in (value, low, chance, *known) if one is not None]
    least = -1.0 if min(everything) < 0 else 0.0

    def place(number: float) -> float:
        return round(min(1.0, max(0.0, (number - least) / (1.0 - least))) * SCALE_UNITS, 2)

    def tick(kind: str, number: float, y: float, height: float) -> Rect:
        return Rect(kind, place(number) - 1, y, 2, height)

    shapes = [Rect("ground", 0, 9, SCALE_UNITS, 2)]
    if low is not None and high is not None:
        shapes.append(Rect("interval", place(low), 6, max(place(high) - place(low), 0.5), 8))
    shapes += [tick("published", number, 2, 5) for number in known]
    if chance is not None:
        shapes.append(tick("chance", chance, 13, 5))
    return [*shapes, tick("value", value, 4, 12)]


def _plot(distribution: Distribution) -> dict[str, object]:
    """Draw overlaid histograms, each normalized to the same area."""
    pooled = [value for _, values in distribution.groups for value in values]
    low, high = min(pooled), max(pooled)
    shares = [_shares(values, low, high) for _, values in distribution.groups]
    tallest = max(map(max, shares))
    bars = []
    for kind, found in enumerate(shares):
        for place, share in enumerate(found):
            if height := round(share / tallest * PLOT_HEIGHT, 2):
                bars.append(Rect(f"kind-{kind}", place * BIN_WIDTH, PLOT_HEIGHT - height, BIN_WIDTH, height))
    return {
        "title": distribution.title,
        "width": BINS * BIN_WIDTH,
        "height": PLOT_HEIGHT,
        "bars": bars,
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "labels": [
            f"{name} ({len(values):,}; mean {sum(values) / len(values):.3g})" for name, values in distribution.groups
        ],
    }


def _shares(values: Sequence[float], low: float, high: float) -> list[float]:
    counts = [0] * BINS
    for value in values:
        share = (value - low) / (high - low) if high > low else 0.5
        counts[min(BINS - 1, int(share * BINS))] += 1
    return [count / len(values) for count in counts]


def _cards(
    formatter: DetectFormatter, scale: Scale, examples: Sequence[Example], first: int
) -> Iterator[dict[str, Any]]:
    """Yield the cards of examples: one is shown as wrong if a word of it is, by what the data set says."""
    for number, one in enumerate(examples, first):
        card = card_of(formatter, Entry(dict(one.record), thumbnail=data_url(one.picture)), scale, number)
        wrong = any(kind in ("wrong", "missed") for kind, _ in card["verdicts"])
        yield card | {"truth": one.truth, "kind": "found" if wrong else "fine"}


ABOUT: Final = {
    "la": "Of the false captions, how many have a false word as their lowest one, whatever epsilon is.",
    "published_la": "The same as the paper's own code counts it.",
    "f1": "Of words called misaligned: the harmonic mean of precision and recall.",
    "precision": "Of the words called misaligned, how many are false.",
    "recall": "Of the false words, how many are called misaligned.",
    "published_f1": "The same with words that equal the data set's tokens.",
    "ap_clip_score": "Average precision of CLIPScore at telling true captions from false ones.",
    "ap_f_clip_score": "The same of F-CLIPScore, which counts misaligned words.",
    "ap_sum_negative_attribution": "The same of the sum of the misaligned words' attributions.",
    "ap_ref_clip_score": "The same of RefCLIPScore, which also compares with references.",
    "pair_accuracy": "How many pictures have every true caption above every false one.",
    "text_accuracy": "Without the picture: how often two true captions are nearer to each other than to the false one.",
    "best_accuracy": "How many captions are on the right side of the cosine that parts true from false best.",
    "pairs_ranked_right": "How often the true caption of a picture scores above its false one.",
    "tau": "Rank correlation (Kendall) of the score with people's ratings.",
    "spearman": "Rank correlation (Spearman) of the score with people's ratings.",
    "pearson": "Linear correlation of the score with people's ratings.",
    "monotonicity": "Correlation of a caption's place, from short to long, with its cosine.",
    "nli": "Probability, by a model of inference, that the words called misaligned follow from what people said.",
    "published_nli": "The same with both texts in lower case.",
    "top1": "How often the best class is the right one.",
    "top1_wca_std": "Spread of that share over repeated random crops.",
    "top5": "How often the right class is among the best five.",
    "gain": "Difference of two methods' top-1.",
    "positive": "How often a true detail raises the score.",
    "negative": "How often a wrong detail lowers it.",
    "average": "The mean of both.",
    "published_positive": "Positive, negative and their mean as SPECS' own script counts them.",
    "r": "Recall: how often what belongs together is among the first k.",
}
"""What a metric says, by the beginning of its name."""
PARTS: Final = "The metrics above, for parts of the data set."


def about(name: str) -> str:
    """Return the entry of :data:`ABOUT` with the longest beginning of ``name``; empty for none."""
    known = [begin for begin in ABOUT if re.match(rf"{begin}(?![a-z])", name)]
    return ABOUT[max(known, key=len)] if known else ""


def _explained(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each metric with its explanation where another one stands above it; explained twice, it is of a part."""
    said, last = {""}, ""
    for name in names:
        sentence = about(name)
        if sentence in said and sentence != last:
            sentence = PARTS
        yield name, "" if sentence == last else sentence
        said.add(sentence)
        last = sentence
