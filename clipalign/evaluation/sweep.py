"""What a sweep goes through: settings and their values, every combination once. Torch-free."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from clipalign.config.choices import SWEPT
from clipalign.config.readers import value_of
from clipalign.config.suggest import meant_by
from clipalign.errors import UsageError

Values = dict[str, object]
"""Setting → value, of one combination."""


def read_axes(sweeps: Sequence[str]) -> dict[str, list[object]]:
    """Setting → values, from ``NAME=VALUE,VALUE``; a template is not cut at commas, but may be given again.

    Raises:
        UsageError: a setting that cannot be swept, or a value out of its range.
    """
    found: dict[str, list[object]] = {}
    for sweep in sweeps:
        name, sign, values = sweep.partition("=")
        name = name.strip().replace("-", "_")
        if name not in SWEPT or not sign:
            raise UsageError(
                f"--sweep wants NAME=VALUE,VALUE, not {sweep!r}",
                hint=meant_by(name, SWEPT) or f"NAME is one of {', '.join(SWEPT)}",
                input="--sweep",
            )
        for value in [values] if name == "template" else values.split(","):
            read = value_of(name, value if name == "template" else value.strip(), origin=f"--sweep {name}")
            if read not in found.setdefault(name, []):
                found[name].append(read)
    return found


_SLOWEST_FIRST: Final = ("model", "template", "alignment", "layers", "mode", "epsilon")
"""So that neighbours share as much as they can: what is cheap to change turns fastest."""


def combinations(axes: Mapping[str, Sequence[object]]) -> Iterator[Values]:
    """Every combination; those that share most follow each other."""
    names = sorted(axes, key=_SLOWEST_FIRST.index)
    for values in itertools.product(*(axes[name] for name in names)):
        yield dict(zip(names, values, strict=True))


_HASH_DIGITS: Final = 8


def labels(combinations: Sequence[Values]) -> list[str]:
    """Combinations as names of folders; those that would have one name have their hash after it."""
    plain = [_label(values) for values in combinations]
    return [
        f"{name}-{hashlib.sha256(repr(values).encode()).hexdigest()[:_HASH_DIGITS]}" if plain.count(name) > 1 else name
        for name, values in zip(plain, combinations, strict=True)
    ]


def _label(values: Values) -> str:
    plain = "_".join(f"{name}={value}" for name, value in values.items())
    return "".join(character if character.isalnum() or character in "=_.,-+@" else "-" for character in plain)
