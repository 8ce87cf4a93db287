"""The route of the benchmarks about classes: pictures through the parts of ``classify``, by all of its methods at once.

WCA is run as its authors did: ``POOL_CROPS`` crops of a picture, of which each of ``DRAWS`` runs draws as many as
``classify`` takes, with replacement. The vectors of a picture and its crops are the only thing that costs time, so they
are kept (:mod:`clipalign.evaluation.score_cache`). What a sample leaves is the rank of its true class by each method.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.cache import VECTORS_FOLDER, cache_folder
from clipalign.data.classes import Classes
from clipalign.errors import ClipalignError, UsageError
from clipalign.evaluation.score_cache import CropStore
from clipalign.evaluation.task import PictureSource, Route, opened
from clipalign.methods.classify import make_classifier
from clipalign.methods.scores import provenance_of
from clipalign.methods.settings import ClassifySettings
from clipalign.runs.prefetch import Prefetcher

if TYPE_CHECKING:
    from clipalign.config.values import Settings
    from clipalign.models.model import LoadedModel

POOL_CROPS: Final = 100
"""Crops made of a picture (WCA; 60 for ImageNet)."""

DRAWS: Final = 20
"""Runs over other draws of them (WCA)."""

CROPPED_CHUNK: Final = 16
WHOLE_CHUNK: Final = 128
"""Samples a chunk, with crops and without: what a run that is cut short loses at most."""

AHEAD: Final = 4
"""Pictures prepared while the model is at work; with 100 crops of 224 pixels a side each holds 15 MB."""

CROPLESS: Final = "wca-whole"
"""WCA's class vectors asked with the whole picture: what is left of WCA without crops."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A picture of a class.

    Attributes:
        id: unique within the benchmark.
        image: where it lies, or the picture.
        image_name: what to call it.
        label: the true class's place in the list of classes.
        part: the subset it counts towards.
        identity: what tells its content from that of any other picture; empty where its vectors are not to be kept.
    """

    id: str
    image: PictureSource
    image_name: str
    label: int
    part: str = ""
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Classified:
    """How a picture fared.

    Attributes:
        id: of the sample.
        image: its name.
        label: the true class's place in the list.
        part: the subset it counts towards.
        ranks: by method, how many classes came before the true one: one number a draw for ``wca``, else one.
        predicted: by method, the name of the class that came first (for ``wca``, in most draws).
    """

    id: str
    image: str
    label: int
    part: str
    ranks: Mapping[str, tuple[int, ...]]
    predicted: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClassTask:
    """What there is to choose from, for every method.

    Attributes:
        names: of the classes in the order of their labels; a name may occur twice, and its first place wins then.
        by_method: the classes as each method wants them; methods that lack something are left out.
        notes: what is left out, and why.
    """

    names: tuple[str, ...]
    by_method: Mapping[str, Classes]
    notes: tuple[str, ...] = ()


class ClassifyRoute(Route[LabelledImage, Classified]):
    """Pictures by every method that the task has classes for, or by the one that the user chose.

    Args:
        loaded: the model.
        settings: of the run.
        task: the classes.
        pool: crops made of a picture, or as many as are drawn where those are more.
        alpha: smallest side of a crop, where the user sets none; None for the method's own.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        settings: Settings,
        task: ClassTask,
        *,
        pool: int = POOL_CROPS,
        alpha: float | None = None,
    ) -> None:
        self._loaded, self._task = loaded, task
        self._exif = settings.protocol == "exif"
        self._seed = settings.seed
        methods = _chosen_methods(task, settings.method)
        chosen = _settings(settings, alpha)
        self._drawn = chosen.crops
        self._pool = max(pool, chosen.crops) if "wca" in methods else 0
        self._image_scale = math.exp(chosen.image_logscale)
        cache = cache_folder(settings.cache_dir)
        self._classifiers = {
            method: make_classifier(
                loaded,
                replace(task.by_method[method], names=tuple(dict.fromkeys(task.names))),
                replace(chosen, method=method, crops=max(1, self._pool)),
                cache=cache / VECTORS_FOLDER,
            )
            for method in methods
        }
        # Two classes of one name have one vector, and so, to the last digit, one score.
        places = {name: place for place, name in enumerate(dict.fromkeys(task.names))}
        self._places = torch.tensor([places[name] for name in task.names])
        self._vectors = {method: one.vectors.vectors.cpu() for method, one in self._classifiers.items()}
        self._maker = self._classifiers["wca" if self._pool else methods[0]]
        self.chunk_samples = CROPPED_CHUNK if self._pool else WHOLE_CHUNK
        self.provenance = provenance_of(loaded, self._record_of_settings(chosen), seed=settings.seed)
        self._store = CropStore(cache if loaded.weights_sha256 else None, self._key(chosen))

    def notes(self) -> tuple[str, ...]:
        """What methods were left out, and what the texts of the others suffered."""
        said = [note for one in self._classifiers.values() for note in one.notes]
        return (*self._task.notes, *dict.fromkeys(said))

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
        return record | {"prompt": chosen.prompt, "classes_sha256": hashes}

    def _key(self, chosen: ClassifySettings) -> dict[str, object]:
        loaded = self._loaded
        return {
            "weights": loaded.weights_sha256,
            "architecture": loaded.architecture,
            "quick_gelu": loaded.quick_gelu,
            "preprocessing": [loaded.image_size, loaded.mean, loaded.std, loaded.interpolation, loaded.resize_mode],
            "device": loaded.choice.device.partition(":")[0],
            "precision": loaded.choice.precision,
            "crops": self._pool,
            "alpha": chosen.alpha if self._pool else None,
            "seed": chosen.seed if self._pool else None,
            "exif": self._exif,
        }

    def score(self, samples: Sequence[LabelledImage]) -> list[Classified | ClipalignError]:
        """Each picture by every method."""
        found: list[Classified | ClipalignError] = []
        for sample, features in self._features(samples):
            found.append(features if isinstance(features, ClipalignError) else self._classified(sample, features))
        return found

    def _features(self, samples: Sequence[LabelledImage]) -> Iterator[tuple[LabelledImage, Tensor | ClipalignError]]:
        """Vectors of each picture and its crops (1 + N, E), from disk or made; the next ones are prepared meanwhile."""
        if not self._pool:
            yield from zip(samples, self._whole(samples), strict=True)
            return
        with Prefetcher[Tensor](AHEAD) as prefetcher:
            waiting: deque[tuple[LabelledImage, Future[Tensor] | Tensor]] = deque()
            for sample in [*samples, *[None] * AHEAD]:
                if sample is not None:
                    kept = self._store.get(sample.identity)
                    waiting.append(
                        (sample, prefetcher.submit(partial(self._prepared, sample)) if kept is None else kept)
                    )
                if waiting and (sample is None or len(waiting) > AHEAD):
                    first, pending = waiting.popleft()
                    if isinstance(pending, Tensor):
                        yield first, pending
                    else:
                        yield first, self._encoded(first, prefetcher.outcome(pending, first.image_name))

    def _encoded(self, sample: LabelledImage, prepared: Tensor | ClipalignError) -> Tensor | ClipalignError:
        if isinstance(prepared, ClipalignError):
            return prepared
        features = self._maker.encode([prepared])[0].cpu()
        self._store.put(sample.identity, features)
        return features

    def _whole(self, samples: Sequence[LabelledImage]) -> list[Tensor | ClipalignError]:
        """Without crops pictures share batches."""
        found: list[Tensor | ClipalignError | None] = [self._store.get(sample.identity) for sample in samples]
        missing = [place for place, features in enumerate(found) if features is None]
        with Prefetcher[Tensor](AHEAD) as prefetcher:
            coming = {place: prefetcher.submit(partial(self._prepared, samples[place])) for place in missing}
            for place, future in coming.items():
                found[place] = prefetcher.outcome(future, samples[place].image_name)
        whole = [place for place in missing if isinstance(found[place], Tensor)]
        if whole:
            pixels = [picture for place in whole if isinstance(picture := found[place], Tensor)]
            for place, features in zip(whole, self._maker.encode(pixels), strict=True):
                found[place] = features.cpu()
                self._store.put(samples[place].identity, features.cpu())
        return [features for features in found if features is not None]

    def _prepared(self, sample: LabelledImage) -> Tensor:
        picture: Image.Image = opened(sample.image, exif=self._exif, name=sample.image_name)
        return self._maker.prepare(picture).pixels

    def _classified(self, sample: LabelledImage, features: Tensor) -> Classified:
        ranks: dict[str, tuple[int, ...]] = {}
        predicted: dict[str, str] = {}
        for method, vectors in self._vectors.items():
            pictures = self._drawn_pictures(sample, features) if method == "wca" else features[:1]
            ranks[method], predicted[method] = self._ranked(pictures @ vectors.T, sample.label)
            if method == "wca":
                ranks[CROPLESS], predicted[CROPLESS] = self._ranked(features[:1] @ vectors.T, sample.label)
        return Classified(sample.id, sample.image_name, sample.label, sample.part, ranks, predicted)

    def _drawn_pictures(self, sample: LabelledImage, features: Tensor) -> Tensor:
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
        """Rank of the true class in every row of scores of the distinct names, and the name that wins in most.

        Ties go to the class that comes first.
        """
        scores = scores[:, self._places]
        own = scores[:, label : label + 1]
        before = (scores > own).sum(dim=1) + (scores[:, :label] == own).sum(dim=1)
        winners = Counter(scores.argmax(dim=1).tolist())
        return tuple(before.tolist()), self._task.names[winners.most_common(1)[0][0]]

    def record(self, outcome: Classified) -> dict[str, Any]:
        """The outcome, with the true class's name."""
        return {
            "id": outcome.id,
            "image": outcome.image,
            "label": outcome.label,
            "class": self._task.names[outcome.label],
            "part": outcome.part,
            "predicted": dict(outcome.predicted),
            "ranks": {method: list(ranks) for method, ranks in outcome.ranks.items()},
        }

    def outcome(self, record: dict[str, Any]) -> Classified:
        """Back from the record."""
        return read_classified(record)


def read_classified(record: dict[str, Any]) -> Classified:
    """The outcome that :meth:`ClassifyRoute.record` made ``record`` of.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is no such record.
    """
    return Classified(
        id=record["id"],
        image=record["image"],
        label=record["label"],
        part=record["part"],
        ranks={method: tuple(ranks) for method, ranks in record["ranks"].items()},
        predicted=dict(record["predicted"]),
    )


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


def _settings(settings: Settings, alpha: float | None) -> ClassifySettings:
    names = ("crops", "alpha", "image_logscale", "text_logscale", "prompt", "batch_size", "seed")
    given = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
    if alpha is not None:
        given.setdefault("alpha", alpha)
    return ClassifySettings(**given)


def file_identity(path: Path, folder: Path) -> str:
    """A file by its name within its data set, its size and its time of change; empty when it is not there."""
    try:
        state = path.stat()
        return f"{path.relative_to(folder).as_posix()} {state.st_size} {state.st_mtime_ns}"
    except (OSError, ValueError):  # a damaged list may name what is no file name, or lies elsewhere
        return ""
