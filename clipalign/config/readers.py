"""How each setting is read and checked, from what was typed, a variable or TOML alike.

A reader takes a value and gives it as :class:`~clipalign.config.values.Settings` holds it, or says what it must be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from clipalign.config.choices import (
    ALIGNMENTS,
    DEVICES,
    ERROR_RULES,
    FORMATS,
    MAX_SEED,
    METHODS,
    MODES,
    PIECES,
    PRECISIONS,
    PROTOCOLS,
    REPORTS,
    TOWERS,
)
from clipalign.config.suggest import meant_by
from clipalign.errors import UsageError

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


class _BadValueError(Exception):
    """What a value must be, and a hint at which good one was meant."""

    def __init__(self, expected: str, hint: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint


def _one_of(*choices: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value in choices:
            return str(value)
        raise _BadValueError(listed(choices), meant_by(str(value), choices))

    return read


def listed(choices: tuple[str, ...]) -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}" if len(choices) > 1 else choices[0]


_MOST: Final = 2**31 - 1
"""Of numbers that have no bound of their own: what every library takes."""
_MOST_THREADS: Final = 1024
_MOST_AT_ONCE: Final = 65_536


def _whole(low: int, high: int = _MOST) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = value
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,19}\s*", value):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            too_large = isinstance(number, int) and number > high
            raise _BadValueError(f"a whole number, {low} {f'to {high}' if too_large or high != _MOST else 'or more'}")
        return number

    return read


def _batch_size(value: object) -> int | None:
    try:
        return None if value == "auto" else _whole(1, _MOST_AT_ONCE)(value)
    except _BadValueError:
        raise _BadValueError(f"auto or a whole number, 1 to {_MOST_AT_ONCE}") from None


def _finite(value: object) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _BadValueError("a finite number, such as -5e-5")
    return number


def _truth(value: object) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise _BadValueError("true or false")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _BadValueError("a string")
    return value


def _name(value: object) -> str:
    if not _text(value).strip():
        raise _BadValueError("a name or a path")
    return str(value)


def _device(value: object) -> str:
    if isinstance(value, str) and _DEVICE.fullmatch(value.strip().lower()):
        return value.strip().lower()
    raise _BadValueError("auto, cpu, cuda, cuda:N or mps", meant_by(str(value), DEVICES))


def _folder(value: object) -> Path:
    try:
        return Path(_name(value)).expanduser()
    except RuntimeError:
        raise _BadValueError("a folder without ~, as there is no home folder") from None


def _names(value: object) -> tuple[str, ...]:
    """Several names, or a single one."""
    return tuple(_name(one) for one in (value if isinstance(value, list | tuple) else [value]))


def _some_of(*choices: str) -> Callable[[object], tuple[str, ...]]:
    read = _one_of(*choices)
    return lambda value: tuple(read(one) for one in (value if isinstance(value, list | tuple) else [value]))


def _share(value: object) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", value) if isinstance(value, str) else None
    if found and 1 <= int(found[1]) <= int(found[2]):
        return int(found[1]), int(found[2])
    raise _BadValueError("I/N with I from 1 to N, such as 1/4")


def _between(low: float, high: float = math.inf) -> Callable[[object], float]:
    bounds = f"a number, {low:g} or more" if high == math.inf else f"a number from {low:g} to {high:g}"

    def read(value: object) -> float:
        try:
            number = _finite(value)
        except _BadValueError:
            number = math.nan
        if not low <= number <= high:
            raise _BadValueError(bounds)
        return number

    return read


def _two_places(value: object) -> tuple[Path, Path]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise _BadValueError("two results of eval")
    return _folder(value[0]), _folder(value[1])


READERS: Final[dict[str, Callable[[object], Any]]] = {
    "model": _name,
    "device": _device,
    "precision": _one_of(*PRECISIONS),
    "batch_size": _batch_size,
    "threads": _whole(1, _MOST_THREADS),
    "seed": _whole(0, MAX_SEED),
    "cache_dir": _folder,
    "offline": _truth,
    "timeout": _between(0.1, 3600.0),
    "format": _one_of(*FORMATS),
    "quiet": _truth,
    "verbose": _truth,
    "debug": _truth,
    "mode": _one_of(*MODES),
    "epsilon": _finite,
    "layers": _whole(1),
    "template": _text,
    "alignment": _one_of(*ALIGNMENTS),
    "check": _truth,
    "top": _whole(1),
    "dataset": _name,
    "limit": _whole(1),
    "output": _folder,
    "input": _names,
    "image_root": _folder,
    "shard": _share,
    "resume": _truth,
    "overwrite": _truth,
    "on_error": _one_of(*ERROR_RULES),
    "download": _truth,
    "accept_license": _names,
    "labels": _folder,
    "descriptions": _folder,
    "method": _one_of(*METHODS),
    "crops": _whole(1, _MOST_AT_ONCE),
    "alpha": _between(0.0, 0.9),
    "explain": _truth,
    "image_logscale": _between(-20.0, 20.0),
    "text_logscale": _between(-20.0, 20.0),
    "prompt": _text,
    "templates": _folder,
    "words": _folder,
    "text_file": _names,
    "by": _one_of(*PIECES),
    "margin": _between(0.0),
    "stretch": _truth,
    "data_root": _folder,
    "compare": _two_places,
    "report": _one_of(*REPORTS),
    "sweep": _names,
    "calibrate": _truth,
    "save": _folder,
    "protocol": _one_of(*PROTOCOLS),
    "data": _name,
    "prepare": _folder,
    "init": _name,
    "epochs": _whole(1),
    "accumulate": _whole(1),
    "draws": _whole(1),
    "learning_rate": _between(0.0),
    "warmup_steps": _whole(0),
    "weight_decay": _between(0.0),
    "clip_norm": _between(0.0),
    "lambda_contrastive": _between(0.0),
    "lambda_detail": _between(0.0),
    "lambda_negative": _between(0.0),
    "lambda_short": _between(0.0),
    "gather": _truth,
    "freeze": _some_of(*TOWERS),
    "blend": _between(0.01, 1.0),
    "recompute": _truth,
    "held_out": _whole(0),
    "validate_every": _whole(1),
    "save_every": _whole(1),
    "workers": _whole(1, _MOST_THREADS),
}
"""How each setting is read and checked, from text and from TOML alike."""


NOT_FROM_FILES: Final = frozenset(
    {
        *("cache_dir", "data_root", "dataset", "data", "input", "image_root", "text_file", "shard", "compare"),
        *("labels", "descriptions", "templates", "words"),
        *("output", "save", "report", "prepare", "resume", "overwrite", "download", "accept_license"),
        *("sweep", "calibrate"),
    }
)
"""What only a flag or a variable may say: where to read and write, what to replace, fetch and accept.

A settings file may come with somebody else's data; it changes numbers and looks, and nothing else.
"""


FLAGS_ALONE: Final = frozenset({"describe_with", "reference", "remove", "verify", "dry_run"})
"""What is typed for one run and is no setting, so that a variable does not say it either."""


def flag_name(setting: str) -> str:
    """``batch_size`` as it is typed: ``--batch-size``."""
    return "--" + setting.replace("_", "-")


def checked(name: str, value: object, *, origin: str, error: type[UsageError]) -> Any:
    try:
        return READERS[name](value)
    except _BadValueError as bad:
        message = f"{origin} must be {bad.expected}, not {shown(value)}"
        raise error(message, hint=bad.hint, input=origin) from None


def shown(value: object) -> str:
    """A bad value in a message."""
    try:
        return repr(value)
    except (ValueError, RecursionError):  # thousands of digits, or of levels
        return "a value of thousands of digits or levels"


def value_of(name: str, value: object, *, origin: str) -> Any:
    """``value`` as setting ``name`` has it.

    Raises:
        UsageError: it is out of its range; the error names ``origin``.
    """
    return checked(name, value, origin=origin, error=UsageError)
