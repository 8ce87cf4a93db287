"""``score-long`` for the eye: sentence by sentence the score so far, what the sentence did to it, and a cumulative bar.

Several texts about one picture stand in the order of their scores, their bars on one scale. Colour only repeats what
marks and signs already say. Sentences stand as they are in the text, never as markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.table import Table
from rich.text import Text

from clipalign.report.console import MAX_WIDTH, visible, width
from clipalign.report.layout import UNICODE_SIGNS, Signs, flowing, origin_line, printed, shortened, signs

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
