"""Samples become batches ahead of time, in threads: texts tokenized, pictures decoded, or their vectors looked up.

When the image tower is frozen, every picture is encoded once, before the first step, and kept as a vector; in always
the same groups, so that a run that goes on works with the very same numbers.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipalign.data.transforms import to_tensor
from clipalign.errors import InputUnreadable, UsageError
from clipalign.training.data import Order, SpecsData, SpecsSample
from clipalign.training.distributed import World
from clipalign.training.model import Trainee

GROUP_PICTURES: Final = 64
"""Pictures encoded together for their vectors."""
BATCHES_AHEAD: Final = 2

logger = logging.getLogger(__name__)

TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """B samples of one process, those whose pictures can be read.

    Attributes:
        texts: of each the texts that are read, as tokens; the whole caption first.
        triples: places in its sample's texts of a beginning, the next one, and the beginning with a wrong detail.
        shorts: of each a short caption and false versions of it; empty where they are not asked for.
        pixels: prepared pictures (B, 3, S, S), or their unit vectors (B, E) where the image tower is frozen.
    """

    texts: list[list[TokenIds]]
    triples: list[list[tuple[int, int, int]]]
    shorts: list[list[TokenIds]]
    pixels: Tensor


def prepared_picture(sample: SpecsSample, trainee: Trainee) -> Tensor | None:
    """The picture as the image tower takes it (3, S, S); None, and a warning, where it cannot be read."""
    try:
        return to_tensor(sample.open(), trainee.loaded)
    except InputUnreadable as error:
        logger.warning("%s; the sample is left out", error.message)
        return None


class Batches:
    """The batches of a run, of this process; those to come are made while one is used.

    Args:
        data: the samples.
        order: which of them each step reads.
        trainee: for tokens and preprocessing.
        world: the processes.
        accumulate: batches a step.
        draws: beginnings a caption.
        shorts: whether short captions are read too.
        vectors: unit vectors of all pictures (n, E), not finite where one is missing; None to decode pictures.
        workers: threads.
    """

    def __init__(
        self,
        data: SpecsData,
        order: Order,
        trainee: Trainee,
        world: World,
        *,
        accumulate: int,
        draws: int,
        shorts: bool,
        vectors: Tensor | None,
        workers: int,
    ) -> None:
        self._data, self._order, self._trainee, self._world = data, order, trainee, world
        self._accumulate, self._draws, self._shorts = accumulate, draws, shorts
        self._size = order.step_samples // (accumulate * world.size)
        self._vectors = vectors
        self._workers = workers

    def steps(self, first: int, last: int) -> Iterator[list[Batch]]:
        """For each step from ``first`` to before ``last`` its batches, as many as are accumulated."""
        wanted = ((step, batch) for step in range(first, last) for batch in range(self._accumulate))
        with ThreadPoolExecutor(self._workers) as pool:
            waiting: deque[list[Future[_Made]]] = deque()
            try:
                for _ in range(first, last):
                    ready = []
                    for _ in range(self._accumulate):
                        while len(waiting) < BATCHES_AHEAD and (place := next(wanted, None)):
                            rows = self._rows(*place)
                            waiting.append([pool.submit(self._make, place[0], row) for row in rows])
                        ready.append(_assemble([future.result() for future in waiting.popleft()]))
                    yield ready
            finally:
                for futures in waiting:
                    for future in futures:
                        future.cancel()

    def _rows(self, step: int, batch: int) -> list[int]:
        """This process's samples: batch after batch, and within one, process after process."""
        first = (batch * self._world.size + self._world.rank) * self._size
        return self._order.rows(step)[first : first + self._size]

    def _make(self, step: int, row: int) -> _Made:
        sample = self._data.sample(row)
        drawn = sample.draw(self._order.random(step, row), self._draws)
        texts = [self._trainee.encode(text) for text in drawn.texts]
        if self._vectors is None:
            picture = prepared_picture(sample, self._trainee)
        else:
            picture = self._vectors[row] if torch.isfinite(self._vectors[row]).all() else None
        shorts = [self._trainee.encode(text) for text in sample.shorts] if self._shorts else []
        return _Made(texts, drawn.triples, shorts, picture, sample.name)


class _Made(NamedTuple):
    texts: list[TokenIds]
    triples: list[tuple[int, int, int]]
    shorts: list[TokenIds]
    picture: Tensor | None
    name: str


def _assemble(made: Sequence[_Made]) -> Batch:
    kept = [one for one in made if one.picture is not None]
    if not kept:
        raise InputUnreadable(
            f"not one picture of a whole batch could be read, {made[0].name} for example",
            hint="is --image-root of the preparation still there?",
            input="--data",
        )
    pictures = torch.stack([one.picture for one in kept if one.picture is not None])
    return Batch(
        [one.texts for one in kept],
        [one.triples for one in kept],
        [one.shorts for one in kept if one.shorts],
        pictures,
    )


def picture_vectors(
    data: SpecsData,
    trainee: Trainee,
    world: World,
    *,
    kept_in: Path,
    workers: int,
    told: Callable[[int], None] = lambda pictures: None,
) -> Tensor:
    """Unit vectors of all training pictures under the frozen image tower (n, E), fp32 on the CPU.

    Args:
        data: the samples.
        trainee: whose image tower does not learn.
        world: the processes share the work.
        kept_in: file of vectors; an earlier run's are taken up where data and weights are the same.
        workers: threads that decode.
        told: called with the number of pictures of each group that is done.

    Raises:
        UsageError: not one picture can be read.
        InputUnreadable: the data are damaged.
    """
    key = hashlib.sha256(f"{data.fingerprint}:{len(data)}:{trainee.image_tower_digest()}".encode()).hexdigest()
    known = _kept(kept_in, key)
    if not world.any(known is None) and known is not None:
        return known
    groups = range(0, len(data), GROUP_PICTURES)
    vectors: Tensor | None = None
    with ThreadPoolExecutor(workers) as pool, torch.no_grad():
        for number, first in enumerate(groups):
            if number % world.size != world.rank:
                continue
            rows = range(first, min(first + GROUP_PICTURES, len(data)))
            pictures = list(pool.map(lambda row: prepared_picture(data.sample(row), trainee), rows))
            found = [(row, picture) for row, picture in zip(rows, pictures, strict=True) if picture is not None]
            if found:
                device = trainee.loaded.choice.device
                encoded = trainee.encode_pictures(torch.stack([picture for _, picture in found]).to(device)).cpu()
                if vectors is None:
                    vectors = torch.zeros(len(data), encoded.shape[1])
                vectors[[row for row, _ in found]] = encoded
            told(len(rows))
    widths = torch.zeros(world.size)
    widths[world.rank] = 0 if vectors is None else vectors.shape[1]
    width = int(world.sum(widths).max())
    if not width:
        raise UsageError(f"not one picture of {data.name} can be read", hint="see --image-root", input="--data")
    mine = torch.zeros(len(data), width) if vectors is None else vectors
    shared = world.sum(mine)
    shared[(shared == 0).all(-1)] = torch.nan
    if world.is_first:
        part = kept_in.with_name(kept_in.name + ".part")
        try:
            save_file({"vectors": shared}, part, metadata={"key": key})
            part.replace(kept_in)
        except (OSError, SafetensorError):  # only a second run is slower
            with suppress(OSError):
                part.unlink(missing_ok=True)
    return shared


def _kept(path: Path, key: str) -> Tensor | None:
    from safetensors import safe_open

    with suppress(OSError, SafetensorError, KeyError):
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
        return load_file(path)["vectors"]
    return None
