"""What a sentence does to the score of a text, wherever it stands.

The worth of some of a text's sentences is the score of a text of these alone, in their order; that of none is the score
of an empty text. An increment says what a sentence adds to those before it, so nothing of the first, and more of early
ones. Two contributions do not depend on the place:

- leave-one-out: s(whole) − s(whole without the sentence);
- Shapley: the mean, over orders in which the sentences come in, of what it adds to those that came before. Over all
  orders where there are few sentences, else over seeded ones, each also backwards, which makes the mean steadier.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise, permutations
from statistics import fmean, stdev
from typing import Final, NamedTuple

Chosen = tuple[int, ...]
"""Indices of some of a text's sentences, ascending."""

ALL_ORDERS: Final = 6
"""Up to this many sentences, all orders are taken: 2^6 texts give all 720."""

ORDERS: Final = 16
"""Orders that are drawn for more sentences."""

MOST_SHAPLEY: Final = 16
"""Sentences beyond which the orders cost more than 50 encodings of the whole text."""


class Kind(StrEnum):
    SHAPLEY = "shapley"
    LEAVE_ONE_OUT = "leave-one-out"
    INCREMENT = "increment"


class Contribution(NamedTuple):
    """What a sentence does to the score; ``error`` is its standard error where orders were drawn, else None."""

    value: float | None
    error: float | None = None


def needed(kind: Kind, count: int, seed: int) -> set[Chosen]:
    """The sentences whose scores, each set as a text, give the contributions of ``count`` sentences."""
    if kind is Kind.INCREMENT:
        return set(_prefixes(range(count))) - {()}
    if kind is Kind.LEAVE_ONE_OUT:
        return {tuple(range(count)), *_without_one(count)}
    return {chosen for order in _orders(count, seed) for chosen in _prefixes(order)}


def contributions(kind: Kind, count: int, seed: int, scores: Mapping[Chosen, float]) -> list[Contribution]:
    """Contribution of each of ``count`` sentences; ``scores`` are those of :func:`needed`, with the same arguments."""
    if kind is Kind.INCREMENT:
        prefixes = list(_prefixes(range(count)))[1:]
        return [
            Contribution(None),
            *(Contribution(scores[after] - scores[before]) for before, after in pairwise(prefixes)),
        ]
    if kind is Kind.LEAVE_ONE_OUT:
        return [Contribution(scores[tuple(range(count))] - scores[rest]) for rest in _without_one(count)]
    orders = _orders(count, seed)
    added: list[list[float]] = [[] for _ in range(count)]
    for order in orders:
        for sentence, (before, after) in zip(order, pairwise(_prefixes(order)), strict=True):
            added[sentence].append(scores[after] - scores[before])
    return [Contribution(fmean(one), None if count <= ALL_ORDERS else _standard_error(one)) for one in added]


def _standard_error(added: Sequence[float]) -> float:
    """Of a mean over orders and their reverses, which stand beside one another and are not independent."""
    pairs = [fmean(pair) for pair in zip(added[::2], added[1::2], strict=True)]
    return stdev(pairs) / math.sqrt(len(pairs))


def _orders(count: int, seed: int) -> list[Chosen]:
    if count <= ALL_ORDERS:
        return list(permutations(range(count)))
    draw = random.Random(seed)
    drawn = (draw.sample(range(count), count) for _ in range(ORDERS // 2))
    return [order for one in drawn for order in (tuple(one), tuple(reversed(one)))]


def _prefixes(order: Iterable[int]) -> Iterable[Chosen]:
    """No sentence, the first of ``order``, the first two, …, all, each set ascending."""
    order = list(order)
    return (tuple(sorted(order[:length])) for length in range(len(order) + 1))


def _without_one(count: int) -> list[Chosen]:
    return [tuple(other for other in range(count) if other != one) for one in range(count)]
