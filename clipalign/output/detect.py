"""``detect`` for the eye: the caption with its wrong words marked, a signed bar a word, scores, provenance.

Colour only repeats what signs already say. Words stand as they are in the caption, never as markup.

``detect`` records in every format for many: CSV columns, summary, card, annotation, line of the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from clipalign.output.console import visible, width
from clipalign.output.layout import Signs, flowing, origin_line, printed, shortened, signed_bar, signs
from clipalign.output.records import Column, Kind, NameColumn, Record, Sort, number_text, score_name
from clipalign.results import DetectResult, WordScore

if TYPE_CHECKING:
    from rich.text import Text

    from clipalign.output.html.markup import Markup
    from clipalign.results import DetectResult


WORD_CELLS: Final = (6, 24)
"""Columns of the widest word: at least, at most."""

BAR_CELLS: Final = (6, 20)
"""Columns of one side of a bar."""


GAPS_CELLS: Final = 6
"""What mark, spaces and axis of a row take."""

BARLESS_GAPS_CELLS: Final = 3
"""What mark and spaces of a row without a bar take."""

SIGNIFICANT_DIGITS: Final = 3
"""Of the largest attribution; the others line up with it."""


def detect_table(result: DetectResult, *, top: int | None = None) -> str:
    """The page for one pair.

    Args:
        result: of one pair.
        top: show only this many rows, the most negative words first; None for all words in reading order.
    """
    drawn_with = signs()
    beyond = words_beyond(result)
    within = result.words[: len(result.words) - len(beyond)]
    rows = chosen_words(within, top=top)
    parts: list[Text | Table] = [
        caption(result, drawn_with),
        Text(visible(result.image), style="dim", overflow="fold"),
        Text(""),
    ]
    if rows:
        parts.append(_rows(rows, result, drawn_with))
    if left_out := len(within) - len(rows):
        parts.append(Text(f"  {left_out} more {'word' if left_out == 1 else 'words'} not shown", style="dim"))
    parts += [
        Text(""),
        verdict(result, drawn_with),
        _scores(result),
        origin_line(asdict(result.provenance), drawn_with),
    ]
    return printed(parts)


def chosen_words(words: Sequence[WordScore], *, top: int | None) -> list[WordScore]:
    """All words in reading order, or the ``top`` most negative ones, most negative first."""
    if top is None:
        return list(words)
    scored = [word for word in words if word.attribution is not None]
    return sorted(scored, key=lambda word: word.attribution or 0.0)[:top]


def words_beyond(result: DetectResult) -> tuple[WordScore, ...]:
    """The words at the end of a truncated caption that were not scored."""
    start = len(result.words)
    while result.truncated and start and not result.words[start - 1].scored:
        start -= 1
    return result.words[start:]


def caption(result: DetectResult, drawn_with: Signs) -> Text:
    """The caption as given, wrong words between ‹ and ›, red where there is colour."""
    text, position = Text(overflow="fold"), 0
    for word in result.words:
        text.append(visible(result.text[position : word.start]))
        shown = visible(result.text[word.start : word.end])
        if word.misaligned:
            text.append(f"{drawn_with.opening}{shown}{drawn_with.closing}", style="bold red")
        else:
            text.append(shown, style="" if word.scored else "dim")
        position = word.end
    text.append(visible(result.text[position:]))
    return text


def _rows(words: Sequence[WordScore], result: DetectResult, drawn_with: Signs) -> Table:
    room = width()
    values = [abs(word.attribution) for word in words if word.attribution is not None]
    largest = max(values, default=0.0)
    numbers = [_number(word, decimals=_decimals(largest), drawn_with=drawn_with) for word in words]
    number_cells = max((len(number) for number in numbers), default=1)
    longest = max((cell_len(visible(word.text)) for word in words), default=1)
    spare = room - GAPS_CELLS - number_cells - 2 * BAR_CELLS[0]
    has_bars = spare >= WORD_CELLS[0]
    if not has_bars:  # numbers stay whole; bars only repeat them
        spare = room - BARLESS_GAPS_CELLS - number_cells
    word_cells = max(WORD_CELLS[0], min(longest, WORD_CELLS[1], spare))
    bar_cells = max(BAR_CELLS[0], min(BAR_CELLS[1], (room - GAPS_CELLS - number_cells - word_cells) // 2))
    unknown = set(result.unknown_words)
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=word_cells, no_wrap=True)
    table.add_column(width=number_cells, justify="right", no_wrap=True)
    if has_bars:
        table.add_column(width=2 * bar_cells + 1, no_wrap=True)
    for word, number in zip(words, numbers, strict=True):
        bar = signed_bar(word.attribution, largest=largest, cells=bar_cells, drawn_with=drawn_with)
        style = "bold red" if word.misaligned else ""
        mark = drawn_with.wrong if word.misaligned else drawn_with.unknown if word.text in unknown else ""
        drawing = Text(no_wrap=True)
        drawing.append(bar.left, style="bold red" if word.misaligned else "yellow")
        drawing.append(bar.axis, style="dim").append(bar.right, style="green")
        table.add_row(
            Text(mark, style=style),
            Text(shortened(word.text, word_cells), style=style or ("" if word.scored else "dim")),
            Text(number, style=style),
            *([drawing] if has_bars else []),
        )
    return table


def _decimals(largest: float) -> int:
    """Decimals that show three significant digits of the largest attribution."""
    if largest <= 0.0:
        return SIGNIFICANT_DIGITS
    return max(SIGNIFICANT_DIGITS, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(largest)))


def _number(word: WordScore, *, decimals: int, drawn_with: Signs) -> str:
    return drawn_with.none if word.attribution is None else f"{word.attribution:+.{decimals}f}"


def verdict(result: DetectResult, drawn_with: Signs) -> Text:
    """Which words, by which rule; then which are unknown, and which were not scored."""
    settings = result.provenance.settings
    count, words = len(result.misaligned), sum(word.scored for word in result.words)
    rule = (
        "the most negative one"
        if settings.get("mode") == "most-negative"
        else f"attribution below epsilon {_plain_exponent(settings.get('epsilon'))}"
    )
    text = Text(overflow="fold")
    if count:
        named = ", ".join(visible(word) for word in dict.fromkeys(result.misaligned))
        text.append(f"{drawn_with.wrong} misaligned: {named}", style="bold red")
        text.append(f"  ({count} of {_words(words)}, {rule})")
    else:
        text.append(f"no misaligned word  (of {words}, {rule})")
    if result.unknown_words:
        text.append(f"\n{drawn_with.unknown} unknown to {visible(result.model)}: ")
        text.append(", ".join(visible(word) for word in result.unknown_words))
    beyond = words_beyond(result)
    if unread := sum(not word.scored for word in result.words) - len(beyond):
        text.append(f"\n{drawn_with.none} not scored: {_words(unread)}")
    if beyond:
        first = shortened(beyond[0].text, WORD_CELLS[1])
        text.append(f"\n{drawn_with.none} not scored, beyond the context: {_words(len(beyond))} (first: {first})")
    return text


def _words(count: int) -> str:
    return f"{count} {'word' if count == 1 else 'words'}"


def _plain_exponent(number: object) -> str:
    """``-5e-5`` as documentation has it, for Python's ``-5e-05``."""
    return str(number).replace("e-0", "e-")


