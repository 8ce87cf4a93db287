"""``score-long`` records in every format: CSV columns, summary, card, annotation, line of the table. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from clipalign.report.records import Column, Kind, NameColumn, Record, Sort
from clipalign.report.summary import number_text, score_name

if TYPE_CHECKING:
    from pathlib import Path

    from rich.text import Text

    from clipalign.report.html.markup import Markup
    from clipalign.results import LongResult

NAMED_SENTENCES: Final = 3
"""How many sentences an annotation quotes before it only counts."""

FOLDED_SENTENCES: Final = 24
"""From more sentences on a card shows them on demand."""

BAR_UNITS: Final = 100
"""Length of a bar in its own coordinates."""


def score_long_record(result: LongResult) -> Record:
    """The record of one text; ``clip_score`` only where the weights are not SPECS'."""
    record: Record = {
        "id": result.id,
        "image": result.image,
        "text": result.text,
        "model": result.model,
        "cosine": result.cosine,
        "specs_score": result.specs_score,
    }
    if result.clip_score is not None:
        record["clip_score"] = result.clip_score
    return record | {
        "n_tokens": result.n_tokens,
        "truncated": result.truncated,
        "sentences": [asdict(sentence) for sentence in result.sentences],
        "unknown_words": list(result.unknown_words),
        "warnings": list(result.warnings),
        "provenance": asdict(result.provenance),
    }


def render_long(
    results: Sequence[LongResult],
    *,
    format: str,
    thumbnail: bytes | None = None,
    output: Path | None = None,
    overwrite: bool = False,
) -> bool:
    """Write the results of one picture's texts to stdout or into a file; their warnings are the caller's.

    Args:
        results: at least one.
        format: any of ``settings.choices.FORMATS``.
        thumbnail: a small WebP, JPEG or PNG of the picture, for ``html``.
        output: the file; None or ``-`` for stdout.
        overwrite: whether a file that exists is replaced.

    Returns:
        False when the reader has gone.

    Raises:
        UsageError: a file that may not be written.
        OutputError: stdout, or the file, cannot be written.
    """
    from clipalign.report import DATA_FORMATS, deliver
    from clipalign.report.one import document
    from clipalign.report.score_long_table import score_long_table

    def table() -> str:
        return score_long_table([score_long_record(result) for result in results])

    content = document(ScoreLongView(), results, format=format, table=table, thumbnail=thumbnail)
    return deliver(content, output=output, overwrite=overwrite, is_data=format in DATA_FORMATS)


class ScoreLongView:
    """How records of ``score-long`` look."""

    command = "score-long"
    noun = ("text", "texts")
    columns = (
        Column("id", Kind.TEXT),
        Column("image", Kind.TEXT),
        Column("text", Kind.TEXT),
        Column("model", Kind.TEXT),
        Column("cosine", Kind.NUMBER),
        Column("specs_score", Kind.NUMBER),
        Column("clip_score", Kind.NUMBER),
        Column("n_tokens", Kind.WHOLE),
        Column("truncated", Kind.TRUTH),
        Column("sentences", Kind.JSON),
        Column("unknown_words", Kind.JSON),
        Column("warnings", Kind.JSON),
    )
    scores = ("cosine", "specs_score", "clip_score")
    found_name = "with_lowering_sentences"
    frequent_name = ""
    sorts = (
        Sort("score, lowest first", "specs_score"),
        Sort("score, highest first", "specs_score", descending=True),
    )

    def __init__(self) -> None:
        self._names = NameColumn()

    def record(self, result: LongResult) -> Record:
        """As in JSON."""
        return score_long_record(result)

    def found(self, record: Mapping[str, Any]) -> bool:
        """Whether any sentence lowers the score by more than the margin."""
        return any(sentence["lowers"] for sentence in record.get("sentences") or ())

    def frequent(self, record: Mapping[str, Any]) -> Iterable[str]:
        """Nothing: sentences hardly ever occur twice."""
        return ()

    def badness(self, record: Mapping[str, Any]) -> float:
        """Texts with lowering sentences first, by the largest fall; the others by their score."""
        falls = [-sentence["increment"] for sentence in record["sentences"] if sentence["lowers"]]
        return 2.0 + max(falls) if falls else 1.0 - float(record["specs_score"])

    def card(self, record: Mapping[str, Any], thumbnail: str) -> Markup:
        """The text with its lowering sentences marked, scores, and a cumulative bar a sentence."""
        from clipalign.report.html import parts
        from clipalign.report.html.markup import joined, tag

        sentences = record["sentences"]
        spans = [(sentence["start"], sentence["end"]) for sentence in sentences if sentence["lowers"]]
        body = tag(
            "div",
            parts.heading(record["id"], record["image"]),
            parts.caption(parts.marked_text(record["text"], spans, title="lowers the score")),
            tag("p", _verdict(record), attributes={"class": "verdict wrong" if spans else "verdict"}),
            parts.scores(_scores(record)),
            parts.warnings(record.get("warnings") or ()),
            _sentences(record),
            attributes={"class": "body"},
        )
        return joined(parts.picture(thumbnail, alt=f"picture of {record['id']}"), body)

    def annotation(self, record: Mapping[str, Any]) -> str:
        """Which sentences, and by how much."""
        lowering = [sentence for sentence in record["sentences"] if sentence["lowers"]]
        if not lowering:
            return ""
        named = "; ".join(f"{one['text']} ({number_text(one['increment'])})" for one in lowering[:NAMED_SENTENCES])
        more = f"; and {len(lowering) - NAMED_SENTENCES} more" if lowering[NAMED_SENTENCES:] else ""
        return f"lowers the score {number_text(record['specs_score'])} with {record['image']}: {named}{more}"

    def line(self, record: Mapping[str, Any]) -> Text:
        """Mark, score, how many sentences lower it, id, and the first of them or the text."""
        from rich.text import Text

        from clipalign.report.console import visible
        from clipalign.report.layout import signs

        drawn_with = signs()
        lowering = [sentence["text"] for sentence in record["sentences"] if sentence["lowers"]]
        count = sum(sentence["cosine"] is not None for sentence in record["sentences"])
        text = Text(f"{drawn_with.wrong if lowering else ' '} ", style="bold red" if lowering else "")
        text.append(f"{record['specs_score']:.4f}  ", style="bold")
        text.append(f"{f'{len(lowering)}/{count}':>5}  ", style="bold red" if lowering else "dim")
        text.append(self._names.cell(record["id"]) + "  ", style="dim")
        if lowering:
            text.append(visible(" ".join(lowering[0].split())), style="bold red").append(" in: ")
        return text.append(visible(" ".join(record["text"].split())))


