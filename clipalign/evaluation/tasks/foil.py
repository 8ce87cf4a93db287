"""FOIL, nocaps-FOIL and HAT, with what CLIP4DM's own code counts on them beside our metrics.

FOIL (Shekhar et al., ACL 2017) and nocaps-FOIL: mode ``most-negative``; LA over the foils, AP with true captions as the
positive class, in all and per part. ``published_la``: the predicted word must equal the foil in lower case, so a foil
of several words is never found.

HAT (Petryk et al., NAACL 2024): mode ``threshold``; AP with hallucinated captions as the positive class, ranked by the
negated score. CLIP4DM merges adjacent misaligned words to a phrase with their mean. ``published_la`` asks whether the
letters of the lowest phrase occur in the marked words, joined by spaces, in lower case, without points and commas: "a"
is found in "table". ``published_ap_f_clip_score`` takes the mean of that phrase, not the sum over misaligned words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from clipalign.data.words import Span
from clipalign.evaluation.benchmark import BrokenSample, CaptionOutcome, CaptionSample, broken
from clipalign.evaluation.dataset_files import captions_by_image, coco_captions, find_in, hashes, read_annotations
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.tasks.caption_sets import (
    NO_REFERENCES,
    CaptionSets,
    spans_of,
)
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


def equals_foil(outcome: CaptionOutcome) -> bool:
    """Whether the most negative misaligned word is the foil word; a foil of several words never is."""
    return bool(outcome.result.misaligned) and _is_foil(outcome.result.misaligned[0], outcome)


def _is_foil(word: str, outcome: CaptionOutcome) -> bool:
    return word.lower() in {outcome.text[start:end].lower() for start, end in outcome.false_spans}


def _published_la(outcomes: Sequence[CaptionOutcome], suffix: str) -> list[Statistic]:
    return localization(
        f"published_la{suffix}", outcomes, found=equals_foil, hit=lambda one, word: _is_foil(word.text, one)
    )


class NocapsFoil(CaptionSets):
    """``nocaps-foil``: each row a caption of nocaps and its foil."""

    def _spans_told(self) -> Iterator[str]:
        foils = [one for one in self._samples if isinstance(one, CaptionSample) and not one.correct]
        spans = [(one.text, span) for one in foils for span in one.false_spans[:1]]  # a damaged row may name no word
        several = sum(len(text[slice(*span)].split()) > 1 for text, span in spans)
        if several:
            yield (
                f"published_la wants the predicted word to equal the foil, and {several:,} of the {len(foils):,} foils "
                f"have several words: it cannot pass {1 - several / len(foils):.3f}; la counts any word of the foil"
            )

    def more_statistics(self, outcomes: Sequence[CaptionOutcome], suffix: str) -> list[Statistic]:
        return super().more_statistics(outcomes, suffix) + _published_la(outcomes, suffix)


class FoilCoco(WordBenchmark):
    """``foil``: captions of COCO val2014 with one word exchanged.

    References are COCO's other captions of the image, without the original of this one: it would give the answer away.
    """

    file: Final = "foilv1.0_test_2017.json"
    correct_mark: Final = "ORIG"  # the foil word of a true caption
    mode = "most-negative"

    def read_lists(self) -> None:
        file = read_annotations(find_in(self.folder, self.name, self.file, f"annotations/{self.file}"), self.name)
        document = file.json()
        try:
            names = {image["id"]: str(image["file_name"]) for image in document["images"]}
            rows = list(document["annotations"])
        except (KeyError, TypeError) as error:
            raise file.misbuilt("FOIL's format", error) from None
        captions = coco_captions(self.folder, self.name)
        self._references = {} if captions is None else captions_by_image(captions)
        self._names, self._rows = names, rows
        self._folder = self._pictures(names.values(), *VAL2014)
        self.data = hashes(file, *([captions] if captions else []))
        self.size = len(rows)
        of_coco = any(name.startswith("COCO_val2014_") for name in names.values())
        self.of_papers = of_coco
        about = ABOUT if of_coco else ""
        notes = (self._origin(of_coco), self._lost(), about, NO_REFERENCES if captions is None else NEAREST)
        self.notes = tuple(filter(None, notes))

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
                word, text = row["foil_word"].strip(), row["caption"].strip()
            except (KeyError, TypeError, AttributeError):
                continue  # reported where the sample is read
            if word != self.correct_mark:
                foils += 1
                if not spans_of(word, text):
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
            false_spans=() if foil == self.correct_mark else tuple(spans_of(foil, text)),
            references=tuple(caption for origin, caption in others if origin != row.get("id") and caption != text),
        )

    def more_statistics(self, outcomes: Sequence[CaptionOutcome], suffix: str) -> list[Statistic]:
        return _published_la(outcomes, suffix)


class Hat(CaptionSets):
    """``hat``: captions by machines and people, hallucinated words marked; "trainval" is the papers' test set."""

    mode = "threshold"
    seeks_false = True
    pictures = VAL2014

    def _spans_told(self) -> Iterator[str]:
        wrong = [not one.correct for one in self._samples if isinstance(one, CaptionSample)]
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

    def read(self, row: Any) -> Any:
        return row | {"spans": _marked(row["caption"].strip(), row["grounding"])}

    def more_statistics(self, outcomes: Sequence[CaptionOutcome], suffix: str) -> list[Statistic]:
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
    marked = (outcome.text[start:end].strip().replace(".", "").replace(",", "") for start, end in outcome.false_spans)
    return text.lower() in " ".join(marked).lower()


def _phrase_f_clip_score(outcome: CaptionOutcome) -> float:
    phrase = lowest_phrase(outcome.result)
    return f_clip_score(phrase.attribution if phrase else 0.0, outcome.result.clip_score)


def _marked(text: str, grounding: Any) -> list[Span]:
    """Start and end (exclusive) of each marked word in the caption."""
    spans: list[Span] = []
    position = 0
    for word, wrong in grounding:
        start = text.index(word, position)
        position = start + len(word)
        if wrong:
            spans.append((start, position))
    return spans
