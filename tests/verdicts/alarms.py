"""How far verdicts can be trusted: false alarms against those asked for, over random splits of true captions; the same
on captions of another style, and how often these are noticed; epsilon from foils made without labels against epsilon
from labels; and how often one of two captioners is called worse that make errors equally often, or more often.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, Final

import numpy as np

from clipalign.calibration import FEATURES, Drift, SavedCalibration, curve
from clipalign.evaluation.benchmark import CaptionOutcome, CaptionSample
from clipalign.evaluation.calibrate import best_epsilon, precision_recall_f1
from clipalign.evaluation.compare import compare_records, worse_metrics
from clipalign.evaluation.evaluate import score_chunk
from clipalign.evaluation.false_alarms import bounded_epsilon
from clipalign.evaluation.self_labels import SelfLabeled
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.pictograms import PictogramFoil
from clipalign.evaluation.tasks.words import false_words
from clipalign.models.model import LoadedModel
from clipalign.models.registry import find_model
from clipalign.pictogram.captions import STYLES_OF_SPEECH, Caption
from clipalign.pictogram.drawing import draw_scene
from clipalign.pictogram.scenes import compose_scene, scene_random

SEED: Final = 77
"""Of the scenes; neither training nor calibration used it."""

SCENES: Final = 1500
SPLITS: Final = 500
CALIBRATED: Final = 200
ASKED: Final = (0.01, 0.05, 0.1)
COMPARED: Final = 1000
PICTURES: Final = 500
ERROR_RATE: Final = 0.2
MORE_ERRORS: Final = (0.0, 0.02, 0.05, 0.1)

Row = dict[str, Any]


def mean(values: Any) -> float:
    """Rounded, for the figures."""
    return round(float(np.mean(values)), 4)


def measure(loaded: LoadedModel, scenes: int = SCENES) -> Row:
    """Score captions of so many scenes, and of a quarter as many for each style; at least 500 scenes are needed."""
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for group, row in scored(loaded, scenes):
        groups[group].append(row)
    labeled, made = groups.pop("labels"), groups.pop("self")
    true, foils = ([one for one in labeled if one["correct"] == correct] for correct in (True, False))
    rng = random.Random(SEED)
    return {
        "false_alarms": false_alarms(true, foils, rng=rng),
        "other_styles": other_styles(true, groups, rng=rng),
        "without_labels": without_labels(true, foils, made, rng=rng),
        "captioners": captioners(true, foils, rng=rng),
    }


def samples(scenes: int) -> Iterator[tuple[str, CaptionSample]]:
    """Scenes with their labels, foils made without them, and captions of one style each."""
    for one in PictogramFoil().samples(limit=2 * scenes, seed=SEED):
        yield "labels", one
    for sample in SelfLabeled(PictogramFoil()).samples(limit=2 * scenes, seed=SEED):
        assert isinstance(sample, CaptionSample)
        if not sample.correct:
            yield "self", sample
    for style, write in enumerate(STYLES_OF_SPEECH):
        for number in range(scenes // 4):
            rng = scene_random("verdicts", SEED * 1_000_000 + style * SCENES + number)
            scene = compose_scene(rng)
            text, name = Caption(scene, tuple(write(rng, scene))).text, f"{write.__name__.strip('_')}-{number}"
            yield write.__name__.strip("_"), CaptionSample(name, draw_scene(scene), name, text, True, "")


def scored(loaded: LoadedModel, scenes: int) -> Iterator[tuple[str, Row]]:
    """The captions with their groups: truth, scores, words with their attributions and truths."""
    evaluator = PictogramFoil().evaluator(loaded, EvalSettings(mode="threshold"))
    left = samples(scenes)
    with closing(evaluator):
        while chunk := list(islice(left, evaluator.chunk_samples)):
            outcomes = score_chunk(evaluator, [sample for _, sample in chunk], on_error="fail")
            yield from ((group, _row(outcome)) for (group, _), outcome in zip(chunk, outcomes, strict=True))


def _row(outcome: CaptionOutcome) -> Row:
    result = outcome.result
    return {
        "image": result.image,
        "correct": outcome.correct,
        "cosine": result.cosine,
        "clip_score": result.clip_score,
        "f_clip_score": result.f_clip_score,
        "misaligned": list(result.misaligned),
        "words": [{"attribution": word.attribution} for word in result.words],
        "false": list(false_words(outcome)),
        "lowest": min(word.attribution or 0.0 for word in result.words),
    }


def false_alarms(true: Sequence[Row], foils: Sequence[Row], *, rng: random.Random) -> Row:
    """Of each rate that is asked for: what is measured over the splits, and the foils that are still found."""
    found: Row = {}
    lowest, wrong = np.array([one["lowest"] for one in true]), np.array([one["lowest"] for one in foils])
    for asked in ASKED:
        rates, caught, inside = [], [], 0
        for _ in range(SPLITS):
            order = rng.sample(range(len(true)), 2 * CALIBRATED)
            epsilon, bound = bounded_epsilon(list(lowest[order[:CALIBRATED]]), asked)
            rates.append(float((lowest[order[CALIBRATED:]] < epsilon).mean()))
            caught.append(float((wrong < epsilon).mean()))
            inside += bound.low <= float((lowest < epsilon).mean()) <= bound.high
        low, high = np.percentile(rates, [5, 95])
        found[f"{asked:g}"] = {
            "measured": mean(rates), "low": mean(low), "high": mean(high), "foils_found": mean(caught),
            "interval_holds": inside / SPLITS,
        }  # fmt: skip
    shipped = find_model("pictogram").epsilon
    found["shipped_epsilon"] = {"measured": mean(lowest < shipped), "foils_found": mean(wrong < shipped)}
    return found


def other_styles(true: Sequence[Row], styles: dict[str, list[Row]], *, rng: random.Random) -> Row:
    """Of 10% asked on all captions: the rate on captions of one style, and how often a run of 200 is noticed."""
    found: Row = {}
    for name, rows in {"the same": list(true), **styles}.items():
        rates, noticed = [], 0
        for _ in range(SPLITS // 5):
            order = rng.sample(range(len(true)), 2 * CALIBRATED)
            saved = calibrated([true[place] for place in order[:CALIBRATED]], 0.1)
            run = [true[place] for place in order[CALIBRATED:]] if name == "the same" else rng.sample(rows, CALIBRATED)
            drift = Drift(saved)
            for one in run:
                marked = ["x"] if one["lowest"] < saved.epsilon else []
                drift.add({**one, "misaligned": marked})
            rates.append(mean([one["lowest"] < saved.epsilon for one in run]))
            noticed += bool(drift.warning())
        found[name] = {"measured": mean(rates), "noticed": noticed / (SPLITS // 5)}
    return found


def calibrated(rows: Sequence[Row], asked: float) -> SavedCalibration:
    epsilon, bound = bounded_epsilon([one["lowest"] for one in rows], asked)
    right = [one for one in rows if one["lowest"] >= epsilon]
    values = {
        "words": [len(one["words"]) for one in right],
        **{k: [one[k] for one in right] for k in ("cosine", "lowest")},
    }
    fingerprint = {name: curve(values[name]) for name in FEATURES}
    return SavedCalibration("pictogram", "", 3, "", epsilon, "true captions", bound, len(right), fingerprint)


def without_labels(true: Sequence[Row], foils: Sequence[Row], made: Sequence[Row], *, rng: random.Random) -> Row:
    """F1 on other scenes of the epsilon from labels, and of that from foils that were made."""
    scores: defaultdict[str, list[float]] = defaultdict(list)
    pictures = sorted({one["image"] for one in true})
    for _ in range(SPLITS // 10):
        chosen = set(rng.sample(pictures, len(pictures) // 2))
        tested = words([one for one in (*true, *foils) if one["image"] not in chosen])
        for name, wrong in (("labels", foils), ("self", made)):
            values, false = words([one for one in (*true, *wrong) if one["image"] in chosen])
            epsilon = best_epsilon(values, false, np.ones(len(values)))
            scores[name].append(precision_recall_f1(*tested, np.ones(len(tested[0])), epsilon)[2])
    return {name: mean(found) for name, found in scores.items()} | {
        "loss": mean(np.subtract(scores["labels"], scores["self"]))
    }


def words(rows: Sequence[Row]) -> tuple[Any, Any]:
    """All words (W), lowest first, and whether each is false."""
    pairs = sorted(
        (word["attribution"], false) for one in rows for word, false in zip(one["words"], one["false"], strict=True)
    )
    values, false = zip(*pairs, strict=True)
    return np.array(values), np.array(false)


def captioners(true: Sequence[Row], foils: Sequence[Row], *, rng: random.Random) -> Row:
    """How often the second of two captioners is called worse, by how many more errors it makes."""
    by_image = {one["image"]: [one] for one in true}
    for one in foils:
        by_image[one["image"]].append(one)

    def said(pictures: Sequence[str], rate: float) -> list[Row]:
        return [by_image[name][rng.random() < rate] for name in pictures]

    found = {}
    for more in MORE_ERRORS:
        pairs = COMPARED if more == 0 else COMPARED // 10
        worse = 0
        for seed in range(pairs):
            pictures = rng.sample(sorted(by_image), PICTURES)
            a, b = said(pictures, ERROR_RATE), said(pictures, ERROR_RATE + more)
            worse += any(worse_metrics(compare_records(a, b, seed=seed)[0], margin=0.0))
        found[f"{more:g}"] = {"pairs": pairs, "called_worse": worse / pairs}
    return found
