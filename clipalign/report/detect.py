"""``detect`` records in every format for many: CSV columns, summary, card, annotation, line of the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from clipalign.report.records import Column, Kind, NameColumn, Record, Sort
from clipalign.report.summary import number_text, score_name

if TYPE_CHECKING:
    from rich.text import Text

    from clipalign.report.html.markup import Markup
    from clipalign.results import DetectResult

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
        from clipalign.report.json import detect_record

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
        from clipalign.report.html import parts
        from clipalign.report.html.markup import joined, tag

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
            parts.scores(_scores(record)),
            parts.warnings(record.get("warnings") or ()),
            _words(words),
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

        from clipalign.report.console import visible, width
        from clipalign.report.layout import signs

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


def _scores(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    keys = ("clip_score", "f_clip_score", "ref_clip_score", "cosine")
    found = [(score_name(key), number_text(record[key])) for key in keys if record.get(key) is not None]
    return [*found, ("tokens", f"{record['n_tokens']}{', cut off' if record['truncated'] else ''}")]


def _words(words: Sequence[Mapping[str, Any]]) -> Markup:
    """A row a word: mark, word, number, bar. Long texts fold."""
    from clipalign.report.html import parts
    from clipalign.report.html.markup import tag

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
