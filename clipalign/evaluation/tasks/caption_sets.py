"""Sets of rows of a picture and captions about it, each a table of ``benchmarks.toml``: true and false, or rated.

LA: share of false captions whose most negative word (CLIP4DM, arXiv 2412.18404) lies where the caption is wrong.
Accuracy of items: share in which every true caption scores above every false one. AP of the scores; correlations with
ratings. All also per group of rows, such as a linguistic phenomenon.

Where a caption is wrong is given in the row, or is the one contiguous span in which it differs from the true caption
(:func:`different_words`). Other false captions count for ranking alone; a note says how many.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import orjson

from clipalign.data.columns import MISSING
from clipalign.data.columns import value_at as found_at
from clipalign.data.words import Span, Word, reported_words, split_words
from clipalign.errors import TextUnusable
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import (
    LONG_OPTIONS,
    RECORD_ERRORS,
    WORD_OPTIONS,
    BrokenSample,
    CaptionOutcome,
    CaptionSample,
    broken,
)
from clipalign.evaluation.dataset_files import (
    COCO_CAPTIONS,
    Annotations,
    captions_by_image,
    coco_captions,
    find_in,
    hashes,
    read_annotations,
)
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.tasks.words import ABOUT, NEAREST, DetectEvaluator, WordBenchmark
from clipalign.files import is_file
from clipalign.methods.score_long import with_long_context
from clipalign.methods.scores import reference_cosine_of

if TYPE_CHECKING:
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.models.model import LoadedModel
    from clipalign.results import DetectResult

PICTURES_TRIED: Final = 40
"""Names, spread over the whole set, of which at least one picture must exist."""

NO_REFERENCES: Final = f"without {COCO_CAPTIONS} there are no references, and no RefCLIPScore"
_FOLDERS: Final = ("", "data", "annotations")  # of a data set that may hold its annotation files
_EDGES: Final = ".,!?;:\"'()"  # punctuation ignored at the edges of a word
_TRUTHS: Final = dict.fromkeys(("1", "true", "yes"), True) | dict.fromkeys(("0", "false", "no"), False)
_CORRELATED: Final = {"": "cosine", "_f_clip_score": "f_clip_score", "_ref_clip_score": "ref_clip_score"}


def different_words(true: str, false: str) -> list[Word]:
    """The words of ``false`` that ``true`` lacks, if they are one contiguous span; else none.

    Words are aligned without regard to case and punctuation at their edges.
    """
    before, after = reported_words(split_words(true)), reported_words(split_words(false))
    matcher = SequenceMatcher(None, [*map(_plain, before)], [*map(_plain, after)], autojunk=False)
    spans = [(start, end) for kind, _, _, start, end in matcher.get_opcodes() if kind != "equal"]
    return after[slice(*spans[0])] if len(spans) == 1 else []


def _plain(word: Word) -> str:
    return word.text.lower().strip(_EDGES) or word.text


def spans_of(wrong: str, text: str) -> list[Span]:
    """The characters wherever the words of ``wrong`` stand in ``text``, in any case, whole words only."""
    words = r"\s+".join(map(re.escape, wrong.split()))
    return [match.span() for match in re.finditer(rf"(?<!\w){words}(?!\w)", text, re.IGNORECASE)] if words else []


class Caption(NamedTuple):
    """A caption of a row; ``spans`` are its false characters, if they are known; ``image`` if not the row's."""

    text: str
    correct: bool
    spans: tuple[Span, ...] = ()
    image: str = ""


