"""``detect`` records in every format: the caption with its wrong words marked, a signed bar a word, scores, provenance.

Words are shown as in the caption, never as markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, BinaryIO, ClassVar, Final

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from clipalign.calibration import Drift
from clipalign.data.word_kinds import kind_of
from clipalign.output import html
from clipalign.output.console import visible, width
from clipalign.output.policy import LOW_SCORE, Policy
from clipalign.output.records import (
    RecordFormatter,
    Sort,
    Tally,
    is_error,
    named_scores,
    number_text,
    pieces_of,
    signed_text,
)
from clipalign.output.table import (
    IdColumn,
    folding,
    printed,
    provenance_line,
    score_line,
    shortened,
    signed_bar,
    signs,
)
from clipalign.results import Suggestion, WordScore

NAMED_WORDS: Final = 8
"""Words that an annotation names before it only counts."""

WORD_CELLS: Final = (6, 24)
"""Columns of the widest word: minimum, maximum."""

BAR_CELLS: Final = (6, 20)

GAPS_CELLS: Final = 6
"""Columns for mark, spaces and axis of a row."""

BARLESS_GAPS_CELLS: Final = 3

NEAR_ZERO: Final = 0.05
"""Share of a page's largest attribution below which a word folds away, if :data:`LEAST_FOLDED` of its caption are."""

LEAST_FOLDED: Final = 3

HEAT_MAPS: Final = 20
"""Heat maps of a card, those of misaligned words, then the hottest: as many as page.css has rules for."""

Word = Mapping[str, Any]


