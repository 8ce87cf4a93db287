"""Benchmarks of one JSON file whose rows are a picture with true and false captions: FOIL, nocaps-FOIL, HAT.

Protocol of FOIL (Shekhar et al., ACL 2017) as CLIP4DM runs it: mode ``most-negative``; a foil counts as found when the
predicted word equals the foil word, both in lower case. LA over the foils; AP with the true captions as the positive
class; both in all and per part. A file that is only such rows is described in ``benchmarks.toml`` alone.

Protocol of HAT (Petryk et al., NAACL 2024) as CLIP4DM runs it: mode ``threshold``; misaligned words that follow each
other make a phrase with their mean; the lowest phrase must occur in the marked words, joined by spaces and without
points and commas. AP with the hallucinated captions as the positive class, ranked by the negated score. "Occurs" is
meant letter by letter: a lone "a" is found in "table". ``la_whole_words`` counts only what is found word for word.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from clipalign.evaluation.benchmark import BrokenSample, CaptionOutcome, CaptionSample, broken
from clipalign.evaluation.dataset_files import Annotations, find_in, hashes, read_annotations
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.tasks.words import (
    ABOUT,
    NEAREST,
    VAL2014,
    WordBenchmark,
    by_part,
    localization,
    lowest_phrase,
    precisions,
    words_in,
)

_BAD_ROW: Final = (KeyError, IndexError, TypeError, ValueError, AttributeError)


class CaptionRows(WordBenchmark):
    """Rows that each name a picture and captions about it.

    Where a value stands in a row is written as its keys with points between: ``replacement.1``.

    Attributes:
        file: name of the JSON list, in the data set's folder or its ``data`` or ``annotations``.
        sha256: of the version that the papers used, where that is known.
        version: what to call that version.
        pictures: folders that may hold the pictures.
        captions: of each row: ``text``, where the caption stands; ``false_word``, where its false word stands, which
            is empty in a true caption; ``id``, the ending of its name where a row has several captions.
        image: where a row has the name of its picture.
        references: where it has true captions of the picture.
        part: where it has the subset it counts toward.
        rows: how many the published file has.
        remarks: what a reader must know before comparing.
    """

    file: str
    sha256: str = ""
    version: str = ""
    pictures: tuple[str, ...] = (".",)
    captions: tuple[dict[str, str], ...]
    image: str = "image"
    references: str = ""
    part: str = ""
    rows: int | None = None
    remarks: tuple[str, ...] = ()
    mode = "most-negative"

    def check(self) -> None:
        """Read the annotations and find the pictures."""
        place = find_in(self.folder, self.name, self.file, f"data/{self.file}", f"annotations/{self.file}")
        file = read_annotations(place, self.name, known=self.sha256, version=self.version)
        rows = file.json()
        if not isinstance(rows, list):
            raise file.unusable("is no list of rows")
        self._rows: list[Any] = rows
        names = [str(row[self.image]) for row in rows if isinstance(row, dict) and self.image in row]
        self._folder = self._pictures(names, *self.pictures)
        self.size = (self.rows or len(rows)) * len(self.captions)
        self.data = hashes(file)
        nearest, about = NEAREST if self.references else "", ABOUT if self.published else ""
        self.notes = tuple(filter(None, (*self._remarks(), file.note(), nearest, about, *self.remarks)))

    def _remarks(self) -> Iterator[str]:
        """What a reader must know of these rows."""
        words = [len(foil.split()) for row in self._rows for foil in self._foils(row)]
        several = sum(count > 1 for count in words)
        if several:
            yield (
                f"{several:,} of the {len(words):,} foils have several words, which one predicted word cannot be: "
                f"LA cannot pass {1 - several / len(words):.3f}"
            )

    def _foils(self, row: Any) -> Iterator[str]:
        for caption in self.captions:
            try:
                if "false_word" in caption and (foil := str(_value(row, caption["false_word"])).strip()):
                    yield foil
            except _BAD_ROW:
                continue  # reported where the sample is read

    def samples(self, *, limit: int | None, seed: int) -> Iterator[CaptionSample | BrokenSample]:
        """Row after row, the captions of each in their order."""
        every = (sample for number, row in enumerate(self._rows) for sample in self._samples_of(number, row))
        return itertools.islice(every, limit)

    def _samples_of(self, number: int, row: Any) -> list[CaptionSample | BrokenSample]:
        """All captions of a row, or that it is broken once for each."""
        try:
            return [self._sample(f"{number}{_ending(caption)}", row, caption) for caption in self.captions]
        except _BAD_ROW as error:
            what = f"row {number} of {self.file} is not as it should be: {error}"
            return [broken(f"{number}{_ending(caption)}", "", what) for caption in self.captions]

    def _sample(self, id: str, row: Any, caption: dict[str, str]) -> CaptionSample:
        name = str(_value(row, self.image))
        foil = str(_value(row, caption["false_word"])).strip() if "false_word" in caption else ""
        return CaptionSample(
            id=id,
            image=self._folder / name,
            image_name=name,
            text=_value(row, caption["text"]).strip(),
            correct=not foil,
            part=str(_value(row, self.part)) if self.part else "",
            references=tuple(map(str, _value(row, self.references))) if self.references else (),
            truth={"foil_word": foil} if foil else {},
        )

    def statistics(self, outcomes: Sequence[CaptionOutcome]) -> list[Statistic]:
        """LA by equality with the foil word, and AP of the three scores, in all and per part."""
        found = []
        for suffix, chosen in {"": outcomes, **by_part(outcomes)}.items():
            found += localization(f"la{suffix}", chosen, found=found_foil, hit=lambda o, word: _same(word.text, o))
            found += precisions(chosen, suffix=suffix)
        return found

    def wrong_words(self, outcome: CaptionOutcome) -> tuple[bool, ...]:
        """The words of the foil, none of a true caption."""
        texts = [word.text.lower() for word in outcome.result.words]
        wrong = [False] * len(texts)
        parts = [] if outcome.correct else str(outcome.truth["foil_word"]).lower().split()
        for start in range(len(texts) - len(parts) + 1 if parts else 0):
            if texts[start : start + len(parts)] == parts:
                wrong[start : start + len(parts)] = [True] * len(parts)
        return tuple(wrong)


def found_foil(outcome: CaptionOutcome) -> bool:
    """Whether the most negative of the words called wrong is the foil word; one of several words never is."""
    return bool(outcome.result.misaligned) and _same(outcome.result.misaligned[0], outcome)


def _same(word: str, outcome: CaptionOutcome) -> bool:
    return word.lower() == str(outcome.truth["foil_word"]).lower()


def _value(row: Any, place: str) -> Any:
    """The value in a row under keys with points between."""
    for key in place.split("."):
        row = row[int(key)] if isinstance(row, list) else row[key]
    return row


def _ending(caption: dict[str, str]) -> str:
    return f"-{caption['id']}" if "id" in caption else ""


class FoilCoco(CaptionRows):
    """``foil``: captions of COCO val2014 with one word exchanged.

    References, for RefCLIPScore, are COCO's other captions of the image: not the one that a caption was made of, which
    would give the answer away.
    """

    name = "foil"
    file = "foilv1.0_test_2017.json"

    correct_mark: Final = "ORIG"
    """The foil word of a true caption."""
    captions_file: Final = "captions_val2014.json"

    def check(self) -> None:
        """Read the annotations, and find the pictures and, where they are, COCO's captions."""
        file = read_annotations(find_in(self.folder, self.name, self.file, f"annotations/{self.file}"), self.name)
        document = file.json()
        try:
            names = {image["id"]: str(image["file_name"]) for image in document["images"]}
            rows = list(document["annotations"])
        except (KeyError, TypeError) as error:
            raise file.misbuilt("FOIL's format", error) from None
        captions = self._captions()
        self._references = {} if captions is None else _by_image(captions)
        self._names, self._rows = names, rows
        self._folder = self._pictures(names.values(), *VAL2014)
        self.data = hashes(file, *([captions] if captions else []))
        self.size = len(rows)
        of_coco = any(name.startswith("COCO_val2014_") for name in names.values())
        none = f"without {self.captions_file} there are no references, and no RefCLIPScore"
        notes = (self._origin(of_coco), self._lost(), ABOUT, none if captions is None else NEAREST)
        self.notes = tuple(filter(None, notes))

    def _captions(self) -> Annotations | None:
        names = (self.captions_file, f"annotations/{self.captions_file}")
        places = [self.folder / top / name for top in ("", "../coco", "../coco-val2014") for name in names]
        return next((read_annotations(place, self.name) for place in places if place.is_file()), None)

    def _origin(self, of_coco: bool) -> str:
        """Whether published numbers are of this data."""
        if of_coco:
            known = "no hash of it is on record, so whether this is it is not known"
            return f"published numbers are of the paper's {self.file}; {known}"
        other = f"the pictures are not those of FOIL, so this is not the paper's {self.file}"
        return f"{other}: published numbers are of other data"

    def _lost(self) -> str:
        """How many foil words do not stand in their captions, where no prediction can find them."""
        foils, lost = 0, []
        for number, row in enumerate(self._rows):
            try:
                word, text = row["foil_word"].strip(), row["caption"].lower()
            except (KeyError, TypeError, AttributeError):
                continue  # reported where the sample is read
            if word != self.correct_mark:
                foils += 1
                if word.lower() not in text:
                    lost.append(number)
        if not lost:
            return ""
        return (
            f"{len(lost):,} of {foils:,} foil words do not stand in their captions and cannot be found, "
            f"the first that of annotation {lost[0]}"
        )

    def samples(self, *, limit: int | None, seed: int) -> Iterator[CaptionSample | BrokenSample]:
        """Image after image, as they first occur in the file; within an image in the file's order."""
        by_image: dict[str, list[tuple[int, Any]]] = {}
        for number, row in enumerate(self._rows):
            image = repr(row.get("image_id")) if isinstance(row, dict) else ""  # a damaged one need not be hashable
            by_image.setdefault(image, []).append((number, row))
        ordered = [numbered for rows in by_image.values() for numbered in rows]
        for number, row in ordered[:limit]:
            yield self._annotation(str(number), row)

    def _annotation(self, id: str, row: Any) -> CaptionSample | BrokenSample:
        try:
            name, text, foil = self._names[row["image_id"]], row["caption"].strip(), row["foil_word"].strip()
        except (KeyError, TypeError, AttributeError) as error:
            return broken(id, "", f"annotation {id} of {self.file} lacks {error}")
        others = self._references.get(row["image_id"], ())
        return CaptionSample(
            id=id,
            image=self._folder / name,
            image_name=name,
            text=text,
            correct=foil == self.correct_mark,
            part="",
            references=tuple(caption for origin, caption in others if origin != row.get("id") and caption != text),
            truth={"annotation": row.get("id"), "foil_word": foil},
        )


