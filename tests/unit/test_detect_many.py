"""``detect`` over many records: the numbers of one pair alone, whatever is scored beside it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipalign.data.records import InputRecord, Place
from clipalign.errors import ClipalignError, ImageUnreadable, TextUnusable, UsageError
from clipalign.methods.detect import DetectScorer, Pair, detect_each, detect_pairs
from clipalign.methods.settings import DetectSettings
from clipalign.results import DetectResult
from clipalign.runs.batch import run_batch
from tests.tiny import GOLDEN, load_random, load_tiny

PICTURES = sorted((GOLDEN / "images").glob("*.png"))[:4]
TEXTS = (
    "a cup", "a cup of coffee on a wooden table", "two dogs, one red", "dog " * 90, "...", "", "isn't it? (approx.)",
    "a", "A man, a plan, a canal. Panama", "é 猫 🐈",
)  # fmt: skip
REFERENCES = ((), ("a cup of tea",), ("dogs", "a red dog"))

Asked = tuple[int, int, int]
"""Picture, text and references of a record, by number."""

asked_records = st.lists(
    st.tuples(st.integers(0, len(PICTURES)), st.integers(0, len(TEXTS) - 1), st.integers(0, 2)), min_size=1, max_size=24
)


def record(number: int, asked: Asked) -> InputRecord:
    image = [*PICTURES, Path("missing.png")][asked[0]]
    return InputRecord(str(number), image, image.name, TEXTS[asked[1]], REFERENCES[asked[2]], Place("p", 0, number))


def scored(asked: Sequence[Asked], batch_size: int) -> list[DetectResult | ClipalignError]:
    scorer = DetectScorer.of(load_tiny(), DetectSettings(batch_size=batch_size))
    return [one.result for one in run_batch([record(*item) for item in enumerate(asked)], scorer, workers=2)]


def numbers(outcome: DetectResult | ClipalignError) -> list[float]:
    """Every number of a result; none of an error."""
    if isinstance(outcome, ClipalignError):
        return []
    attributions = [word.attribution for word in outcome.words if word.attribution is not None]
    return [outcome.cosine, outcome.f_clip_score, outcome.ref_clip_score or 0.0, *attributions]


def same(one: DetectResult | ClipalignError, other: DetectResult | ClipalignError) -> bool:
    """Whether two outcomes agree to 1e-6, and say the same otherwise."""
    if isinstance(one, ClipalignError) or isinstance(other, ClipalignError):
        return type(one) is type(other) and str(one) == str(other)
    texts = [[word.text for word in outcome.words] for outcome in (one, other)]
    return texts[0] == texts[1] and numbers(one) == pytest.approx(numbers(other), abs=1e-6)


ALONE: dict[Asked, DetectResult | ClipalignError] = {}
"""Outcomes of records by themselves."""


def alone(asked: Asked) -> DetectResult | ClipalignError:
    if asked not in ALONE:
        ALONE[asked] = scored([asked], 1)[0]
    return ALONE[asked]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked_records, st.integers(1, 9), st.randoms(use_true_random=False))
def test_a_result_depends_on_neither_batch_nor_order_nor_neighbors(
    asked: list[Asked], batch_size: int, order: random.Random
) -> None:
    together = scored(asked, batch_size)
    for one, outcome in zip(asked, together, strict=True):
        assert same(outcome, alone(one))
    places = list(range(len(asked)))
    order.shuffle(places)
    shuffled = scored([asked[place] for place in places], 10 - batch_size)
    assert all(same(shuffled[new], together[old]) for new, old in enumerate(places))


def test_a_run_says_what_one_pair_alone_is_told() -> None:
    result = scored([(0, 1, 2)], 8)[0]
    direct = detect_pairs(load_tiny(), [Pair(PICTURES[0], TEXTS[1], REFERENCES[2], "0", "0.png")])[0]
    assert isinstance(result, DetectResult)
    assert (result.id, result.image, result.text) == ("0", "0.png", TEXTS[1])
    assert same(result, direct)
    assert result.provenance.settings["batch_size"] == 8


def test_errors_stay_in_their_places() -> None:
    outcomes = scored([(0, 0, 0), (4, 0, 0), (0, 4, 0), (1, 5, 0), (1, 0, 0)], 4)
    assert [type(one) for one in outcomes] == [DetectResult, ImageUnreadable, TextUnusable, TextUnusable, DetectResult]


def test_each_pair_has_its_own_error() -> None:
    pairs = [
        Pair(PICTURES[0], "a cup"),
        Pair("missing.png", "a cup"),
        Pair(PICTURES[0], "..."),
        Pair(PICTURES[1], "\x07"),
        Pair(PICTURES[1], "a dog"),
    ]
    outcomes = detect_each(load_tiny(), pairs)
    types = [type(one) for one in outcomes]
    assert types == [DetectResult, ImageUnreadable, TextUnusable, TextUnusable, DetectResult]
    assert same(outcomes[4], detect_pairs(load_tiny(), pairs[4:])[0])
    assert detect_each(load_tiny(), []) == []
    assert [type(one) for one in detect_each(load_tiny(), pairs[1:3])] == types[1:3]
    with pytest.raises(UsageError):
        detect_each(load_tiny(), [], DetectSettings(layers=2.5))  # type: ignore[arg-type]


def test_settings_are_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError):
        DetectScorer.of(load_tiny(), DetectSettings(mode="worst"))


def test_towers_of_other_kinds_run_too() -> None:
    scorer = DetectScorer.of(load_random("siglip"), DetectSettings(batch_size=2))
    asked = [record(number, (number % 2, number % 2, 0)) for number in range(5)]
    assert all(isinstance(one.result, DetectResult) for one in run_batch(asked, scorer))
