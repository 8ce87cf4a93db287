"""``human-judgement``: correlation of the score with people's ratings, on any file of them.

JSON lines of ``image``, ``text`` and ``human``, a number, higher for a better text; images beside the file, or as full
paths. Kendall's τ-b and τ-c, Spearman's and Pearson's correlation with bootstrap intervals. The cosine stands for the
score: ``(cosine + 1) / 2`` is in the same order and on the same line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from clipalign.errors import InputUnreadable, MissingDataset
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import BrokenSample
from clipalign.evaluation.dataset_files import hashes, read_annotations
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.tasks.long_captions import LongBenchmark, LongOutcome, LongSample

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.results import Provenance

FILE: Final = "human-judgement.jsonl"
HINT: Final = 'give --data-root FILE.jsonl with lines of {"image": …, "text": …, "human": …}'


@dataclass(frozen=True, slots=True)
class RatingOutcome(LongOutcome):
    """What the model and what people gave a text."""

    cosine: float
    human: float

    @classmethod
    def of(cls, sample: LongSample, image: Tensor, texts: Tensor, *, cut: int) -> Self:
        """The cosine of the one text."""
        return cls(sample.id, float(texts[0] @ image), sample.human, cut=cut)

    @classmethod
    def from_record(cls, record: dict[str, Any], provenance: Provenance) -> Self:
        """The outcome whose :meth:`record` this is."""
        return cls(record["id"], float(record["cosine"]), float(record["human"]), cut=record["cut"])


class HumanJudgment(LongBenchmark[RatingOutcome]):
    """Texts about pictures, and what people gave them."""

    name = "human-judgement"
    outcome_type = RatingOutcome

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
        lines = file.path.read_bytes().splitlines()
        self._lines = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        self.data = hashes(file)
        self.size = len(self._lines)

    def samples(self, *, limit: int | None, seed: int) -> Iterator[LongSample | BrokenSample]:
        """Line after line."""
        for number, line in self._lines[:limit]:
            yield self._sample(str(number), line)

    def _sample(self, id: str, line: bytes) -> LongSample | BrokenSample:
        try:
            row = orjson.loads(line)
            image, text, human = row["image"], row["text"], row["human"]
            texts = isinstance(image, str) and isinstance(text, str)
            if not texts or isinstance(human, bool) or not isinstance(human, int | float):
                raise TypeError("image and text must be text, human a number")
            human = float(human)
            if not math.isfinite(human):
                raise ValueError("human is not finite")
        except (ValueError, KeyError, TypeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            found = InputUnreadable(f"{self._file.name}:{id} is no rating: {reason}", hint=HINT, input=id)
            return BrokenSample(id, "", found)
        return LongSample(id, self._file.parent / image, image, (text,), human=human)

    def statistics(self, outcomes: Sequence[RatingOutcome]) -> list[Statistic]:
        """Four correlations."""
        ids, ours = [one.id for one in outcomes], [one.cosine for one in outcomes]
        theirs = [one.human for one in outcomes]
        return [
            metrics.kendall_b("tau_b", ids, ours, theirs),
            metrics.kendall_c("tau_c", ids, ours, theirs),
            metrics.spearman("spearman", ids, ours, theirs),
            metrics.pearson("pearson", ids, ours, theirs),
        ]
