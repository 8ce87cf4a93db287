"""How fast ``detect`` is, as ratios to what it replaces; architecture ViT-B/32, random weights, on the CPU.

    python -m tests.benchmarks.detect_speed

Prints a table of three parts: (a) text attribution against a plain ``encode_text`` padded to the context, (b) pairs a
second against one pair at a time with full autograd (the oracle of the tests, image included), (c) the same in bf16,
where the CPU has it, with what that does to the results. Baseline and candidate take turns within a round, the figure
is the median over rounds of their ratio. ``--clock cpu --threads 1`` counts the process's own time, for a busy machine.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from clipalign.device import choose_device
from clipalign.methods.detect import DEFAULT_TEMPLATE, DetectSettings, Pair, detect_pairs
from clipalign.pipeline.attribution import attribute
from clipalign.pipeline.images import to_tensor
from clipalign.pipeline.loaded import LoadedModel
from clipalign.pipeline.model import import_open_clip
from clipalign.pipeline.text import encode_text
from clipalign.results import DetectResult
from tests.parity.oracle import relevance, with_gradients
from tests.tiny import wrap

HERE = Path(__file__).parent
NOCAPS = HERE.parents[2] / "shared" / "data" / "nocaps-val-foil.json"
CAPTIONS = 64
TEXT_BATCH = 16
LAYERS = 3
IMAGES = {1: 32, 5: 8}
"""How many images the candidate gets, for one and for five captions an image."""
BASELINE_PAIRS = 6
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Measurement:
    """One line of the table: seconds an item for both, and the median over rounds of candidate / baseline."""

    what: str
    baseline_ms: float
    candidate_ms: float
    ratio: float


@dataclass(frozen=True)
class Bench:
    """What every measurement needs."""

    clock: Callable[[], float]
    rounds: int

    def compare(
        self,
        what: str,
        baseline: Callable[[], object],
        n_baseline: int,
        candidate: Callable[[], object],
        n_candidate: int,
    ) -> Measurement:
        """Time both in turns, after one run of each that does not count."""
        baseline(), candidate()
        times = [(self._time(baseline) / n_baseline, self._time(candidate) / n_candidate) for _ in range(self.rounds)]
        return Measurement(
            what,
            1000 * statistics.median(base for base, _ in times),
            1000 * statistics.median(ours for _, ours in times),
            statistics.median(ours / base for base, ours in times),
        )

    def _time(self, run: Callable[[], object]) -> float:
        begin = self.clock()
        run()
        return self.clock() - begin


def random_vit_b_32() -> LoadedModel:
    """ViT-B/32 with QuickGELU and open_clip's random initial weights."""
    open_clip = import_open_clip()
    torch.manual_seed(0)
    network = open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-32-quickgelu"))
    return wrap(network, name="ViT-B-32 (random)", image_size=224, quick_gelu=True)


