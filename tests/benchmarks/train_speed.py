"""How fast a training step reads its texts, against four separate encodings padded to 248 tokens.

    python -m tests.benchmarks.train_speed --threads 1 --clock cpu

Both ways read the same batch of captions of the length of ShareGPT4V's and DCI's, forward and backward, through the
text tower of ViT-B/32 at 248 tokens with random weights, and compute SPECS' loss from it; the losses are compared too.
The lengths are drawn around 170 tokens, the average of ShareGPT4V's captions; the words are those of the golden ones.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.pipeline.model import import_open_clip
from clipalign.training.specs_loss import SpecsFeatures, SpecsWeights, specs_loss
from clipalign.training.specs_text import TextReader, TokenIds

CONTEXT = 248
GOLDEN = Path(__file__).parents[1] / "golden" / "specs.json"
PHRASES = (6, 15)
"""Sentences of a caption, of about 17 tokens each."""


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
    batch = []
    for _ in range(size):
        said = [rng.choice(sentences) for _ in range(rng.randint(*PHRASES))]
        at = rng.randrange(1, len(said))
        texts = (said, said[:at], said[: at + 1], [*said[:at], rng.choice(sentences)])
        batch.append([(49406, *encode(" ".join(text))[: CONTEXT - 2], 49407) for text in texts])
    return batch


def as_tree(network: Any, batch: list[list[TokenIds]]) -> Tensor:
    """The product's way: (B, 4, E)."""
    return TextReader.of(network, context_tokens=CONTEXT).read(batch).unflatten(0, (len(batch), 4))


def separately(network: Any, batch: list[list[TokenIds]]) -> Tensor:
    """Four calls of the network, each padded to its context: (B, 4, E)."""
    vectors = []
    for column in range(4):
        ids = torch.zeros(len(batch), CONTEXT, dtype=torch.long)
        for row, texts in enumerate(batch):
            ids[row, : len(texts[column])] = torch.tensor(texts[column])
        vectors.append(F.normalize(network.encode_text(ids), dim=-1))
    return torch.stack(vectors, 1)


def main() -> None:
    """Measure both in turns and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    network, batch = build_tower(arguments.layers), make_batch(arguments.batch)
    images = F.normalize(torch.randn(len(batch), network.text_projection.shape[1]), dim=-1)

    def step(read: Callable[[Any, list[list[TokenIds]]], Tensor]) -> tuple[float, float]:
        network.zero_grad(set_to_none=True)
        began = clock()
        texts = read(network, batch)
        loss = specs_loss(
            SpecsFeatures(images, *texts.unbind(1)), network.logit_scale, SpecsWeights(), epsilon=0.0
        ).total
        loss.backward()  # type: ignore[no-untyped-call]
        return clock() - began, float(loss.detach())

    step(as_tree)
    tree, apart = zip(*[(step(as_tree), step(separately)) for _ in range(arguments.rounds)], strict=True)
    seconds = [statistics.median(one for one, _ in measured) for measured in (tree, apart)]
    report = {
        "tokens_of_captions": statistics.mean(len(texts[0]) for texts in batch),
        "tree_seconds": round(seconds[0], 3),
        "four_encodings_seconds": round(seconds[1], 3),
        "times_as_fast": round(seconds[1] / seconds[0], 2),
        "loss_difference": abs(tree[0][1] - apart[0][1]),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