def _scores(result: DetectResult) -> Text:
    scores = [
        ("CLIPScore", f"{result.clip_score:.4f}"),
        ("F-CLIPScore", _small(result.f_clip_score)),
        ("cosine", f"{result.cosine:.4f}"),
    ]
    if result.ref_clip_score is not None:
        scores.insert(2, ("RefCLIPScore", f"{result.ref_clip_score:.4f}"))
    return flowing([Text(f"{name} ").append(number, style="bold") for name, number in scores], gap="   ")


def _small(value: float) -> str:
    """Three significant digits; F-CLIPScores lie near -1e-4."""
    return f"{value:.{_decimals(abs(value))}f}" if value else "0"


NAMED_WORDS: Final = 8
"""How many words an annotation names before it only counts."""


class DetectView:
    """How records of ``detect`` look."""

    command = "detect"
    noun = ("pair", "pairs")
    columns = (
        Column("id", Kind.TEXT),
        Column("image", Kind.TEXT),
        Column("text", Kind.TEXT),
        Column("model", Kind.TEXT),
        Column("cosine", Kind.NUMBER),
        Column("clip_score", Kind.NUMBER),
        Column("f_clip_score", Kind.NUMBER),
        Column("sum_negative_attribution", Kind.NUMBER),
        Column("misaligned", Kind.JSON),
        Column("words", Kind.JSON),
        Column("n_tokens", Kind.WHOLE),
        Column("truncated", Kind.TRUTH),
        Column("references", Kind.JSON),
        Column("ref_clip_score", Kind.NUMBER),
        Column("unknown_words", Kind.JSON),
        Column("warnings", Kind.JSON),
    )
    scores = ("cosine", "clip_score", "f_clip_score", "ref_clip_score")
    found_name = "with_misaligned_words"
    frequent_name = "misaligned_words"
    sorts = (
        Sort("CLIPScore, lowest first", "clip_score"),
        Sort("CLIPScore, highest first", "clip_score", descending=True),
        Sort("F-CLIPScore, lowest first", "f_clip_score"),
    )

    def __init__(self) -> None:
        self._names = NameColumn()

    def record(self, result: DetectResult) -> Record:
        """As in JSON."""
        from clipalign.output.json import detect_record

        return detect_record(result)

    def found(self, record: Mapping[str, Any]) -> bool:
        """Whether any word is misaligned."""
        return bool(record.get("misaligned"))

    def frequent(self, record: Mapping[str, Any]) -> Iterable[str]:
        """The misaligned words, each once a pair."""
        return dict.fromkeys(record.get("misaligned") or ())

    def badness(self, record: Mapping[str, Any]) -> float:
        """Pairs with misaligned words first, by F-CLIPScore; the others by CLIPScore."""
        if self.found(record):
            return 1e6 - float(record["f_clip_score"])
        return -float(record["clip_score"])

    def card(self, record: Mapping[str, Any], thumbnail: str) -> Markup:
        """Caption with its misaligned words marked, scores, a bar a word."""
        from clipalign.output.html import parts
        from clipalign.output.html.markup import joined, tag

        words = record["words"]
        spans = [(word["start"], word["end"]) for word in words if word["misaligned"]]
        marked = parts.marked_text(record["text"], spans, title="misaligned")
        wrong = list(dict.fromkeys(record["misaligned"]))
        verdict = f"✗ misaligned: {', '.join(wrong)}" if wrong else "no misaligned word"
        body = tag(
            "div",
            parts.heading(record["id"], record["image"]),
            parts.caption(marked),
            tag("p", verdict, attributes={"class": "verdict wrong" if wrong else "verdict", "dir": "auto"}),
            parts.scores(_scores_detect(record)),
            parts.warnings(record.get("warnings") or ()),
            _words_detect(words),
            attributes={"class": "body"},
        )
        return joined(parts.picture(thumbnail, alt=f"picture of {record['id']}"), body)

    def annotation(self, record: Mapping[str, Any]) -> str:
        """Which words, in which text."""
        wrong = list(dict.fromkeys(record.get("misaligned") or ()))
        if not wrong:
            return ""
        named = ", ".join(wrong[:NAMED_WORDS]) + (
            f" and {len(wrong) - NAMED_WORDS} more" if wrong[NAMED_WORDS:] else ""
        )
        score = number_text(record["clip_score"])
        return f"misaligned with {record['image']}: {named} (CLIPScore {score}) in: {record['text']}"

    def line(self, record: Mapping[str, Any]) -> Text:
        """Mark, CLIPScore, id and the caption with its misaligned words marked; they come first where it is long."""
        from rich.text import Text

        from clipalign.output.console import visible, width
        from clipalign.output.layout import signs

        drawn_with = signs()
        wrong = self.found(record)
        text = Text(f"{drawn_with.wrong if wrong else ' '} ", style="bold red" if wrong else "")
        text.append(f"{record['clip_score']:.4f}  ", style="bold")
        text.append(self._names.cell(record["id"]) + "  ", style="dim")
        words = Text()
        position = 0
        for word in record["words"]:
            if word["misaligned"]:
                words.append(visible(record["text"][position : word["start"]]))
                shown = visible(record["text"][word["start"] : word["end"]])
                words.append(f"{drawn_with.opening}{shown}{drawn_with.closing}", style="bold red")
                position = word["end"]
        words.append(visible(record["text"][position:]))
        if wrong and text.cell_len + words.cell_len > width():
            named = ", ".join(visible(word) for word in dict.fromkeys(record["misaligned"]))
            text.append(f"{drawn_with.opening}{named}{drawn_with.closing}", style="bold red").append(" in: ")
        return text.append_text(words)


