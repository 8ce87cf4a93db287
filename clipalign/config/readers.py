"""How values are read and checked, the same from a command line, a variable, TOML and Python.

A reader converts a value to its setting's type, or raises :class:`BadValueError`. It accepts its own result unchanged.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

from clipalign.config.suggest import suggestion

Reader: TypeAlias = Callable[[object], Any]

MAX_THREADS: Final = 1024
MAX_BATCH: Final = 65_536
MAX_KEPT_GB: Final = 100_000.0
MAX_SEED: Final = 2**63 - 1
"""The largest seed that every random generator in use accepts."""
_MAX_INT: Final = 2**31 - 1

_COLUMNS: Final = ("image", "text", "id", "references")
"""Copied from :mod:`clipalign.data.columns`, whose import would slow ``--help``."""

_DEVICES: Final = ("auto", "cpu", "cuda", "mps")
_TRUTHS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class BadValueError(Exception):
    """An invalid value; ``expected`` follows "must be", ``hint`` suggests a value or is empty."""

    def __init__(self, expected: str, hint: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint


def quoted(value: object) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # thousands of digits, or of levels
        return "a value of thousands of digits or levels"


def one_of(*choices: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value in choices:
            return str(value)
        raise BadValueError(f"{', '.join(choices[:-1])} or {choices[-1]}".removeprefix(" or "), _meant(value, choices))

    return read


def _meant(value: object, choices: tuple[str, ...]) -> str:
    return suggestion(value, choices) if isinstance(value, str) else ""


def several(read: Reader) -> Callable[[object], tuple[Any, ...]]:
    return lambda value: tuple(read(one) for one in (value if isinstance(value, list | tuple) else [value]))


def whole(low: int, high: int = _MAX_INT) -> Callable[[object], int]:
    def read(value: object) -> int:
        number = value
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,19}\s*", value):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            too_large = isinstance(number, int) and number > high
            raise BadValueError(f"a whole number, {low} {f'to {high}' if too_large or high != _MAX_INT else 'or more'}")
        return number

    return read


def auto_or_count(value: object) -> int | None:
    """Read ``auto``, as None, or a whole number."""
    try:
        return None if value == "auto" else whole(1, MAX_BATCH)(value)
    except BadValueError:
        raise BadValueError(f"auto or a whole number, 1 to {MAX_BATCH}") from None


def finite(value: object) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadValueError("a finite number, such as -5e-5")
    return number


def between(low: float, high: float = math.inf, *, above: bool = False) -> Callable[[object], float]:
    """Read a number from ``low`` to ``high``; with ``above``, greater than ``low``."""
    expected = f"a number, {low:g} or more" if high == math.inf else f"a number from {low:g} to {high:g}"
    if above:
        expected = f"a number above {low:g}"

    def read(value: object) -> float:
        try:
            number = finite(value)
        except BadValueError:
            number = math.nan
        if not low <= number <= high or (above and number == low):
            raise BadValueError(expected)
        return number

    return read


def share(value: object) -> float:
    """Read ``5%`` or ``0.05``: a share above 0 and below 1."""
    percent = isinstance(value, str) and value.strip().endswith("%")
    try:
        number = finite(value.strip().removesuffix("%")) / 100 if isinstance(value, str) and percent else finite(value)
    except BadValueError:
        number = 0.0
    if not 0 < number < 1:
        raise BadValueError("a share above 0 and below 1, such as 5% or 0.05")
    return number


def count_or_share(value: object) -> float:
    """Read a whole number, or a share as :func:`share`, which alone is a float."""
    try:
        return share(value) if isinstance(value, float) or "%" in str(value) else whole(0)(value)
    except BadValueError:
        raise BadValueError("a whole number, or a share above 0 and below 1, such as 3 or 5%") from None


def truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUTHS:
        return _TRUTHS[value.lower()]
    raise BadValueError("true or false")


def text(value: object) -> str:
    if not isinstance(value, str):
        raise BadValueError("a string")
    return value


def prefix(value: object) -> str:
    """Read the template of a caption, which stands at its end, whether ``{}`` says so or not."""
    before, _, after = text(value).partition("{}")
    if after:
        raise BadValueError("text with the caption at its end, such as 'A photo depicts {}'")
    return before


def name(value: object) -> str:
    if not text(value).strip():
        raise BadValueError("a name or a path")
    return str(value)


def path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    try:
        return Path(name(value)).expanduser()
    except RuntimeError:
        raise BadValueError("a folder without ~, as there is no home folder") from None


def results_path(value: object) -> Path:
    """Read where results go; ``out/`` that is not there is refused, as a path keeps no slash and names a file."""
    found = path(value)
    if str(value).endswith("/") and "://" not in str(value) and not found.is_dir():
        raise BadValueError("a file, or a folder that is there", f"mkdir -p {shlex.quote(str(found))}")
    return found


names, texts, paths = several(name), several(text), several(path)


def device_name(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value.strip().lower()):
        return value.strip().lower()
    raise BadValueError("auto, cpu, cuda, cuda:N or mps", _meant(value, _DEVICES))


def shard_part(value: object) -> tuple[int, int]:
    """Read ``I/N``: part I of N, from 1."""
    if isinstance(value, tuple):
        value = "/".join(map(str, value))
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", value) if isinstance(value, str) else None
    if found and 1 <= int(found[1]) <= int(found[2]):
        return int(found[1]), int(found[2])
    raise BadValueError("I/N with I from 1 to N, such as 1/4")


def named_columns(*others: str) -> Callable[[object], dict[str, str]]:
    """Read ``image=file_name,text=caption``: columns that have other names in an input."""
    known = (*_COLUMNS, *others)

    def read(value: object) -> dict[str, str]:
        parts = value.split(",") if isinstance(value, str) else [f"{k}={v}" for k, v in dict(value).items()]  # type: ignore[call-overload]
        found = dict(part.split("=", 1) for part in parts if part.count("="))
        if len(found) < len(parts) or not set(found) <= set(known) or not all(found.values()):
            raise BadValueError(f"{'|'.join(known)}=NAME,…", "such as image=file_name,text=caption")
        return found

    return read


def parted(value: object) -> tuple[str, ...]:
    return tuple(one.strip() for item in names(value) for one in item.split(",") if one.strip())


def pair_of(read: Callable[[object], Any], what: str) -> Callable[[object], tuple[Any, Any]]:
    """Read two values with ``read``; ``what`` names them in the error."""

    def both(value: object) -> tuple[Any, Any]:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise BadValueError(what)
        return read(value[0]), read(value[1])

    return both