def _verdict(record: Mapping[str, Any]) -> str:
    piece = record["provenance"]["settings"].get("by", "sentence")
    scored = [sentence for sentence in record["sentences"] if sentence["cosine"] is not None]
    lowering = sum(sentence["lowers"] for sentence in scored)
    of = f"{len(scored)} {piece}{'' if len(scored) == 1 else 's'}"
    if not lowering:
        return f"no {piece} lowers the score (of {of})"
    return f"✗ {lowering} of {of} {'lowers' if lowering == 1 else 'lower'} the score"


def _scores(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    keys = ("specs_score", "clip_score", "cosine")
    names = {} if record.get("clip_score") is None else {"specs_score": "(cosine + 1) / 2"}  # not under SPECS' weights
    found = [(names.get(key, score_name(key)), number_text(record[key])) for key in keys if record.get(key) is not None]
    return [*found, ("tokens", f"{record['n_tokens']}{', cut off' if record['truncated'] else ''}")]


def _sentences(record: Mapping[str, Any]) -> Markup:
    """A row a sentence: mark, sentence, score so far, what it did to it, and a bar of both."""
    from clipalign.report.html import parts
    from clipalign.report.html.markup import tag
    from clipalign.report.score_long_table import scale_of

    low, high = scale_of([record])
    rows = []
    before: float | None = None
    for sentence in record["sentences"]:
        score, change, wrong = sentence["specs_score"], sentence["increment"], sentence["lowers"]
        share = None if score is None else (score - low) / (high - low)
        cells = [
            tag("td", "✗" if wrong else "", attributes={"class": "sign"}),
            tag("th", sentence["text"], attributes={"scope": "row", "dir": "auto"}),
            tag("td", "not scored" if score is None else f"{score:.4f}", attributes={"class": "number"}),
            tag("td", "" if change is None else f"{change:+.4f}", attributes={"class": "number"}),
            tag("td", *([] if share is None else [_bar(before, share)]), attributes={"class": "drawing"}),
        ]
        rows.append(tag("tr", *cells, attributes={"class": "wrong" if wrong else None}))
        before = share
    table = tag("table", tag("tbody", *rows), attributes={"class": "words sentences"})
    return parts.folded(f"{len(rows)} sentences", table) if len(rows) > FOLDED_SENTENCES else table


def _bar(before: float | None, now: float) -> Markup:
    """What stood, and what was gained; what was lost is drawn thinner, for eyes that see no colours."""
    from clipalign.report.html.markup import tag

    def part(name: str, first: float, last: float, *, thin: bool = False) -> Markup:
        place = {"x": round(first * BAR_UNITS, 1), "width": round((last - first) * BAR_UNITS, 1)}
        height = {"y": 3, "height": 4} if thin else {"y": 1, "height": 8}
        return tag("rect", attributes={"class": name, **place, **height})

    then = 0.0 if before is None else before
    shapes = [part("stood", 0.0, min(then, now))]
    shapes.append(part("plus", then, now) if now >= then else part("wrong", now, then, thin=True))
    box = {"class": "bar", "viewBox": f"0 0 {BAR_UNITS} 10", "preserveAspectRatio": "none", "aria-hidden": "true"}
    return tag("svg", *shapes, attributes=box)
