"""The benchmarks of ``eval`` on the real annotation files, against the slow way; pictures are drawn under their names.

The slow way takes minutes: ``SLOW_TESTS=1`` goes it with all rows, else it is every fourth of HAT and every 25th of
nocaps-FOIL.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.settings import EvalSettings
from tests.parity.slow_words import slow_hat, slow_nocaps
from tests.tiny import load_tiny
from tests.word_datasets import draw, word_set

DATA = Path(__file__).parents[3] / "shared" / "data"
NOCAPS, HAT = DATA / "nocaps-val-foil.json", DATA / "hat-trainval.json"
NOCAPS_STEP, HAT_STEP = (1, 1) if os.environ.get("SLOW_TESTS") else (25, 4)
TOLERANCE = 1e-5
"""Of an average precision: scores that agree to 1e-8 may change places. Shares of captions agree exactly."""

SHIFTED = "22f9f7e3-cb08-4e86-85ae-32086981715d"
"""The one caption of HAT with a token of two words (``),``), where counting as published shifts the words behind it."""

pytest.importorskip("sklearn")
pytestmark = [
    pytest.mark.skipif(not NOCAPS.exists(), reason="the real files are not here"),
    pytest.mark.usefixtures("few_draws"),
]


def measured(benchmark: Any, **settings: Any) -> dict[str, float]:
    result = run_benchmark(benchmark, load_tiny(), EvalSettings(**settings))
    assert result is not None and result.counts["unreadable"] == 0
    return {metric.name: metric.value for metric in result.metrics}


def compare(fast: dict[str, float], slow: dict[str, float]) -> None:
    """LA in every caption, AP but for captions that score the same to eight digits."""
    found = {name: value for name, value in fast.items() if name.startswith("published_la")}
    assert found == {name: value for name, value in slow.items() if name.startswith("published_la")}
    assert fast == pytest.approx(slow, abs=TOLERANCE)


def test_nocaps_foil(tmp_path: Path) -> None:
    rows = json.loads(NOCAPS.read_text())[::NOCAPS_STEP]
    (tmp_path / "nocaps-val-foil.json").write_text(json.dumps(rows))
    draw(tmp_path / "images", [row["image_path"] for row in rows])
    slow = slow_nocaps(rows, tmp_path / "images")
    fast = measured(word_set("nocaps-foil", tmp_path))
    compare({name: fast[name] for name in slow}, slow)
    assert len(slow) == 16


def test_hat(tmp_path: Path) -> None:
    rows = [row for row in json.loads(HAT.read_text())[::HAT_STEP] if row["sample_id"] != SHIFTED]
    (tmp_path / "hat-trainval.json").write_text(json.dumps(rows))
    draw(tmp_path / "val2014", [row["image_path"] for row in rows])
    for epsilon in (-5e-5, 1e-4):
        slow = slow_hat(rows, tmp_path / "val2014", epsilon=epsilon)
        fast = measured(word_set("hat", tmp_path), epsilon=epsilon)
        compare({name: fast[name] for name in slow}, slow)