def real_captions() -> tuple[list[str], str]:
    """64 captions, and where they come from."""
    if NOCAPS.exists():
        samples = json.loads(NOCAPS.read_text())
        return [sample["baseline"].strip() for sample in samples[:: len(samples) // CAPTIONS][:CAPTIONS]], NOCAPS.name
    return (HERE / "captions.txt").read_text().splitlines()[:CAPTIONS], "captions.txt"


def random_pictures(count: int) -> list[Image.Image]:
    """Pictures of a camera's proportions, in memory."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 12, 16, 3), dtype=np.uint8)
    return [Image.fromarray(picture).resize((640, 480), Image.Resampling.BICUBIC) for picture in coarse]


def measure_text(bench: Bench, loaded: LoadedModel, captions: Sequence[str]) -> Measurement:
    """(a)"""
    texts = [encode_text(loaded, DEFAULT_TEMPLATE + caption) for caption in captions]
    padded = torch.tensor([text.ids + text.padding for text in texts])
    images = torch.nn.functional.normalize(torch.randn(len(texts), 512), dim=-1)

    @torch.no_grad()
    def encode() -> None:
        for batch in padded.split(TEXT_BATCH):
            loaded.network.encode_text(batch)

    def ours() -> None:
        attribute(loaded, images, texts, layers=LAYERS, batch_size=TEXT_BATCH)

    return bench.compare(
        "(a) text attribution, batches of 16 / encode_text at 77", encode, len(texts), ours, len(texts)
    )


def pairs_of(captions: Sequence[str], per_image: int) -> list[Pair]:
    """Every image with ``per_image`` captions of its own."""
    pictures = random_pictures(IMAGES[per_image])
    chosen = [captions[index % len(captions)] for index in range(len(pictures) * per_image)]
    return [Pair(pictures[index // per_image], caption) for index, caption in enumerate(chosen)]


def measure_pairs(
    bench: Bench, reference: LoadedModel, loaded: LoadedModel, pairs: Sequence[Pair], what: str
) -> Measurement:
    """(b), (c): ``reference`` one pair at a time with full autograd, ``loaded`` by ``detect_pairs``.

    The baseline is the straightforward program: both towers run in gradient mode over a network as open_clip loads it,
    the text over its whole context, and each of the k gradients is asked for by itself.
    """
    network = with_gradients(reference.network)

    def one_by_one() -> None:
        for pair in pairs[:BASELINE_PAIRS]:
            assert isinstance(pair.image, Image.Image)
            image = network.encode_image(to_tensor(pair.image, reference)[None], normalize=True)[0]
            text = encode_text(reference, DEFAULT_TEMPLATE + pair.text)
            relevance(network, image, torch.tensor(text.ids + text.padding), layers=LAYERS)

    def ours() -> None:
        detect_pairs(loaded, pairs, DetectSettings(layers=LAYERS))

    return bench.compare(what, one_by_one, BASELINE_PAIRS, ours, len(pairs))


def in_bf16(loaded: LoadedModel) -> LoadedModel | None:
    """The same model with its weights held in bf16, or None where the device manager would refuse it."""
    choice = choose_device("cpu", "bf16")
    if choice.precision != "bf16":
        return None
    network = copy.deepcopy(loaded.network).to(torch.bfloat16)
    return dataclasses.replace(loaded, network=network, choice=choice)


def changes(reference: Sequence[DetectResult], other: Sequence[DetectResult]) -> list[str]:
    """What another precision does to the results, in words."""
    moved, size, flipped, lowest, words = [], [], 0, 0, 0
    for one, two in zip(reference, other, strict=True):
        for before, after in zip(one.words, two.words, strict=True):
            assert before.attribution is not None and after.attribution is not None
            moved.append(abs(after.attribution - before.attribution))
            size.append(abs(before.attribution))
            flipped += before.misaligned != after.misaligned
            words += 1
        lowest += _lowest(one) != _lowest(two)
    cosine = max(abs(one.cosine - two.cosine) for one, two in zip(reference, other, strict=True))
    return [
        f"attributions move by {statistics.median(moved):.1e} (median), {max(moved):.1e} (most); "
        f"their own size is {statistics.median(size):.1e} (median)",
        f"cosines move by {cosine:.1e} at most",
        f"misaligned words: {flipped} of {words} words change sides; "
        f"the most negative word changes in {lowest} of {len(reference)} captions",
    ]


def _lowest(result: DetectResult) -> int:
    values = [word.attribution for word in result.words]
    return min(range(len(values)), key=lambda index: values[index] or 0.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(CLOCKS[arguments.clock], arguments.rounds)
    loaded = random_vit_b_32()
    captions, source = real_captions()
    tokens = [encode_text(loaded, DEFAULT_TEMPLATE + caption).n_tokens for caption in captions]

    pairs = {per_image: pairs_of(captions, per_image) for per_image in IMAGES}
    rows = [(measure_text(bench, loaded, captions), "ratio at most 0.28")]
    for per_image, goal in ((1, 3.0), (5, 9.0)):
        what = f"(b) detect, fp32, captions an image: {per_image} / one by one"
        rows.append((measure_pairs(bench, loaded, loaded, pairs[per_image], what), f"at least {goal:g} times"))
    notes = [f"{CAPTIONS} captions of {source}, {statistics.mean(tokens):.1f} tokens on average, template included"]
    half = in_bf16(loaded)
    if half is None:
        notes.append(f"(c) not measured: {choose_device('cpu', 'bf16').reason}")
    else:
        for per_image, goal in ((1, 4.5), (5, 13.0)):
            what = f"(c) detect, bf16, captions an image: {per_image} / one by one in fp32"
            rows.append((measure_pairs(bench, loaded, half, pairs[per_image], what), f"at least {goal:g} times"))
        settings = DetectSettings(layers=LAYERS)
        notes += [
            f"(c) {line}"
            for line in changes(detect_pairs(loaded, pairs[5], settings), detect_pairs(half, pairs[5], settings))
        ]

    table = Table(
        "measurement", "baseline ms", "ours ms", "ratio", "times", "goal", title="detect, ViT-B/32 on the CPU"
    )
    for row, goal in rows:
        table.add_row(
            row.what,
            f"{row.baseline_ms:.1f}",
            f"{row.candidate_ms:.1f}",
            f"{row.ratio:.3f}",
            f"{1 / row.ratio:.2f}",
            goal,
        )
    console = Console(width=140)
    console.print(table)
    console.print(
        f"{arguments.threads} threads, {arguments.clock} clock, {arguments.rounds} rounds, torch {torch.__version__}"
    )
    for note in notes:
        console.print(note)


if __name__ == "__main__":
    main()
