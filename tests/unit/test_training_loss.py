"""The objective of SPECS: the published numbers in both modes of epsilon, and its state in plain sight."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.device import choose_device
from clipalign.models.encode import encode_distinct, encode_texts
from clipalign.models.load import load_model
from clipalign.training.loss import EPSILON_LIMIT, SpecsFeatures, specs_loss
from clipalign.training.settings import SpecsSettings
from tests.parity.fp64 import in_fp64
from tests.tiny import GOLDEN

SPECS: dict[str, Any] = json.loads((GOLDEN / "specs.json").read_text())
PARTS = ("images", "captions", "bases", "details", "negatives")
TERMS = ("total", "contrastive", "detail", "negative")
GOLDEN_TERMS = {"total": "loss", "contrastive": "contrastive", "detail": "detail", "negative": "neg"}


@pytest.fixture(scope="module")
def encoded() -> tuple[Tensor, Tensor, Tensor]:
    """Logit scale, pictures and whole captions, in fp64."""
    long = load_model(str(GOLDEN / "tiny-longclip.safetensors"), choice=choose_device("cpu"))
    samples = SPECS["samples"]
    with in_fp64(long) as loaded:
        pictures = encode_distinct(loaded, [GOLDEN / sample["image"] for sample in samples], names=[""] * len(samples))
        return loaded.network.logit_scale, pictures, encode_texts(loaded, [sample["caption"] for sample in samples])


def golden_features(images: Tensor, captions: Tensor, index: int) -> SpecsFeatures:
    """Beginnings with the cosines of the original's table.

    A hinge multiplies a difference of two cosines by a hundred: fp64 vectors of the texts themselves miss the published
    losses by 2.8e-6 of them, which is what the original's cosines, within 4e-7 of fp64, lack.
    """
    table = torch.tensor(SPECS["similarity_table"], dtype=torch.float64)  # (B, beginnings, right and wrong)
    aside = F.normalize(captions - (captions * images).sum(-1, keepdim=True) * images, dim=-1)

    def at(cosines: Tensor) -> Tensor:
        vectors: Tensor = cosines[:, None] * images + (1 - cosines**2).sqrt()[:, None] * aside
        return vectors

    return SpecsFeatures(images, captions, at(table[:, index, 0]), at(table[:, index + 1, 0]), at(table[:, index, 1]))


@pytest.mark.parametrize("run", SPECS["losses"], ids=["adaptive", "fixed"])
def test_three_steps_are_the_published_ones(run: dict[str, Any], encoded: tuple[Tensor, Tensor, Tensor]) -> None:
    scale, images, captions = encoded
    given = run["settings"]
    weights = SpecsSettings(
        lambda_contrastive=given["lambda_contrast"],
        lambda_detail=given["lambda_details"],
        lambda_negative=given["lambda_neg"],
        hinge_margin=given["epsilon"],
    )
    epsilon = 0.0
    for step in run["steps"]:
        features = golden_features(images, captions, step["caption_index"][0])
        loss = specs_loss(features, scale, weights, epsilon=epsilon)
        for term in TERMS:
            assert float(getattr(loss, term)) == pytest.approx(step[GOLDEN_TERMS[term]], rel=2e-6)
        assert loss.epsilon == pytest.approx(step["epsilon"], abs=1e-6)
        epsilon = loss.epsilon


def unit(rows: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)


def some_features(rows: int = 5) -> SpecsFeatures:
    return SpecsFeatures(*(unit(rows, seed) for seed in range(5)))


def test_the_adaptive_epsilon_stays_within_its_limits_and_carries_no_gradient() -> None:
    features = some_features()
    scale = torch.tensor(4.0, requires_grad=True)
    best = SpecsFeatures(features.images, features.captions, -features.images, features.images, features.images)
    high = specs_loss(best, scale, SpecsSettings(), epsilon=0.0)
    assert high.epsilon == 0.0  # the negative text led after the last hinge
    worst = SpecsFeatures(features.images, features.captions, features.images, features.images, -features.images)
    assert specs_loss(worst, scale, SpecsSettings(), epsilon=0.0).epsilon == EPSILON_LIMIT
    assert isinstance(high.epsilon, float)


def test_a_fixed_epsilon_is_neither_taken_from_the_last_batch_nor_changed() -> None:
    fixed = SpecsSettings(hinge_margin=0.1)
    one, other = (specs_loss(some_features(), torch.tensor(2.0), fixed, epsilon=e) for e in (0.0, 1.2))
    assert one.epsilon == other.epsilon == 0.1
    assert float(one.total) == float(other.total)


def test_pictures_of_other_processes_are_further_wrong_answers() -> None:
    whole = some_features(6)
    parts = [SpecsFeatures(*(getattr(whole, name)[rows] for name in PARTS)) for rows in (slice(0, 3), slice(3, 6))]
    scale = torch.tensor(2.0)
    together = specs_loss(whole, scale, SpecsSettings(hinge_margin=0.1), epsilon=0.0)
    shares = [
        specs_loss(
            part, scale, SpecsSettings(hinge_margin=0.1), epsilon=0.0, all_images=whole.images, first_row=3 * rank
        )
        for rank, part in enumerate(parts)
    ]
    for term in TERMS:
        mean = sum(float(getattr(share, term)) for share in shares) / 2
        assert mean == pytest.approx(float(getattr(together, term)), abs=1e-5)


def test_the_total_is_the_sum_of_its_weighted_terms() -> None:
    loss = specs_loss(
        some_features(),
        torch.tensor(2.0),
        SpecsSettings(lambda_contrastive=2.0, lambda_detail=3.0, lambda_negative=4.0, hinge_margin=0.2),
        epsilon=0.0,
    )
    plain = specs_loss(
        some_features(),
        torch.tensor(2.0),
        SpecsSettings(lambda_detail=1.0, lambda_negative=1.0, hinge_margin=0.2),
        epsilon=0.0,
    )
    assert float(loss.total) == pytest.approx(float(loss.contrastive + loss.detail + loss.negative))
    for term, weight in (("contrastive", 2.0), ("detail", 3.0), ("negative", 4.0)):
        assert float(getattr(loss, term)) == pytest.approx(weight * float(getattr(plain, term)), rel=1e-5)


def test_pictures_count_alike_however_many_beginnings_each_has() -> None:
    one = some_features(2)
    rows = torch.tensor([0, 0, 0, 1])
    many = SpecsFeatures(one.images, one.captions, one.bases[rows], one.details[rows], one.negatives[rows], owners=rows)
    for weights in (SpecsSettings(), SpecsSettings(hinge_margin=0.3)):
        found, wanted = (specs_loss(f, torch.tensor(2.0), weights, epsilon=0.0) for f in (many, one))
        assert float(found.total) == pytest.approx(float(wanted.total), rel=1e-5)
        assert found.epsilon == pytest.approx(wanted.epsilon, rel=1e-5)
