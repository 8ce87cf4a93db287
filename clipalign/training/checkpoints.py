"""Everything a run needs to go on, on disk: whole or not at all, and nothing in it that could run code.

A checkpoint is a folder, ``checkpoints/step-00000100``, written under another name and renamed when it is complete; the
one before it goes only then. The weights are safetensors, the optimiser's state is a pickle of tensors and numbers that
is read with ``weights_only=True``.

The numbers of a run, a line of JSON a step, and the same for TensorBoard where it is installed.

The file is the curve of one run from its beginning, however often it was stopped: going on from a checkpoint first cuts
off what came after it.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import pickle
import re
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipalign.errors import ModelMismatch, UsageError

FOLDER: Final = "checkpoints"
WEIGHTS_FILE: Final = "weights.safetensors"
STATE_FILE: Final = "state.pt"

_FLAGS: Final = {
    "weight of contrastive": "--lambda-contrastive",
    "weight of detail": "--lambda-detail",
    "weight of negative": "--lambda-negative",
    "weight of short": "--lambda-short",
    "frozen": "--freeze",
    "start": "--init with the weights",
    "data": "--data with the fingerprint",
    "processes": "torchrun --nproc-per-node",
}
"""What a user types for settings that are called otherwise here."""

_SUM: Final = "weights_crc32"
_FULL_BYTES: Final = 1 << 20
"""A disk with less room is full: what did not fit was larger."""

_NAME = re.compile(r"step-(\d{8,})")


class Checkpoint(NamedTuple):
    """A run after a step.

    Attributes:
        weights: of the network.
        state: numbers, strings and tensors in dicts and lists: step, settings, optimiser, random numbers.
    """

    weights: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(run: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint into a run's folder and take older ones away; returns its folder.

    Raises:
        OSError: it cannot be written; the one before is still there.
    """
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("*.part"):
        shutil.rmtree(leftover, ignore_errors=True)
    part = folder / f"step-{step:08}.part"
    whole = folder / f"step-{step:08}"
    try:
        part.mkdir()
        try:
            save_file(checkpoint.weights, part / WEIGHTS_FILE, metadata={"format": "pt", "step": str(step)})
            torch.save(checkpoint.state | {_SUM: _sum_of(checkpoint.weights)}, part / STATE_FILE)
        except (SafetensorError, RuntimeError) as error:
            raise as_os_error(error, part) from error
        for name in (WEIGHTS_FILE, STATE_FILE):
            _to_disk(part / name)
        if whole.exists():
            shutil.rmtree(whole)
        part.replace(whole)
        _to_disk(folder)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    keep_only(run, whole)
    return whole


def keep_only(run: Path, whole: Path) -> None:
    """Take every checkpoint of a run away but one."""
    for old in _all(run):
        if old != whole:
            shutil.rmtree(old, ignore_errors=True)


def as_os_error(error: Exception, folder: Path) -> OSError:
    """What safetensors and torch raise when a file in ``folder`` cannot be written, as the system would have said it.

    The one hides the reason in its sentence, the other drops it.
    """
    said = str(error).partition("\n")[0]
    code = re.search(r"(?:code:|os error) (\d+)", said)
    if code is None and shutil.disk_usage(folder).free < _FULL_BYTES:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(None, said)


def last_checkpoint(run: Path) -> Path | None:
    """The folder of the newest checkpoint of a run, or None."""
    found = _all(run)
    return found[-1] if found else None


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ModelMismatch: it is damaged, or holds something else than tensors and numbers.
    """
    try:
        weights = load_file(folder / WEIGHTS_FILE)
        state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise _damaged(folder, f"cannot be read: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(state, dict):
        raise _damaged(folder, "holds something else than a run's state")
    if state.pop(_SUM, None) != _sum_of(weights):
        raise _damaged(folder, f"is damaged: {WEIGHTS_FILE} is not what was written")
    return Checkpoint(weights, state)


def _damaged(folder: Path, said: str) -> ModelMismatch:
    return ModelMismatch(f"the checkpoint {folder} {said}", hint="begin again with --overwrite", input=str(folder))


def _sum_of(weights: Mapping[str, Tensor]) -> int:
    """CRC-32 over all values, by name: a safetensors file itself does not notice a flipped bit."""
    found = 0
    for name in sorted(weights):
        values = weights[name].detach().cpu().contiguous().reshape(-1)
        found = zlib.crc32(values.view(torch.uint8).numpy().data, found)
    return found


def settings_of(folder: Path) -> Mapping[str, Any]:
    """The settings of the run that a checkpoint is of, without reading its tensors; empty where it is damaged."""
    try:
        state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True, mmap=True)
        settings = state["settings"]
    except Exception:  # said by load_checkpoint, which reads all of it
        return {}
    return settings if isinstance(settings, dict) else {}


def check_settings(old: Mapping[str, Any], new: Mapping[str, Any], run: Path) -> None:
    """See that a run goes on with the settings that it was begun with.

    Raises:
        UsageError: it does not; the first difference is named.
    """
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            raise UsageError(
                f"{run} was begun with {_told(name, old.get(name))}, now it is {_told(name, new.get(name))}",
                hint="go on with the same settings, or name another --output",
                input=_FLAGS.get(name, "--" + name.replace("_", "-")).partition(" ")[0],
            )


def _told(name: str, value: object) -> str:
    """A setting as it is typed."""
    shown = " ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)
    return f"{_FLAGS.get(name, '--' + name.replace('_', '-'))} {shown or 'none'}"


def _all(run: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    folder = run / FOLDER
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]))


def _to_disk(path: Path) -> None:
    with suppress(OSError):  # folders cannot be opened everywhere
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


METRICS_FILE: Final = "metrics.jsonl"
TENSORBOARD_FOLDER: Final = "tensorboard"


class MetricsLog:
    """Appends to a run's metrics.

    Args:
        run: folder of the run.
        last_step: lines of later steps are cut off, and a torn last line.
    """

    def __init__(self, run: Path, *, last_step: int) -> None:
        path = run / METRICS_FILE
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= last_step] if last_step else []
        part = path.with_name(path.name + ".part")
        part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        part.replace(path)
        self._file = path.open("a", encoding="utf-8")
        self._board: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(run / TENSORBOARD_FOLDER), purge_step=last_step + 1 if last_step else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # every line was flushed; what found no room was said when it was written
            self._file.close()
        if self._board is not None:
            with suppress(OSError):  # the curve itself stands in the file
                self._board.close()

    def write(self, record: Mapping[str, Any]) -> None:
        """One record with its ``step``; numbers go to TensorBoard under their names, nested ones with a slash."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in _flat(record):
                if name not in ("step", "epoch"):
                    self._board.add_scalar(name, value, record["step"])


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The whole records of a run, in order; empty where there are none."""
    return [json.loads(line) for line in _whole_lines(run / METRICS_FILE)]


def _whole_lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [line for line in lines[:-1] if _is_record(line)]  # what ends without a line feed was torn


def _is_record(line: str) -> bool:
    try:
        return isinstance(json.loads(line).get("step"), int)
    except (ValueError, AttributeError, RecursionError):
        return False


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((prefix + name, float(value)))
    return found
