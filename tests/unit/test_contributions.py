"""Contributions of sentences, with numbers worked out by hand."""

from __future__ import annotations

import pytest

from clipalign.methods.contributions import ALL_ORDERS, Contribution, Kind, contributions, needed

SCORES = {(): 0.1, (0,): 0.3, (1,): 0.2, (0, 1): 0.5}


def additive(count: int, kind: Kind) -> list[Contribution]:
    """Contributions where sentence i adds i + 1, whatever is there, and two that are there together add 10."""
    scores = {
        chosen: sum(chosen) + len(chosen) + (10.0 if {0, 1} <= set(chosen) else 0.0)
        for chosen in needed(kind, count, 0)
    }
    return contributions(kind, count, 0, scores)


def test_increments_say_nothing_of_the_first() -> None:
    assert needed(Kind.INCREMENT, 2, 0) == {(0,), (0, 1)}
    first, second = contributions(Kind.INCREMENT, 2, 0, SCORES)
    assert first.value is None and second.value == pytest.approx(0.2)


def test_leave_one_out_is_what_the_whole_loses_without_the_sentence() -> None:
    assert needed(Kind.LEAVE_ONE_OUT, 2, 0) == {(0,), (1,), (0, 1)}
    assert [one.value for one in contributions(Kind.LEAVE_ONE_OUT, 2, 0, SCORES)] == pytest.approx([0.3, 0.2])


def test_shapley_is_the_mean_over_the_orders() -> None:
    """First 0.3 - 0.1 or, after the second, 0.5 - 0.2; second 0.2 - 0.1 or 0.5 - 0.3."""
    found = contributions(Kind.SHAPLEY, 2, 0, SCORES)
    assert [one.value for one in found] == pytest.approx([0.25, 0.15])
    assert [one.error for one in found] == [None, None]


@pytest.mark.parametrize("count", [1, 2, 5, ALL_ORDERS, ALL_ORDERS + 1, 12])
def test_shapley_shares_out_the_score_of_the_whole(count: int) -> None:
    """Two sentences that add 10 together share it; with drawn orders each has a reverse, which shares it exactly."""
    together = 5.0 if count > 1 else 0.0
    expected = [index + 1 + (together if index < 2 else 0.0) for index in range(count)]
    assert [one.value for one in additive(count, Kind.SHAPLEY)] == pytest.approx(expected)


def test_drawn_orders_have_a_standard_error_and_a_seed() -> None:
    count = ALL_ORDERS + 1
    assert [one.error for one in additive(count, Kind.SHAPLEY)] == pytest.approx([0.0] * count)
    assert needed(Kind.SHAPLEY, count, 0) == needed(Kind.SHAPLEY, count, 0) != needed(Kind.SHAPLEY, count, 1)
    uneven = {chosen: float(set(chosen) >= {0, 1, 2}) for chosen in needed(Kind.SHAPLEY, count, 0)}
    found = contributions(Kind.SHAPLEY, count, 0, uneven)
    assert sum(one.value or 0.0 for one in found) == pytest.approx(1.0)
    for one in found[:3]:
        assert one.value is not None and one.error is not None
        assert one.error > 0 and abs(one.value - 1 / 3) < 4 * one.error


@pytest.mark.parametrize("kind", Kind)
def test_a_sentence_alone(kind: Kind) -> None:
    (alone,) = contributions(kind, 1, 0, {(): 0.1, (0,): 0.4})
    assert alone.value is None if kind is Kind.INCREMENT else alone.value == pytest.approx(0.3)
