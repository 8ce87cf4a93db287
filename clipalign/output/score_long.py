"""``score-long`` records in every format: sentence by sentence the score so far, and what the sentence does to it.

Several texts about one picture are sorted by score, their bars on one scale. Sentences are shown as in the text, never
as markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from rich.table import Table
from rich.text import Text

from clipalign.output.console import MAX_WIDTH, visible, width
from clipalign.output.html import BAR_UNITS, Rect, Scale
from clipalign.output.records import RecordFormatter, Sort, named_scores, number_text, pieces_of
from clipalign.output.table import IdColumn, folding, printed, provenance_line, score_line, shortened, signs
from clipalign.results import SentenceScore

BAR_CELLS: Final = (8, 24)

MIN_TITLE_CELLS: Final = 8
SENTENCE_CELLS: Final = 32
"""Minimum columns of the sentences; bars, which only repeat numbers, are dropped first."""

WIDE_CELLS: Final = 64
"""Columns of a terminal from which all numbers have their names over them; a narrower one has no increments."""

DECIMALS: Final = (4, 6)
"""Decimals of scores: the default, and those for changes too small for it."""

SHORTEST_BAR: Final = 0.1

NAMED_SENTENCES: Final = 3
"""Sentences that an annotation quotes before it only counts."""

CHANGES: Final = ("increment", "contribution")

Sentence = Mapping[str, Any]


class ScoreLongFormatter(RecordFormatter):
    command = "score-long"
    noun = ("text", "texts")
    columns: ClassVar = {
        "id": str,
        "image": str,
        "text": str,
        "specs_score": float,
        "clip_score": float,
        "cosine": float,
        "sentences": tuple[SentenceScore, ...],
        "n_tokens": int,
        "truncated": bool,
        "warnings": tuple[str, ...],
        "model": str,
    }
    first_score = "specs_score"
    scores = ("cosine", "specs_score", "clip_score")
    finding = "with_lowering_sentences"
    sorts = (
        Sort("score, lowest first", "specs_score"),
        Sort("score, highest first", "specs_score", descending=True),
    )

    def __init__(self) -> None:
        self._ids = IdColumn()

    def found(self, record: Mapping[str, Any]) -> bool:
        return any(sentence["lowers"] for sentence in record.get("sentences") or ())

    def badness(self, record: Mapping[str, Any]) -> float:
        """Put texts with lowering sentences first, by the largest drop; the others by their score."""
        falls = [-sentence["contribution"] for sentence in _lowering(record)]
        return 2.0 + max(falls) if falls else 1.0 - float(record["specs_score"])

    def rank(self, record: Mapping[str, Any]) -> float:
        return -float(record["specs_score"])

    def scale_of(self, records: Sequence[Mapping[str, Any]]) -> Scale:
        """Return one scale for all scores; it does not begin at 0, so that differences are visible."""
        known = [sentence["specs_score"] for record in records for sentence in _scored(record)]
        low, high = min(known, default=0.0), max(known, default=1.0)
        low -= SHORTEST_BAR * ((high - low) or 0.01)
        return Scale(low, high, legend=f"Bars are the score so far, from {low:.4f} to {high:.4f}: green is gained.")

    def card(self, record: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
        rows = []
        before: float | None = None
        for sentence in record["sentences"]:
            score = sentence["specs_score"]
            share = None if score is None else scale.share(score)
            rows.append(
                {
                    "text": sentence["text"],
                    "kind": "wrong" if sentence["lowers"] else "",
                    "place": None,
                    "numbers": [
                        "not scored" if score is None else f"{score:.4f}",
                        *(_signed(sentence[name], DECIMALS[0]) for name in CHANGES),
                    ],
                    "bar": [] if share is None else _cumulative_bar(before, share),
                }
            )
            before = share
        lowering = _lowering(record)
        return {
            "pieces": [
                (text, "lowers the score" if one else "", "") for text, one in pieces_of(record["text"], lowering)
            ],
            "lowers": bool(lowering),
            "wide": True,
            "verdict": _finding(record),
            "scores": _scores(record),
            "rows": rows,
            "heads": ["score", *CHANGES],
        }

    def annotation(self, record: Mapping[str, Any]) -> str:
        lowering = _lowering(record)
        if not lowering:
            return ""
        named = "; ".join(f"{one['text']} ({number_text(one['contribution'])})" for one in lowering[:NAMED_SENTENCES])
        more = f"; and {len(lowering) - NAMED_SENTENCES} more" if lowering[NAMED_SENTENCES:] else ""
        return f"lowers the score {number_text(record['specs_score'])} with {record['image']}: {named}{more}"

    def head(self, record: Mapping[str, Any]) -> str:
        self._ids.cell(record["id"])
        return f"  score   lowers  {self._ids.cell('id')}  text"

    def line(self, record: Mapping[str, Any]) -> Text:
        lowering = [sentence["text"] for sentence in _lowering(record)]
        text = Text(f"{signs().wrong if lowering else ' '} ", style="bold red" if lowering else "")
        text.append(f"{record['specs_score']:.4f}  ", style="bold")
        share = f"{len(lowering)}/{len(_scored(record))}"
        text.append(f"{share:>6}  ", style="bold red" if lowering else "dim")
        text.append(self._ids.cell(record["id"]) + "  ", style="dim")
        if lowering:
            text.append(visible(" ".join(lowering[0].split())), style="bold red").append(" in: ")
        return text.append(visible(" ".join(record["text"].split())))

    def table(self, records: Sequence[Mapping[str, Any]]) -> str:
        scale = self.scale_of(records)
        ranked = sorted(records, key=self.rank)
        parts: list[Text | Table] = [folding(ranked[0]["image"], "bold"), Text("")]
        if len(ranked) > 1:
            parts += [_ranking(ranked), Text("")]
        for rank, record in enumerate(ranked, 1):
            if len(ranked) > 1:
                parts.append(Text(f"{rank}. {_title(record, width() - 5)}", style="bold"))
            parts += [_sentences(record, scale), Text(""), _verdict(record), Text("")]
        if len(ranked) == 1:
            parts[-1:] = [score_line(_scores(ranked[0]))]
        shape, origin = signs(), ranked[0]["provenance"]
        legend = f"bars from {scale.low:.4f} to {scale.high:.4f}: {shape.full} gained, {shape.lost} lost"
        context = f"{origin['settings'].get('context_tokens')} tokens"
        provenance = provenance_line(origin, first=[origin["model"]], also=[context])
        return printed([*parts, folding(legend, "dim"), provenance])


def _lowering(record: Mapping[str, Any]) -> list[Sentence]:
    return [sentence for sentence in record["sentences"] if sentence["lowers"]]


def _scored(record: Mapping[str, Any]) -> list[Sentence]:
    return [sentence for sentence in record["sentences"] if sentence["cosine"] is not None]


def _title(record: Mapping[str, Any], space: int) -> str:
    """Return the beginning of the text, after its identifier unless that is the image's name."""
    begins = " ".join(record["text"][:MAX_WIDTH].split())
    return shortened(begins if record["id"] == record["image"] else f"{record['id']}: {begins}", space)


