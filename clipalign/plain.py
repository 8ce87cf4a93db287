"""Results in JSON's own types.

A record holds finite numbers only: others are refused rather than turned into ``null``. Text that UTF-8 cannot carry is
written out, and what JSON has no type for, such as a path, becomes text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any


def plain(record: object) -> dict[str, Any]:
    """A record, a mapping or a dataclass, in JSON's own types, as it will be read back.

    Raises:
        ValueError: a number that JSON has no sign for, with its place.
    """
    found: dict[str, Any] = _plain(record, "record")
    return found


def _plain(value: object, place: str) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place} is {value}, which JSON cannot hold")
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name), f"{place}.{name}") for name in _field_names(type(value))}
    return str(value)


@cache
def _field_names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def plain_text(text: str) -> str:
    """``text`` as UTF-8 can carry it: half a surrogate pair, as in file names that are no UTF-8, written out."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text


def json_type(value: object) -> str:
    """What JSON calls the type of ``value``, with its article; of what JSON does not have, Python's name."""
    if isinstance(value, bool):
        return "true or false"
    types = ((str, "a string"), (int | float, "a number"), (list | tuple, "a list"), (Mapping, "an object"))
    found = (name for kind, name in types if isinstance(value, kind))
    return next(found, "null" if value is None else type(value).__name__)
