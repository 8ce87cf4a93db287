"""The class scores of the original implementation of WCA and of its baselines, reproduced to 1e-6.

The descriptions themselves belong to others and are not part of this repository: where they are not beside it, the
image side alone is held against the original.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from clipalign.data.classes import Classes
from clipalign.data.transforms import cut_and_prepare, to_values
from clipalign.methods.classify import crop_weights, make_classifier
from clipalign.methods.settings import ClassifySettings
from clipalign.models.encode import encode_images
from clipalign.results import ClassifyResult
from tests.parity.fp64 import in_fp64
from tests.parity.oracle_wca import wca_score
from tests.tiny import GOLDEN, load_tiny

TOLERANCE = 1e-6
RECORD: dict[str, Any] = json.loads((GOLDEN / "wca.json").read_text())
DESCRIPTIONS = Path(__file__).parents[3] / "shared" / "data" / "descriptions" / "oxford_pet"
NAMES = tuple(RECORD["classes"])
BOXES = [tuple(box) for box in RECORD["boxes_xyxy"]]

needs_descriptions = pytest.mark.skipif(not DESCRIPTIONS.is_dir(), reason="the published descriptions are not here")


def _pixels() -> torch.Tensor:
    return cut_and_prepare(Image.open(GOLDEN / RECORD["image"]).convert("RGB"), BOXES, load_tiny())


def _descriptions(name: str) -> Any:
    return json.loads((DESCRIPTIONS / f"{name}.json").read_text())


def _scores(method: str, *, crops: bool) -> list[float]:
    """A score a class, in the order of the record; with the record's crops or with the whole picture alone."""
    classes = Classes(NAMES)
    if method in ("wca", "cupl"):
        cupl = _descriptions("cupl")
        classes = Classes(NAMES, {name: cupl[name][: RECORD["n_descriptions"]] for name in NAMES})
    elif method == "clip-d":
        classes = Classes(NAMES, _descriptions("clip-d"))
    elif method == "clip-e":
        classes = Classes(NAMES, templates=tuple(_descriptions("clip-e")))
    return _by_name(_result(method, classes, crops=crops))


def _result(method: str, classes: Classes, *, crops: bool, explain: bool = False) -> ClassifyResult:
    settings = ClassifySettings(method=method, top=len(NAMES), explain=explain)
    classifier = make_classifier(load_tiny(), classes, settings)
    features = classifier.encode([_pixels()])[0]
    boxes = BOXES if crops else []
    return classifier.result(features[: 1 + len(boxes)], boxes, (200, 150), id="wca", image_name="wca.png")


def _by_name(result: ClassifyResult) -> list[float]:
    scores = {one.name: one.score for one in result.classes}
    return [scores[name] for name in NAMES]


def test_the_weights_of_the_crops() -> None:
    with in_fp64(load_tiny()) as loaded:  # they are exponentials of cosines: fp64.py says what fp32 leaves of those
        features = encode_images(loaded, to_values(_pixels(), loaded))
        crops, weights = crop_weights(features, RECORD["image_logscale"])
    assert (crops @ features[0]).tolist() == pytest.approx(RECORD["patch_similarity"], abs=TOLERANCE)
    assert weights.tolist() == pytest.approx(RECORD["patch_weights"], abs=TOLERANCE)


def test_clip_needs_no_descriptions() -> None:
    assert _scores("clip", crops=False) == pytest.approx(RECORD["logits"]["clip"], abs=TOLERANCE)


@needs_descriptions
@pytest.mark.parametrize("method", ["clip-e", "clip-d", "cupl", "wca"])
def test_the_whole_picture_against_the_vectors_of_every_method(method: str) -> None:
    assert _scores(method, crops=False) == pytest.approx(RECORD["logits"][method], abs=TOLERANCE)


@needs_descriptions
def test_wca_with_its_crops() -> None:
    assert _scores("wca", crops=True) == pytest.approx(RECORD["logits_wca"], abs=TOLERANCE)


@needs_descriptions
def test_the_double_sum_over_crops_and_descriptions_says_the_same() -> None:
    cupl = _descriptions("cupl")
    pictures = [picture.crop(box) for picture in [Image.open(GOLDEN / RECORD["image"])] for box in BOXES]
    whole = Image.open(GOLDEN / RECORD["image"])
    for name, expected in zip(NAMES, RECORD["logits_wca"], strict=True):
        sentences = cupl[name][: RECORD["n_descriptions"]]
        assert wca_score(load_tiny(), whole, pictures, name, sentences) == pytest.approx(expected, abs=TOLERANCE)