def _ranking(ranked: Sequence[Mapping[str, Any]]) -> Table:
    rows = [("rank", "score", "cosine", "lowering", "text")]
    for rank, record in enumerate(ranked, 1):
        score, cosine = f"{record['specs_score']:.4f}", f"{record['cosine']:+.4f}"
        rows.append((str(rank), score, cosine, f"{len(_lowering(record))} of {len(_scored(record))}", ""))
    cells = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    space = max(MIN_TITLE_CELLS, width() - sum(cells) - 2 * len(cells))
    table = Table.grid(padding=(0, 2, 0, 0))
    for cell in cells:
        table.add_column(justify="right", width=cell, no_wrap=True)
    table.add_column(no_wrap=True, overflow="crop")
    table.add_row(*rows[0], style="bold")
    for row, record in zip(rows[1:], ranked, strict=True):
        style = "" if row[3].startswith("0 ") else "bold red"
        table.add_row(*row[:3], Text(row[3], style=style), Text(_title(record, space)))
    return table


def _sentences(record: Mapping[str, Any], scale: Scale) -> Table:
    sentences, shape, decimals = record["sentences"], signs(), _decimals(record)
    is_wide = width() >= WIDE_CELLS
    names = ("score", *CHANGES) if is_wide else ("", "")
    cells = [max(len(name), decimals + 3) for name in names]
    space = width() - sum(cells) - len(cells) - 2  # mark, gaps
    bar_cells = min(BAR_CELLS[1], space - 1 - SENTENCE_CELLS)
    has_bars = bar_cells >= BAR_CELLS[0]
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(overflow="fold", width=space - (bar_cells + 1 if has_bars else 0))
    for number_cells in cells:
        table.add_column(width=number_cells, justify="right", no_wrap=True)
    if has_bars:
        table.add_column(width=bar_cells, no_wrap=True)
    if is_wide:
        table.add_row("", "", *names, style="dim")
    before: float | None = None
    beyond = len(sentences) - len(_scored(record))
    for sentence in sentences[: len(sentences) - max(0, beyond - 1)]:
        score = sentence["specs_score"]
        style = "bold red" if sentence["lowers"] else "" if score is not None else "dim"
        mark = shape.wrong if sentence["lowers"] else shape.unknown if sentence["cut"] else ""
        table.add_row(
            Text(mark, style=style),
            Text(visible(" ".join(sentence["text"].split())), style=style),
            Text(shape.none if score is None else f"{score:.{decimals}f}", style=style),
            *(Text(_signed(sentence[name], decimals), style=style) for name in CHANGES[-len(cells) + 1 :]),
            *([_bar(before, score, scale, bar_cells)] if has_bars else []),
        )
        before = score
    if beyond > 1:
        table.add_row("", Text(f"{beyond - 1} more beyond the context", style="dim"))
    return table


