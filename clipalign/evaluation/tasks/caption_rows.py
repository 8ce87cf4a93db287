"""Benchmarks of one JSON file whose rows are a picture with true and false captions: FOIL, nocaps-FOIL, HAT.

FOIL (Shekhar et al., ACL 2017) and nocaps-FOIL: mode ``most-negative``; LA over the foils, AP with true captions as the
positive class, in all and per part. ``published_la`` counts as CLIP4DM does: the predicted word must equal the foil in
lower case, so a foil of several words is never found.

HAT (Petryk et al., NAACL 2024): mode ``threshold``; AP with hallucinated captions as the positive class, ranked by the
negated score. CLIP4DM merges adjacent misaligned words to a phrase with their mean. ``published_la`` asks whether the
letters of the lowest phrase occur in the marked words, joined by spaces, in lower case, without points and commas: "a"
is found in "table". ``published_ap_f_clip_score`` takes the mean of that phrase, not the sum over misaligned words.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from clipalign.data.words import Span
from clipalign.evaluation.benchmark import RECORD_ERRORS, BrokenSample, CaptionOutcome, CaptionSample, broken
from clipalign.evaluation.dataset_files import Annotations, find_in, hashes, read_annotations
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.tasks.caption_sets import value_at
from clipalign.evaluation.tasks.words import (
    ABOUT,
    NEAREST,
    VAL2014,
    WordBenchmark,
    localization,
    lowest_phrase,
    precision,
)
from clipalign.methods.scores import f_clip_score


class CaptionRows(WordBenchmark):
    """Rows that each name a picture and captions about it.

    Places in a row are keys joined by points: ``replacement.1``.

    Attributes:
        file: name of the JSON list, in the data set's folder or its ``data`` or ``annotations``.
        sha256: of the version that the papers used, where that is known.
        version: what to call that version.
        pictures: folders that may hold the pictures.
        captions: of each row: place of the ``text``; of the ``false_word``, empty in a true caption; ``id``, the ending
            of the caption's name where a row has several.
        image: place of the picture's name.
        references: place of true captions of the picture.
        part: place of the subset that the row counts toward.
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
        self.of_papers = not file.note()
        nearest, about = NEAREST if self.references else "", ABOUT if self.published else ""
        self.notes = tuple(filter(None, (*self._remarks(), file.note(), nearest, about, *self.remarks)))

    def _remarks(self) -> Iterator[str]:
        words = [len(foil.split()) for row in self._rows for foil in self._foils(row)]
        several = sum(count > 1 for count in words)
        if several and self.published:
            yield (
                f"published_la wants the predicted word to equal the foil, and {several:,} of the {len(words):,} foils "
                f"have several words: it cannot pass {1 - several / len(words):.3f}; la counts any word of the foil"
            )

    def _foils(self, row: Any) -> Iterator[str]:
        for caption in self.captions:
            try:
                if "false_word" in caption and (foil := str(value_at(row, caption["false_word"])).strip()):
                    yield foil
            except RECORD_ERRORS:
                continue  # reported where the sample is read

    def samples(self, *, limit: int | None, seed: int) -> Iterator[CaptionSample | BrokenSample]:
        every = (sample for number, row in enumerate(self._rows) for sample in self._samples_of(number, row))
        return itertools.islice(every, limit)

    def _samples_of(self, number: int, row: Any) -> list[CaptionSample | BrokenSample]:
        try:
            return [self._sample(f"{number}{_ending(caption)}", row, caption) for caption in self.captions]
        except RECORD_ERRORS as error:
            what = f"row {number} of {self.file} is not as it should be: {error}"
            return [broken(f"{number}{_ending(caption)}", "", what) for caption in self.captions]

    def _sample(self, id: str, row: Any, caption: dict[str, str]) -> CaptionSample:
        name = str(value_at(row, self.image))
        text = value_at(row, caption["text"]).strip()
        foil = str(value_at(row, caption["false_word"])).strip() if "false_word" in caption else ""
        return CaptionSample(
            id=id,
            image=self._folder / name,
            image_name=name,
            text=text,
            correct=not foil,
            part=str(value_at(row, self.part)) if self.part else "",
            references=tuple(map(str, value_at(row, self.references))) if self.references else (),
            false_spans=places_of(foil, text),
            truth={"foil_word": foil} if foil else {},
        )

    def published_statistics(self, outcomes: Sequence[CaptionOutcome], suffix: str) -> list[Statistic]:
        if not self.published:
            return []
        name = f"published_la{suffix}"
        return localization(name, outcomes, found=equals_foil, hit=lambda one, word: _same(word.text, one))


def places_of(foil: str, text: str) -> tuple[Span, ...]:
    """Every place where the words of ``foil`` stand in ``text``, in any case, whole words only."""
    words = r"\s+".join(map(re.escape, foil.split()))
    return tuple(match.span() for match in re.finditer(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE)) if words else ()


def equals_foil(outcome: CaptionOutcome) -> bool:
    """Whether the most negative misaligned word is the foil word; a foil of several words never is."""
    return bool(outcome.result.misaligned) and _same(outcome.result.misaligned[0], outcome)


def _same(word: str, outcome: CaptionOutcome) -> bool:
    return word.lower() == str(outcome.truth["foil_word"]).strip().lower()


def _ending(caption: dict[str, str]) -> str:
    return f"-{caption['id']}" if "id" in caption else ""