class DetectFormatter(RecordFormatter):
    """Format the records of ``detect``.

    ``top`` limits one pair's table to the most negative words (None: all), ``policy`` says what ``--check`` finds,
    ``drift`` sees the records of a run, and ``baseline`` gets its findings.
    """

    command = "detect"
    noun = ("pair", "pairs")
    columns: ClassVar = {
        "id": str,
        "image": str,
        "text": str,
        "clip_score": float,
        "f_clip_score": float,
        "ref_clip_score": float,
        "cosine": float,
        "misaligned": tuple[str, ...],
        "words": tuple[WordScore, ...],
        "suggestions": tuple[Suggestion, ...],
        "truncated": bool,
        "warnings": tuple[str, ...],
        "model": str,
    }
    first_score = "clip_score"
    scores = ("cosine", "clip_score", "f_clip_score", "ref_clip_score")
    finding = "with_misaligned_words"
    counted = "misaligned_words"
    sorts = (
        Sort("CLIPScore, lowest first", "clip_score"),
        Sort("CLIPScore, highest first", "clip_score", descending=True),
        Sort("F-CLIPScore, lowest first", "f_clip_score"),
    )

    def __init__(self, *, top: int | None = None, policy: Policy | None = None, drift: Drift | None = None) -> None:
        self._top = top
        self.policy = policy
        self.drift = drift
        self.baseline: BinaryIO | None = None
        self._ids, self._images = IdColumn(), IdColumn()

    def found(self, record: Mapping[str, Any]) -> bool:
        return bool(record.get("misaligned"))

    def tally(self) -> Tally:
        return DetectTally(self, self.policy, self.baseline, self.drift)

    def frequent(self, record: Mapping[str, Any]) -> Iterable[str]:
        return dict.fromkeys(record.get("misaligned") or ())

    def badness(self, record: Mapping[str, Any]) -> float:
        """Put pairs with misaligned words first, by F-CLIPScore; the others by CLIPScore."""
        if self.found(record):
            return 1e6 - float(record["f_clip_score"])
        return -float(record["clip_score"])

    def scale_of(self, records: Sequence[Mapping[str, Any]]) -> html.Scale:
        """Return one scale for the words of all records, with epsilon drawn in where it decided."""
        largest = max((_largest(record["words"]) for record in records), default=0.0)
        epsilon = _epsilon(records[0]) if records else None
        legend, shapes = f"Bars of all words are on one scale, ±{number_text(largest)}", [html.AXIS]
        if epsilon is not None and abs(epsilon) <= largest:
            shapes.append(html.Rect("epsilon", html.BAR_UNITS * (1 + epsilon / largest) - 0.5, 0, 1, 10))
            legend += f"; the line is epsilon, {_epsilon_text(epsilon)}"
        return html.Scale(-largest, largest, tuple(shapes), f"{legend}." if largest else "")

    def card(self, record: Mapping[str, Any], scale: html.Scale) -> dict[str, Any]:
        words, heat = record["words"], _heat(record)
        decimals = _largest(words)
        mapped = {one["start"]: one["place"] for one in heat}
        rows = [
            {
                "text": word["text"],
                "kind": (kind := _kind(word)),
                "place": mapped.get(word["start"]),
                "numbers": ["not scored" if (value := word["attribution"]) is None else signed_text(value, decimals)],
                "bar": html.signed_bar(value, largest=scale.high, wrong=kind == "wrong"),
            }
            for word in words
        ]
        small = [not row["kind"] and _is_near_zero(word, scale.high) for row, word in zip(rows, words, strict=True)]
        if sum(small) < LEAST_FOLDED:
            small = [False] * len(words)
        tokens = ("tokens", f"{record['n_tokens']}{', cut off' if record['truncated'] else ''}")
        return {
            "pieces": _pieces(record),
            "verdicts": _verdicts(record),
            "meant": _meant(record),
            "heat": heat,
            "wide": bool(heat),
            "scores": [*_scores(record), tokens],
            "rows": [row for row, folds in zip(rows, small, strict=True) if not folds],
            "folded": [row for row, folds in zip(rows, small, strict=True) if folds],
        }

    def annotation(self, record: Mapping[str, Any]) -> str:
        found = self.policy.findings(record) if self.policy else list(self.frequent(record))
        if not found:
            return ""
        wrong = [one for one in found if one is not LOW_SCORE]
        more = f" and {len(wrong) - NAMED_WORDS} more" if wrong[NAMED_WORDS:] else ""
        named, score = ", ".join(wrong[:NAMED_WORDS]) + more, f"CLIPScore {number_text(record['clip_score'])}"
        said = f"misaligned with {record['image']}: {named} ({score})" if wrong else f"{score} with {record['image']}"
        meant = "; ".join(_meant(record))
        return f"{said} in: {record['text']}{f' ({meant})' if meant else ''}"

    def head(self, record: Mapping[str, Any]) -> str:
        self._ids.cell(record["id"])
        image = ""
        if _shows_image(record):
            self._images.cell(record["image"])
            image = f"{self._images.cell('image')}  "
        return f"  score   {self._ids.cell('id')}  {image}caption"

    def line(self, record: Mapping[str, Any]) -> Text:
        """Return mark, CLIPScore, id and caption, behind its misaligned words if long or if others are suggested."""
        wrong, low, shape = self.found(record), self._is_low(record), signs()
        text = Text(f"{shape.wrong if wrong or low else ' '} ", style="bold red" if wrong or low else "")
        text.append(f"{record['clip_score']:.4f}  ", style="bold red" if low else "bold")
        text.append(self._ids.cell(record["id"]) + "  ", style="dim")
        if _shows_image(record):
            text.append(f"{self._images.cell(record['image'])}  ", style="dim")
        caption = _caption(record, _misaligned(record))
        meant = {one["text"]: one["candidates"] for one in record.get("suggestions") or ()}
        if wrong and (meant or text.cell_len + caption.cell_len > width()):
            named = ", ".join(visible(_with_candidates(word, meant.get(word, ()))) for word in self.frequent(record))
            text.append(f"{shape.opening}{named}{shape.closing}", style="bold red").append(" in: ")
        return text.append_text(caption)

    def _is_low(self, record: Mapping[str, Any]) -> bool:
        return self.policy is not None and LOW_SCORE in self.policy.findings(record)

    def table(self, records: Sequence[Mapping[str, Any]]) -> str:
        (record,) = records
        words = record["words"]
        within = words[: len(words) - len(_beyond(record))]
        rows = _chosen(within, self._top)
        parts: list[Text | Table] = [_caption(record, words), folding(record["image"], "dim"), Text("")]
        if rows:
            parts.append(_rows(rows, set(record["unknown_words"])))
        if left_out := len(within) - len(rows):
            parts.append(Text(f"  {left_out} more {'word' if left_out == 1 else 'words'} not shown", style="dim"))
        origin = record["provenance"]
        parts += [Text(""), _verdict(record), score_line(_scores(record))]
        if self._is_low(record):
            parts.append(Text(f"{signs().wrong} CLIPScore is below --min-clip-score", style="bold red"))
        return printed([*parts, provenance_line(origin, first=[origin["model"]])])