def _by_image(captions: Annotations) -> dict[Any, tuple[tuple[Any, str], ...]]:
    """COCO's captions by image, each with its id."""
    found: dict[Any, tuple[tuple[Any, str], ...]] = {}
    try:
        for row in captions.json()["annotations"]:
            found[row["image_id"]] = (*found.get(row["image_id"], ()), (row["id"], row["caption"].strip()))
    except (KeyError, TypeError, AttributeError) as error:
        raise captions.misbuilt("COCO's format", error) from None
    return found


class Hat(CaptionRows):
    """``hat``: captions by machines and people, with the words marked that people found hallucinated.

    The file is called trainval and is the papers' test set.
    """

    mode = "threshold"
    pictures = VAL2014

    def _remarks(self) -> Iterator[str]:
        wrong = []
        for row in self._rows:
            try:
                wrong.append(bool(_marked(row)))
            except _BAD_ROW:
                continue  # reported where the sample is read
        if wrong:
            yield (
                f"{sum(wrong)} of the {len(wrong)} captions are hallucinated: "
                f"an AP of {sum(wrong) / len(wrong):.4f} is what chance reaches"
            )
        yield (
            "la counts a phrase whose letters occur among the marked words, as published; la_whole_words whole words "
            "only"
        )

    def _samples_of(self, number: int, row: Any) -> list[CaptionSample | BrokenSample]:
        try:
            marked = _marked(row)
            joined = " ".join(word.replace(".", "").replace(",", "") for word in marked)
            truth = {"marked": joined, "spans": _spans(row)}
            sample = self._sample(str(row["sample_id"]), row, self.captions[0])
        except _BAD_ROW as error:
            return [broken(f"row-{number}", "", f"row {number} of {self.file} is not as it should be: {error}")]
        return [replace(sample, correct=not marked, truth=truth)]

    def statistics(self, outcomes: Sequence[CaptionOutcome]) -> list[Statistic]:
        """LA as published and by whole words, and AP of the three scores."""
        return [
            *localization("la", outcomes, found=_found_phrase, hit=lambda o, word: _occurs(word.text, o)),
            *localization("la_whole_words", outcomes, found=_found_words, hit=lambda o, w: _occurs(w.text, o, " ")),
            *precisions(outcomes, misaligned=True),
        ]

    def wrong_words(self, outcome: CaptionOutcome) -> tuple[bool, ...]:
        """The marked words."""
        return words_in(outcome, outcome.truth["spans"])


def _found_phrase(outcome: CaptionOutcome, padding: str = "") -> bool:
    phrase = lowest_phrase(outcome.result)
    return phrase is not None and _occurs(phrase.text, outcome, padding)


def _found_words(outcome: CaptionOutcome) -> bool:
    return _found_phrase(outcome, " ")


def _occurs(text: str, outcome: CaptionOutcome, padding: str = "") -> bool:
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
