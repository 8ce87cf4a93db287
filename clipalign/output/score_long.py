"""``score-long`` for the eye: sentence by sentence the score so far, what the sentence did to it, and a cumulative bar.

Several texts about one picture stand in the order of their scores, their bars on one scale. Colour only repeats what
marks and signs already say. Sentences stand as they are in the text, never as markup.

``score-long`` records in every format: CSV columns, summary, card, annotation, line of the table. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.table import Table
from rich.text import Text

from clipalign.output.console import MAX_WIDTH, visible, width
from clipalign.output.layout import UNICODE_SIGNS, Signs, flowing, origin_line, printed, shortened, signs
from clipalign.output.records import Column, Kind, NameColumn, Record, Sort, number_text, score_name

if TYPE_CHECKING:
    from pathlib import Path

    from rich.text import Text

    from clipalign.output.html.markup import Markup
    from clipalign.results import LongResult


BAR_CELLS: Final = (8, 24)
"""Columns of a bar: at least, at most."""

MIN_TITLE_CELLS: Final = 8
SENTENCE_CELLS: Final = 24
"""Columns of the sentences, at least; bars only repeat numbers and go first."""

DECIMALS: Final = (4, 6)
"""Of scores: usually, and where a change is too small to be seen with those."""

FLOOR: Final = 0.1
"""The shortest bar, as a share of the scale, so that the lowest score has one too."""


class Scale(NamedTuple):
    """What the two ends of a bar stand for."""

    low: float
    high: float

    def cells(self, score: float, room: int) -> int:
        """Columns of a bar up to ``score``."""
        return round((score - self.low) / (self.high - self.low) * room)


def scale_of(records: Sequence[Mapping[str, Any]]) -> Scale:
    """One scale for all scores of these records; it does not begin at 0, for what is to be seen are differences."""
    scores = [sentence["specs_score"] for record in records for sentence in record["sentences"]]
    known = [score for score in scores if score is not None]
    low, high = min(known), max(known)
    spread = (high - low) or 0.01
    return Scale(low - FLOOR * spread, high)


def score_long_table(records: Sequence[Mapping[str, Any]]) -> str:
    """The page for one text, or for several about one picture, the best first."""
    drawn_with = signs()
    scale = scale_of(records)
    ranked = sorted(records, key=lambda record: -record["specs_score"])
    parts: list[Text | Table] = [Text(visible(ranked[0]["image"]), style="bold", overflow="fold"), Text("")]
    if len(ranked) > 1:
        parts += [_ranking(ranked), Text("")]
    for rank, record in enumerate(ranked, 1):
        if len(ranked) > 1:
            parts.append(Text(f"{rank}. {_title(record, width() - 5)}", style="bold"))
        parts += [_sentences(record, scale, drawn_with), Text(""), verdict(record, drawn_with), Text("")]
    if len(ranked) == 1:
        parts[-1:] = [_scores(ranked[0])]
    origin = ranked[0]["provenance"]
    context = f"{origin['settings'].get('context_tokens')} tokens"
    return printed([*parts, _legend(scale, drawn_with), origin_line(origin, drawn_with, also=[context])])


def _title(record: Mapping[str, Any], room: int) -> str:
    """How the text begins, after its identifier where that is not the image's name."""
    begins = " ".join(record["text"][:MAX_WIDTH].split())
    return shortened(begins if record["id"] == record["image"] else f"{record['id']}: {begins}", room)


def _ranking(ranked: Sequence[Mapping[str, Any]]) -> Table:
    rows = [("rank", "score", "cosine", "lowering", "text")]
    for rank, record in enumerate(ranked, 1):
        lowering = sum(sentence["lowers"] for sentence in record["sentences"])
        count = sum(sentence["cosine"] is not None for sentence in record["sentences"])
        score, cosine = f"{record['specs_score']:.4f}", f"{record['cosine']:+.4f}"
        rows.append((str(rank), score, cosine, f"{lowering} of {count}", ""))
    cells = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    room = max(MIN_TITLE_CELLS, width() - sum(cells) - 2 * len(cells))
    table = Table.grid(padding=(0, 2, 0, 0))
    for cell in cells:
        table.add_column(justify="right", width=cell, no_wrap=True)
    table.add_column(no_wrap=True, overflow="crop")
    table.add_row(*rows[0], style="bold")
    for row, record in zip(rows[1:], ranked, strict=True):
        style = "" if row[3].startswith("0 ") else "bold red"
        table.add_row(*row[:3], Text(row[3], style=style), Text(_title(record, room)))
    return table


