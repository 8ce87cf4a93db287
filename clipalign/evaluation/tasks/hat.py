"""What ``hat`` and ``nocaps-foil`` share: one JSON file of rows with an ``image_path``, from the ALOHa repository.

``hat``: captions by machines and people, with the words marked that people found hallucinated (ALOHa).

Petryk et al., NAACL 2024; the file is called trainval and is the papers' test set. Protocol of CLIP4DM: mode
``threshold``; misaligned words that follow each other make a phrase, worth their mean; the lowest phrase must occur in
the marked words, joined by spaces and without points and commas. AP with the hallucinated captions as the positive
class, ranked by the negated score.

"Occurs" is meant letter by letter: a lone "a" is found in "table". ``la_whole_words`` counts only what is found word
for word.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.task import BrokenSample, Outcome, Sample, find_in, read_annotations
from clipalign.evaluation.tasks.words import (
    ABOUT,
    NEAREST,
    VAL2014,
    DetectRoute,
    WordBenchmark,
    broken,
    hashes,
    localisation,
    lowest_phrase,
    precisions,
)
from clipalign.results import WordScore

if TYPE_CHECKING:
    from clipalign.config.values import Settings
    from clipalign.models.model import LoadedModel


VERSION: Final = "that of the ALOHa repository at 7da6b90"


class AlohaBenchmark(WordBenchmark):
    """A benchmark of ALOHa (Petryk et al., NAACL 2024).

    Attributes:
        file: name of the annotations.
        sha256: of them, as the repository has them.
        places: where pictures are looked for, from the data set's folder.
    """

    file: ClassVar[str]
    sha256: ClassVar[str]
    places: ClassVar[tuple[str, ...]]

    def check(self) -> None:
        """Read the annotations and find the pictures."""
        place = find_in(self.folder, self.name, self.file, f"data/{self.file}", f"annotations/{self.file}")
        file = read_annotations(place, self.name, known=self.sha256, version=VERSION)
        rows = file.json()
        if not isinstance(rows, list):
            raise file.unusable("is no list of rows")
        self._rows: list[Any] = rows
        names = [str(row["image_path"]) for row in rows if isinstance(row, dict) and "image_path" in row]
        self._folder = self._pictures(names, *self.places)
        self.data = hashes(file)
        self.notes = tuple(filter(None, (*self._remarks(rows), file.note(), NEAREST, ABOUT)))

    @abstractmethod
    def _remarks(self, rows: Sequence[Any]) -> tuple[str, ...]:
        """What is said beside the numbers about these rows; empty ones are passed over."""


FILE: Final = "hat-trainval.json"
SHA256: Final = "18abffb627ef6eb8252e21e2e9bfe55d6431f91056467179d7d17ad87ff8969f"
ROWS: Final = 400
LETTERS: Final = (
    "la counts a phrase whose letters occur among the marked words, as published; la_whole_words whole words only"
)


class Hat(AlohaBenchmark):
    """The benchmark; see the module's text for its protocol."""

    name = "hat"
    size = ROWS
    file = FILE
    sha256 = SHA256
    places = VAL2014

    def _remarks(self, rows: Sequence[Any]) -> tuple[str, ...]:
        return (_base_rate(rows), LETTERS)

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Sample | BrokenSample]:
        """In the file's order."""
        for number, row in enumerate(self._rows[:limit]):
            yield self._sample(number, row)

    def _sample(self, number: int, row: Any) -> Sample | BrokenSample:
        try:
            name, marked = str(row["image_path"]), _marked(row)
            return Sample(
                id=str(row["sample_id"]),
                image=self._folder / name,
                image_name=name,
                text=row["caption"].strip(),
                correct=not marked,
                part="",
                references=tuple(map(str, row["references"])),
                truth={
                    "marked": " ".join(word.replace(".", "").replace(",", "") for word in marked),
                    "spans": _spans(row),
                },
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            return broken(f"row-{number}", "", f"row {number} of {FILE} is not as it should be: {error}")

    def route(self, loaded: LoadedModel, settings: Settings) -> DetectRoute:
        """``detect`` in mode ``threshold``, unless the user chose another."""
        return DetectRoute(loaded, settings)

    def wrong_words(self, outcome: Outcome) -> tuple[bool, ...]:
        """The marked words."""
        return tuple(
            any(word.start < end and start < word.end for start, end in outcome.truth["spans"])
            for word in outcome.result.words
        )

    def statistics(self, outcomes: Sequence[Outcome]) -> list[Statistic]:
        """LA as published and by whole words, and AP of the three scores."""
        return [
            *localisation("la", outcomes, found=lambda o: _found(o, padding=""), hit=lambda o, w: _hit(o, w, "")),
            *localisation(
                "la_whole_words", outcomes, found=lambda o: _found(o, padding=" "), hit=lambda o, w: _hit(o, w, " ")
            ),
            *precisions(outcomes, misaligned=True),
        ]


def _found(outcome: Outcome, *, padding: str) -> bool:
    phrase = lowest_phrase(outcome.result)
    return phrase is not None and _occurs(phrase.text, outcome, padding)


def _hit(outcome: Outcome, word: WordScore, padding: str) -> bool:
    return _occurs(word.text, outcome, padding)


def _occurs(text: str, outcome: Outcome, padding: str) -> bool:
    """Whether ``text`` stands in the marked words; with a space for ``padding`` word for word."""
    return f"{padding}{text}{padding}" in f"{padding}{outcome.truth['marked']}{padding}"


def _marked(row: Any) -> list[str]:
    return [str(word) for word, wrong in row["grounding"] if wrong]


def _spans(row: Any) -> list[list[int]]:
    """First character and one past the last of each marked word in the caption."""
    spans, position, text = [], 0, row["caption"].strip()
    for word, wrong in row["grounding"]:
        start = text.index(word, position)
        position = start + len(word)
        if wrong:
            spans.append([start, position])
    return spans


def _base_rate(rows: Sequence[Any]) -> str:
    """What an average precision is worth here."""
    wrong = []
    for row in rows:
        try:
            wrong.append(bool(_marked(row)))
        except (KeyError, TypeError, ValueError):
            continue  # counted when its sample is asked for
    if not wrong:
        return ""
    return (
        f"{sum(wrong)} of the {len(wrong)} captions are hallucinated: "
        f"an AP of {sum(wrong) / len(wrong):.4f} is what chance reaches"
    )
