"""A saved calibration: read back, refused, used by detect, and captions of another kind noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from clipalign.calibration import FEATURES, Drift, FalseAlarms, SavedCalibration, curve, kolmogorov, read_calibration
from clipalign.errors import UsageError
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.methods.settings import DetectSettings
from clipalign.output.json import encode
from tests.cli.run import IMAGE
from tests.tiny import load_tiny

CURVE = curve(np.random.default_rng(0).normal(size=400))


def made(**changes: Any) -> SavedCalibration:
    values: dict[str, Any] = {
        "model": "tiny", "weights_sha256": load_tiny().weights_sha256, "layers": 2, "template": "A photo depicts ",
        "epsilon": -1e-3, "dataset": "mine.csv", "false_alarms": FalseAlarms(0.05, 200, 0.027, 0.079), "captions": 400,
        "fingerprint": dict.fromkeys(FEATURES, CURVE),
    }  # fmt: skip
    return SavedCalibration(**values | changes)


def test_a_file_gives_what_was_saved(tmp_path: Path) -> None:
    for saved in (made(), made(false_alarms=None)):
        (tmp_path / "c.json").write_bytes(encode(saved))
        assert read_calibration(tmp_path / "c.json") == saved


@pytest.mark.parametrize(
    "change", [{"epsilon": "x"}, {"layers": 0}, {"false_alarms": {"a": 1}}, {"fingerprint": {}}, {"model": 3}]
)
def test_a_file_of_something_else_is_refused_in_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    (tmp_path / "c.json").write_bytes(orjson.dumps(orjson.loads(encode(made())) | change))
    with pytest.raises(UsageError, match=r"c\.json is no calibration\n"):
        read_calibration(tmp_path / "c.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_calibration(tmp_path / "gone.json")


def test_detect_takes_its_settings_and_says_what_is_promised() -> None:
    (result,) = detect_pairs(load_tiny(), [Pair(Path(IMAGE), "a cup")], DetectSettings(calibration=made()))
    settings: dict[str, Any] = result.provenance.settings
    assert (settings["epsilon"], settings["layers"]) == (-1e-3, 2)
    assert settings["calibration"]["false_alarms"]["asked"] == 0.05
    assert "at most 5% of right captions like the 200 of mine.csv" in result.provenance.notes[-1]


@pytest.mark.parametrize(
    ("saved", "settings", "said"),
    [
        ({"weights_sha256": "abc"}, {}, "made for weights abc of tiny, not "),
        ({}, {"layers": 3}, "made for layers 2"),
        ({"template": "a photo of "}, {"template": "x "}, "made for template 'a photo of '"),
        ({}, {"epsilon": -1.0}, "made for epsilon -0.001"),
        ({}, {"mode": "most-negative"}, "made for mode threshold"),
    ],
)
def test_another_model_or_other_settings_are_refused(saved: Any, settings: Any, said: str) -> None:
    with pytest.raises(UsageError, match=f"the calibration was {said}"):
        detect_pairs(load_tiny(), [Pair(Path(IMAGE), "a cup")], DetectSettings(calibration=made(**saved), **settings))


def drift(shift: float, count: int, *, seed: int, wrong: int = 0) -> Drift:
    """Of captions whose cosines are shifted, some of them with a misaligned word."""
    found, generator = Drift(made(fingerprint=dict.fromkeys(FEATURES, CURVE))), np.random.default_rng(seed)
    for place in range(count):
        words, cosine, lowest = generator.normal(size=3)
        found.add({"misaligned": [], "words": [{"attribution": lowest}] * 1, "cosine": cosine + shift})
        found.counts["words"][np.searchsorted(found._points["words"], words)] += 1  # of any number, whole or not
        found.counts["words"][np.searchsorted(found._points["words"], 1.0)] -= 1
        if place < wrong:
            found.add({"misaligned": ["x"], "words": [{"attribution": -9.0}], "cosine": -9.0})
    return found


def test_captions_of_another_kind_are_noticed_and_those_of_the_same_kind_hardly_ever() -> None:
    assert sum(bool(drift(0.0, 200, seed=seed, wrong=50).warning()) for seed in range(1, 101)) <= 4
    assert "by their cosines: calibrate on captions like these" in drift(0.6, 200, seed=1).warning()
    assert drift(3.0, 19, seed=1).warning() == ""


def test_a_resumed_run_goes_on_from_the_counts_of_the_earlier_one() -> None:
    earlier, later = drift(0.6, 200, seed=1), drift(0.0, 0, seed=1)
    later.restore(json.loads(json.dumps(earlier.counts)))
    assert later.warning() == earlier.warning() != ""
    states: list[Any] = [{}, {**earlier.counts, "words": [1]}, {**earlier.counts, "cosine": ["x"] * 22}]
    for damaged in states:
        with pytest.raises((KeyError, ValueError)):
            later.restore(damaged)


def test_the_test_is_that_of_kolmogorov_and_smirnov() -> None:
    stats = pytest.importorskip("scipy.stats")
    for distance in (0.02, 0.05, 0.1, 0.2):
        assert kolmogorov(distance, 500) == pytest.approx(stats.kstwo.sf(distance, 500), abs=5e-3)


def test_a_curve_has_the_share_at_or_below_each_value() -> None:
    assert curve([1.0, 1.0, 2.0, 3.0]) == ((1.0, 0.5), (2.0, 0.75), (3.0, 1.0))