class DetectTally(Tally):
    """Also count misaligned words by kind and, with a ``policy``, captions with a finding, for a ``baseline`` too."""

    def __init__(
        self, formatter: DetectFormatter, policy: Policy | None, baseline: BinaryIO | None, drift: Drift | None
    ) -> None:
        super().__init__(formatter)
        self._policy = policy
        self._baseline = baseline
        self._drift = drift
        self._kinds: Counter[str] = Counter()
        self._with_finding = 0

    def add(self, record: Mapping[str, Any]) -> None:
        super().add(record)
        if is_error(record):
            return
        self._kinds.update(map(kind_of, self._formatter.frequent(record)))
        if self._drift is not None:
            self._drift.add(record)
        if self._policy is not None:
            self._with_finding += bool(self._policy.findings(record))
            if self._baseline is not None:
                self._baseline.write(self._policy.baseline_line(record))

    def state(self) -> dict[str, Any]:
        return super().state() | ({} if self._drift is None else {"drift": self._drift.counts})

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        if self._drift is not None:
            self._drift.restore(state["drift"])

    @property
    def fails(self) -> bool:
        if self._policy is None:
            return super().fails
        return not self._policy.allows(self._with_finding, self.records - self.unreadable)

    def summary(self) -> dict[str, object]:
        found = super().summary() | {"kinds": dict(self._kinds.most_common())}
        if self._drift is not None:
            found["unlike_calibration"] = self._drift.warning()
        if self._policy is not None and self._baseline is None:
            most, scored = self._policy.max_misaligned, self.records - self.unreadable
            allowed = f"{most:,}" if isinstance(most, int) else f"{100 * most:g}%"
            found["check"] = {
                "passed": not self.fails, "found": self._with_finding, "of": scored, "allowed": allowed,
            }  # fmt: skip
        return found


def _shows_image(record: Mapping[str, Any]) -> bool:
    """Return whether the id does not name the picture already."""
    return not record["id"].startswith(record["image"]) and record["id"] != PurePath(record["image"]).stem


