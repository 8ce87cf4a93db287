"""The processes of a training run and what they tell each other: gradients, pictures' vectors, numbers, a wish to stop.

One process is a world of its own: everything here then gives back what it was given. Several are started by
``torchrun`` and talk over NCCL on GPUs, over gloo elsewhere. Gradients are averaged here, after the backward passes of
a step, and not by a wrapper around the network: the network is not called as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, distributed, nn

from clipalign.errors import DeviceUnavailable

BUCKET_ELEMENTS: Final = 16_000_000
"""Gradients travel together up to this many numbers, 64 MB of fp32."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run.

    Attributes:
        rank: of this one, from 0 on.
        size: how many there are.
        device: on which they talk.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def mean_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average the gradients of all processes, in place; a parameter without one counts as zero."""
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter.grad)
            if sum(gradient.numel() for gradient in bucket) >= BUCKET_ELEMENTS:
                self._mean_bucket(bucket)
                bucket = []
        if bucket:
            self._mean_bucket(bucket)

    def _mean_bucket(self, gradients: list[Tensor]) -> None:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, values: Tensor) -> Tensor:
        """The mean of ``values`` (any shape, the same everywhere) over its elements and all processes."""
        average = values.float().mean()
        if self.size > 1:
            distributed.all_reduce(average)
            average /= self.size
        return average

    def sum(self, values: Tensor) -> Tensor:
        """Element by element over all processes, on the device that ``values`` are on."""
        if self.size == 1:
            return values
        total = values.to(self.device, copy=True)
        distributed.all_reduce(total)
        return total.to(values.device)

    def gather(self, rows: Tensor) -> tuple[Tensor, int]:
        """The rows of all processes, first rank first, and where this one's begin; gradients find their way back.

        Args:
            rows: (B, E); processes may have different B.
        """
        if self.size == 1:
            return rows, 0
        counts = self.sum(torch.eye(self.size)[self.rank] * len(rows)).int().tolist()
        most = max(counts)
        padded = torch.cat([rows, rows.new_zeros(most - len(rows), rows.shape[1])])
        gathered: Tensor = _Gather.apply(padded, self)  # type: ignore[no-untyped-call, unused-ignore]
        real = [gathered[rank * most : rank * most + count] for rank, count in enumerate(counts)]
        return torch.cat(real), sum(counts[: self.rank])

    def any(self, flag: bool) -> bool:
        """Whether any process says so; all get the same answer."""
        return bool(self.sum(torch.tensor([float(flag)])).item())

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            distributed.barrier()


class _Gather(torch.autograd.Function):
    """Forward: everybody's rows. Backward: each process gets what all of them want of its rows."""

    @staticmethod
    def forward(context: Any, rows: Tensor, world: World) -> Tensor:
        context.world, context.rows = world, len(rows)
        parts = [torch.empty_like(rows) for _ in range(world.size)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].contiguous().clone()
        distributed.all_reduce(gradient)
        first = context.world.rank * context.rows
        return gradient[first : first + context.rows], None


@contextmanager
def join_world(device: str, environment: Mapping[str, str] | None = None) -> Iterator[World]:
    """The world that ``torchrun`` started this process in, or one of its own.

    Args:
        device: ``cpu``, ``cuda:N`` or ``mps``.
        environment: the process's own.

    Raises:
        DeviceUnavailable: several processes on a device that cannot talk to its like.
    """
    environment = os.environ if environment is None else environment
    size = int(environment.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if device == "mps":
        raise DeviceUnavailable("several processes cannot train on mps", hint="--device cpu", input="--device")
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()