def _scores_detect(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    keys = ("clip_score", "f_clip_score", "ref_clip_score", "cosine")
    found = [(score_name(key), number_text(record[key])) for key in keys if record.get(key) is not None]
    return [*found, ("tokens", f"{record['n_tokens']}{', cut off' if record['truncated'] else ''}")]


def _words_detect(words: Sequence[Mapping[str, Any]]) -> Markup:
    """A row a word: mark, word, number, bar. Long texts fold."""
    from clipalign.output.html import parts
    from clipalign.output.html.markup import tag

    scored = [word for word in words if word["attribution"] is not None]
    largest = max((abs(word["attribution"]) for word in scored), default=0.0)
    rows = []
    for word in words:
        value, wrong = word["attribution"], word["misaligned"]
        number = "not scored" if value is None else signed_text(value, largest)
        cells = [
            tag("td", "✗" if wrong else "", attributes={"class": "sign"}),
            tag("th", word["text"], attributes={"scope": "row", "dir": "auto"}),
            tag("td", number, attributes={"class": "number"}),
            tag("td", parts.signed_bar(value, largest=largest, wrong=wrong), attributes={"class": "drawing"}),
        ]
        rows.append(tag("tr", *cells, attributes={"class": "wrong" if wrong else None}))
    table = tag("table", tag("tbody", *rows), attributes={"class": "words"})
    return parts.folded(f"{len(words)} words", table) if len(words) > 24 else table


def signed_text(value: float, largest: float) -> str:
    """With a sign and as many decimals as show three significant digits of ``largest``."""
    import math

    decimals = 3 if largest <= 0.0 else max(3, 2 - math.floor(math.log10(largest)))
    return f"{value:+.{decimals}f}"
