"""Several processes: those that ``torchrun`` started, what they exchange, and the shard of an input that each one does.

In a single process every method of :class:`Processes` returns its argument. Training uses NCCL on GPUs; all else uses
gloo. Torch is imported only where there are several processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from clipalign.errors import DeviceUnavailable, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from clipalign.config.groups import RecordSettings

T = TypeVar("T")
A = TypeVar("A")

BUCKET_ELEMENTS: Final = 16_000_000
"""Gradients are reduced together up to this many numbers, 64 MB of fp32."""

_TIMEOUT: Final = timedelta(days=7)
"""Time to wait for slower processes over gloo; ``torchrun`` notices one that died."""

_DIGITS: Final = 5


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run; ``rank`` is this one's, ``device`` that of exchanged tensors."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and reports for all."""
        return self.rank == 0

    def wait(self) -> None:
        if self.size > 1:
            from torch import distributed

            distributed.barrier()

    def gather(self, mine: T) -> list[T]:
        """Return the objects of all, pickled, by rank; empty except in the first process."""
        if self.size == 1:
            return [mine]
        from torch import distributed

        found: list[T] | None = [mine] * self.size if self.is_first else None
        distributed.gather_object(mine, found)
        return found or []

    def broadcast(self, value: T) -> T:
        if self.size == 1:
            return value
        from torch import distributed

        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def sum(self, values: Tensor) -> Tensor:
        """Sum elementwise over all processes, on the device of ``values``."""
        if self.size == 1:
            return values
        from torch import distributed

        total = values.contiguous().to(self.device, copy=True)
        distributed.all_reduce(total)
        return total.to(values.device)

    def mean(self, values: Tensor) -> Tensor:
        """Average ``values`` (any shape, the same everywhere) over its elements and all processes."""
        average = values.float().mean()
        return average if self.size == 1 else self.sum(average) / self.size

    def any(self, flag: bool) -> bool:
        if self.size == 1:
            return flag
        import torch

        return bool(self.sum(torch.tensor([float(flag)])).item())

    def gather_rows(self, rows: Tensor) -> tuple[Tensor, int]:
        """Return the rows (B, E) of all processes by rank, and where this one's begin; B may differ. Differentiable."""
        if self.size == 1:
            return rows, 0
        import torch
        from torch import distributed

        counts = self.sum(torch.eye(self.size)[self.rank] * len(rows)).int().tolist()
        padded = torch.cat([rows.detach(), rows.new_zeros(max(counts) - len(rows), rows.shape[1])])
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded)
        kept = [part[:count] for part, count in zip(parts, counts, strict=True)]
        kept[self.rank] = rows
        gathered = torch.cat(kept)
        if gathered.requires_grad:  # backward, each process gets what all of them want of its rows
            gathered.register_hook(self.sum)  # type: ignore[no-untyped-call, unused-ignore]
        return gathered, sum(counts[: self.rank])

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average the gradients of all processes in place; a missing one counts as zero."""
        if self.size == 1:
            return
        import torch

        bucket: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter.grad)
            if sum(gradient.numel() for gradient in bucket) >= BUCKET_ELEMENTS:
                self._average(bucket)
                bucket = []
        if bucket:
            self._average(bucket)

    def _average(self, gradients: Sequence[Tensor]) -> None:
        import torch
        from torch import distributed

        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def launched_processes(environment: Mapping[str, str] | None = None) -> Processes:
    """Return the processes by ``torchrun``'s variables, without waiting for the others; one without ``torchrun``."""
    environment = os.environ if environment is None else environment
    rank, size = (environment.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        return Processes()
    return Processes(int(rank), int(size))


@contextmanager
def join_processes(device: str = "cpu", environment: Mapping[str, str] | None = None) -> Iterator[Processes]:
    """Connect the processes that ``torchrun`` started while the block runs, or until an outer block ends.

    Tensors are exchanged on ``device``; raises ``DeviceUnavailable`` if it has no communication between processes.
    """
    launched = launched_processes(environment)
    if launched.size == 1:
        yield launched
        return
    if device == "mps":
        raise DeviceUnavailable("several processes cannot train on mps", hint="--device cpu", input="--device")
    import torch
    from torch import distributed

    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    connected = distributed.is_initialized()
    if not connected:
        backend = "nccl" if on_gpu else "gloo"
        distributed.init_process_group(backend, timeout=None if on_gpu else _TIMEOUT)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        if not connected:
            distributed.destroy_process_group()


def sum_of_processes(counts: A) -> A:
    with join_processes() as processes:
        whole: Any = sum(cast(Any, processes.gather(counts)))
        return cast(A, processes.broadcast(whole))


def wait_for_all() -> None:
    """Wait at the end of a run: ``torchrun`` stops all processes when one exits with another status than 0."""
    with suppress(RuntimeError, OSError, ValueError), join_processes() as processes:
        processes.wait()


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index``, from 1, of an input, so that the outputs of all parts hold each record once."""

    index: int
    count: int
    launched: bool = False

    @property
    def label(self) -> str:
        return f"{self.index:0{_DIGITS}}-of-{self.count:0{_DIGITS}}"

    def output(self, path: Path) -> Path:
        """Return the path for this part: under ``torchrun`` ``out.jsonl`` becomes ``out.00001-of-00004.jsonl``."""
        if not self.launched:
            return path
        ending = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
        stem = path.name.removesuffix(ending)
        return path.with_name(f"{stem}.{self.label}{ending}")


def find_shard(settings: RecordSettings, environment: Mapping[str, str] | None = None) -> Shard | None:
    """Return this process's part by ``--shard`` or by its rank; None for all.

    Raises:
        UsageError: ``--shard`` under ``torchrun``, which shares by itself, or ``torchrun`` without ``--output``.
    """
    launched = launched_processes(environment)
    if launched.size == 1:
        return None if settings.shard is None else Shard(*settings.shard)
    if settings.shard is not None:
        raise UsageError("torchrun splits the input already", hint="leave out --shard", input="--shard")
    if settings.output is None:
        hint = "with --output out.jsonl each process writes a part of its own"
        raise UsageError("several processes cannot share stdout", hint=hint, input="--output")
    return Shard(launched.rank + 1, launched.size, launched=True)
