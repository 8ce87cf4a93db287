"""How fast a training step reads its texts, against four separate encodings padded to 248 tokens.

    python -m tests.benchmarks.train_speed

Both ways read the same batch of captions of the length of ShareGPT4V's and DCI's, forward and backward, through the
text tower of ViT-B/32 at 248 tokens with random weights, and compute SPECS' loss from it; the losses are compared too.
The lengths are drawn around 170 tokens, the average of ShareGPT4V's captions; the words are those of the golden ones.
"""

from __future__ import annotations

import copy
import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.models.load import import_open_clip
from clipalign.training.loss import SpecsFeatures, specs_loss
from clipalign.training.settings import SpecsSettings
from clipalign.training.texts import TextReader, TokenIds
from tests.benchmarks.measure import Bench, Measured, Reading, Row, alone

CONTEXT: Final = 248
GOLDEN: Final = Path(__file__).parents[1] / "golden" / "specs.json"
PHRASES: Final = (6, 15)
"""Sentences of a caption, of about 17 tokens each."""

LAYERS: Final = 12
GOAL: Final = 2.0


def build_tower(layers: int) -> Any:
    """ViT-B/32 with random weights and a text tower of 248 tokens."""
    open_clip = import_open_clip()
    config = copy.deepcopy(open_clip.get_model_config("ViT-B-32"))
    config["text_cfg"] |= {"context_length": CONTEXT, "layers": layers}
    config["vision_cfg"]["layers"] = 1  # not measured
    torch.manual_seed(0)
    return open_clip.model.CLIP(**config, quick_gelu=True).eval()


def make_batch(size: int) -> list[list[TokenIds]]:
    """Of each sample the whole caption, a beginning, the next one, and the beginning with a wrong detail."""
    encode = import_open_clip().get_tokenizer("ViT-B-32").encode
    samples = json.loads(GOLDEN.read_text(encoding="utf-8"))["samples"]
    sentences = [f"{piece.rstrip('.')}." for sample in samples for piece in sample["caption"].split(". ")]
    rng = random.Random(0)
    batch: list[list[TokenIds]] = []
    for _ in range(size):
        said = [rng.choice(sentences) for _ in range(rng.randint(*PHRASES))]
        at = rng.randrange(1, len(said))
        texts = (said, said[:at], said[: at + 1], [*said[:at], rng.choice(sentences)])
        batch.append([(49406, *encode(" ".join(text))[: CONTEXT - 2], 49407) for text in texts])
    return batch


def as_tree(network: Any, batch: list[list[TokenIds]]) -> Tensor:
    """The product's way: (B, 4, E)."""
    vectors: Tensor = TextReader.of(network, context_tokens=CONTEXT).read(batch)
    return vectors.view(len(batch), 4, -1)


def separately(network: Any, batch: list[list[TokenIds]]) -> Tensor:
    """Four calls of the network, each padded to its context: (B, 4, E)."""
    device = network.logit_scale.device
    vectors = []
    for column in range(4):
        ids = torch.zeros(len(batch), CONTEXT, dtype=torch.long)
        for row, texts in enumerate(batch):
            ids[row, : len(texts[column])] = torch.tensor(texts[column])
        vectors.append(F.normalize(network.encode_text(ids.to(device)), dim=-1))
    return torch.stack(vectors, 1)


def measure_step(bench: Bench, *, layers: int, size: int, **more: Any) -> tuple[Row, str]:
    """The row, and what else there is to say."""
    network, batch = build_tower(layers).to(bench.device), make_batch(size)
    images = F.normalize(torch.randn(len(batch), network.text_projection.shape[1]), dim=-1).to(bench.device)

    def step(read: Callable[[Any, list[list[TokenIds]]], Tensor]) -> float:
        network.zero_grad(set_to_none=True)
        texts = read(network, batch)
        loss = specs_loss(
            SpecsFeatures(images, *texts.unbind(1)), network.logit_scale, SpecsSettings(), epsilon=0.0
        ).total
        loss.backward()
        return float(loss.detach())

    apart = abs(step(as_tree) - step(separately))
    turns = bench.turns(
        lambda: step(separately), len(batch), lambda: step(as_tree), len(batch), rounds=5, warm=bench.device != "cpu"
    )
    tokens = statistics.mean(len(texts[0]) for texts in batch)
    row = turns.row(
        more.pop("key", "train"),
        f"`train-specs`: a step on {size} captions of {tokens:.0f} tokens",
        "four encodings of 248 tokens",
        Reading.TIMES,
        bench,
        item="caption",
        **{"goal": GOAL} | more,
    )
    return row, f"the losses of both differ by {apart:.1e} (goal 1e-05)"


def measure(bench: Bench) -> Measured:
    """The row."""
    row, note = measure_step(bench, layers=LAYERS, size=bench.of(8, 2))
    return Measured([row], [note])


if __name__ == "__main__":
    alone(measure, __doc__)
