"""Chooses the embedded model's k and epsilon on scenes of a split kept apart from training and from the benchmark.

    python -m clipalign.pictogram.calibration --samples 2000

k (the number of text layers averaged) is the one that finds most foils; epsilon the one whose words, taken over true
captions and foils alike, have the best F1. Both belong in the registry row, with what is printed here.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clipalign.device import choose_device
from clipalign.evaluation.dataset_files import opened
from clipalign.evaluation.metrics import lies_within, lowest_word
from clipalign.evaluation.task import CaptionSample
from clipalign.evaluation.tasks.pictograms import PictogramFoil
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.methods.settings import DetectSettings
from clipalign.models.load import load_model

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel
    from clipalign.results import DetectResult


@dataclass(frozen=True, slots=True)
class Calibration:
    """One choice of k, the epsilon that suits it best, and what they reach on the calibration scenes.

    Attributes:
        layers: k.
        la: share of foils whose lowest word is the false one, 0 to 1.
        epsilon: threshold with the best word-level F1.
        precision: of the words below epsilon, the share that is false.
        recall: of the false words, the share below epsilon.
        f1: their harmonic mean.
    """

    layers: int
    la: float
    epsilon: float
    precision: float
    recall: float
    f1: float


def calibrate(loaded: LoadedModel, *, samples: int, seed: int) -> list[Calibration]:
    """Every k from one layer to all of them, best first (by LA)."""
    chosen = list(PictogramFoil(split="calibration").samples(limit=samples, seed=seed))
    pairs = [Pair(opened(s.image), s.text, id=s.id, image_name=s.image_name) for s in chosen]
    depth = len(loaded.network.transformer.resblocks)
    found = []
    for layers in range(1, depth + 1):
        results = detect_pairs(loaded, pairs, DetectSettings(mode="most-negative", layers=layers))
        found.append(_best_epsilon(layers, chosen, results))
    return sorted(found, key=lambda calibration: -calibration.la)


def _best_epsilon(layers: int, samples: list[CaptionSample], results: list[DetectResult]) -> Calibration:
    attributions, false, hits = [], [], []
    for sample, result in zip(samples, results, strict=True):
        span = sample.false_span or (0, 0)
        words = [word for word in result.words if word.attribution is not None]
        attributions += [word.attribution for word in words]
        false += [lies_within(word, span) for word in words]
        if sample.false_span:
            lowest = lowest_word(result)
            hits.append(lowest is not None and lies_within(lowest, span))
    values, truth = np.asarray(attributions, dtype=float), np.asarray(false)
    order = np.argsort(values)
    caught = np.cumsum(truth[order])
    precision, recall = caught / np.arange(1, len(order) + 1), caught / truth.sum()
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(f1[:-1].argmax())
    # Halfway between the last word that is called false and the first that is not.
    epsilon = float((values[order][best] + values[order][best + 1]) / 2)
    return Calibration(
        layers, float(np.mean(hits)), epsilon, float(precision[best]), float(recall[best]), float(f1[best])
    )


def main() -> None:
    """Print a line of JSON per k, best first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pictogram")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    loaded = load_model(arguments.model, choice=choose_device("cpu"))
    for calibration in calibrate(loaded, samples=arguments.samples, seed=arguments.seed):
        print(json.dumps({name: getattr(calibration, name) for name in Calibration.__slots__}))


if __name__ == "__main__":
    main()
