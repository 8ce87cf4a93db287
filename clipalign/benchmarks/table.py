"""Names of benchmarks and where they live; nothing heavy is imported until one is asked for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from clipalign.errors import UnknownDataset

if TYPE_CHECKING:
    from pathlib import Path

    from clipalign.benchmarks.task import Benchmark


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """A benchmark before it is imported.

    Attributes:
        target: ``"module:attribute"`` of its class.
        summary: a line for lists.
        generated: whether it makes its own samples; else its class takes the folder of its data.
    """

    target: str
    summary: str
    generated: bool = False


BENCHMARKS: Final[dict[str, BenchmarkRow]] = {
    "foil": BenchmarkRow("clipalign.benchmarks.foil:Foil", "COCO captions with one word exchanged"),
    "nocaps-foil": BenchmarkRow(
        "clipalign.benchmarks.nocaps_foil:NocapsFoil", "nocaps captions with one object exchanged, 5,000 captions"
    ),
    "hat": BenchmarkRow("clipalign.benchmarks.hat:Hat", "400 captions with the hallucinated words marked"),
    "richhf": BenchmarkRow("clipalign.benchmarks.richhf:RichHF", "955 prompts of generated pictures, words labelled"),
    "seetrue": BenchmarkRow("clipalign.benchmarks.seetrue:SeeTrue", "captions that do not fit, with what is wrong"),
    "pictogram-foil": BenchmarkRow(
        "clipalign.benchmarks.pictogram_foil:PictogramFoil",
        "generated scenes, one word of the caption swapped: objects, colours, positions, counts, sizes (offline)",
        generated=True,
    ),
    "pictogram-classify": BenchmarkRow(
        "clipalign.benchmarks.pictogram_classify:PictogramClassify",
        "generated scenes of several objects, one of them of the label's class (offline)",
        generated=True,
    ),
    "sdci": BenchmarkRow("clipalign.benchmarks.sdci:Sdci", "captions of growing detail, and with a wrong detail each"),
    "urban1k": BenchmarkRow(
        "clipalign.benchmarks.urban1k:Urban1k", "1,000 pictures of cities and their long captions, found by each other"
    ),
    "coco2017": BenchmarkRow(
        "clipalign.benchmarks.coco2017:Coco2017", "5,000 pictures and 25,000 captions, found by each other"
    ),
    "human-judgement": BenchmarkRow(
        "clipalign.benchmarks.human_judgement:HumanJudgement", "correlation with people's ratings, on any file of them"
    ),
    "pictogram-long": BenchmarkRow(
        "clipalign.benchmarks.pictogram_long:PictogramLong",
        "generated scenes, captions that grow detail by detail, and with a wrong detail each (offline)",
        generated=True,
    ),
    "imagenet": BenchmarkRow("clipalign.benchmarks.imagenet:ImageNet", "1,000 classes, 50,000 pictures"),
    "imagenetv2": BenchmarkRow(
        "clipalign.benchmarks.imagenet_variants:ImageNetV2", "ImageNet's classes, 10,000 new pictures"
    ),
    "imagenet-a": BenchmarkRow(
        "clipalign.benchmarks.imagenet_variants:ImageNetA", "200 of ImageNet's classes, 7,500 misleading pictures"
    ),
    "imagenet-r": BenchmarkRow(
        "clipalign.benchmarks.imagenet_variants:ImageNetR", "200 of ImageNet's classes, 30,000 renditions"
    ),
    "imagenet-s": BenchmarkRow(
        "clipalign.benchmarks.imagenet_variants:ImageNetSketch", "ImageNet's classes, 50,889 sketches"
    ),
    "cub": BenchmarkRow("clipalign.benchmarks.cub:Cub", "200 birds, 5,794 pictures"),
    "dtd": BenchmarkRow("clipalign.benchmarks.dtd:Dtd", "47 textures, 1,880 pictures"),
    "food101": BenchmarkRow("clipalign.benchmarks.food101:Food101", "101 dishes, 25,250 pictures"),
    "oxford_pet": BenchmarkRow("clipalign.benchmarks.oxford_pet:OxfordPet", "37 breeds, 3,669 pictures"),
    "place365": BenchmarkRow("clipalign.benchmarks.place365:Place365", "365 places, 36,500 pictures"),
    "cifar10": BenchmarkRow("clipalign.benchmarks.cifar:Cifar10", "10 classes, 10,000 small pictures"),
    "cifar100": BenchmarkRow("clipalign.benchmarks.cifar:Cifar100", "100 classes, 10,000 small pictures"),
}


def benchmark_names() -> list[str]:
    """All names, in the order of the table."""
    return list(BENCHMARKS)


def find_benchmark(name: str, *, data_root: Path | None = None, cache_dir: Path | None = None) -> Benchmark[Any, Any]:
    """The benchmark of that name; whether its data is there is found out by its ``check``.

    Args:
        name: as in the table.
        data_root: folder of its data, or one that holds it under its name (of ``human-judgement`` also its file); None
            for where ``download`` puts it.
        cache_dir: clipalign's cache folder, where it is not the usual one.

    Raises:
        UnknownDataset: there is none; the hint names the nearest.
    """
    row = BENCHMARKS.get(name)
    if row is None:
        near = difflib.get_close_matches(name, BENCHMARKS, n=1, cutoff=0.5)
        known = ", ".join(BENCHMARKS)
        hint = f"did you mean {near[0]}?" if near else f"there are: {known}"
        raise UnknownDataset(f"unknown dataset '{name}'", hint=hint, input=name)
    module, attribute = row.target.split(":")
    made = getattr(import_module(module), attribute)
    if row.generated:
        return cast("Benchmark[Any, Any]", made())
    from clipalign.cache import data_folder

    return cast("Benchmark[Any, Any]", made(data_folder(name, data_root=data_root, cache_dir=cache_dir)))
