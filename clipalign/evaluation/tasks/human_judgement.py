"""``human-judgement``: correlation of the score with people's ratings, on any file of them.

JSON lines of ``image`` (a full path, or beside the file), ``text``, ``human`` (a number, higher for a better text) and
optional ``references``, true texts about the picture. Kendall's τ-b and τ-c, Spearman's and Pearson's correlation of
the cosine, and of RefCLIPScore over the texts with references. The score ``(cosine + 1) / 2`` correlates as the cosine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from clipalign.errors import InputUnreadable, MissingDataset
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import LONG_OPTIONS, BrokenSample
from clipalign.evaluation.dataset_files import hashes, read_annotations
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.tasks.long_captions import LongBenchmark, LongOutcome, LongSample
from clipalign.methods.scores import clip_score, ref_clip_score

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.results import Provenance

FILE: Final = "human-judgement.jsonl"
HINT: Final = 'give --data-root FILE.jsonl with lines of {"image": …, "text": …, "human": …}'


@dataclass(frozen=True, slots=True)
class RatingOutcome(LongOutcome):
    """A text's cosine and people's rating; ``reference_cosine`` is with the nearest reference, None without any."""

    cosine: float
    human: float
    reference_cosine: float | None = None

    @classmethod
    def of(cls, sample: LongSample, image: Tensor, texts: Tensor, *, cut: int) -> Self:
        nearest = float((texts[1:] @ texts[0]).max()) if len(texts) > 1 else None
        return cls(sample.id, float(texts[0] @ image), sample.human, nearest, cut=cut)

    @classmethod
    def from_record(cls, record: dict[str, Any], provenance: Provenance) -> Self:
        nearest = record["reference_cosine"]
        nearest = None if nearest is None else float(nearest)
        return cls(record["id"], float(record["cosine"]), float(record["human"]), nearest, cut=record["cut"])

    @property
    def ref_clip_score(self) -> float:
        return ref_clip_score(clip_score(self.cosine), self.reference_cosine or 0.0)


class HumanJudgment(LongBenchmark[RatingOutcome]):
    name = "human-judgement"
    outcome_type = RatingOutcome
    options = (*LONG_OPTIONS, "template")

    def check(self) -> None:
        """Find the file: ``--data-root`` itself, or the one in that folder."""
        files = [self.folder] if self.folder.is_file() else [self.folder / FILE]
        if not files[0].is_file():
            files = sorted(self.folder.glob("*.jsonl")) if self.folder.is_dir() else []
        if len(files) != 1:
            reason = (
                f"{self.folder} holds {len(files)} files of ratings"
                if files
                else f"there are no ratings in {self.folder}"
            )
            raise MissingDataset(reason, hint=HINT, input=str(self.folder))
        try:
            file = read_annotations(files[0], self.name)
        except MissingDataset as error:
            if isinstance(error.__cause__, OSError):
                raise
            raise MissingDataset(error.message, hint=HINT, input=error.input) from error  # nothing to be downloaded
        self._file = file.path
        self._rows = file.json_lines()
        self.data = hashes(file)
        self.size = len(self._rows)

    def samples(self, *, limit: int | None, seed: int) -> Iterator[LongSample | BrokenSample]:
        for number, row in self._rows[:limit]:
            yield self._sample(str(number), row)

    def _sample(self, id: str, row: Any) -> LongSample | BrokenSample:
        try:
            image, text, human = row["image"], row["text"], row["human"]
            references = row.get("references") or []
            if not isinstance(references, list) or not all(isinstance(one, str) for one in (image, text, *references)):
                raise TypeError("image and text must be text, references a list of texts")
            if isinstance(human, bool) or not isinstance(human, int | float) or not math.isfinite(human):
                raise TypeError("human must be a number")
        except (KeyError, TypeError, OverflowError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            if not isinstance(row, dict):
                reason = "it is no JSON object"
            found = InputUnreadable(f"{self._file.name}:{id} is no rating: {reason}", hint=HINT, input=id)
            return BrokenSample(id, "", found)
        return LongSample(id, self._file.parent / image, image, (text, *references), human=float(human))

    def statistics(self, outcomes: Sequence[RatingOutcome]) -> list[Statistic]:
        referred = [one for one in outcomes if one.reference_cosine is not None]
        return _correlations("", outcomes, "cosine") + _correlations("_ref_clip_score", referred, "ref_clip_score")


def _correlations(ending: str, outcomes: Sequence[RatingOutcome], score: str) -> list[Statistic]:
    ids, human = [one.id for one in outcomes], [one.human for one in outcomes]
    return metrics.correlations(ending, ids, [getattr(one, score) for one in outcomes], human)
