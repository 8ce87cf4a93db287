"""Calls, noted on their way."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def noting(real: Callable[P, R], note: Callable[P, object]) -> Callable[P, R]:
    """``real``, whose arguments are handed to ``note`` first."""

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        note(*args, **kwargs)
        return real(*args, **kwargs)

    return call