def _scores(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    return named_scores(record, ("clip_score", "f_clip_score", "ref_clip_score", "cosine"))


def _misaligned(record: Mapping[str, Any]) -> list[Word]:
    return [word for word in record["words"] if word["misaligned"]]


KINDS: Final = {
    "hit": "false, and called misaligned",
    "wrong": "called misaligned, but true",
    "missed": "false, but not called misaligned",
}
"""What a word of each kind is, where a data set says which words are false."""


def _kind(word: Word) -> str:
    """Return "wrong" for a misaligned word; if a data set says whether it is false, whether that is right."""
    if word.get("false"):
        return "hit" if word["misaligned"] else "missed"
    return "wrong" if word["misaligned"] else ""


def _pieces(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the pieces of the caption, each with what is said about it and its kind; both empty for most."""
    for piece, word in pieces_of(record["text"], (word for word in record["words"] if _kind(word))):
        kind = "" if word is None else _kind(word)
        yield piece, KINDS[kind] if word and "false" in word else "misaligned" if word else "", kind


def _verdicts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is said about the whole caption, by kind."""
    named = {kind: dict.fromkeys(word["text"] for word in record["words"] if _kind(word) == kind) for kind in KINDS}
    labels = KINDS if any("false" in word for word in record["words"]) else {"wrong": "misaligned"}
    verdicts = [(kind, f"{labels[kind]}: {', '.join(words)}") for kind, words in named.items() if words]
    return verdicts or [("", "no misaligned word")]


def _largest(words: Sequence[Word]) -> float:
    return max((abs(word["attribution"]) for word in words if word["attribution"] is not None), default=0.0)


def _chosen(words: Sequence[Word], top: int | None) -> list[Word]:
    """Return all words in reading order, or the ``top`` most negative ones, most negative first."""
    if top is None:
        return list(words)
    scored = [word for word in words if word["attribution"] is not None]
    return sorted(scored, key=lambda word: float(word["attribution"]))[:top]


def _beyond(record: Mapping[str, Any]) -> Sequence[Word]:
    """Return the unscored words at the end of a truncated caption."""
    words: Sequence[Word] = record["words"]
    start = len(words)
    while record["truncated"] and start and not words[start - 1]["scored"]:
        start -= 1
    return words[start:]


def _caption(record: Mapping[str, Any], words: Iterable[Word]) -> Text:
    """Return the caption with wrong words between ‹ and ›, red if there is color; unscored ones dim."""
    shape = signs()
    text = Text(overflow="fold")
    for piece, word in pieces_of(record["text"], words):
        if word is not None and word["misaligned"]:
            text.append(f"{shape.opening}{visible(piece)}{shape.closing}", style="bold red")
        else:
            text.append(visible(piece), style="" if word is None or word["scored"] else "dim")
    return text


def _rows(words: Sequence[Word], unknown: set[str]) -> Table:
    space, shape, largest = width(), signs(), _largest(words)
    numbers = [
        shape.none if word["attribution"] is None else signed_text(word["attribution"], largest) for word in words
    ]
    number_cells = max(map(len, numbers))
    longest = max(cell_len(visible(word["text"])) for word in words)
    spare = space - GAPS_CELLS - number_cells - 2 * BAR_CELLS[0]
    has_bars = spare >= WORD_CELLS[0]
    if not has_bars:  # numbers stay whole; bars only repeat them
        spare = space - BARLESS_GAPS_CELLS - number_cells
    word_cells = max(WORD_CELLS[0], min(longest, WORD_CELLS[1], spare))
    bar_cells = max(BAR_CELLS[0], min(BAR_CELLS[1], (space - GAPS_CELLS - number_cells - word_cells) // 2))
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=word_cells, no_wrap=True)
    table.add_column(width=number_cells, justify="right", no_wrap=True)
    if has_bars:
        table.add_column(width=2 * bar_cells + 1, no_wrap=True)
    for word, number in zip(words, numbers, strict=True):
        bar = signed_bar(word["attribution"], largest=largest, cells=bar_cells)
        style = "bold red" if word["misaligned"] else ""
        mark = shape.wrong if word["misaligned"] else shape.unknown if word["text"] in unknown else ""
        drawing = Text(bar.left, style=style or "yellow", no_wrap=True)
        drawing.append(bar.axis, style="dim").append(bar.right, style="green")
        table.add_row(
            Text(mark, style=style),
            Text(shortened(word["text"], word_cells), style=style or ("" if word["scored"] else "dim")),
            Text(number, style=style),
            *([drawing] if has_bars else []),
        )
    return table


def _verdict(record: Mapping[str, Any]) -> Text:
    settings, words, shape = record["provenance"]["settings"], record["words"], signs()
    count, scored = len(record["misaligned"]), sum(word["scored"] for word in words)
    rule = "the most negative one"
    if settings.get("mode") != "most-negative":
        rule = f"attribution below epsilon {_epsilon_text(settings.get('epsilon'))}"
    text = Text(overflow="fold")
    if count:
        named = ", ".join(visible(word) for word in dict.fromkeys(record["misaligned"]))
        text.append(f"{shape.wrong} misaligned: {named}", style="bold red")
        text.append(f"  ({count} of {_words(scored)}, {rule})")
        for meant in _meant(record):
            text.append(f"\n  {visible(meant)}")
    else:
        text.append(f"no misaligned word  (of {scored}, {rule})")
    if record["unknown_words"]:
        text.append(f"\n{shape.unknown} unknown to {visible(record['model'])}: ")
        text.append(", ".join(map(visible, record["unknown_words"])))
    beyond = _beyond(record)
    if unread := len(words) - scored - len(beyond):
        text.append(f"\n{shape.none} not scored: {_words(unread)}")
    if beyond:
        first = shortened(beyond[0]["text"], WORD_CELLS[1])
        text.append(f"\n{shape.none} not scored, beyond the context: {_words(len(beyond))} (first: {first})")
    return text


def _with_candidates(word: str, candidates: Sequence[Mapping[str, Any]]) -> str:
    return f"{word}: {', '.join(one['text'] for one in candidates)}?" if candidates else word


def _meant(record: Mapping[str, Any]) -> list[str]:
    """Return what may have been meant, a sentence a place."""
    return [
        f"{one['text']}: did you mean {', '.join(candidate['text'] for candidate in one['candidates'])}?"
        for one in record.get("suggestions") or ()
    ]


def _epsilon(record: Mapping[str, Any]) -> float | None:
    """Return the epsilon that decided which words are misaligned, if one did."""
    settings = record["provenance"]["settings"]
    return None if settings.get("mode") == "most-negative" else settings.get("epsilon")


def _epsilon_text(epsilon: float | None) -> str:
    return f"{epsilon:.6g}".replace("e-0", "e-") if epsilon is not None else "None"  # -5e-5, not -5e-05


def _is_near_zero(word: Word, largest: float) -> bool:
    return word["attribution"] is None or abs(word["attribution"]) < NEAR_ZERO * largest


def _heat(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the heat maps that are shown, each with its cells: place, and strength as a share of the hottest."""

    def heat_of(one: Mapping[str, Any]) -> float:
        return max((value for row in one["rows"] for value in row), default=0.0)

    misaligned = {word["start"] for word in _misaligned(record)}
    maps = sorted(record.get("heat_maps") or (), key=lambda one: (one["start"] not in misaligned, -heat_of(one)))
    hottest = max(map(heat_of, maps), default=0.0) or 1.0
    return [
        {
            "place": place,
            "text": one["text"],
            "start": one["start"],
            "columns": len(one["rows"][0]),
            "rows": len(one["rows"]),
            "cells": [
                (x, y, round(value / hottest, 2))
                for y, row in enumerate(one["rows"])
                for x, value in enumerate(row)
                if value / hottest >= 0.01
            ],
        }
        for place, one in enumerate(maps[:HEAT_MAPS], 1)
    ]


def _words(count: int) -> str:
    return f"{count} {'word' if count == 1 else 'words'}"
