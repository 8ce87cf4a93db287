"""Benchmarks of ``score-long``: pictures and all their texts to unit vectors, and what was cut.

As in the papers, the model's context is not stretched unless the user asks for it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import torch

from clipalign.device import with_oom_retry
from clipalign.errors import ClipalignError, TextUnusable
from clipalign.evaluation.benchmark import LONG_OPTIONS, Benchmark, Outcome
from clipalign.evaluation.dataset_files import PictureSource
from clipalign.evaluation.picture_evaluator import PictureEvaluator
from clipalign.methods.score_long import LongScorer
from clipalign.methods.scores import provenance_of
from clipalign.methods.settings import DetectSettings, LongSettings
from clipalign.models.encode import encode_tokens
from clipalign.models.registry import LONG_CONTEXT_TOKENS
from clipalign.models.tokenize import tokenize_text

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.evaluation.settings import EvalSettings
    from clipalign.models.model import LoadedModel

CHUNK_SAMPLES: Final = 64
DEFAULT_BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class LongSample:
    """A picture and texts about it.

    Attributes:
        captions: true texts; where they grow, each begins with the one before (n).
        negatives: growing captions, each with a wrong detail after it (n or n - 1).
    """

    id: str
    image: PictureSource
    image_name: str
    captions: tuple[str, ...]
    negatives: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        return self.captions + self.negatives


@dataclass(frozen=True, slots=True)
class LongOutcome(Outcome):
    """Base of outcomes of long captions; ``cut`` is the number of texts that did not fit the context."""

    cut: int = field(kw_only=True)

    @classmethod
    @abstractmethod
    def of(cls, sample: LongSample, image: Tensor, texts: Tensor, *, cut: int) -> Self:
        """Make an outcome from unit vectors of the picture (E) and the texts (B, E), of which ``cut`` did not fit."""

    def record(self) -> dict[str, Any]:
        record = asdict(self)
        return {**{name: value for name, value in record.items() if name != "cut"}, "cut": self.cut}


L = TypeVar("L", bound=LongOutcome)


class LongEvaluator(PictureEvaluator[LongSample, L]):
    """Encode pictures and their texts, after a ``template``, to unit vectors as ``score-long`` does.

    ``stretch`` is off unless the user set it.
    """

    chunk_samples = CHUNK_SAMPLES

    def __init__(
        self, loaded: LoadedModel, settings: EvalSettings, outcome_type: type[L], *, template: str = ""
    ) -> None:
        self._template = template
        self._outcome_type = outcome_type
        self._batch_size = settings.batch_size or DEFAULT_BATCH
        shape = LongSettings(
            stretch=bool(settings.stretch), fast_decode=settings.fast_decode, batch_size=self._batch_size
        )
        scorer = LongScorer(loaded, shape)
        self._loaded = scorer.loaded
        super().__init__(scorer, settings)
        shaped: dict[str, object] = {
            "stretch": bool(settings.stretch),
            "context_tokens": self._loaded.context_tokens,
            **({"template": template} if template else {}),
            "batch_size": self._batch_size,
        }
        self.provenance = provenance_of(self._loaded, shaped, seed=settings.seed)

    def outcomes(self, read: list[tuple[LongSample, Tensor]]) -> list[L | ClipalignError]:
        found: dict[str, L | ClipalignError] = {}
        usable: list[tuple[LongSample, Tensor]] = []
        for sample, vector in read:
            if not sample.texts or not all(text.strip() for text in sample.texts):
                found[sample.id] = TextUnusable("a text of the sample is empty", input=sample.id)
            else:
                usable.append((sample, vector[0].cpu()))
        if usable:
            tokens = [
                [tokenize_text(self._loaded, self._template + text) for text in sample.texts] for sample, _ in usable
            ]
            flat = [text for texts in tokens for text in texts]
            vectors = with_oom_retry(
                self._batch_size, lambda size: encode_tokens(self._loaded, flat, batch_size=size)
            ).cpu()
            rows = torch.split(vectors, [len(texts) for texts in tokens])
            for (sample, image), texts, encoded in zip(usable, rows, tokens, strict=True):
                cut = sum(text.truncated for text in encoded)
                found[sample.id] = self._outcome_type.of(sample, image, texts, cut=cut)
        return [found[sample.id] for sample, _ in read]

    def notes(self, outcomes: Sequence[L]) -> tuple[str, ...]:
        cut = sum(outcome.cut for outcome in outcomes)
        if not cut:
            return super().notes(outcomes)
        hint = "" if self._loaded.context_tokens >= LONG_CONTEXT_TOKENS else "; --stretch has it read longer ones"
        said = f"{cut:,} texts did not fit the model's {self._loaded.context_tokens} tokens and were cut{hint}"
        return (said, *super().notes(outcomes))


class LongBenchmark(Benchmark[LongSample, L]):
    options: tuple[str, ...] = LONG_OPTIONS

    def evaluator(self, loaded: LoadedModel, settings: EvalSettings) -> LongEvaluator[L]:
        given = settings.template if "template" in self.options else None
        return LongEvaluator(
            loaded, settings, self.outcome_type, template=DetectSettings(template=given or "").template
        )
