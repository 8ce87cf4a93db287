"""Means as metrics of torchmetrics."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from clipalign.errors import ImageUnreadable, UsageError
from clipalign.session import Session, load
from tests.tiny import GOLDEN

pytest.importorskip("torchmetrics")

PICTURES = [GOLDEN / "images" / f"{number}.png" for number in range(3)]
TEXTS = ["a red car", "a cup of coke", "a dog"]


@pytest.fixture(scope="module")
def session() -> Session:
    return load("pictogram", device="cpu")


@pytest.mark.parametrize(
    ("name", "method", "number"),
    [
        ("ClipScore", "detect_many", "clip_score"),
        ("FClipScore", "detect_many", "f_clip_score"),
        ("SpecsScore", "score_long_many", "specs_score"),
    ],
)
class TestMetrics:
    def test_the_mean_over_all_updates(self, session: Session, name: str, method: str, number: str) -> None:
        from clipalign import metrics

        metric: Any = getattr(metrics, name)(session)
        metric.update(PICTURES[:2], TEXTS[:2])
        metric.update(PICTURES[2], TEXTS[2])
        found = getattr(session, method)(list(zip(PICTURES, TEXTS, strict=True)))
        assert float(metric.compute()) == pytest.approx(sum(getattr(one, number) for one in found) / 3, abs=1e-6)
        metric.reset()
        assert metric.compute().isnan()

    def test_two_that_were_updated_apart_are_summed(
        self, session: Session, name: str, method: str, number: str
    ) -> None:
        """What processes exchange is the sum of their states."""
        from clipalign import metrics

        parts: list[Any] = [getattr(metrics, name)(session) for _ in range(3)]
        for part, chosen in zip(parts, (slice(0, 1), slice(1, 3), slice(0, 3)), strict=True):
            part.update(PICTURES[chosen], TEXTS[chosen])
        parts[0].total += parts[1].total
        parts[0].pairs += parts[1].pairs
        parts[0]._computed = None
        assert parts[0].compute() == pytest.approx(float(parts[2].compute()), abs=1e-6)


def test_batches_of_tensors_and_what_cannot_be(session: Session) -> None:
    from clipalign.metrics import ClipScore

    metric: Any = ClipScore(session)
    metric.update(torch.rand(2, 3, 40, 40), ["a", "b"])
    assert int(metric.pairs) == 2
    with pytest.raises(UsageError, match="there are 1 images and 2 texts"):
        metric.update(PICTURES[:1], ["a", "b"])
    with pytest.raises(ImageUnreadable):
        metric.update([PICTURES[0], "none.png"], ["a", "b"])
    assert int(metric.pairs) == 2
    assert float(pickle.loads(pickle.dumps(metric)).compute()) == float(metric.compute())
