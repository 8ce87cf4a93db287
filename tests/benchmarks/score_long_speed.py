"""What all prefixes of a long caption cost, as a ratio to encoding each padded to 248; ViT-B/32, random weights, CPU.

    python -m tests.benchmarks.score_long_speed

Captions are eight to ten reference captions of one picture, joined: real sentences, 100 to 200 tokens. The candidate
is what users run, cutting into sentences and tokenizing included; the baseline gets its tokens for nothing. Both take
turns within a round, the figure is the median over rounds of their ratio; the largest difference of a cosine is
printed beside it. ``--clock cpu --threads 1`` counts the process's own time, for a busy machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from clipalign.methods.score_long import LongScorer
from clipalign.pipeline.long_context import stretched
from clipalign.pipeline.sentences import Cut, split_text
from clipalign.pipeline.text import encode_text
from tests.benchmarks.detect_speed import CLOCKS, HERE, NOCAPS, Bench, random_vit_b_32

CAPTIONS = 12
TOKENS = (100, 200)
SENTENCES = (8, 10)
BASELINE_BATCH = 16
BASELINE_CAPTIONS = 2
"""How many of the captions the baseline gets a round."""

GOAL = 0.25
SAME = 1e-6


def long_captions() -> tuple[list[str], str]:
    """Captions of eight to ten sentences, and where they come from."""
    if NOCAPS.exists():
        rows, source = [row["references"] for row in json.loads(NOCAPS.read_text())], NOCAPS.name
    else:
        lines, source = (HERE / "captions.txt").read_text().splitlines(), "captions.txt"
        rows = [lines[start : start + SENTENCES[1]] for start in range(0, len(lines) - SENTENCES[1], 2)]
    found = dict.fromkeys(
        " ".join(f"{line.strip().rstrip('.')}." for line in row[: SENTENCES[0] + number % 3])
        for number, row in enumerate(rows)
    )
    return list(found), source


def chosen(scorer: LongScorer, captions: Sequence[str]) -> list[str]:
    """Those of the wanted length, evenly from all."""
    fitting = []
    for caption in captions:
        pieces = len(split_text(caption, Cut.SENTENCE))
        tokens = encode_text(scorer.loaded, caption).n_tokens
        if SENTENCES[0] <= pieces <= SENTENCES[1] and TOKENS[0] <= tokens <= TOKENS[1]:
            fitting.append(caption)
        if len(fitting) == 4 * CAPTIONS:
            break
    return fitting[:: max(1, len(fitting) // CAPTIONS)][:CAPTIONS]


@torch.no_grad()
def encode_padded(scorer: LongScorer, padded: Tensor) -> Tensor:
    """The straightforward way: every prefix through the whole network, padded to the context."""
    batches = torch.split(padded, BASELINE_BATCH)
    return torch.cat([scorer.loaded.network.encode_text(batch, normalize=True) for batch in batches])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(CLOCKS[arguments.clock], arguments.rounds)
    scorer = LongScorer(stretched(random_vit_b_32()))
    captions, source = long_captions()
    captions = chosen(scorer, captions)
    prefixes = [[caption[: piece.end] for piece in split_text(caption, Cut.SENTENCE)] for caption in captions]
    tokens = [[encode_text(scorer.loaded, text) for text in texts] for texts in prefixes]
    padded = [torch.tensor([text.ids + text.padding for text in texts]) for texts in tokens]
    images = list(torch.nn.functional.normalize(torch.randn(len(captions), 512), dim=-1))
    names = [(str(number), "") for number in range(len(captions))]
    few = torch.cat(padded[:BASELINE_CAPTIONS])

    def ours() -> list[float | None]:
        asked = [scorer.ask(caption, "") for caption in captions]
        results = scorer.answer(asked, images, names)  # type: ignore[arg-type]
        return [sentence.cosine for result in results for sentence in result.sentences]

    row = bench.compare(
        "all prefixes of a caption / each padded to 248",
        lambda: encode_padded(scorer, few),
        BASELINE_CAPTIONS,
        ours,
        len(captions),
    )
    expected = [
        float(vector @ image)
        for rows, image in zip(padded, images, strict=True)
        for vector in encode_padded(scorer, rows)
    ]
    apart = max(abs(one - (other or 0.0)) for one, other in zip(expected, ours(), strict=True))
    lengths = [texts[-1].n_tokens for texts in tokens]
    counts = [len(texts) for texts in tokens]

    table = Table("measurement", "baseline ms", "ours ms", "ratio", "goal", title="score-long, ViT-B/32 on the CPU")
    table.add_row(row.what, f"{row.baseline_ms:.1f}", f"{row.candidate_ms:.1f}", f"{row.ratio:.3f}", f"at most {GOAL}")
    console = Console(width=120)
    console.print(table)
    console.print(
        f"{len(captions)} captions of {source}: {min(lengths)} to {max(lengths)} tokens, "
        f"{min(counts)} to {max(counts)} prefixes, {statistics.mean(counts):.1f} on average; milliseconds a caption"
    )
    console.print(f"cosines differ by {apart:.1e} at most (goal {SAME:.0e})")
    console.print(
        f"{arguments.threads} threads, {arguments.clock} clock, {arguments.rounds} rounds, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
