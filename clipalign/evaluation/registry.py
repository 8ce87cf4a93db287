"""Names of benchmarks and where they live; nothing heavy is imported until one is asked for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from clipalign.errors import UnknownDataset

if TYPE_CHECKING:
    from pathlib import Path

    from clipalign.evaluation.task import Benchmark


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
    "foil": BenchmarkRow("clipalign.evaluation.tasks.foil:Foil", "COCO captions with one word exchanged"),
    "nocaps-foil": BenchmarkRow(
        "clipalign.evaluation.tasks.nocaps_foil:NocapsFoil", "nocaps captions with one object exchanged, 5,000 captions"
    ),
    "hat": BenchmarkRow("clipalign.evaluation.tasks.hat:Hat", "400 captions with the hallucinated words marked"),
    "richhf": BenchmarkRow(
        "clipalign.evaluation.tasks.richhf:RichHF", "955 prompts of generated pictures, words labelled"
    ),
    "seetrue": BenchmarkRow(
        "clipalign.evaluation.tasks.seetrue:SeeTrue", "captions that do not fit, with what is wrong"
    ),
    "pictogram-foil": BenchmarkRow(
        "clipalign.evaluation.tasks.pictogram_foil:PictogramFoil",
        "generated scenes, one word of the caption swapped: objects, colours, positions, counts, sizes (offline)",
        generated=True,
    ),
    "pictogram-classify": BenchmarkRow(
        "clipalign.evaluation.tasks.pictogram_classify:PictogramClassify",
        "generated scenes of several objects, one of them of the label's class (offline)",
        generated=True,
    ),
    "sdci": BenchmarkRow(
        "clipalign.evaluation.tasks.increments:Sdci", "captions of growing detail, and with a wrong detail each"
    ),
    "urban1k": BenchmarkRow(
        "clipalign.evaluation.tasks.retrieval:Urban1k",
        "1,000 pictures of cities and their long captions, found by each other",
    ),
    "coco2017": BenchmarkRow(
        "clipalign.evaluation.tasks.retrieval:Coco2017", "5,000 pictures and 25,000 captions, found by each other"
    ),
    "human-judgement": BenchmarkRow(
        "clipalign.evaluation.tasks.human_judgement:HumanJudgement",
        "correlation with people's ratings, on any file of them",
    ),
    "pictogram-long": BenchmarkRow(
        "clipalign.evaluation.tasks.increments:PictogramLong",
        "generated scenes, captions that grow detail by detail, and with a wrong detail each (offline)",
        generated=True,
    ),
    "imagenet": BenchmarkRow("clipalign.evaluation.tasks.imagenet:ImageNet", "1,000 classes, 50,000 pictures"),
    "imagenetv2": BenchmarkRow(
        "clipalign.evaluation.tasks.imagenet:ImageNetV2", "ImageNet's classes, 10,000 new pictures"
    ),
    "imagenet-a": BenchmarkRow(
        "clipalign.evaluation.tasks.imagenet:ImageNetA", "200 of ImageNet's classes, 7,500 misleading pictures"
    ),
    "imagenet-r": BenchmarkRow(
        "clipalign.evaluation.tasks.imagenet:ImageNetR", "200 of ImageNet's classes, 30,000 renditions"
    ),
    "imagenet-s": BenchmarkRow(
        "clipalign.evaluation.tasks.imagenet:ImageNetSketch", "ImageNet's classes, 50,889 sketches"
    ),
    "cub": BenchmarkRow("clipalign.evaluation.tasks.class_sets:Cub", "200 birds, 5,794 pictures"),
    "dtd": BenchmarkRow("clipalign.evaluation.tasks.class_sets:Dtd", "47 textures, 1,880 pictures"),
    "food101": BenchmarkRow("clipalign.evaluation.tasks.class_sets:Food101", "101 dishes, 25,250 pictures"),
    "oxford_pet": BenchmarkRow("clipalign.evaluation.tasks.class_sets:OxfordPet", "37 breeds, 3,669 pictures"),
    "place365": BenchmarkRow("clipalign.evaluation.tasks.class_sets:Place365", "365 places, 36,500 pictures"),
    "cifar10": BenchmarkRow("clipalign.evaluation.tasks.class_sets:Cifar10", "10 classes, 10,000 small pictures"),
    "cifar100": BenchmarkRow("clipalign.evaluation.tasks.class_sets:Cifar100", "100 classes, 10,000 small pictures"),
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
