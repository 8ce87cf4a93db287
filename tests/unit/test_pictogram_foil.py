"""The benchmark of generated foils: its samples, and its metrics on outcomes worked out by hand."""

from __future__ import annotations

from hashlib import sha256
from typing import cast

import pytest

from clipalign.errors import UnknownDataset
from clipalign.evaluation.benchmark import CaptionOutcome
from clipalign.evaluation.registry import BENCHMARKS, find_benchmark
from clipalign.evaluation.tasks.pictograms import PictogramFoil
from clipalign.pictogram.captions import FOIL_KINDS, VARIED_KINDS
from clipalign.results import DetectResult, Provenance, WordScore

PROVENANCE = Provenance("m", "a", "h", False, "cpu", "fp32", 0, {}, {})


def outcome(
    image: str, cosine: float, attributions: dict[str, float], *, false: str | None, part: str
) -> CaptionOutcome:
    """One caption whose words are the keys, with the given cosine; ``false`` is the word that is wrong."""
    words: list[WordScore] = []
    at, spans = 0, tuple[tuple[int, int], ...]()
    for text, attribution in attributions.items():
        words.append(WordScore(text, at, at + len(text), attribution, False, True))
        if text == false:
            spans = ((at, at + len(text)),)
        at += len(text) + 1
    caption = " ".join(attributions)
    score, lowest = 2.5 * cosine, min(attributions.values())
    result = DetectResult(
        id=image,
        image=image,
        text=caption,
        model="m",
        cosine=cosine,
        clip_score=score,
        f_clip_score=lowest * (1 - cosine),
        sum_negative_attribution=lowest,
        misaligned=(),
        words=tuple(words),
        n_tokens=0,
        truncated=False,
        provenance=PROVENANCE,
    )
    return CaptionOutcome(image, caption, false is None, part, spans, result)


def test_true_caption_and_foil_alternate_over_one_picture_and_the_foil_kinds_take_turns() -> None:
    samples = list(PictogramFoil().samples(limit=20, seed=0))
    assert [sample.correct for sample in samples] == [True, False] * 10
    assert [sample.part for sample in samples[::2]] == [*FOIL_KINDS, *FOIL_KINDS]
    for true, foil in zip(samples[::2], samples[1::2], strict=True):
        assert true.image is foil.image
        assert true.text != foil.text
        assert true.false_spans == ()
        ((start, end),) = foil.false_spans
        assert foil.text[start:end].strip()
    assert len({sample.id for sample in samples}) == 20


def test_samples_are_decided_by_the_seed_and_a_limit_only_shortens() -> None:
    def texts(limit: int, seed: int) -> list[str]:
        return [sample.text for sample in PictogramFoil().samples(limit=limit, seed=seed)]

    assert texts(6, 0) == texts(6, 0)
    assert texts(5, 0) == texts(6, 0)[:5]
    assert texts(6, 0) != texts(6, 1)


def test_calibration_and_test_scenes_differ() -> None:
    (test, _), (calibration, _) = (PictogramFoil(split=split)._pair(0, "object") for split in ("test", "calibration"))
    assert test.text != calibration.text


def test_samples_of_plain_scenes_stay_the_same_from_version_to_version() -> None:
    samples = list(PictogramFoil().samples(limit=200, seed=0))
    told = "".join(f"{sample.id} {sample.text} {sample.false_spans}" for sample in samples)
    assert sha256(told.encode()).hexdigest()[:16] == "a4bf49d5b965115d"


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("pictogram-varied", VARIED_KINDS),
        ("pictogram-unseen", VARIED_KINDS[:-1]),
        ("pictogram-combinations", FOIL_KINDS),
    ],
)
def test_foils_of_varied_scenes_take_turns_in_their_kinds(name: str, kinds: tuple[str, ...]) -> None:
    """What is drawn in an unseen way has no material that a caption could name."""
    benchmark = cast("PictogramFoil", find_benchmark(name))
    samples = list(benchmark.samples(limit=4 * len(kinds), seed=0))
    assert [sample.part for sample in samples[::2]] == [*kinds, *kinds]
    assert all(foil.text != true.text for true, foil in zip(samples[::2], samples[1::2], strict=True))


def test_metrics_of_outcomes_worked_out_by_hand() -> None:
    outcomes = [
        outcome("1", 0.9, {"a": 0.1, "dog": 0.2}, false=None, part="object"),
        outcome("1", 0.5, {"a": 0.1, "cat": -0.2}, false="cat", part="object"),
        outcome("2", 0.4, {"red": 0.1, "sky": 0.2}, false=None, part="color"),
        outcome("2", 0.7, {"blue": 0.1, "sky": -0.3}, false="blue", part="color"),
    ]
    metrics = {metric.name: metric for metric in PictogramFoil().measure(outcomes, seed=0)}
    assert metrics["la"].value == 0.5
    assert metrics["la"].chance == 0.5
    assert metrics["la_object"].value == 1.0
    assert metrics["la_color"].value == 0.0
    # Ranked by cosine: right, wrong, wrong, right.
    assert metrics["ap_clip_score"].value == pytest.approx((1 + 2 / 4) / 2)
    assert metrics["ap_clip_score"].chance == 0.5
    # F-CLIPScore: 0.01, -0.1, 0.06, -0.09: right ones first.
    assert metrics["ap_f_clip_score"].value == 1.0
    assert metrics["ap_clip_score_color"].value == 0.5
    assert metrics["pairs_ranked_right"].value == 0.5
    assert "la_size" not in metrics


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_name_of_the_table_finds_its_benchmark(name: str) -> None:
    assert find_benchmark(name).name == name


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownDataset) as error:
        find_benchmark("pictogram-foli")
    assert "pictogram-foil" in error.value.hint
