"""Data sets of classes in their real layouts, made small; and what a benchmark finds in them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from clipalign.evaluation.dataset_files import open_picture
from clipalign.evaluation.registry import find_benchmark
from clipalign.evaluation.tasks.class_evaluator import ClassSample
from clipalign.evaluation.tasks.class_sets import PICTURE_BYTES
from clipalign.evaluation.tasks.classes import ClassBenchmark

FOLDERS = (
    *("imagenet", "imagenetv2", "imagenet-a", "imagenet-r", "imagenet-s"),
    *("cub", "dtd", "food101", "oxford_pet", "place365", "cifar10", "cifar100"),
)


def picture(place: Path, color: str = "red") -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), color).save(place)


def lines(place: Path, *text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(f"{line}\n" for line in text))


def dataset(name: str, folder: Path) -> ClassBenchmark:
    found = find_benchmark(name, data_root=folder)
    assert isinstance(found, ClassBenchmark)
    found.check()
    return found


def found_in(name: str, folder: Path) -> dict[str, str]:
    """Name of every sample and of its class; each picture can be opened."""
    benchmark = dataset(name, folder)
    names = benchmark.class_names()
    samples = [sample for sample in benchmark.samples(limit=None, seed=0) if isinstance(sample, ClassSample)]
    assert len(samples) == len(list(benchmark.samples(limit=None, seed=0)))
    for sample in samples:
        assert open_picture(sample.image).size in {(40, 30), (32, 32)}
    assert len({sample.id for sample in samples}) == len(samples)
    return {sample.id: names[sample.label] for sample in samples}


def make_food101(folder: Path) -> dict[str, str]:
    lines(folder / "food-101/meta/classes.txt", "apple_pie", "sushi")
    lines(folder / "food-101/meta/test.txt", "apple_pie/11", "sushi/7")
    for name in ("apple_pie/11", "apple_pie/12", "sushi/7"):
        picture(folder / f"food-101/images/{name}.jpg")
    return {"apple_pie/11": "apple_pie", "sushi/7": "sushi"}


def make_dtd(folder: Path) -> dict[str, str]:
    top = folder / "dtd/dtd"
    lines(top / "labels/train1.txt", "dotted/dotted_0001.jpg", "braided/braided_0001.jpg")
    lines(top / "labels/test1.txt", "banded/banded_0002.jpg", "dotted/dotted_0003.jpg")
    lines(top / "labels/test2.txt", "banded/banded_0009.jpg")
    picture(top / "images/banded/banded_0002.jpg")
    picture(top / "images/dotted/dotted_0003.jpg")
    return {"banded/banded_0002.jpg": "banded", "dotted/dotted_0003.jpg": "dotted"}


def make_oxford_pet(folder: Path) -> dict[str, str]:
    top = folder / "oxford-iiit-pet"
    lines(top / "annotations/trainval.txt", "american_bulldog_10 2 2 1", "Abyssinian_100 1 1 1")
    lines(top / "annotations/test.txt", "Abyssinian_201 1 1 1", "american_bulldog_202 2 2 1")
    for name in ("Abyssinian_201", "american_bulldog_202"):
        picture(top / f"images/{name}.jpg")
    return {"Abyssinian_201": "Abyssinian", "american_bulldog_202": "american_bulldog"}


def make_place365(folder: Path) -> dict[str, str]:
    lines(folder / "categories_places365.txt", "/a/airfield 0", "/a/arena/hockey 1", "/z/zen_garden 2")
    lines(folder / "places365_val.txt", "Places365_val_00000001.jpg 2", "Places365_val_00000002.jpg 1")
    for number in (1, 2):
        picture(folder / f"val_256/Places365_val_0000000{number}.jpg")
    return {"Places365_val_00000001.jpg": "zen_garden", "Places365_val_00000002.jpg": "arena hockey"}


def make_cub(folder: Path) -> dict[str, str]:
    top = folder / "CUB_200_2011"
    files = ("001.Black_footed_Albatross/a.jpg", "001.Black_footed_Albatross/b.jpg", "002.Laysan_Albatross/c.jpg")
    lines(top / "classes.txt", "1 001.Black_footed_Albatross", "2 002.Laysan_Albatross")
    lines(top / "images.txt", *(f"{number} {file}" for number, file in enumerate(files, 1)))
    lines(top / "image_class_labels.txt", "1 1", "2 1", "3 2")
    lines(top / "train_test_split.txt", "1 0", "2 1", "3 0")
    for file in files:
        picture(top / "images" / file)
    return {files[0]: "Black_footed_Albatross", files[2]: "Laysan_Albatross"}


def make_cifar10(folder: Path) -> dict[str, str]:
    top = folder / "cifar-10-batches-py"
    top.mkdir(parents=True)
    pixels = np.arange(2 * PICTURE_BYTES, dtype=np.uint8).reshape(2, PICTURE_BYTES)
    write_pickle(top / "test_batch", {b"data": pixels, b"labels": [1, 0], b"filenames": [b"a", b"b"]})
    write_pickle(top / "batches.meta", {b"label_names": [b"airplane", b"automobile"], b"num_cases_per_batch": 10000})
    return {"test-00000": "automobile", "test-00001": "airplane"}


def make_cifar100(folder: Path) -> dict[str, str]:
    top = folder / "cifar-100-python"
    top.mkdir(parents=True)
    pixels = np.zeros((1, PICTURE_BYTES), dtype=np.uint8)
    write_pickle(top / "test", {b"data": pixels, b"fine_labels": [1], b"coarse_labels": [7]})
    write_pickle(top / "meta", {b"fine_label_names": [b"apple", b"aquarium_fish"], b"coarse_label_names": []})
    return {"test-00000": "aquarium_fish"}


def make_imagenet(folder: Path) -> dict[str, str]:
    picture(folder / "val/n01440764/ILSVRC2012_val_00000293.JPEG")
    picture(folder / "val/n01443537/ILSVRC2012_val_00000236.JPEG")
    return {
        "n01440764/ILSVRC2012_val_00000293.JPEG": "tench",
        "n01443537/ILSVRC2012_val_00000236.JPEG": "goldfish",
    }


def make_imagenetv2(folder: Path) -> dict[str, str]:
    top = folder / "imagenetv2-matched-frequency-format-val"
    picture(top / "2/aa.jpeg")
    picture(top / "10/bb.jpeg")  # as text it would sort before 2
    return {"2/aa.jpeg": "great white shark", "10/bb.jpeg": "brambling"}


def make_imagenet_a(folder: Path) -> dict[str, str]:
    lines(folder / "imagenet-a/README.txt", "n01498041 stingray")
    picture(folder / "imagenet-a/n01498041/0.00001_stingray.jpg")
    picture(folder / "imagenet-a/n01440764/0.1_tench.jpg")  # not one of its 200
    return {"n01498041/0.00001_stingray.jpg": "stingray"}


def make_imagenet_r(folder: Path) -> dict[str, str]:
    picture(folder / "imagenet-r/n01443537/art_0.jpg")
    return {"n01443537/art_0.jpg": "goldfish"}


def make_imagenet_s(folder: Path) -> dict[str, str]:
    picture(folder / "sketch/n01443537/sketch_0.JPEG")
    return {"n01443537/sketch_0.JPEG": "goldfish"}


MAKERS: dict[str, Callable[[Path], dict[str, str]]] = {
    name: globals()[f"make_{name.replace('-', '_')}"] for name in FOLDERS
}


def write_pickle(place: Path, content: object) -> None:
    place.write_bytes(pickle.dumps(content, protocol=2))
