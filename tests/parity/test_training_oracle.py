"""Training as the originals' scripts do it, written plainly from them: 20 steps of each objective, loss by loss.

Four texts (Long-CLIP: two) padded to 248 tokens and encoded one call each, all of the network in the optimizer, batches
as a loader cuts them, and the learning rate as the process has it whose weights are kept. All in fp64: in fp32 rounding
alone parts two such runs by 3e-5 after 20 steps.
"""

from __future__ import annotations

import copy
import json
import math
import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.data.transforms import to_tensor
from clipalign.device import choose_device
from clipalign.models.load import load_model
from clipalign.models.model import LoadedModel
from clipalign.runs.distributed import Processes
from clipalign.training import batches
from clipalign.training.data import PictogramData, SpecsSample
from clipalign.training.loop import SpecsRun
from clipalign.training.loss import longclip_loss, main_components
from clipalign.training.model import TrainableModel, make_trainable
from clipalign.training.settings import Intervals, SpecsSettings
from tests.parity.fp64 import in_fp64
from tests.tiny import GOLDEN

LEARNING_RATE, WARMUP, SEED = 1e-5, 6, 3
COMPONENTS = 4
"""Of Long-CLIP's 32, since the batches are as much smaller."""


class Sizes(NamedTuple):
    """Of 20 steps; the last batch of an epoch is not full, nor is its last step."""

    samples: int
    batch: int
    accumulate: int
    epochs: int


@cache
def drawn_once(number: int) -> SpecsSample:
    sample = PictogramData(1, 0).sample(number)
    return replace(sample, open=cache(sample.open))


class Scenes(PictogramData):
    """Each drawn once, however often it is read."""

    def sample(self, number: int) -> SpecsSample:
        return drawn_once(number)


def loader(trainee: TrainableModel, sizes: Sizes, epoch: int) -> list[dict[str, Tensor]]:
    """Batches of an epoch: pictures, and tokens of whole captions, beginnings, next ones, wrong ones and short ones."""
    rows = np.random.default_rng([SEED, epoch]).permutation(sizes.samples).tolist()
    cut = []
    for first in range(0, sizes.samples, sizes.batch):
        columns: dict[str, list[Tensor]] = {}
        for row in rows[first : first + sizes.batch]:
            sample = drawn_once(row)
            drawn = sample.draw(random.Random(f"specs:{SEED}:{epoch}:{row}"))
            base, detail, wrong = (drawn.texts[place] for place in drawn.triples[0])
            texts = {"caption": sample.caption, "base": base, "detail": detail, "neg": wrong, "short": sample.shorts[0]}
            columns.setdefault("image", []).append(double_pixels(sample.open(), trainee.loaded))
            for name, text in texts.items():
                ids = torch.zeros(248, dtype=torch.long)
                tokens = trainee.encode(text)
                ids[: len(tokens)] = torch.tensor(tokens)
                columns.setdefault(name, []).append(ids)
        cut.append({name: torch.stack(column) for name, column in columns.items()})
    return cut


def double_pixels(image: Image, loaded: LoadedModel) -> Tensor:
    return to_tensor(image, loaded).double()


def features(encoded: Tensor) -> Tensor:
    unit: Tensor = encoded / encoded.norm(dim=1, keepdim=True)
    return unit


