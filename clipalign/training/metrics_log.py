"""The numbers of a run, a line of JSON a step, and the same for TensorBoard where it is installed.

The file is the curve of one run from its beginning, however often it was stopped: going on from a checkpoint first cuts
off what came after it.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

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
            from torch.utils.tensorboard import SummaryWriter

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