def _sentences(record: Mapping[str, Any], scale: Scale, drawn_with: Signs) -> Table:
    sentences = record["sentences"]
    decimals = _decimals(sentences)
    number_cells, change_cells = decimals + 2, decimals + 3
    taken = 1 + number_cells + change_cells + 4  # mark, numbers, gaps
    bar_cells = min(BAR_CELLS[1], width() - taken - SENTENCE_CELLS)
    has_bars = bar_cells >= BAR_CELLS[0]
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(overflow="fold", width=width() - taken - (bar_cells if has_bars else 0))
    table.add_column(width=number_cells, justify="right", no_wrap=True)
    table.add_column(width=change_cells, justify="right", no_wrap=True)
    if has_bars:
        table.add_column(width=bar_cells, no_wrap=True)
    before: float | None = None
    beyond = sum(sentence["cosine"] is None for sentence in sentences)
    for sentence in sentences[: len(sentences) - max(0, beyond - 1)]:
        score, change = sentence["specs_score"], sentence["increment"]
        style = "bold red" if sentence["lowers"] else "" if score is not None else "dim"
        table.add_row(
            Text(_mark(sentence, drawn_with), style=style),
            Text(visible(" ".join(sentence["text"].split())), style=style),
            Text(drawn_with.none if score is None else f"{score:.{decimals}f}", style=style),
            Text("" if change is None else f"{change:+.{decimals}f}", style=style),
            *([_bar(before, score, scale, bar_cells, drawn_with)] if has_bars else []),
        )
        before = score
    if beyond > 1:
        table.add_row("", Text(f"{beyond - 1} more beyond the context", style="dim"))
    return table


def _decimals(sentences: Sequence[Mapping[str, Any]]) -> int:
    changes = [-sentence["increment"] for sentence in sentences if sentence["lowers"]]
    return DECIMALS[0] if min(changes, default=1.0) >= 10 ** -DECIMALS[0] / 2 else DECIMALS[1]


def _mark(sentence: Mapping[str, Any], drawn_with: Signs) -> str:
    if sentence["lowers"]:
        return drawn_with.wrong
    return drawn_with.unknown if sentence["cut"] else ""


def _bar(before: float | None, score: float | None, scale: Scale, room: int, drawn_with: Signs) -> Text:
    """What stood before, then what the sentence added, or in another sign what it took away."""
    if score is None:
        return Text("")
    stood, gained, lost = ("▒", "█", "░") if drawn_with is UNICODE_SIGNS else ("=", "#", "-")
    now = scale.cells(score, room)
    if before is None:
        return Text(gained * now, style="green")
    then = scale.cells(before, room)
    bar = Text(stood * min(now, then), style="dim")
    return bar.append(gained * (now - then), style="green").append(lost * (then - now), style="red")


def verdict(record: Mapping[str, Any], drawn_with: Signs) -> Text:
    """How many sentences lower the score, and what was not read."""
    sentences, settings = record["sentences"], record["provenance"]["settings"]
    piece = str(settings.get("by", "sentence"))
    scored = [sentence for sentence in sentences if sentence["cosine"] is not None]
    lowering = [place for place, sentence in enumerate(sentences, 1) if sentence["lowers"]]
    margin = f" by more than {settings['margin']:g}" if settings.get("margin") else ""
    text = Text(overflow="fold")
    if lowering:
        verb = "lowers" if len(lowering) == 1 else "lower"
        of = f"{len(lowering)} of {_count(len(scored), piece)} {verb} the score{margin}"
        text.append(f"{drawn_with.wrong} {of}", style="bold red")
        text.append(f"  (number {', '.join(map(str, lowering))})" if len(scored) > 1 else "")
    else:
        text.append(f"no {piece} lowers the score{margin}  (of {_count(len(scored), piece)})")
    if record["unknown_words"]:
        known_by = visible(record["model"])
        text.append(f"\n{drawn_with.unknown} unknown to {known_by}: ")
        text.append(", ".join(map(visible, record["unknown_words"])))
    cut = next((place for place, sentence in enumerate(sentences, 1) if sentence["cut"]), None)
    if cut is not None:
        text.append(f"\n{drawn_with.unknown} the context ends within {piece} {cut}")
    if left := len(sentences) - len(scored):
        text.append(f"\n{drawn_with.none} not scored, beyond the context: {_count(left, piece)}")
    return text


