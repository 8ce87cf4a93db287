"""Increments on samples held out, while training: do true details raise the score, and wrong ones lower it.

As for sDCI, over every prefix: ``positive`` is the share of prefixes whose next longer one scores higher, ``negative``
the share that scores higher than the same with a wrong detail, each averaged over pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from clipalign.eval_results import Increments
from clipalign.runs.distributed import Processes
from clipalign.training.batches import prepared_picture
from clipalign.training.data import SpecsSample
from clipalign.training.model import TrainableModel

SAMPLES_TOGETHER: Final = 16


class _Encoded(NamedTuple):
    texts: list[tuple[int, ...]]
    prefixes: int


def increments_of(cosines: Tensor, negatives: Tensor) -> Increments:
    """Shares of one picture: cosines of its n prefixes (n >= 2), and of the first m with a wrong detail (m <= n)."""
    rises = cosines[1:] > cosines[:-1]
    falls = cosines[: len(negatives)] > negatives
    return Increments(float(rises.float().mean()), float(falls.float().mean()))


class Validation:
    """Held-out samples whose pictures can be read; with a frozen image tower, their pictures are kept as vectors."""

    def __init__(self, samples: Sequence[SpecsSample], trainee: TrainableModel, processes: Processes) -> None:
        self._trainee, self._processes = trainee, processes
        mine = samples[processes.rank :: processes.size]
        pictures = [prepared_picture(sample, trainee) for sample in mine]
        kept = [(sample, picture) for sample, picture in zip(mine, pictures, strict=True) if picture is not None]
        # Prefixes are cut to the context in preparation; those of generated scenes always fit.
        self._samples = [
            _Encoded([trainee.encode(text) for text in (*sample.captions, *sample.negatives)], len(sample.captions))
            for sample, _ in kept
        ]
        self._pictures = [picture for _, picture in kept]
        self._images = None if trainee.image_learns or not kept else self._encode()

    @torch.no_grad()
    def _encode(self) -> Tensor:
        device = self._trainee.loaded.choice.device
        groups = [self._pictures[i : i + SAMPLES_TOGETHER] for i in range(0, len(self._pictures), SAMPLES_TOGETHER)]
        return torch.cat([self._trainee.encode_pictures(torch.stack(group).to(device)) for group in groups])

    @torch.no_grad()
    def measure(self) -> Increments | None:
        """Increments over all processes' samples; None where there are none."""
        totals = torch.zeros(3, dtype=torch.float64)
        if self._samples:
            images = self._encode() if self._images is None else self._images
            order = sorted(range(len(self._samples)), key=lambda index: len(self._samples[index].texts))
            for begin in range(0, len(order), SAMPLES_TOGETHER):
                group = order[begin : begin + SAMPLES_TOGETHER]
                read = self._trainee.reader.read([self._samples[index].texts for index in group])
                sizes = [len(self._samples[index].texts) for index in group]
                for index, vectors in zip(group, torch.split(read, sizes), strict=True):
                    prefixes = self._samples[index].prefixes
                    cosines = (vectors @ images[index]).cpu()
                    one = increments_of(cosines[:prefixes], cosines[prefixes:])
                    totals += torch.tensor([one.positive, one.negative, 1.0], dtype=torch.float64)
        positive, negative, count = self._processes.sum(totals).tolist()
        return Increments(positive / count, negative / count) if count else None
