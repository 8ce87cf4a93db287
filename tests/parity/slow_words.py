"""LA and AP of nocaps-FOIL and HAT the slow way, from the papers: one caption at a time, with nothing of the
product but the model in memory.

The network's own ``encode_text`` over the whole padded context, the oracle's relevance, words and their tokens counted
one by one, sentences of the protocol as they stand, average precision by scikit-learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.parity.oracle import relevance, with_gradients
from tests.tiny import MEAN, STD, load_tiny

TEMPLATE = "A photo depicts "
LAYERS = 3
PUNCTUATION = set('.,!"?;:')


@dataclass(frozen=True)
class SlowScore:
    """What the protocol needs of one caption: its words, their attributions, and cosines."""

    words: list[tuple[str, float]]
    clip_score: float
    ref_clip_score: float

    @property
    def lowest(self) -> tuple[str, float]:
        """The most negative word."""
        return min(self.words, key=lambda word: word[1])

    def below(self, epsilon: float) -> list[bool]:
        """Which words are below epsilon."""
        return [value < epsilon for _, value in self.words]

    def f_clip_score(self, chosen: list[float]) -> float:
        """From the attributions of the misaligned words."""
        return sum(chosen) * (1 - self.clip_score / 2.5)


@cache
def slow_scorer() -> SlowScorer:
    """One for all tests, with what it has computed."""
    return SlowScorer()


class SlowScorer:
    """The golden tiny model, asked one caption at a time."""

    def __init__(self) -> None:
        loaded = load_tiny()
        self.network = with_gradients(loaded.network)
        self.encode_words = loaded.tokenizer.encode
        self.side = loaded.image_size

    @cache  # noqa: B019 - one for the whole test run
    def image(self, path: Path) -> Tensor:
        """The unit vector of a picture (E)."""
        picture = Image.open(path).convert("RGB")
        short = min(picture.size)
        wide, high = (int(self.side * length / short) for length in picture.size)
        left, top = round((wide - self.side) / 2), round((high - self.side) / 2)
        resized = picture.resize((wide, high), Image.Resampling.BICUBIC)
        square = resized.crop((left, top, left + self.side, top + self.side))
        values = (np.asarray(square) / 255.0 - np.array(MEAN)) / np.array(STD)
        with torch.no_grad():
            vectors: Tensor = self.network.encode_image(
                torch.tensor(values).permute(2, 0, 1)[None].float(), normalize=True
            )
        return vectors[0]

    @cache  # noqa: B019
    def text(self, text: str) -> Tensor:
        """The unit vector of a text (E), template included."""
        with torch.no_grad():
            vectors: Tensor = self.network.encode_text(self.ids(TEMPLATE + text)[None], normalize=True)
        return vectors[0]

    def ids(self, text: str) -> Tensor:
        """Start, tokens, end, zeros (T)."""
        ids = [49406, *self.encode_words(text), 49407]
        assert len(ids) <= 77
        return torch.tensor(ids + [0] * (77 - len(ids)))

    @cache  # noqa: B019
    def score(self, path: Path, text: str, references: tuple[str, ...]) -> SlowScore:
        """One caption about one picture."""
        ids = self.ids(TEMPLATE + text)
        cosine, matrix = relevance(self.network, self.image(path), ids, layers=LAYERS)
        row = matrix[int(ids.argmax())].tolist()
        position = 1 + len(self.encode_words(TEMPLATE))
        words = []
        for word in text.replace(".", " . ").replace(",", " , ").split():
            count = len(self.encode_words(word))
            tokens = row[position : position + count]
            position += count
            if not set(word) <= PUNCTUATION:
                words.append((word, math.fsum(tokens) / len(tokens)))
        clip_score = 2.5 * max(cosine, 0.0)
        nearest = max(2.5 * max(float(self.text(text) @ self.text(other)), 0.0) for other in references)
        both = clip_score + nearest
        return SlowScore(words, clip_score, 2 * clip_score * nearest / both if both else 0.0)


def average_precision(positive: list[bool], scores: list[float]) -> float:
    """As scikit-learn has it."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(positive, scores))


def slow_nocaps(rows: list[dict[str, Any]], pictures: Path) -> dict[str, float]:
    """LA and AP of nocaps-FOIL, in all and per domain."""
    scorer = slow_scorer()
    found: list[tuple[str, bool, SlowScore, str]] = []
    for row in rows:
        for correct, text in ((False, row["foil"]), (True, row["baseline"])):
            score = scorer.score(pictures / row["image_path"], text.strip(), tuple(row["references"]))
            found.append((row["domain"], correct, score, row["replacement"][1]))
    metrics = {}
    for domain in ("", "in-domain", "near-domain", "out-domain"):
        chosen = [one for one in found if domain in ("", one[0])]
        suffix = f"_{domain.replace('-', '_')}" if domain else ""
        hits = [score.lowest[0].lower() == foil.lower() for _, correct, score, foil in chosen if not correct]
        truth = [correct for _, correct, _, _ in chosen]
        metrics[f"published_la{suffix}"] = sum(hits) / len(hits)
        for name, values in (
            ("ap_clip_score", [score.clip_score for _, _, score, _ in chosen]),
            ("ap_f_clip_score", [score.f_clip_score([score.lowest[1]]) for _, _, score, _ in chosen]),
            ("ap_ref_clip_score", [score.ref_clip_score for _, _, score, _ in chosen]),
        ):
            metrics[name + suffix] = average_precision(truth, values)
    return metrics


def slow_hat(rows: list[dict[str, Any]], pictures: Path, *, epsilon: float) -> dict[str, float]:
    """LA and AP of HAT."""
    scorer = slow_scorer()
    hits, truth, scores, means = [], [], [], []
    for row in rows:
        score = scorer.score(pictures / row["image_path"], row["caption"], tuple(row["references"]))
        marked = [word.replace(".", "").replace(",", "") for word, wrong in row["grounding"] if wrong]
        scores.append(score)
        truth.append(bool(marked))
        phrases: list[list[tuple[str, float]]] = [[]]
        for word, wrong in zip(score.words, score.below(epsilon), strict=True):
            if wrong:
                phrases[-1].append(word)
            elif phrases[-1]:
                phrases.append([])
        said = [(sum(v for _, v in phrase) / len(phrase), phrase) for phrase in phrases if phrase]
        means.append(min(said)[0] if said else 0.0)
        if marked:
            lowest = " ".join(word for word, _ in min(said)[1]) if said else None
            hits.append(lowest is not None and lowest.lower() in " ".join(marked).lower())
    negative = [[v for (_, v), wrong in zip(s.words, s.below(epsilon), strict=True) if wrong] for s in scores]
    return {
        "published_la": sum(hits) / len(hits),
        "ap_clip_score": average_precision(truth, [-s.clip_score for s in scores]),
        "ap_f_clip_score": average_precision(
            truth, [-s.f_clip_score(v) for s, v in zip(scores, negative, strict=True)]
        ),
        "published_ap_f_clip_score": average_precision(
            truth, [-s.f_clip_score([mean]) for s, mean in zip(scores, means, strict=True)]
        ),
        "ap_ref_clip_score": average_precision(truth, [-s.ref_clip_score for s in scores]),
    }
