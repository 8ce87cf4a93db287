"""Engines, precisions and threads side by side; architecture ViT-B/32, random weights, on the CPU.

    python -m tests.benchmarks.engines

Each combination runs in a process of its own, which tells its peak of memory too. A note says how many operations
``detect`` computes and at what rate torch multiplies matrices here: in fp32 nothing can be faster than that.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from clipalign.data.transforms import to_tensor
from clipalign.device import TORCH
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.methods.settings import DetectSettings
from clipalign.models.encode import encode_images
from clipalign.models.model import LoadedModel
from tests.benchmarks.detect_speed import pairs_of
from tests.benchmarks.measure import Bench, Measured, alone
from tests.benchmarks.subjects import (
    LAYERS,
    in_bf16,
    in_openvino,
    one_by_one,
    random_pictures,
    random_vit_b_32,
    real_captions,
)
from tests.parity.oracle import with_gradients

COMBINATIONS: Final = (
    (TORCH, "fp32"),
    ("openvino", "fp32"),
    (TORCH, "bf16"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)
TURNS: Final = 5
PICTURES: Final = 16
CAPTIONS: Final = 5


@dataclass(frozen=True)
class Engine:
    """One line of the table: the fastest of several turns, and the process's peak of memory, loading included.

    Attributes:
        picture_ms: of the image tower, a picture, in batches of 16.
        pair_ms, pair_of_five_ms: of ``detect``, a caption, with one and with five captions a picture.
    """

    engine: str
    precision: str
    threads: int
    picture_ms: float
    pair_ms: float
    pair_of_five_ms: float
    peak_mb: float


def fastest(run: Callable[[], object], items: int, bench: Bench, turns: int = TURNS) -> float:
    """Milliseconds an item, after a turn to warm up."""
    run()
    return 1000 * min(bench.seconds(run) for _ in range(bench.of(turns, 1))) / items


def try_engine(engine: str, precision: str, bench: Bench) -> Engine | str:
    """One combination in this process, or why it cannot be; not on Windows, which has no ``resource``."""
    import resource

    torch.set_num_threads(bench.threads)
    loaded: LoadedModel | str = random_vit_b_32()
    assert isinstance(loaded, LoadedModel)
    if (engine, precision) != (TORCH, "fp32"):
        loaded = in_bf16(loaded) if engine == TORCH else in_openvino(loaded, precision)
    if isinstance(loaded, str):
        return loaded
    captions, _ = real_captions()
    prepared = torch.stack([to_tensor(picture, loaded) for picture in random_pictures(PICTURES)])
    settings = DetectSettings(layers=LAYERS)
    one, five = (pairs_of(captions, each, PICTURES) for each in (1, CAPTIONS))
    return Engine(
        engine,
        precision,
        bench.threads,
        fastest(lambda: encode_images(loaded, prepared), PICTURES, bench),
        fastest(lambda: detect_pairs(loaded, one, settings), len(one), bench),
        fastest(lambda: detect_pairs(loaded, five, settings), len(five), bench),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def giga_operations(run: Callable[[], object]) -> float:
    """Of matrix products and attention, a multiplication and an addition being two."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # nobody counts what one fused operator does
    try:
        with FlopCounterMode(display=False) as counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return float(counter.get_total_flops()) / 1e9


def bound_of_fp32(bench: Bench) -> str:
    """How fast ``detect`` could be if it did nothing but multiply matrices in fp32, in words."""
    torch.set_num_threads(bench.threads)
    loaded, (captions, _) = random_vit_b_32(), real_captions()
    one, five = (pairs_of(captions, each, PICTURES) for each in (1, CAPTIONS))
    network = with_gradients(loaded.network)
    picture = to_tensor(random_pictures(1)[0], loaded)
    before = giga_operations(lambda: one_by_one(network, loaded, picture, captions[0]))
    settings = DetectSettings(layers=LAYERS)

    def computed(pairs: list[Pair]) -> float:
        return giga_operations(lambda: detect_pairs(loaded, pairs, settings)) / len(pairs)

    ours = [computed(one), computed(five)]
    a, b = torch.randn(1600, 768), torch.randn(768, 3072)  # as in a batch of 32 pictures
    rate = 2 * 1600 * 768 * 3072 / 1e6 / fastest(lambda: a @ b, 1, bench, 20)
    floors = [1000 * count / rate for count in ours]
    return (
        f"fp32, {bench.threads} threads: torch multiplies matrices of the image tower's shapes at {rate:.0f} GFLOP/s. "
        f"`detect` computes {ours[0]:.1f} GFLOP a caption with one a picture and {ours[1]:.1f} with five, which takes "
        f"{floors[0]:.1f} and {floors[1]:.1f} ms at the least; a pair at a time with full autograd computes "
        f"{before:.1f}, {before / ours[0]:.1f} and {before / ours[1]:.1f} times as much"
    )


def measure(bench: Bench) -> Measured:
    """All combinations, with one thread and with those of ``bench``."""
    found: list[Engine] = []
    missing: dict[str, str] = {}
    for threads, (engine, precision) in product(sorted({1, bench.threads}), COMBINATIONS):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            one = pool.submit(try_engine, engine, precision, replace(bench, threads=threads)).result()
        if isinstance(one, str):
            missing[f"`--engine {engine} --precision {precision}`"] = one
        else:
            found.append(one)
    notes = [
        f"{one.engine} {one.precision}, {one.threads} threads: {one.picture_ms:.1f} ms a picture, "
        f"{one.pair_ms:.1f} and {one.pair_of_five_ms:.1f} ms a caption, {one.peak_mb:.0f} MB"
        for one in found
    ]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        notes.append(pool.submit(bound_of_fp32, bench).result())
    return Measured([], notes, missing, engines=found)


if __name__ == "__main__":
    alone(measure, __doc__)
