"""What all prefixes of a long caption cost, as a ratio to encoding each padded to 248; ViT-B/32, random weights, CPU.

    python -m tests.benchmarks.score_long_speed

Captions are eight to ten reference captions of one picture, joined: real sentences, 100 to 200 tokens. The candidate
is what users run, cutting into sentences and tokenizing included; the baseline gets its tokens for nothing. The largest
difference of a cosine is said beside it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from clipalign.data.sentences import Cut, split_text
from clipalign.methods.score_long import LongScorer
from clipalign.methods.settings import LongSettings
from clipalign.models.long_context import stretched
from clipalign.models.tokenize import tokenize_text
from tests.benchmarks.measure import Bench, Measured, Reading, alone
from tests.benchmarks.subjects import HERE, NOCAPS, random_vectors, random_vit_b_32

CAPTIONS: Final = 12
TOKENS: Final = (100, 200)
SENTENCES: Final = (8, 10)
BASELINE_BATCH: Final = 16
BASELINE_CAPTIONS: Final = 2
"""How many of the captions the baseline gets a round."""

GOAL: Final = 0.25
SAME: Final = 1e-6


def long_captions() -> tuple[list[str], str]:
    """Captions of eight to ten sentences, and where they come from."""
    if NOCAPS.exists():
        rows, source = [row["references"] for row in json.loads(NOCAPS.read_text(encoding="utf-8"))], NOCAPS.name
    else:
        lines, source = (HERE / "captions.txt").read_text(encoding="utf-8").splitlines(), "captions.txt"
        rows = [lines[start : start + SENTENCES[1]] for start in range(0, len(lines) - SENTENCES[1], 2)]
    found = dict.fromkeys(
        " ".join(f"{line.strip().rstrip('.')}." for line in row[: SENTENCES[0] + number % 3])
        for number, row in enumerate(rows)
    )
    return list(found), source


def chosen(scorer: LongScorer, captions: Sequence[str], count: int) -> list[str]:
    """Those of the wanted length, evenly from all."""
    fitting = []
    for caption in captions:
        pieces = len(split_text(caption, Cut.SENTENCE))
        tokens = tokenize_text(scorer.loaded, caption).n_tokens
        if SENTENCES[0] <= pieces <= SENTENCES[1] and TOKENS[0] <= tokens <= TOKENS[1]:
            fitting.append(caption)
        if len(fitting) == 4 * count:
            break
    return fitting[:: max(1, len(fitting) // count)][:count]


@torch.no_grad()
def encode_padded(scorer: LongScorer, padded: Tensor) -> Tensor:
    """The straightforward way: every prefix through the whole network, padded to the context."""
    batches = torch.split(padded, BASELINE_BATCH)
    return torch.cat([scorer.loaded.network.encode_text(batch, normalize=True) for batch in batches])


def measure(bench: Bench) -> Measured:
    """The row, and how far the cosines of both ways are apart."""
    scorer = LongScorer(stretched(random_vit_b_32()), LongSettings(contribution="increment"))
    captions, source = long_captions()
    captions = chosen(scorer, captions, bench.of(CAPTIONS, 4))
    prefixes = [[caption[: piece.end] for piece in split_text(caption, Cut.SENTENCE)] for caption in captions]
    tokens = [[tokenize_text(scorer.loaded, text) for text in texts] for texts in prefixes]
    padded = [torch.tensor([text.ids + text.padding for text in texts]) for texts in tokens]
    images = list(random_vectors(scorer.loaded, len(captions)))
    names = [(str(number), "") for number in range(len(captions))]
    baseline_captions = bench.of(BASELINE_CAPTIONS, 1)
    few = torch.cat(padded[:baseline_captions])

    def ours() -> list[float | None]:
        asked = [scorer.ask(caption, "") for caption in captions]
        results = scorer.answer(asked, images, names)  # type: ignore[arg-type]
        return [sentence.cosine for result in results for sentence in result.sentences]

    turns = bench.turns(lambda: encode_padded(scorer, few), baseline_captions, ours, len(captions))
    lengths = [texts[-1].n_tokens for texts in tokens]
    counts = [len(texts) for texts in tokens]
    what = f"`score-long`: all prefixes of captions of {min(lengths)} to {max(lengths)} tokens"
    row = turns.row(
        "score-long", what, "each prefix padded to 248 tokens", Reading.COST, bench, goal=GOAL, item="caption"
    )
    compared = bench.of(len(captions), 1)
    expected = [
        float(vector @ image)
        for rows, image in zip(padded[:compared], images, strict=False)
        for vector in encode_padded(scorer, rows)
    ]
    apart = max(abs(one - (other or 0.0)) for one, other in zip(expected, ours(), strict=False))
    notes = [
        f"{len(captions)} captions of {source}, {min(counts)} to {max(counts)} prefixes, "
        f"{statistics.mean(counts):.1f} on average; cosines differ by {apart:.1e} at most (goal {SAME:.0e})"
    ]
    return Measured([row], notes)


if __name__ == "__main__":
    alone(measure, __doc__)