def _count(count: int, piece: str) -> str:
    return f"{count} {piece}{'' if count == 1 else 's'}"


def _scores(record: Mapping[str, Any]) -> Text:
    is_specs = record.get("clip_score") is None
    named = [("SPECS" if is_specs else "(cosine + 1) / 2", f"{record['specs_score']:.4f}")]
    named.append(("cosine", f"{record['cosine']:.4f}"))
    if not is_specs:
        named.append(("CLIPScore", f"{record['clip_score']:.4f}"))
    named.append(("tokens", str(record["n_tokens"])))
    return flowing([Text(f"{name} ").append(number, style="bold") for name, number in named], gap="   ")


def _legend(scale: Scale, drawn_with: Signs) -> Text:
    gained, lost = ("█", "░") if drawn_with is UNICODE_SIGNS else ("#", "-")
    return Text(
        f"bars from {scale.low:.4f} to {scale.high:.4f}: {gained} gained, {lost} lost", style="dim", overflow="fold"
    )


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
    from clipalign.output import DATA_FORMATS, deliver
    from clipalign.output.documents import document

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
        from clipalign.output.html import parts
        from clipalign.output.html.markup import joined, tag

        sentences = record["sentences"]
        spans = [(sentence["start"], sentence["end"]) for sentence in sentences if sentence["lowers"]]
        body = tag(
            "div",
            parts.heading(record["id"], record["image"]),
            parts.caption(parts.marked_text(record["text"], spans, title="lowers the score")),
            tag("p", _verdict(record), attributes={"class": "verdict wrong" if spans else "verdict"}),
            parts.scores(_scores_score_long(record)),
            parts.warnings(record.get("warnings") or ()),
            _sentences_score_long(record),
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

        from clipalign.output.console import visible
        from clipalign.output.layout import signs

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


def _scores_score_long(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    keys = ("specs_score", "clip_score", "cosine")
    names = {} if record.get("clip_score") is None else {"specs_score": "(cosine + 1) / 2"}  # not under SPECS' weights
    found = [(names.get(key, score_name(key)), number_text(record[key])) for key in keys if record.get(key) is not None]
    return [*found, ("tokens", f"{record['n_tokens']}{', cut off' if record['truncated'] else ''}")]


def _sentences_score_long(record: Mapping[str, Any]) -> Markup:
    """A row a sentence: mark, sentence, score so far, what it did to it, and a bar of both."""
    from clipalign.output.html import parts
    from clipalign.output.html.markup import tag

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
            tag("td", *([] if share is None else [_bar_score_long(before, share)]), attributes={"class": "drawing"}),
        ]
        rows.append(tag("tr", *cells, attributes={"class": "wrong" if wrong else None}))
        before = share
    table = tag("table", tag("tbody", *rows), attributes={"class": "words sentences"})
    return parts.folded(f"{len(rows)} sentences", table) if len(rows) > FOLDED_SENTENCES else table


def _bar_score_long(before: float | None, now: float) -> Markup:
    """What stood, and what was gained; what was lost is drawn thinner, for eyes that see no colours."""
    from clipalign.output.html.markup import tag

    def part(name: str, first: float, last: float, *, thin: bool = False) -> Markup:
        place = {"x": round(first * BAR_UNITS, 1), "width": round((last - first) * BAR_UNITS, 1)}
        height = {"y": 3, "height": 4} if thin else {"y": 1, "height": 8}
        return tag("rect", attributes={"class": name, **place, **height})

    then = 0.0 if before is None else before
    shapes = [part("stood", 0.0, min(then, now))]
    shapes.append(part("plus", then, now) if now >= then else part("wrong", now, then, thin=True))
    box = {"class": "bar", "viewBox": f"0 0 {BAR_UNITS} 10", "preserveAspectRatio": "none", "aria-hidden": "true"}
    return tag("svg", *shapes, attributes=box)
