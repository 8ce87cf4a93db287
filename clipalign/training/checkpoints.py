"""What a run leaves on disk: checkpoints, from which it is resumed, and its metrics.

A checkpoint is a folder, ``checkpoints/step-00000100``, written under another name and renamed when it is complete;
only then is the previous one removed. Weights are safetensors; the optimizer's state is a pickle read with
``weights_only=True``, so that it cannot run code. Metrics are lines of JSON, and TensorBoard's where it is installed;
resuming from a checkpoint first cuts off what came after it.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import pickle
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipalign.errors import ModelMismatch, UsageError
from clipalign.files import part_beside, replacing, sync_file
from clipalign.runs.log import first_difference, open_log

CHECKPOINTS_FOLDER: Final = "checkpoints"
WEIGHTS_FILE: Final = "weights.safetensors"
STATE_FILE: Final = "state.pt"
METRICS_FILE: Final = "metrics.jsonl"
TENSORBOARD_FOLDER: Final = "tensorboard"

_FLAGS: Final = {
    "start": "--init with the weights",
    "data": "--data with the fingerprint",
    "processes": "torchrun --nproc-per-node",
}  # names that users type, where they differ

_CHECKSUM: Final = "weights_crc32"
_FULL_BYTES: Final = 1 << 20
"""An error with less free space than this means a full disk: what did not fit was larger."""

_NAME: Final = re.compile(r"step-(\d{8,})")


class Checkpoint(NamedTuple):
    """A run after a step: weights, and a state of numbers, strings and tensors in dicts and lists."""

    weights: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(run: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint, remove older ones, and return its folder; after an OSError the previous one still exists."""
    folder = run / CHECKPOINTS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / f"step-{step:08}"
    part = part_beside(whole)
    try:
        part.mkdir()
        with _system_errors(part):
            save_file(checkpoint.weights, part / WEIGHTS_FILE, metadata={"format": "pt", "step": str(step)})
            torch.save(checkpoint.state | {_CHECKSUM: _checksum(checkpoint.weights)}, part / STATE_FILE)
        for name in (WEIGHTS_FILE, STATE_FILE):
            _sync(part / name)
        if whole.exists():
            shutil.rmtree(whole)
        part.replace(whole)
        _sync(folder)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    keep_only(run, whole)
    return whole


def save_weights(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write safetensors, whole or not at all; OSError if they cannot be written."""
    # In a folder of their own: safetensors writes a file of a random name beside the one it makes, which a kill leaves.
    inside = part_beside(path)
    with replacing(path) as part, _system_errors(path.parent):
        try:
            inside.mkdir()
            save_file(tensors, inside / path.name, metadata=dict(metadata))
            (inside / path.name).replace(part)
        finally:
            shutil.rmtree(inside, ignore_errors=True)


def keep_only(run: Path, whole: Path) -> None:
    for old in _all(run):
        if old != whole:
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _system_errors(folder: Path) -> Iterator[None]:
    """Turn errors of safetensors and torch about a file in ``folder`` into OSError."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        raise as_os_error(error, folder) from error


def as_os_error(error: Exception, folder: Path) -> OSError:
    """The OSError behind an error in writing to ``folder``; safetensors hides it in its message, torch drops it."""
    said = str(error).partition("\n")[0]
    code = re.search(r"(?:code:|os error) (\d+)", said)
    if code is None and shutil.disk_usage(folder).free < _FULL_BYTES:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(None, said)


def last_checkpoint(run: Path) -> Path | None:
    found = _all(run)
    return found[-1] if found else None


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint; ModelMismatch if it is damaged, or holds more than tensors and numbers."""
    try:
        weights = load_file(folder / WEIGHTS_FILE)
        state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise _damaged(folder, f"cannot be read: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(state, dict):
        raise _damaged(folder, "holds something else than a run's state")
    if state.pop(_CHECKSUM, None) != _checksum(weights):
        raise _damaged(folder, f"is damaged: {WEIGHTS_FILE} is not what was written")
    return Checkpoint(weights, state)


def _damaged(folder: Path, said: str) -> ModelMismatch:
    return ModelMismatch(f"the checkpoint {folder} {said}", hint="begin again with --overwrite", input=str(folder))


def _checksum(weights: Mapping[str, Tensor]) -> int:
    """CRC-32 over all values, by name: a safetensors file itself does not detect a flipped bit."""
    found = 0
    for name in sorted(weights):
        values = weights[name].detach().cpu().contiguous().reshape(-1)
        found = zlib.crc32(values.view(torch.uint8).numpy().data, found)
    return found


def settings_of(folder: Path) -> Mapping[str, Any]:
    """Settings of a checkpoint's run, read without its tensors; empty where it is damaged."""
    try:
        state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True, mmap=True)
        settings = state["settings"]
    except Exception:  # said by load_checkpoint, which reads all of it
        return {}
    return settings if isinstance(settings, dict) else {}


def check_settings(before: Mapping[str, Any], now: Mapping[str, Any], run: Path) -> None:
    """Check that a resumed run has the settings of its beginning; UsageError names the first difference."""
    if difference := first_difference(before, now):
        flag = _FLAGS.get(difference.name, "--" + difference.name.replace("_", "-"))
        old, new = (f"{flag} {_as_typed(value)}" for value in difference[1:])
        raise UsageError(
            f"{run} was begun with {old}, now it is {new}",
            hint="go on with the same settings, or name another --output",
            input=flag.partition(" ")[0],
        )


def _as_typed(value: object) -> str:
    return (" ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)) or "none"


def _all(run: Path) -> list[Path]:
    folder = run / CHECKPOINTS_FOLDER
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]))


def _sync(path: Path) -> None:
    with suppress(OSError):  # folders cannot be opened everywhere
        handle = os.open(path, os.O_RDONLY)
        try:
            sync_file(handle)
        finally:
            os.close(handle)


class MetricsLog:
    """Append to a run's metrics, for TensorBoard too, after cutting off lines of steps after ``last_step``.

    ``kept`` says what of the run is saved, for errors where metrics cannot be written.
    """

    def __init__(self, run: Path, *, last_step: int, kept: str = "") -> None:
        self._log = open_log(run / METRICS_FILE, kept=kept)
        records = end = 0
        with suppress(UsageError):  # what is damaged is cut off
            for _, record in self._log.read() if last_step else ():
                if not isinstance(record.get("step"), int) or record["step"] > last_step:
                    break
                records, end = self._log.records, self._log.end
        self._log.keep(records, end)
        self._board: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(run / TENSORBOARD_FOLDER), purge_step=last_step + 1 if last_step else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()
        if self._board is not None:
            with suppress(OSError):  # the curve itself stands in the file
                self._board.close()

    def write(self, record: Mapping[str, Any]) -> None:
        """Write one record with its ``step``; OutputError if the disk is full, or missing."""
        self._log.append(dict(record))
        if self._board is not None:
            for name, value in _numbers(record):
                if name not in ("step", "epoch"):
                    self._board.add_scalar(name, value, record["step"])


def _numbers(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + name, float(value)
