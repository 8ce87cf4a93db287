"""What an explained classification says, read from its record: shares of a score by crop and by sentence.

A class's score is ``scale`` times the sum of its contributions, so that every crop and every sentence has a share of
it, and the shares sum to the score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text of one class.

    Attributes:
        text: as it was encoded.
        weight: 0 to 1.
        share: of the class's score.
        by_crop: what each crop gives of that, N.
    """

    text: str
    weight: float
    share: float
    by_crop: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of the picture.

    Attributes:
        number: from 1 on, in the order of the record.
        box: left, top, right, bottom.
        weight: 0 to 1.
        share: of the class's score.
    """

    number: int
    box: tuple[int, int, int, int]
    weight: float
    share: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why one class has its score.

    Attributes:
        name: of the class.
        score: the cosine.
        crops: in the order of the record, N.
        sentences: in the order of the record, M.
    """

    name: str
    score: float
    crops: tuple[Crop, ...]
    sentences: tuple[Sentence, ...]

    def best_crops(self, count: int) -> list[Crop]:
        """The crops with the largest shares, largest first."""
        return sorted(self.crops, key=lambda crop: -crop.share)[:count]

    def best_sentences(self, count: int) -> list[Sentence]:
        """The sentences with the largest shares, largest first; a text that is there twice is named once."""
        joined: dict[str, Sentence] = {}
        for one in self.sentences:
            same = joined.get(one.text)
            if same is not None:
                both = zip(one.by_crop, same.by_crop, strict=True)
                one = Sentence(one.text, one.weight + same.weight, one.share + same.share, tuple(map(sum, both)))
            joined[one.text] = one
        return sorted(joined.values(), key=lambda sentence: -sentence.share)[:count]


def read_evidence(record: Mapping[str, Any]) -> list[Evidence]:
    """The evidence of every class of a record, best first; none where nothing was explained."""
    if not record.get("crops"):
        return []
    columns: dict[str, list[int]] = {}
    for index, one in enumerate(record["descriptions"]):
        columns.setdefault(one["class"], []).append(index)
    return [_of_class(record, one, columns[one["name"]]) for one in record["classes"]]


def _of_class(record: Mapping[str, Any], one: Mapping[str, Any], columns: list[int]) -> Evidence:
    parts = [[one["scale"] * row[column] for column in columns] for row in record["contributions"]]
    crops = tuple(
        Crop(number, tuple(crop["box"]), crop["weight"], sum(row))
        for number, (crop, row) in enumerate(zip(record["crops"], parts, strict=True), 1)
    )
    sentences = tuple(
        Sentence(said["text"], said["weight"], sum(by_crop), by_crop)
        for said, by_crop in zip(
            [record["descriptions"][column] for column in columns], zip(*parts, strict=True), strict=True
        )
    )
    return Evidence(one["name"], one["score"], crops, sentences)
