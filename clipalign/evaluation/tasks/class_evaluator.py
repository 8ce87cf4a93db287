"""Score pictures of known classes by every method of ``classify`` at once.

WCA is run as published: of ``POOL_CROPS`` crops of a picture, each of ``DRAWS`` runs draws as many as ``classify``
takes, with replacement. Vectors of pictures and crops are kept on disk (:mod:`clipalign.models.vector_store`) by
default, since they take nearly all the time. An outcome is the rank of the true class by each method.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.cache import VECTORS_FOLDER, cache_folder
from clipalign.data.classes import Classes
from clipalign.errors import ClipalignError, UsageError
from clipalign.evaluation.benchmark import Outcome
from clipalign.evaluation.dataset_files import PictureSource
from clipalign.evaluation.picture_evaluator import PictureEvaluator
from clipalign.methods.classify import ClassifyScorer, make_classifier
from clipalign.methods.scores import provenance_of
from clipalign.methods.settings import ClassifySettings

if TYPE_CHECKING:
    from clipalign.data.transforms import PreparedPicture
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.models.encode import EncodedPicture
    from clipalign.models.model import LoadedModel
    from clipalign.results import Provenance

POOL_CROPS: Final = 100  # of a picture (WCA; 60 for ImageNet)

DRAWS: Final = 20  # runs, each with its own draw of crops (WCA)

KEEP_GB: Final = 4.0
"""Size of the folder of vectors where crops are drawn and the user says nothing."""

CROPPED_CHUNK: Final = 4
WHOLE_CHUNK: Final = 128
"""Samples a chunk, with crops and without. Two chunks are in memory; 100 crops of 224 pixels a side take 15 MB."""

CROPLESS: Final = "wca-whole"  # WCA's class vectors against the whole picture


@dataclass(frozen=True, slots=True)
class ClassSample:
    """A picture of a class."""

    id: str
    image: PictureSource
    image_name: str
    label: int
    part: str = ""


@dataclass(frozen=True, slots=True)
class ClassOutcome(Outcome):
    """How a picture was classified, by method; ``label`` is the true class's index.

    Attributes:
        predicted: the name of the class that came first (for ``wca``, in most draws).
        ranks: how many classes came before the true one: one number a draw for ``wca``, else one.
    """

    image: str
    label: int
    class_name: str
    part: str
    predicted: Mapping[str, str]
    ranks: Mapping[str, tuple[int, ...]]

    def record(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "image": self.image,
            "label": self.label,
            "class": self.class_name,
            "part": self.part,
            "predicted": dict(self.predicted),
            "ranks": {method: list(ranks) for method, ranks in self.ranks.items()},
        }

    @classmethod
    def from_record(cls, record: dict[str, Any], provenance: Provenance) -> Self:
        return cls(
            id=record["id"],
            image=record["image"],
            label=record["label"],
            class_name=record["class"],
            part=record["part"],
            predicted=dict(record["predicted"]),
            ranks={method: tuple(ranks) for method, ranks in record["ranks"].items()},
        )


@dataclass(frozen=True, slots=True)
class ClassTask:
    """The classes to choose from, in the order of their labels; of equal names the first wins.

    ``by_method`` has them as each method names and describes them, without methods whose files are missing; ``notes``
    say which those are.
    """

    names: tuple[str, ...]
    by_method: Mapping[str, Classes]
    notes: tuple[str, ...] = ()


class ClassEvaluator(PictureEvaluator[ClassSample, ClassOutcome]):
    """Classify pictures by every method that the task has classes for, or by the one that the user chose.

    ``pool`` is the number of crops of a picture, at least as many as a draw takes; ``alpha`` the smallest side of a
    crop where the user sets none, None for the method's own.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        settings: EvalSettings,
        task: ClassTask,
        *,
        pool: int = POOL_CROPS,
        alpha: float | None = None,
    ) -> None:
        self._task = task
        self._seed = settings.seed
        methods = _chosen_methods(task, settings.method)
        chosen = _settings(settings, alpha)
        self._drawn = chosen.crops
        self._pool = max(pool, chosen.crops) if "wca" in methods else 0
        self._image_scale = math.exp(chosen.image_logscale)
        cache = cache_folder(settings.cache_dir)
        # Two classes of one name have one vector, and so, to the last digit, one score.
        listed = {method: task.by_method[method].names for method in methods}
        distinct = {method: tuple(dict.fromkeys(names)) for method, names in listed.items()}
        self._rows = {
            method: torch.tensor([distinct[method].index(name) for name in names]) for method, names in listed.items()
        }
        self._classifiers = {
            method: make_classifier(
                loaded,
                replace(task.by_method[method], names=distinct[method]),
                replace(chosen, method=method, crops=max(1, self._pool)),
                cache=cache / VECTORS_FOLDER,
            )
            for method in methods
        }
        self._class_vectors = {method: one.vectors.vectors.cpu() for method, one in self._classifiers.items()}
        maker = ClassifyScorer(self._classifiers["wca" if self._pool else methods[0]])
        super().__init__(maker, settings, keep_gb=KEEP_GB if self._pool else 0)
        self.chunk_samples = CROPPED_CHUNK if self._pool else WHOLE_CHUNK
        self.provenance = provenance_of(loaded, self._record_of_settings(chosen), seed=settings.seed)

    def notes(self, outcomes: Sequence[ClassOutcome]) -> tuple[str, ...]:
        notes = [note for one in self._classifiers.values() for note in one.notes]
        return (*self._task.notes, *dict.fromkeys(notes), *super().notes(outcomes))

    def _record_of_settings(self, chosen: ClassifySettings) -> dict[str, object]:
        record: dict[str, object] = {"methods": list(self._classifiers), "classes": len(self._task.names)}
        if self._pool:
            record |= {
                "crops": self._drawn,
                "crops_pool": self._pool,
                "draws": DRAWS,
                "alpha": chosen.alpha,
                "image_logscale": chosen.image_logscale,
                "text_logscale": chosen.text_logscale,
            }
        hashes = {method: one.provenance.settings["classes_sha256"] for method, one in self._classifiers.items()}
        return record | {"template": chosen.template, "classes_sha256": hashes}

    def outcomes(self, read: list[tuple[ClassSample, Tensor]]) -> list[ClassOutcome]:
        return [self._classified(one, vectors.cpu()) for one, vectors in read]

    def _encode(self, prepared: Sequence[PreparedPicture]) -> Sequence[EncodedPicture | ClipalignError]:
        # Only without crops pictures share batches.
        groups = [[one] for one in prepared] if self._pool else [prepared]
        return [found for group in groups for found in self._scorer.encode(group)]

    def _classified(self, sample: ClassSample, vectors: Tensor) -> ClassOutcome:
        ranks: dict[str, tuple[int, ...]] = {}
        predicted: dict[str, str] = {}
        for method, classes in self._class_vectors.items():
            pictures = self._drawn_pictures(sample, vectors) if method == "wca" else vectors[:1]
            rows = self._rows[method]
            ranks[method], predicted[method] = self._ranked((pictures @ classes.T)[:, rows], sample.label)
            if method == "wca":
                whole = (vectors[:1] @ classes.T)[:, rows]
                ranks[CROPLESS], predicted[CROPLESS] = self._ranked(whole, sample.label)
        true = self._task.names[sample.label]
        return ClassOutcome(sample.id, sample.image_name, sample.label, true, sample.part, predicted, ranks)

    def _drawn_pictures(self, sample: ClassSample, features: Tensor) -> Tensor:
        """``X`` of every draw (DRAWS, E): a crop that was drawn twice weighs twice as much."""
        whole, crops = features[0], features[1:]
        digest = hashlib.sha256(f"{self._seed} draws {sample.id}".encode("utf-8", "surrogateescape")).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:16], "big"))
        drawn = generator.integers(0, len(crops), (DRAWS, self._drawn))
        counts = torch.from_numpy(np.stack([np.bincount(row, minlength=len(crops)) for row in drawn]))  # (DRAWS, N)
        cosines = crops @ whole
        weights = counts * torch.exp(self._image_scale * (cosines - cosines.max()))
        return F.normalize((weights / weights.sum(dim=1, keepdim=True)) @ crops, dim=-1)

    def _ranked(self, scores: Tensor, label: int) -> tuple[tuple[int, ...], str]:
        """Rank of the true class in every row of scores, and the name that wins in most; the first wins a tie."""
        own = scores[:, label : label + 1]
        before = (scores > own).sum(dim=1) + (scores[:, :label] == own).sum(dim=1)
        winners = Counter(scores.argmax(dim=1).tolist())
        return tuple(before.tolist()), self._task.names[winners.most_common(1)[0][0]]


def _chosen_methods(task: ClassTask, wanted: str | None) -> list[str]:
    if wanted is None:
        return list(task.by_method)
    if wanted not in task.by_method:
        raise UsageError(
            f"the method {wanted} lacks what it needs for this data set",
            hint="; ".join(task.notes) or f"there are: {', '.join(task.by_method)}",
            input="--method",
        )
    return [wanted]


def _settings(settings: EvalSettings, alpha: float | None) -> ClassifySettings:
    names = ("crops", "alpha", "image_logscale", "text_logscale", "template", "batch_size", "seed")
    given = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    if alpha is not None:
        given.setdefault("alpha", alpha)
    return ClassifySettings(**given)
