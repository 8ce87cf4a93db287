"""Sets of pictures with true and false captions that say where a false caption is wrong, each a row of
``benchmarks.toml``.

LA: share of false captions whose most negative word (CLIP4DM, arXiv 2412.18404) lies where the caption is wrong.
Accuracy of items: share in which every true caption scores above every false one. AP of the scores. All also per group
of rows, such as a linguistic phenomenon.

Where a caption is wrong is given in the row, or is the one contiguous span in which it differs from the true caption
(:func:`different_words`). Other false captions count for ranking alone; a note says how many.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final, NamedTuple

from clipalign.data.documents import is_json_lines
from clipalign.data.words import Span, Word, reported_words, split_words
from clipalign.errors import TextUnusable
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import RECORD_ERRORS, BrokenSample, CaptionOutcome, CaptionSample, broken
from clipalign.evaluation.dataset_files import Annotations, find_in, hashes, read_annotations
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.tasks.words import WordBenchmark, by_part, localization, precisions
from clipalign.files import is_file

PICTURES_TRIED: Final = 40
"""Names, spread over the whole set, of which at least one picture must exist."""

_EDGES: Final = ".,!?;:\"'()"  # punctuation ignored at the edges of a word


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


def literal_words(false: str, wrong: str) -> list[Span]:
    """Places in ``false`` of each comma-separated part of ``wrong``, whole words only; empty if a part is absent."""
    words = split_words(false)
    text = [_plain(word) for word in words]
    found: list[Span] = []
    for part in wrong.lower().split(","):
        parts = part.split()
        places = [at for at in range(len(text) - len(parts) + 1) if parts and text[at : at + len(parts)] == parts]
        if not places:
            return []
        found += [(words[at].start, words[at + len(parts) - 1].end) for at in places]
    return found


class _Caption(NamedTuple):
    """A caption of a row; ``wrong`` are the words that the row calls false, None where it does not say."""

    text: str
    correct: bool
    wrong: str | None


class CaptionSets(WordBenchmark):
    """Rows of a picture and captions about it.

    Places in a row are keys joined by points: ``mturk.caption``.

    Attributes:
        files: names of JSON files, each a list of rows, an object of rows, or a row a line; at least one must exist.
        image: place of the picture's name.
        pictures: folders that may hold the pictures.
        captions: of each row: place of the ``text``, or of several in a list or an object; ``label``, place of its
            truth value (1 or true), or ``@true`` or ``@false``; ``wrong``, place of the false words, ``@key`` for the
            key of a caption in an object, ``@none`` where it is wrong at no one place. Without ``wrong`` a false
            caption is aligned with the first caption of the row.
        group: place of the group that a row counts toward; empty for the name of its file.
        votes: place of the number of people who agreed with the row.
        least_votes: rows with fewer are left out.
        remarks: what a reader must know before comparing.
    """

    files: tuple[str, ...]
    image: str
    pictures: tuple[str, ...] = (".",)
    captions: tuple[dict[str, str], ...]
    group: str = ""
    votes: str = ""
    least_votes: int = 0
    remarks: tuple[str, ...] = ()
    mode = "most-negative"

    def check(self) -> None:
        there = [name for name in self.files if is_file(self.folder / name)]
        if not there:
            find_in(self.folder, self.name, *self.files)
        files = {name: read_annotations(self.folder / name, self.name) for name in there}
        rows = [row for name, file in files.items() for row in self._kept(Path(name).stem, file)]
        names = [str(value_at(row, self.image)) for _, row in rows if _has(row, self.image)]
        self._pictures(names[:: 1 + len(names) // PICTURES_TRIED], *self.pictures)  # of all parts of the set
        self._folders = [folder for place in self.pictures if (folder := self.folder / place).is_dir()]
        self.data = hashes(*files.values())
        self._samples = [one for name, row in rows for one in self._samples_of(name, row)]
        self.size = len(self._samples)
        absent = [name for name in self.files if name not in there]
        lacking = f"without {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} missing" if absent else ""
        self.notes = tuple(filter(None, (self._spans_told(), lacking, *self.remarks)))

    def _kept(self, file: str, annotations: Annotations) -> Iterator[tuple[str, Any]]:
        for key, row in rows_of(annotations):
            if not self.votes or (_has(row, self.votes) and value_at(row, self.votes) >= self.least_votes):
                yield f"{file}:{key}", row

    def _spans_told(self) -> str:
        false = [one for one in self._samples if isinstance(one, CaptionSample) and not one.correct]
        words = Counter(min(_word_count(one), 2) for one in false)
        return (
            f"{len(false):,} false captions: {words[1]:,} are wrong in one word, {words[2]:,} in several; LA is over "
            f"these; {words[0]:,} say of no one place that it is wrong and count for ranking alone"
        )

    def samples(self, *, limit: int | None, seed: int) -> Iterator[CaptionSample | BrokenSample]:
        yield from self._samples[:limit]

    def _samples_of(self, name: str, row: Any) -> list[CaptionSample | BrokenSample]:
        try:
            captions = [one for described in self.captions for one in _captions(row, described)]
            image = str(value_at(row, self.image))
            group = str(value_at(row, self.group)) if self.group else name.partition(":")[0]
            spans = [_spans(one, captions[0]) for one in captions]
        except (*RECORD_ERRORS, TextUnusable) as error:
            return [broken(name, "", f"row {name} is not as it should be: {error}")]
        place = next((path for top in self._folders if is_file(path := top / image)), self._folders[0] / image)
        return [
            CaptionSample(
                id=f"{name}:{number}",
                image=place,
                image_name=image,
                text=one.text,
                correct=one.correct,
                part=group,
                false_spans=found,
                truth={"item": name},
            )
            for number, (one, found) in enumerate(zip(captions, spans, strict=True))
        ]

    def statistics(self, outcomes: Sequence[CaptionOutcome]) -> list[Statistic]:
        found = []
        for suffix, chosen in {"": outcomes, **by_part(outcomes)}.items():
            placed = [one for one in chosen if one.correct or one.false_spans]
            found += localization(f"la{suffix}", placed)
            found += item_accuracy(f"pair_accuracy{suffix}", chosen)
            found += precisions(chosen, suffix=suffix)
        return found


def rows_of(annotations: Annotations) -> Iterator[tuple[str, Any]]:
    """Rows of a JSON list, an object of rows, or JSON lines, each with its number or key."""
    if annotations.path.suffix == ".jsonl" or is_json_lines(str(annotations.path)):
        yield from ((str(number), row) for number, (_, row) in enumerate(annotations.json_lines()))
        return
    document = annotations.json()
    if not isinstance(document, list | dict):
        raise annotations.unusable("holds no rows")
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, row in pairs:
        yield str(key), row


def value_at(row: Any, place: str) -> Any:
    """The value in a row under keys joined by points."""
    for key in place.split("."):
        row = row[int(key)] if isinstance(row, list) else row[key]
    return row


def _has(row: Any, place: str) -> bool:
    try:
        value_at(row, place)
    except RECORD_ERRORS:
        return False
    return True


def _captions(row: Any, described: Mapping[str, str]) -> Iterator[_Caption]:
    texts, place = value_at(row, described["text"]), described.get("wrong")
    label = described["label"]
    correct = label == "@true" if label.startswith("@") else bool(value_at(row, label))
    if isinstance(texts, str):
        texts = {"": texts}
    for key, text in (texts if isinstance(texts, dict) else dict(enumerate(texts))).items():
        if place in ("@key", "@none"):
            wrong: str | None = str(key) if place == "@key" else ""
        else:
            wrong = None if correct or place is None else str(value_at(row, place))
        yield _Caption(text.strip(), correct, wrong)


def _spans(caption: _Caption, first: _Caption) -> tuple[Span, ...]:
    if caption.correct:
        return ()
    if caption.wrong is not None:
        return tuple(literal_words(caption.text, caption.wrong))
    words = different_words(first.text, caption.text) if first.correct else []
    return ((words[0].start, words[-1].end),) if words else ()


def _word_count(sample: CaptionSample) -> int:
    spans = sample.false_spans
    words = reported_words(split_words(sample.text))
    return sum(any(word.start < end and start < word.end for start, end in spans) for word in words)


def item_accuracy(name: str, outcomes: Sequence[CaptionOutcome]) -> list[Statistic]:
    """Share of items in which every true caption scores above every false one, by the cosine.

    Equal scores are not above. Items without both kinds are left out; no statistic if no item is left. Chance: all
    orders of an item's captions are equally likely.
    """
    items: dict[str, tuple[list[float], list[float]]] = {}
    for one in outcomes:
        items.setdefault(one.truth["item"], ([], []))[one.correct].append(one.result.cosine)
    both = {item: scores for item, scores in items.items() if all(scores)}
    if not both:
        return []
    right = [float(min(true) > max(false)) for false, true in both.values()]
    chances = [1 / math.comb(len(true) + len(false), len(true)) for false, true in both.values()]
    return [metrics.mean(name, [*both], right, chance=sum(chances) / len(chances))]