def _signed(change: float | None, decimals: int) -> str:
    return "" if change is None else f"{change:+.{decimals}f}"


def _decimals(record: Mapping[str, Any]) -> int:
    falls = [-sentence["contribution"] for sentence in _lowering(record)]
    return DECIMALS[0] if min(falls, default=1.0) >= 10 ** -DECIMALS[0] / 2 else DECIMALS[1]


def _bar(before: float | None, score: float | None, scale: Scale, space: int) -> Text:
    """Draw the score before, then what the sentence added or, with another sign, removed."""
    if score is None:
        return Text("")
    shape = signs()
    now = round(scale.share(score) * space)
    if before is None:
        return Text(shape.full * now, style="green")
    then = round(scale.share(before) * space)
    bar = Text(shape.stood * min(now, then), style="dim")
    return bar.append(shape.full * (now - then), style="green").append(shape.lost * (then - now), style="red")


def _cumulative_bar(before: float | None, now: float) -> list[Rect]:
    """Draw the score before and what was gained; a loss is thinner, so that color is not needed."""

    def part(kind: str, first: float, last: float, y: int, height: int) -> Rect:
        return Rect(kind, round(first * BAR_UNITS, 1), y, round((last - first) * BAR_UNITS, 1), height)

    then = 0.0 if before is None else before
    change = part("plus", then, now, 1, 8) if now >= then else part("wrong", now, then, 3, 4)
    return [part("stood", 0.0, min(then, now), 1, 8), change]


def _finding(record: Mapping[str, Any]) -> str:
    settings = record["provenance"]["settings"]
    piece = str(settings.get("by", "sentence"))
    of, lowering = _count(len(_scored(record)), piece), len(_lowering(record))
    margin = f" by more than {settings['margin']:g}" if settings.get("margin") else ""
    if not lowering:
        return f"no {piece} lowers the score{margin}  (of {of})"
    return f"{lowering} of {of} {'lowers' if lowering == 1 else 'lower'} the score{margin}"


def _verdict(record: Mapping[str, Any]) -> Text:
    sentences, shape = record["sentences"], signs()
    piece = str(record["provenance"]["settings"].get("by", "sentence"))
    scored = _scored(record)
    lowering = [place for place, sentence in enumerate(sentences, 1) if sentence["lowers"]]
    text = Text(overflow="fold")
    if lowering:
        text.append(f"{shape.wrong} {_finding(record)}", style="bold red")
        text.append(f"  (number {', '.join(map(str, lowering))})" if len(scored) > 1 else "")
    else:
        text.append(_finding(record))
    if record["unknown_words"]:
        text.append(f"\n{shape.unknown} unknown to {visible(record['model'])}: ")
        text.append(", ".join(map(visible, record["unknown_words"])))
    cut = next((place for place, sentence in enumerate(sentences, 1) if sentence["cut"]), None)
    if cut is not None:
        text.append(f"\n{shape.unknown} the context ends within {piece} {cut}")
    if left := len(sentences) - len(scored):
        text.append(f"\n{shape.none} not scored, beyond the context: {_count(left, piece)}")
    return text


def _count(count: int, piece: str) -> str:
    return f"{count} {piece}{'' if count == 1 else 's'}"


def _scores(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    is_specs = record.get("clip_score") is None  # other weights have a CLIPScore, and the formula without the name
    tokens = f"{record['n_tokens']}{', cut off' if record['truncated'] else ''}"
    return [
        ("SPECS" if is_specs else "(cosine + 1) / 2", number_text(record["specs_score"])),
        *named_scores(record, ("cosine", "clip_score")),
        ("tokens", tokens),
    ]
