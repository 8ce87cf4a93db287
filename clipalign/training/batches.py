"""Samples become batches ahead of time, in threads: texts tokenized, pictures decoded, or their vectors looked up.

With a frozen image tower, every picture is encoded once, before the first step, always in the same groups, so that a
resumed run works with exactly the same numbers.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clipalign.data.transforms import to_tensor
from clipalign.device import to_device
from clipalign.errors import ClipalignError, InputUnreadable, UsageError, record_failed
from clipalign.runs.distributed import Processes
from clipalign.runs.prefetch import prefetched
from clipalign.training.checkpoints import save_weights
from clipalign.training.data import Order, SpecsData, SpecsSample
from clipalign.training.model import TrainableModel
from clipalign.training.settings import SpecsSettings

GROUP_PICTURES: Final = 64  # encoded together for their vectors
BATCHES_AHEAD: Final = 2

logger = logging.getLogger(__name__)

TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """B samples of one process, those whose pictures can be read.

    Attributes:
        texts: of each sample the texts that are read, as tokens; the whole caption first.
        triples: indices into its sample's texts of a prefix, the next one, and the prefix with a wrong detail.
        shorts: of each a short caption and false versions of it; empty where they are not used.
        pixels: prepared pictures (B, 3, S, S), or their unit vectors (B, E) where the image tower is frozen.
    """

    texts: list[list[TokenIds]]
    triples: list[list[tuple[int, int, int]]]
    shorts: list[list[TokenIds]]
    pixels: Tensor


def prepared_picture(sample: SpecsSample, trainee: TrainableModel) -> Tensor | None:
    """The picture for the image tower (3, S, S); None, with a warning, where it cannot be read."""
    try:
        return to_tensor(sample.open(), trainee.loaded)
    except MemoryError:
        raise
    except Exception as error:
        known = error if isinstance(error, ClipalignError) else record_failed(error, sample.name)
        logger.warning("%s; the sample is left out", known.message)
        return None


class _Prepared(NamedTuple):
    texts: list[TokenIds]
    triples: list[tuple[int, int, int]]
    shorts: list[TokenIds]
    picture: Tensor | None
    name: str


def make_batches(
    data: SpecsData,
    order: Order,
    trainee: TrainableModel,
    processes: Processes,
    settings: SpecsSettings,
    *,
    steps: range,
    vectors: Tensor | None,
    workers: int,
) -> Generator[list[Batch], None, None]:
    """For each step this process's batches, as many as are accumulated; the next ones are made in threads meanwhile.

    Args:
        steps: counted from 0 on.
        vectors: unit vectors of all pictures (n, E), not finite where one is missing; None to decode pictures.

    Raises:
        InputUnreadable: the data are damaged, or not one picture of a batch can be read.
    """
    positions = ((step, row) for step in steps for batch in order.batches(step, processes.rank) for row in batch)
    longclip = settings.objective == "longclip"

    def prepare(position: tuple[int, int]) -> _Prepared:
        step, row = position
        sample = data.sample(row)
        drawn = sample.draw(order.random(step, row), 0 if longclip else settings.draws)
        texts = [trainee.encode(text) for text in drawn.texts]
        if vectors is None:
            picture = prepared_picture(sample, trainee)
        else:
            picture = vectors[row] if torch.isfinite(vectors[row]).all() else None
        shorts = sample.shorts[:1] if longclip else sample.shorts if settings.lambda_short else ()
        return _Prepared(texts, drawn.triples, [trainee.encode(text) for text in shorts], picture, sample.name)

    ahead = BATCHES_AHEAD * settings.batch_size
    with closing(prefetched(positions, prepare, threads=workers, ahead=ahead)) as prepared:
        for step in steps:
            yield [_assemble(list(islice(prepared, len(batch)))) for batch in order.batches(step, processes.rank)]


def _assemble(samples: Sequence[_Prepared]) -> Batch:
    kept = [one for one in samples if one.picture is not None]
    if not kept:
        raise InputUnreadable(
            f"not one picture of a whole batch could be read, {samples[0].name} for example",
            hint="is --image-root of the preparation still there?",
            input="--data",
        )
    return Batch(
        [one.texts for one in kept],
        [one.triples for one in kept],
        [one.shorts for one in kept if one.shorts],
        torch.stack([one.picture for one in kept if one.picture is not None]),
    )


def picture_vectors(
    data: SpecsData,
    trainee: TrainableModel,
    processes: Processes,
    *,
    path: Path,
    workers: int,
    on_progress: Callable[[int], None] = lambda pictures: None,
) -> Tensor:
    """Unit vectors of all training pictures under the frozen image tower (n, E), fp32 on the CPU.

    Args:
        path: file of vectors; those of an earlier run are used where data and weights are the same.
        on_progress: called with the number of pictures of each group that is done.

    Raises:
        UsageError: not one picture can be read.
        InputUnreadable: the data are damaged.
    """
    key = hashlib.sha256(f"{data.fingerprint}:{len(data)}:{trainee.image_tower_digest()}".encode()).hexdigest()
    known = _saved_vectors(path, key)
    if not processes.any(known is None) and known is not None:
        return known
    groups = [range(first, min(first + GROUP_PICTURES, len(data))) for first in range(0, len(data), GROUP_PICTURES)]
    groups = groups[processes.rank :: processes.size]
    rows = (row for group in groups for row in group)
    pictures = prefetched(
        rows, lambda row: prepared_picture(data.sample(row), trainee), threads=workers, ahead=GROUP_PICTURES
    )
    vectors: Tensor | None = None
    with closing(pictures), torch.no_grad():
        for group in groups:
            found = {row: picture for row, picture in zip(group, pictures, strict=False) if picture is not None}
            if found:
                pixels = to_device(torch.stack(list(found.values())), trainee.loaded.choice.device)
                encoded = trainee.encode_pictures(pixels).cpu()
                if vectors is None:
                    vectors = torch.zeros(len(data), encoded.shape[1])
                vectors[list(found)] = encoded
            on_progress(len(group))
    widths = torch.zeros(processes.size)
    widths[processes.rank] = 0 if vectors is None else vectors.shape[1]
    width = int(processes.sum(widths).max())
    if not width:
        raise UsageError(f"not one picture of {data.name} can be read", hint="see --image-root", input="--data")
    shared = processes.sum(torch.zeros(len(data), width) if vectors is None else vectors)
    shared[(shared == 0).all(-1)] = torch.nan
    if processes.is_first:
        with suppress(OSError):  # only a second run is slower
            save_weights(path, {"vectors": shared}, {"key": key})
    return shared


def _saved_vectors(path: Path, key: str) -> Tensor | None:
    with suppress(OSError, SafetensorError), safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("key") == key:
            vectors: Tensor = file.get_tensor("vectors")
            return vectors
    return None