class CaptionSets(WordBenchmark):
    """Rows of a picture and captions about it.

    A path in a row is its keys joined by points: ``mturk.caption``.

    Attributes:
        files: names of annotation files, each a list of rows, an object of rows, or a row a line; at least one must
            exist.
        each: path of a list in a row whose entries are the rows, with what stands beside the list.
        id: path of a row's name; empty for its number.
        image: path of the picture's name.
        suffix: ending of that name which rows leave out.
        pictures: folders that may hold the pictures.
        captions: of each row: path of the ``text``, or of several in a list or an object; ``label``, path of its
            truth value, or ``@true`` or ``@false``; ``wrong``, path of the false words, a list or with commas between,
            ``@key`` for the key of a caption in an object, ``@none`` where it is wrong at no one place; ``span``, path
            of the first false character and one past the last; ``image``, path of its picture if it has its own;
            ``about``, path of the words that are false where the
            label is. Without a label a caption is true unless the row names false words; a false caption without any
            is aligned with the row's first caption of the same picture.
        references: path of true captions of the picture; ``@coco`` for COCO's captions of it, where these are here.
        siblings: whether the references of a caption are the other true captions of its row.
        group: path of the group that a row counts toward; empty for the name of its file.
        human: path of a rating.
        votes: path of the number of people who agreed with the row.
        least_votes: rows with fewer are left out.
        remarks: what a reader must know before comparing.
    """

    files: tuple[str, ...]
    each: str = ""
    id: str = ""
    image: str
    suffix: str = ""
    pictures: tuple[str, ...] = (".",)
    captions: tuple[dict[str, str], ...]
    references: str = ""
    siblings: bool = False
    group: str = ""
    human: str = ""
    votes: str = ""
    least_votes: int = 0
    remarks: tuple[str, ...] = ()
    mode = "most-negative"
    options = tuple(dict.fromkeys((*WORD_OPTIONS, *LONG_OPTIONS)))

    def read_lists(self) -> None:
        paths = {name: path for name in self.files if (path := self._path_of(name))}
        if not paths:
            find_in(self.folder, self.name, *self.files)
        files = {name: read_annotations(path, self.name) for name, path in paths.items()}
        rows = [row for name, file in files.items() for row in self._kept(Path(name).stem, file)]
        names = [
            f"{value_at(row, self.image)}{self.suffix}" for _, row in rows if found_at(row, self.image) is not MISSING
        ]
        self._pictures(names[:: 1 + len(names) // PICTURES_TRIED], *self.pictures)  # of all parts of the set
        self._folders = [folder for path in self.pictures if (folder := self.folder / path).is_dir()]
        coco = coco_captions(self.folder, self.name) if self.references == "@coco" else None
        self._coco = {} if coco is None else captions_by_image(coco)
        self.data = hashes(*files.values(), *([coco] if coco else []))
        self._samples = [one for name, row in rows for one in self._samples_of(name, row)]
        self.size = max(self.size or 0, len(self._samples))
        absent = [name for name in self.files if name not in paths]
        lacking = f"without {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} missing" if absent else ""
        versions = tuple(filter(None, (file.note() for file in files.values())))
        self.of_papers = not absent and not versions
        nearest, about = NEAREST if self.references else "", ABOUT if self.published else ""
        if self.references == "@coco" and coco is None:
            nearest = NO_REFERENCES
        self.notes = tuple(filter(None, (*self._spans_told(), lacking, *versions, nearest, about, *self.remarks)))

    def _path_of(self, name: str) -> Path | None:
        return next((path for top in _FOLDERS if is_file(path := self.folder / top / name)), None)

    def _kept(self, file: str, annotations: Annotations) -> Iterator[tuple[str, Any]]:
        for key, row in self.rows(annotations):
            votes = found_at(row, self.votes) if self.votes else self.least_votes
            if votes is not MISSING and votes >= self.least_votes:
                yield f"{file}:{key}", row

    def rows(self, file: Annotations) -> Iterator[tuple[str, Any]]:
        """The rows of a file, each with its number or key."""
        if not self.each:
            yield from rows_of(file)
            return
        for key, row in rows_of(file):
            try:
                inner = [{**row, **one} for one in value_at(row, self.each)]
            except RECORD_ERRORS:
                inner = [row]  # reported where the sample is read
            yield from ((f"{key}.{number}", one) for number, one in enumerate(inner))

    def _spans_told(self) -> Iterator[str]:
        false = [one for one in self._samples if isinstance(one, CaptionSample) and not one.correct]
        words = Counter(min(_word_count(one), 2) for one in false)
        if false and self.localizes:
            yield (
                f"{len(false):,} false captions: {words[1]:,} are wrong in one word, {words[2]:,} in several; LA is "
                f"over these; {words[0]:,} say of no one place that it is wrong and count for ranking alone: over all, "
                f"LA could not pass {1 - words[0] / len(false):.3f}"
            )

    def samples(self, *, limit: int | None, seed: int) -> Iterator[CaptionSample | BrokenSample]:
        yield from self._samples[:limit]

    def _samples_of(self, name: str, row: Any) -> list[CaptionSample | BrokenSample]:
        try:
            row = self.read(row)
            image = f"{value_at(row, self.image)}{self.suffix}"
            group = name.partition(":")[0] if not self.group else str(value_at(row, self.group))
            return [
                *self.captions_of(
                    str(value_at(row, self.id)) if self.id else name, row, self._picture(image), image, group
                )
            ]
        except (*RECORD_ERRORS, TextUnusable) as error:
            return [broken(name, "", f"row {name} is not as it should be: {error}")]

    def _picture(self, name: str) -> Path:
        return next((path for top in self._folders if is_file(path := top / name)), self._folders[0] / name)

    def read(self, row: Any) -> Any:
        """The row with what its captions are read from."""
        return row

    def captions_of(
        self, name: str, row: Any, image: Path | bytes, image_name: str, group: str
    ) -> Iterator[CaptionSample]:
        """The samples of a row; :data:`RECORD_ERRORS` if it cannot be meant."""
        captions: list[Caption] = []
        for described in self.captions:
            captions += _captions(row, described, captions)
        truth: dict[str, Any] = {"item": name}
        if self.human and (rating := rating_of(value_at(row, self.human))) is not None:
            truth["human"] = rating
        references = self._references_of(row, image_name)
        if self.siblings:
            references = tuple(one.text for one in captions if one.correct)
        for number, one in enumerate(captions):
            yield CaptionSample(
                id=f"{name}:{number}" if len(captions) > 1 else name,
                image=self._picture(one.image + self.suffix) if one.image else image,
                image_name=one.image or image_name,
                text=one.text,
                correct=one.correct,
                part=group,
                false_spans=one.spans,
                references=tuple(other for other in references if other != one.text),
                truth=truth,
            )

    def _references_of(self, row: Any, image_name: str) -> tuple[str, ...]:
        if self.references != "@coco":
            return tuple(map(str, value_at(row, self.references) or ())) if self.references else ()
        return tuple(text for _, text in self._coco.get(int(Path(image_name).stem.rpartition("_")[2]), ()))

    def evaluator(self, loaded: LoadedModel, settings: EvalSettings) -> DetectEvaluator:
        long = with_long_context(loaded, stretch=bool(settings.stretch))
        made = super().evaluator(long, settings)
        if long is not loaded:
            made.provenance = replace(made.provenance, settings={**made.provenance.settings, "stretch": True})
        return made

    def localizable(self, outcomes: Sequence[CaptionOutcome]) -> list[CaptionOutcome]:
        return [one for one in outcomes if one.correct or one.false_spans]

    def more_statistics(self, outcomes: Sequence[CaptionOutcome], suffix: str) -> list[Statistic]:
        """Accuracy of items, or of the best threshold where captions come alone, and correlations with ratings."""
        found = item_accuracy(f"pair_accuracy{suffix}", outcomes) or best_accuracy(f"best_accuracy{suffix}", outcomes)
        if self.siblings:
            found += item_accuracy(f"text_accuracy{suffix}", outcomes, _nearest_true)
        for kind, name in _CORRELATED.items():
            rated = [
                (one.id, value, one.truth["human"])
                for one in outcomes
                if "human" in one.truth and (value := getattr(one.result, name)) is not None
            ]
            if rated:
                found += metrics.correlations(f"{kind}{suffix}", *(list(column) for column in zip(*rated, strict=True)))
        return found


def rows_of(annotations: Annotations) -> Iterator[tuple[str, Any]]:
    """Rows of a JSON list, an object of rows, or JSON lines, each with its number or key."""
    document = annotations.rows()
    if not isinstance(document, list | dict):
        raise annotations.unusable("holds no rows")
    for key, row in document.items() if isinstance(document, dict) else enumerate(document):
        yield str(key), row


def value_at(row: Any, path: str) -> Any:
    """The value in a row under keys joined by points; KeyError if there is none."""
    found = found_at(row, path)
    if found is MISSING:
        raise KeyError(path)
    return found


def _captions(row: Any, described: Mapping[str, str], earlier: Sequence[Caption]) -> Iterator[Caption]:
    path = described["text"]
    texts = value_at(row, path)
    if not isinstance(texts, dict):
        texts = dict(enumerate(texts if isinstance(texts, list) else [] if texts is None else [texts]))
    image = str(value_at(row, described["image"])) if "image" in described else ""
    first = next((one for one in earlier if one.image == image), None)
    for key, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"{path} must be a text")
        if not text.strip():
            raise ValueError(f"the {path} is empty")
        yield _caption(row, described, str(key), text.strip(), first)._replace(image=image)


def _caption(row: Any, described: Mapping[str, str], key: str, text: str, first: Caption | None) -> Caption:
    label, wrong = described.get("label", ""), described.get("wrong", "")
    spans = _given_spans(text, value_at(row, described["span"])) if "span" in described else ()
    if not spans and wrong not in ("", "@key", "@none"):
        spans = literal_words(text, listed(value_at(row, wrong)))
    said = label == "@true" if label.startswith("@") else truth_of(value_at(row, label)) if label else None
    if said if said is not None else not spans:
        if spans:
            raise ValueError("the label says true, but wrong words are named")
        return Caption(text, correct=True)
    if wrong == "@key" or "about" in described:
        named = key if wrong == "@key" else value_at(row, described["about"])
        spans = literal_words(text, listed(named), must=False)
    elif first and first.correct and not spans and wrong != "@none":
        words = different_words(first.text, text)
        spans = ((words[0].start, words[-1].end),) if words else ()
    return Caption(text, correct=False, spans=spans)


def _given_spans(text: str, value: Any) -> tuple[Span, ...]:
    spans = listed(value)
    pairs = [spans] if spans and not isinstance(spans[0], list | tuple) else spans
    if not all(len(one) == 2 and all(isinstance(at, int) for at in one) for one in pairs):
        raise ValueError("wrong_span must be the first character and one past the last, or a list of such")
    if not all(0 <= start < end <= len(text) for start, end in pairs):
        raise ValueError(f"wrong_span lies outside the text of {len(text)} characters")
    return tuple((start, end) for start, end in pairs)


def literal_words(text: str, wrong: Sequence[str], *, must: bool = True) -> tuple[Span, ...]:
    """Places in ``text`` of each of the ``wrong`` words; none, or ValueError where they ``must``, if one is absent."""
    found = [spans_of(str(one), text) for one in wrong]
    if not all(found) and must:
        raise ValueError(f"the wrong words {', '.join(map(str, wrong))[:60]!r} do not stand in the text")
    return tuple(span for spans in found for span in spans) if all(found) else ()


def listed(value: object) -> list[Any]:
    """A list, or one written in JSON, or words with commas between."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return [value]
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, list | tuple) else []


def truth_of(value: object) -> bool | None:
    """A truth value as tables write it, None for none; ValueError for anything else."""
    if value is None or value == "":
        return None
    found = _TRUTHS.get(str(value).strip().lower().removesuffix(".0"))
    if found is None:
        raise ValueError(f"the label must be true or false, 1 or 0, not {str(value)[:40]!r}")
    return found


def rating_of(value: Any) -> float | None:
    """A rating, None for none; ValueError for what is no finite number."""
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"human must be a number, not {str(value)[:40]!r}")
    return number


def _word_count(sample: CaptionSample) -> int:
    spans = sample.false_spans
    words = reported_words(split_words(sample.text))
    return sum(any(word.start < end and start < word.end for start, end in spans) for word in words)


def _nearest_true(result: DetectResult) -> float | None:
    """The cosine of a caption and the nearest of its references."""
    return reference_cosine_of(result.clip_score, result.ref_clip_score or 0.0)


def item_accuracy(
    name: str, outcomes: Sequence[CaptionOutcome], score: Callable[[DetectResult], float | None] = attrgetter("cosine")
) -> list[Statistic]:
    """Share of items in which every true caption scores above every false one.

    Equal scores are not above. Items without both kinds, or a score, are left out; no statistic if no item is left.
    Chance: all orders of an item's captions are equally likely.
    """
    items: dict[str, tuple[list[float | None], list[float | None]]] = {}
    for one in outcomes:
        items.setdefault(one.truth.get("item", one.id), ([], []))[one.correct].append(score(one.result))
    whole = {item: scores for item, scores in items.items() if all(scores) and None not in scores[0] + scores[1]}
    both = cast("dict[str, tuple[list[float], list[float]]]", whole)
    if not both:
        return []
    right = [float(min(true) > max(false)) for false, true in both.values()]
    chances = [1 / math.comb(len(true) + len(false), len(true)) for false, true in both.values()]
    return [metrics.mean(name, [*both], right, chance=sum(chances) / len(chances))]


def best_accuracy(name: str, outcomes: Sequence[CaptionOutcome]) -> list[Statistic]:
    """Share of captions on the right side of the cosine that parts true from false ones best, on these captions."""
    truth = [one.correct for one in outcomes]
    if all(truth) or not any(truth):
        return []
    return [metrics.best_accuracy(name, [one.id for one in outcomes], truth, [one.result.cosine for one in outcomes])]