class FoilCoco(CaptionRows):
    """``foil``: captions of COCO val2014 with one word exchanged.

    References are COCO's other captions of the image, without the original of this one: it would give the answer away.
    """

    name = "foil"
    file = "foilv1.0_test_2017.json"

    correct_mark: Final = "ORIG"  # the foil word of a true caption
    captions_file: Final = "captions_val2014.json"

    def check(self) -> None:
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
        self.of_papers = of_coco
        none = f"without {self.captions_file} there are no references, and no RefCLIPScore"
        about = ABOUT if of_coco else ""
        notes = (self._origin(of_coco), self._lost(), about, none if captions is None else NEAREST)
        self.notes = tuple(filter(None, notes))

    def _captions(self) -> Annotations | None:
        names = (self.captions_file, f"annotations/{self.captions_file}")
        places = [self.folder / top / name for top in ("", "../coco", "../coco-val2014") for name in names]
        return next((read_annotations(place, self.name) for place in places if place.is_file()), None)

    def _origin(self, of_coco: bool) -> str:
        if of_coco:
            known = "no hash of it is on record, so whether this is it is not known"
            return f"published numbers are of the paper's {self.file}; {known}"
        return f"the pictures are not those of FOIL, so this is not the paper's {self.file}"

    def _lost(self) -> str:
        """Note how many foil words are not in their captions, where no prediction can find them."""
        foils, lost = 0, []
        for number, row in enumerate(self._rows):
            try:
                word, text = row["foil_word"].strip(), row["caption"]
            except (KeyError, TypeError, AttributeError):
                continue  # reported where the sample is read
            if word != self.correct_mark:
                foils += 1
                if not places_of(word, text):
                    lost.append(number)
        if not lost:
            return ""
        return (
            f"{len(lost):,} of {foils:,} foil words do not stand in their captions and cannot be found, "
            f"the first that of annotation {lost[0]}"
        )

    def samples(self, *, limit: int | None, seed: int) -> Iterator[CaptionSample | BrokenSample]:
        """Captions grouped by image, images in the order of the file."""
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
            false_spans=() if foil == self.correct_mark else places_of(foil, text),
            references=tuple(caption for origin, caption in others if origin != row.get("id") and caption != text),
            truth={"annotation": row.get("id"), "foil_word": foil},
        )


def _by_image(captions: Annotations) -> dict[Any, tuple[tuple[Any, str], ...]]:
    found: dict[Any, tuple[tuple[Any, str], ...]] = {}
    try:
        for row in captions.json()["annotations"]:
            found[row["image_id"]] = (*found.get(row["image_id"], ()), (row["id"], row["caption"].strip()))
    except (KeyError, TypeError, AttributeError) as error:
        raise captions.misbuilt("COCO's format", error) from None
    return found


class Hat(CaptionRows):
    """``hat``: captions by machines and people, hallucinated words marked; "trainval" is the papers' test set."""

    mode = "threshold"
    seeks_false = True
    pictures = VAL2014

    def _remarks(self) -> Iterator[str]:
        wrong = []
        for row in self._rows:
            try:
                wrong.append(bool(_marked(row)))
            except RECORD_ERRORS:
                continue  # reported where the sample is read
        if wrong:
            yield (
                f"{sum(wrong)} of the {len(wrong)} captions are hallucinated: "
                f"an AP of {sum(wrong) / len(wrong):.4f} is what chance reaches"
            )
        yield (
            "published_la asks whether the letters of the lowest phrase occur in the marked words, la whether the "
            "lowest word is marked; published_ap_f_clip_score takes the mean of that phrase, ap_f_clip_score the sum "
            "of all misaligned words"
        )

    def _samples_of(self, number: int, row: Any) -> list[CaptionSample | BrokenSample]:
        try:
            marked = _marked(row)
            joined = " ".join(word.strip().replace(".", "").replace(",", "") for word in marked)
            sample = self._sample(str(row["sample_id"]), row, self.captions[0])
            spans = _spans(row)
        except RECORD_ERRORS as error:
            return [broken(f"row-{number}", "", f"row {number} of {self.file} is not as it should be: {error}")]
        return [replace(sample, correct=not marked, false_spans=spans, truth={"marked": joined})]

    def published_statistics(self, outcomes: Sequence[CaptionOutcome], suffix: str) -> list[Statistic]:
        scored = [(one, _phrase_f_clip_score(one)) for one in outcomes]
        return [
            *localization(
                f"published_la{suffix}", outcomes, found=_finds_phrase, hit=lambda o, word: _occurs(word.text, o)
            ),
            *precision(f"published_ap_f_clip_score{suffix}", scored, misaligned=True),
        ]


def _finds_phrase(outcome: CaptionOutcome) -> bool:
    phrase = lowest_phrase(outcome.result)
    return phrase is not None and _occurs(phrase.text, outcome)


def _occurs(text: str, outcome: CaptionOutcome) -> bool:
    return text.lower() in str(outcome.truth["marked"]).lower()


def _phrase_f_clip_score(outcome: CaptionOutcome) -> float:
    phrase = lowest_phrase(outcome.result)
    return f_clip_score(phrase.attribution if phrase else 0.0, outcome.result.clip_score)


def _marked(row: Any) -> list[str]:
    return [str(word) for word, wrong in row["grounding"] if wrong]


def _spans(row: Any) -> tuple[Span, ...]:
    """Start and end (exclusive) of each marked word in the caption."""
    spans: list[Span] = []
    position, text = 0, row["caption"].strip()
    for word, wrong in row["grounding"]:
        start = text.index(word, position)
        position = start + len(word)
        if wrong:
            spans.append((start, position))
    return tuple(spans)