class SpecsScript:
    """The loss of SPECS with an adaptive epsilon, which it keeps."""

    schedule_ahead = 1
    epsilon = 0.0

    def __call__(self, network: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        images, scale = features(network.encode_image(batch["image"])), network.logit_scale.exp()
        caption, base, detail, wrong = (
            scale * features(network.encode_text(batch[name])) @ images.T
            for name in ("caption", "base", "detail", "neg")
        )
        base, detail, wrong = base.diagonal(), detail.diagonal(), wrong.diagonal()
        terms = {"contrastive": F.cross_entropy(caption, torch.arange(len(images)))}
        for name, weight, bigger, smaller in (("detail", 8, detail, base), ("negative", 0.8, base, wrong)):
            terms[name] = weight * F.relu(self.epsilon + smaller - bigger).mean()
            self.epsilon = float((bigger.mean() - smaller.mean()).detach().clamp(0, 1.5))
        return terms


class LongClipScript:
    """The two losses of Long-CLIP; principal components by the covariance of the batch."""

    schedule_ahead = 0
    epsilon = 0.0

    def __call__(self, network: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        images = features(network.encode_image(batch["image"]))
        scale = network.logit_scale.exp()
        long, short = (features(network.encode_text(batch[name])) for name in ("caption", "short"))
        return dict(zip(("long", "short"), plain_longclip(images, long, short, scale, COMPONENTS), strict=True))


def plain_components(images: Tensor, count: int) -> Tensor:
    """In fp64: of the covariance's eigenvectors those of the largest eigenvalues; all where there are no more."""
    mean = images.mean(0)
    centered = images - mean
    if count >= len(images) - 1:
        return images
    _, vectors = torch.linalg.eigh(centered.T @ centered)
    kept: Tensor = vectors[:, -count:]
    return centered @ (kept @ kept.T) + mean


def plain_longclip(images: Tensor, long: Tensor, short: Tensor, scale: Tensor, count: int) -> tuple[Tensor, Tensor]:
    targets = torch.arange(len(images))

    def matched(pictures: Tensor, texts: Tensor) -> Tensor:
        logits = scale * pictures @ texts.T
        to_texts, to_pictures = (F.cross_entropy(one, targets, label_smoothing=0.1) for one in (logits, logits.T))
        return (to_texts + to_pictures) / 2

    return matched(images, long), matched(plain_components(images, count), short)


def train_plainly(trainee: TrainableModel, script: Any, sizes: Sizes) -> list[dict[str, float]]:
    """The published loop around a loss; means over the batches of each step."""
    network = copy.deepcopy(trainee.network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    records, terms = list[dict[str, float]](), list[dict[str, float]]()
    for epoch in range(sizes.epochs):
        cut = loader(trainee, sizes, epoch)
        steps = math.ceil(len(cut) / sizes.accumulate) * sizes.epochs
        for number, batch in enumerate(cut, 1):
            found = script(network, batch)
            (sum(found.values()) / sizes.accumulate).backward()
            terms.append({name: float(term.detach()) for name, term in found.items()})
            if number % sizes.accumulate and number != len(cut):
                continue
            at = len(records) + script.schedule_ahead
            falling = 0.5 * (1 + math.cos(math.pi * (at - WARMUP) / (steps - WARMUP)))
            rate = LEARNING_RATE * ((at + 1) / WARMUP if at < WARMUP else falling)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
            means = {name: sum(one[name] for one in terms) / len(terms) for name in terms[0]}
            records.append(means | {"loss": sum(means.values()), "learning_rate": rate, "epsilon": script.epsilon})
            terms = []
    return records


@pytest.mark.parametrize(
    ("objective", "script", "sizes", "first_rate"),
    [
        ("specs", SpecsScript(), Sizes(8, 3, 2, 10), LEARNING_RATE * 2 / WARMUP),
        ("longclip", LongClipScript(), Sizes(10, 8, 1, 10), LEARNING_RATE / WARMUP),
    ],
    ids=["specs", "longclip"],
)
def test_twenty_steps_are_those_of_the_published_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, script: Any, sizes: Sizes, first_rate: float
) -> None:
    settings = SpecsSettings(
        objective=objective,
        epochs=sizes.epochs,
        batch_size=sizes.batch,
        accumulate=sizes.accumulate,
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP,
        seed=SEED,
    )
    monkeypatch.setattr(batches, "to_tensor", double_pixels)
    monkeypatch.setattr("clipalign.training.loss.main_components", lambda vectors: main_components(vectors, COMPONENTS))
    with in_fp64(load_model(str(GOLDEN / "tiny-longclip.safetensors"), choice=choose_device("cpu"))) as loaded:
        trainee = make_trainable(loaded)
        if objective == "longclip":
            trainee.logit_scale.data.fill_(4.6052)
        wanted = train_plainly(trainee, script, sizes)
        data, intervals = Scenes(sizes.samples, 0), Intervals(workers=1)
        SpecsRun(tmp_path, trainee, data, settings, intervals, processes=Processes(), listener=Mock()).train()
    found = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(found) == len(wanted) == 20
    assert found[0]["learning_rate"] == pytest.approx(first_rate)
    for ours, theirs in zip(found, wanted, strict=True):
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-7, abs=1e-12)


# --- principal components -------------------------------------------------------------------------------------------


def unit(rows: int, width: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).double(), dim=-1)


@pytest.mark.parametrize(("rows", "count"), [(40, 32), (12, 3), (5, 32), (64, 8)])
def test_both_losses_of_long_clip_and_their_gradients(rows: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    monkeypatch.setattr("clipalign.training.loss.main_components", lambda vectors: main_components(vectors, count))
    scale = torch.tensor(20.0, dtype=torch.float64)
    ours, theirs = ([unit(rows, 48, seed).requires_grad_() for seed in range(3)] for _ in range(2))
    found = longclip_loss(ours[0], ours[1], ours[2], scale.log())
    wanted = plain_longclip(theirs[0], theirs[1], theirs[2], scale, count)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    torch.stack(found).sum().backward()
    torch.stack(wanted).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-12)


def test_the_gradient_of_principal_components_is_that_of_small_steps() -> None:
    vectors = unit(7, 5, 0).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: main_components(rows, 3), (vectors,))


def test_a_batch_of_equal_pictures_has_a_gradient_too() -> None:
    vectors = unit(4, 48, 0).repeat(10, 1).requires_grad_()
    given = unit(40, 48, 1)
    (main_components(vectors) * given).sum().backward()
    assert vectors.grad is not None
    assert 0 < float(vectors.grad.norm()) <= float(given.norm())
