"""``foil``: captions of COCO val2014 with one word exchanged (Shekhar et al., ACL 2017).

Protocol of CLIP4DM: mode ``most-negative``; a foil counts as found when the predicted word equals the foil word, both
in lower case. LA over the foils; AP with the correct captions as the positive class. References, for RefCLIPScore, are
COCO's other captions of the image: not the one that a caption was made of, which would give the answer away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.task import Annotations, BrokenSample, Outcome, Sample, find_in, read_annotations
from clipalign.evaluation.tasks.words import (
    ABOUT,
    NEAREST,
    VAL2014,
    DetectRoute,
    WordBenchmark,
    broken,
    hashes,
    localisation,
    precisions,
)
from clipalign.results import WordScore

if TYPE_CHECKING:
    from clipalign.config.values import Settings
    from clipalign.models.model import LoadedModel

FILE: Final = "foilv1.0_test_2017.json"
CAPTIONS: Final = ("captions_val2014.json", "annotations/captions_val2014.json")
CAPTIONS_PLACES: Final = (
    *CAPTIONS,
    *(f"{folder}/{name}" for folder in ("../coco", "../coco-val2014") for name in CAPTIONS),
)
PICTURES: Final = "COCO_val2014_"
"""How the names of FOIL's own pictures begin."""
CORRECT: Final = "ORIG"
"""What stands for the foil word of a correct caption."""


OTHER: Final = (
    f"the pictures are not those of FOIL, so this is not the paper's {FILE}: published numbers are of other data"
)
UNKNOWN: Final = (
    f"published numbers are of the paper's {FILE}; no hash of it is on record, so whether this is it is not known"
)


class Foil(WordBenchmark):
    """The benchmark; see the module's text for its protocol."""

    name = "foil"
    notes: tuple[str, ...] = (UNKNOWN, ABOUT)

    def check(self) -> None:
        """Read the annotations, and find the pictures and, where they are, COCO's captions."""
        file = read_annotations(find_in(self.folder, self.name, FILE, f"annotations/{FILE}"), self.name)
        document = file.json()
        try:
            names = {image["id"]: str(image["file_name"]) for image in document["images"]}
            rows = list(document["annotations"])
        except (KeyError, TypeError) as error:
            raise file.misbuilt("FOIL's format", error) from None
        places = [self.folder / place for place in CAPTIONS_PLACES]
        captions = next((read_annotations(place, self.name) for place in places if place.is_file()), None)
        self._references = {} if captions is None else _by_image(captions)
        self._names, self._rows = names, rows
        self._folder = self._pictures(names.values(), *VAL2014)
        self.data = hashes(file, *([captions] if captions else []))
        self.size = len(rows)
        none = f"without {CAPTIONS[0]} there are no references, and no RefCLIPScore"
        of_coco = any(name.startswith(PICTURES) for name in names.values())
        self.notes = (
            UNKNOWN if of_coco else OTHER,
            *([] if (lost := _not_in_captions(rows)) is None else [lost]),
            ABOUT,
            none if captions is None else NEAREST,
        )

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Sample | BrokenSample]:
        """Image after image, as they first occur in the file; within an image in the file's order."""
        by_image: dict[str, list[tuple[int, Any]]] = {}
        for number, row in enumerate(self._rows):
            image = repr(row.get("image_id")) if isinstance(row, dict) else ""  # a damaged one need not be hashable
            by_image.setdefault(image, []).append((number, row))
        ordered = [numbered for rows in by_image.values() for numbered in rows]
        for number, row in ordered[:limit]:
            yield self._sample(str(number), row)

    def _sample(self, id: str, row: Any) -> Sample | BrokenSample:
        try:
            name, text, foil = self._names[row["image_id"]], row["caption"].strip(), row["foil_word"].strip()
        except (KeyError, TypeError, AttributeError) as error:
            return broken(id, "", f"annotation {id} of {FILE} lacks {error}")
        others = self._references.get(row["image_id"], ())
        return Sample(
            id=id,
            image=self._folder / name,
            image_name=name,
            text=text,
            correct=foil == CORRECT,
            part="",
            references=tuple(caption for origin, caption in others if origin != row.get("id") and caption != text),
            truth={"annotation": row.get("id"), "foil_word": foil},
        )

    def route(self, loaded: LoadedModel, settings: Settings) -> DetectRoute:
        """``detect`` in mode ``most-negative``, unless the user chose another."""
        return DetectRoute(loaded, settings, mode="most-negative")

    def statistics(self, outcomes: Sequence[Outcome]) -> list[Statistic]:
        """LA, and AP of the three scores."""
        return foil_statistics(outcomes)

    def wrong_words(self, outcome: Outcome) -> tuple[bool, ...]:
        """The foil word of a foil, none of a correct caption."""
        return foil_words(outcome)


def _not_in_captions(rows: Sequence[Any]) -> str | None:
    """A sentence where foil words do not stand in their captions, which no prediction can find."""
    foils, lost = 0, []
    for number, row in enumerate(rows):
        try:
            word, text = row["foil_word"].strip(), row["caption"].lower()
        except (KeyError, TypeError, AttributeError):
            continue  # said where the sample is read
        if word != CORRECT:
            foils += 1
            if word.lower() not in text:
                lost.append(number)
    if not lost:
        return None
    return (
        f"{len(lost):,} of {foils:,} foil words do not stand in their captions and cannot be found, "
        f"the first that of annotation {lost[0]}"
    )


def foil_statistics(outcomes: Sequence[Outcome], *, suffix: str = "") -> list[Statistic]:
    """LA by equality with the foil word, and AP of the three scores with correct captions as the positive class."""
    return [*localisation(f"la{suffix}", outcomes, found=found_foil, hit=is_foil), *precisions(outcomes, suffix=suffix)]


def found_foil(outcome: Outcome) -> bool:
    """Whether the most negative of the words called wrong is the foil word; one of several words never is."""
    return bool(outcome.result.misaligned) and _same(outcome.result.misaligned[0], outcome)


def is_foil(outcome: Outcome, word: WordScore) -> bool:
    """Whether a word of the caption equals its foil word."""
    return _same(word.text, outcome)


def foil_words(outcome: Outcome) -> tuple[bool, ...]:
    """Which words are the foil; of one of several words, all of them."""
    if outcome.correct:
        return (False,) * len(outcome.result.words)
    parts = str(outcome.truth["foil_word"]).lower().split()
    texts = [word.text.lower() for word in outcome.result.words]
    wrong = [False] * len(texts)
    for start in range(len(texts) - len(parts) + 1):
        if texts[start : start + len(parts)] == parts:
            wrong[start : start + len(parts)] = [True] * len(parts)
    return tuple(wrong)


def _same(word: str, outcome: Outcome) -> bool:
    return word.lower() == str(outcome.truth["foil_word"]).lower()


def _by_image(captions: Annotations) -> dict[Any, tuple[tuple[Any, str], ...]]:
    """COCO's captions by image, each with its id."""
    found: dict[Any, tuple[tuple[Any, str], ...]] = {}
    try:
        for row in captions.json()["annotations"]:
            found[row["image_id"]] = (*found.get(row["image_id"], ()), (row["id"], row["caption"].strip()))
    except (KeyError, TypeError, AttributeError) as error:
        raise captions.misbuilt("COCO's format", error) from None
    return found
