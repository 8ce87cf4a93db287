"""Every classification data set in its real layout, made small: what is found, with which label, in which order."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipalign.benchmarks.cifar import PICTURE_BYTES, read_pickle
from clipalign.benchmarks.class_files import ALPHA_NOTE, read_task
from clipalign.benchmarks.classification import ClassificationBenchmark
from clipalign.benchmarks.classify_route import LabelledImage
from clipalign.benchmarks.imagenet import GROUND_TRUTH as LABELS
from clipalign.benchmarks.imagenet import META, imagenet_names, synsets
from clipalign.benchmarks.pictures import opened
from clipalign.benchmarks.published import PUBLISHED
from clipalign.benchmarks.table import BENCHMARKS, find_benchmark
from clipalign.errors import InputUnreadable, MissingDataset
from clipalign.settings import Settings

FOLDERS = ("imagenet", "imagenetv2", "imagenet-a", "imagenet-r", "imagenet-s", "cub", "dtd", "food101", "oxford_pet")
FOLDERS += ("place365", "cifar10", "cifar100")


@pytest.fixture(autouse=True)
def no_downloads_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the cache of whoever runs the tests must not decide them."""
    monkeypatch.setenv("CLIPALIGN_CACHE", str(tmp_path_factory.mktemp("cache")))


def picture(place: Path, color: str = "red") -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), color).save(place)


def lines(place: Path, *text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(f"{line}\n" for line in text))


def dataset(name: str, folder: Path) -> ClassificationBenchmark:
    found = find_benchmark(name, data_root=folder)
    assert isinstance(found, ClassificationBenchmark)
    found.check()
    return found


def found_in(name: str, folder: Path) -> dict[str, str]:
    """Name of every sample and of its class; each picture can be opened."""
    benchmark = dataset(name, folder)
    names = benchmark.class_names()
    samples = list(benchmark.samples(limit=None, seed=0))
    for sample in samples:
        assert opened(sample.image).size in {(40, 30), (32, 32)}
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


@pytest.mark.parametrize("name", FOLDERS)
def test_the_real_layout_gives_pictures_with_their_classes(name: str, tmp_path: Path) -> None:
    assert MAKERS[name](tmp_path) == found_in(name, tmp_path)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_data_set_that_is_not_there_is_said_before_anything_is_loaded(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDataset) as error:
        find_benchmark(name, data_root=tmp_path / "nowhere").check()
    assert error.value.hint.startswith(f"clipalign download {name}")
    with pytest.raises(MissingDataset, match="is not laid out as"):
        find_benchmark(name, data_root=tmp_path).check()


@pytest.mark.parametrize("name", FOLDERS)
def test_what_the_downloader_leaves_is_where_the_benchmark_looks(name: str) -> None:
    from clipalign.registry.datasets import DATASETS

    benchmark = find_benchmark(name)
    assert isinstance(benchmark, ClassificationBenchmark)
    given = {place for file in DATASETS[name].files for place in (file.gives or (file.path,))}
    assert any(marker.startswith(place) or place.startswith(marker) for marker in benchmark.markers for place in given)


def test_the_order_mixes_classes_and_a_limit_only_shortens(tmp_path: Path) -> None:
    lines(tmp_path / "dtd/labels/test1.txt", *(f"{kind}/{n}.jpg" for kind in ("banded", "dotted") for n in range(20)))
    benchmark = dataset("dtd", tmp_path)
    every = [sample.id for sample in benchmark.samples(limit=None, seed=0)]
    assert [sample.id for sample in benchmark.samples(limit=10, seed=1)] == every[:10]
    assert len({name.partition("/")[0] for name in every[:10]}) == 2


def test_lists_that_do_not_agree_are_said(tmp_path: Path) -> None:
    make_food101(tmp_path)
    lines(tmp_path / "food-101/meta/test.txt", "pizza/1")
    with pytest.raises(InputUnreadable, match="do not agree with each other: 'pizza'"):
        list(dataset("food101", tmp_path).samples(limit=None, seed=0))
    (tmp_path / "food-101/meta/classes.txt").unlink()
    with pytest.raises(InputUnreadable, match=r"classes\.txt cannot be read"):
        list(dataset("food101", tmp_path).samples(limit=None, seed=0))


LISTS = {
    "cub": "CUB_200_2011/image_class_labels.txt",
    "place365": "places365_val.txt",
    "oxford_pet": "oxford-iiit-pet/annotations/test.txt",
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("line", ["x", "one two", "a.jpg 1.5", "\x00"])
def test_a_line_of_a_list_that_is_none_is_named(name: str, line: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    place = tmp_path / LISTS[name]
    place.write_text(f"{place.read_text()}{line}\n")
    number = len(place.read_text().splitlines())
    with pytest.raises(InputUnreadable, match=rf"{place.name}:{number} is not "):
        found_in(name, tmp_path)


def test_a_picture_of_a_class_that_is_not_listed_is_said_before_anything_is_scored(tmp_path: Path) -> None:
    make_place365(tmp_path)
    lines(tmp_path / "places365_val.txt", "Places365_val_00000001.jpg 3")
    with pytest.raises(InputUnreadable, match="is of class 3, and there are 3 classes"):
        list(dataset("place365", tmp_path).samples(limit=None, seed=0))


def test_lists_without_a_class_are_said(tmp_path: Path) -> None:
    make_food101(tmp_path)
    (tmp_path / "food-101/meta/classes.txt").write_text("\n")
    with pytest.raises(InputUnreadable, match="they name no class"):
        dataset("food101", tmp_path).task(Settings())


def test_a_byte_order_mark_is_no_part_of_a_class(tmp_path: Path) -> None:
    make_food101(tmp_path)
    place = tmp_path / "food-101/meta/classes.txt"
    place.write_bytes(b"\xef\xbb\xbf" + place.read_bytes())
    assert dataset("food101", tmp_path).class_names() == ("apple_pie", "sushi")


@pytest.mark.parametrize("name", ["/elsewhere/a.jpg", "a\0.jpg", "x" * 300])
def test_a_picture_under_a_name_that_is_none_here_is_a_sample_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    lines(tmp_path / "dtd/labels/test1.txt", f"{name}/{name}")
    (sample,) = dataset("dtd", tmp_path).samples(limit=None, seed=0)
    assert isinstance(sample, LabelledImage) and sample.identity == ""


# --- ImageNet's validation set as it is downloaded ------------------------------------------------------------------


def devkit(folder: Path) -> bytes:
    """Two classes that the devkit numbers the other way round, and one that is not of the thousand."""
    scipy_io = pytest.importorskip("scipy.io")
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
    rows = np.array([(1, "n01443537", 0), (2, "n01440764", 0), (1001, "n00001740", 2)], dtype=fields)
    stream = io.BytesIO()
    scipy_io.savemat(stream, {"synsets": rows})
    return stream.getvalue()


GROUND_TRUTH = b"1\n2\n1\n"
FROM_NUMBERS = {f"ILSVRC2012_val_0000000{n}.JPEG": name for n, name in ((1, "goldfish"), (2, "tench"), (3, "goldfish"))}


def test_imagenets_pictures_in_one_folder_are_labelled_by_the_devkit(tmp_path: Path) -> None:
    data = tmp_path / "ILSVRC2012_devkit_t12/data"
    data.mkdir(parents=True)
    (data / "meta.mat").write_bytes(devkit(tmp_path))
    (data / "ILSVRC2012_validation_ground_truth.txt").write_bytes(GROUND_TRUTH)
    for name in FROM_NUMBERS:
        picture(tmp_path / "val" / name)
    assert found_in("imagenet", tmp_path) == FROM_NUMBERS


def test_imagenets_archives_are_read_where_they_lie(tmp_path: Path) -> None:
    def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))

    stream = io.BytesIO()
    Image.new("RGB", (40, 30)).save(stream, "JPEG")
    with tarfile.open(tmp_path / "ILSVRC2012_img_val.tar", "w") as tar:
        for name in FROM_NUMBERS:
            add(tar, name, stream.getvalue())
    with tarfile.open(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        add(tar, "ILSVRC2012_devkit_t12/data/meta.mat", devkit(tmp_path))
        add(tar, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", GROUND_TRUTH)
    assert found_in("imagenet", tmp_path) == FROM_NUMBERS
    (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    with pytest.raises(InputUnreadable, match="the labels of ImageNet's pictures are not in"):
        found_in("imagenet", tmp_path)


def test_the_thousand_classes_and_the_two_hundred_are_counted_and_in_order() -> None:
    assert (len(synsets()), len(synsets("imagenet_a")), len(synsets("imagenet_r"))) == (1000, 200, 200)
    assert list(synsets()) == sorted(synsets())
    assert set(synsets("imagenet_a")) | set(synsets("imagenet_r")) < set(synsets())
    assert len(find_benchmark("imagenet-a").class_names()) == 200


def test_a_meta_mat_that_takes_its_reader_down_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy.io")
    data = tmp_path / "ILSVRC2012_devkit_t12/data"
    data.mkdir(parents=True)
    (data / "meta.mat").write_bytes(devkit(tmp_path)[:-40])
    picture(tmp_path / "val" / next(iter(FROM_NUMBERS)))
    with pytest.raises(InputUnreadable, match=r"meta\.mat in .* is not the devkit's"):
        found_in("imagenet", tmp_path)
    monkeypatch.setattr("clipalign.benchmarks.imagenet._META_READER", "import os; os.abort()")
    with pytest.raises(InputUnreadable, match=r"meta\.mat in .* is not the devkit's"):
        found_in("imagenet", tmp_path)


@pytest.mark.parametrize("archive", ["ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"])
def test_archives_of_imagenet_that_are_none_are_named(archive: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "ILSVRC2012_img_val.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("ILSVRC2012_val_00000001.JPEG"))
    with tarfile.open(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        for name, content in ((META, devkit(tmp_path)), (LABELS, GROUND_TRUTH)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    (tmp_path / archive).write_bytes(b"no archive")
    with pytest.raises(InputUnreadable, match=f"{archive} cannot be read"):
        found_in("imagenet", tmp_path)


# --- CIFAR ----------------------------------------------------------------------------------------------------------


def test_cifars_binary_version_comes_first_and_its_planes_become_pixels(tmp_path: Path) -> None:
    make_cifar10(tmp_path)
    top = tmp_path / "cifar-10-batches-bin"
    lines(top / "batches.meta.txt", "airplane", "automobile", "")
    red = bytes([1]) + bytes([255]) * 1024 + bytes(2048)
    (top / "test_batch.bin").write_bytes(red)
    benchmark = dataset("cifar10", tmp_path)
    assert benchmark.class_names() == ("airplane", "automobile")
    (sample,) = benchmark.samples(limit=None, seed=0)
    assert sample.label == 1
    assert opened(sample.image).getcolors() == [(1024, (255, 0, 0))]
    (top / "test_batch.bin").write_bytes(red[:-1] + b"x")
    (other,) = benchmark.samples(limit=None, seed=0)
    assert sample.identity != other.identity  # kept vectors are of the pixels, not of the name
    (top / "test_batch.bin").write_bytes(red[:-1])
    with pytest.raises(InputUnreadable, match="cut short"):
        list(benchmark.samples(limit=None, seed=0))


def test_cifar100s_binary_version_has_its_fine_label_second(tmp_path: Path) -> None:
    top = tmp_path / "cifar-100-binary"
    lines(top / "fine_label_names.txt", *(f"kind_{number}" for number in range(100)))
    (top / "test.bin").write_bytes(bytes([3, 42]) + bytes(3072))
    assert found_in("cifar100", tmp_path) == {"test-00000": "kind_42"}


class Harmful:
    """Would run a line of Python if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1 / 0",)


def test_a_pickle_that_asks_for_anything_but_arrays_is_refused(tmp_path: Path) -> None:
    make_cifar10(tmp_path)
    place = tmp_path / "cifar-10-batches-py/test_batch"
    write_pickle(place, {b"data": Harmful()})
    with pytest.raises(InputUnreadable, match=r"asks for .*eval, which no picture needs"):
        read_pickle(place)
    place.write_bytes(b"\x80\x02}q")
    with pytest.raises(InputUnreadable, match="is no file of CIFAR"):
        read_pickle(place)
    write_pickle(place, {b"data": np.zeros((1, 7), dtype=np.uint8), b"labels": [1]})
    with pytest.raises(InputUnreadable, match="is no file of CIFAR"):
        list(dataset("cifar10", tmp_path).samples(limit=None, seed=0))


def test_pickles_written_by_old_numpy_are_read() -> None:
    content = pickle.dumps(np.arange(3, dtype=np.uint8), protocol=2)
    assert b"numpy._core" in content or b"numpy.core" in content
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    place = Path("unused")

    class File(type(place)):  # type: ignore[misc]
        def read_bytes(self) -> bytes:
            return pickle.dumps({}, protocol=2)[:-1] + b"X\x04\x00\x00\x00data" + old[2:-1] + b"s."

    assert read_pickle(File("x"))["data"].tolist() == [0, 1, 2]


# --- classes and descriptions ---------------------------------------------------------------------------------------


def test_descriptions_beside_the_pictures_serve_every_method(tmp_path: Path) -> None:
    make_food101(tmp_path / "food101")
    prompts = tmp_path / "wca-descriptions/prompts/food101"
    lines(prompts / "cupl.json", json.dumps({"sushi": ["Sushi is rice."], "apple pie": ["Pie has a crust."]}))
    lines(prompts / "clip-d.json", json.dumps({"apple pie": ["a crust"], "sushi": ["rice"]}))
    lines(prompts / "clip-e.json", json.dumps(["a photo of {}, a type of food."]))
    lines(tmp_path / "waffle-words/waffle_words.txt", "lorem", "ipsum")
    task = dataset("food101", tmp_path).task(Settings())
    assert task.names == ("apple pie", "sushi")
    assert list(task.by_method) == ["clip", "clip-e", "clip-d", "waffle", "cupl", "wca"]
    assert task.by_method["clip-e"].templates == ("a photo of {}, a type of food.",)
    assert task.by_method["wca"].descriptions == {"apple pie": ("Pie has a crust.",), "sushi": ("Sushi is rice.",)}
    assert task.notes == (ALPHA_NOTE,)
    assert dataset("food101", tmp_path).task(Settings(method="cupl")).notes == ()


def test_downloaded_descriptions_serve_pictures_that_are_kept_elsewhere(tmp_path: Path) -> None:
    make_food101(tmp_path / "disk/pictures")
    place = tmp_path / "cache/datasets/wca-descriptions/prompts/food101/cupl.json"
    lines(place, json.dumps({"sushi": ["Sushi is rice."], "apple pie": ["Pie has a crust."]}))
    lines(tmp_path / "cache/datasets/waffle-words/waffle_words.txt", "lorem", "ipsum")
    task = dataset("food101", tmp_path / "disk/pictures").task(Settings(cache_dir=tmp_path / "cache"))
    assert list(task.by_method) == ["clip", "clip-e", "waffle", "cupl", "wca"]


def test_methods_without_their_files_are_left_out_and_named(tmp_path: Path) -> None:
    make_food101(tmp_path)
    task = dataset("food101", tmp_path).task(Settings())
    assert list(task.by_method) == ["clip", "clip-e"]
    assert [note.partition(":")[0] for note in task.notes] == [
        "without clip-d", "without waffle", "without cupl and wca",
    ]  # fmt: skip


def test_descriptions_of_other_classes_are_left_out_when_found_and_refused_when_given(tmp_path: Path) -> None:
    make_food101(tmp_path)
    place = tmp_path / "descriptions/cupl.json"
    lines(place, json.dumps({"ramen": ["Ramen is soup."], "sushi": ["Rice."]}))
    task = dataset("food101", tmp_path).task(Settings())
    assert "wca" not in task.by_method
    assert task.notes[0].startswith(f"not used: {place} describes 1 of 2 classes; not 'apple pie'")
    with pytest.raises(Exception, match="describes 1 of 2 classes"):
        dataset("food101", tmp_path).task(Settings(descriptions=place))


def test_files_of_the_same_classes_may_name_a_few_differently(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(38)]
    own, listed = [*names, "eft", "one-piece suit"], [*names, "newt", "tights"]
    lines(tmp_path / "prompts/cupl.json", json.dumps({name: [f"{name} it is"] for name in listed}))
    lines(tmp_path / "prompts/clip-d.json", json.dumps({name: ["a tail"] for name in own}))
    task = read_task("imagenet", tmp_path, own, Settings())
    assert task.names == tuple(own)
    described = task.by_method["wca"].descriptions
    assert described is not None and described["eft"] == ("newt it is",) and described["class 3"] == ("class 3 it is",)


@pytest.mark.parametrize("name", ["imagenetv2", "imagenet-s", "imagenet-a"])
def test_what_is_said_about_imagenets_classes_serves_its_variants(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path / name)
    described = {one: [f"{one} it is"] for one in imagenet_names()}
    lines(tmp_path / "wca-descriptions/prompts/imagenet/cupl.json", json.dumps(described))
    task = dataset(name, tmp_path).task(Settings())
    assert list(task.by_method) == ["clip", "clip-e", "cupl", "wca"]
    assert len(task.names) == (200 if name == "imagenet-a" else 1000)


def test_published_class_lists_win_over_the_folders_names_when_they_are_of_the_same_classes(tmp_path: Path) -> None:
    make_cub(tmp_path)
    listed = tmp_path / "features/cub/cub.json"
    lines(listed, json.dumps(["Black-footed Albatross", "Laysan Albatross"]))
    assert dataset("cub", tmp_path).task(Settings()).names == ("Black-footed Albatross", "Laysan Albatross")
    lines(listed, json.dumps(["Ostrich", "Emu"]))
    assert dataset("cub", tmp_path).task(Settings()).names == ("Black footed Albatross", "Laysan Albatross")


def test_names_that_occur_twice_are_said(tmp_path: Path) -> None:
    make_place365(tmp_path)
    lines(tmp_path / "features/place365/place365.json", json.dumps(["airfield", "zen garden", "zen garden"]))
    lines(tmp_path / "categories_places365.txt", "/a/airfield 0", "/z/zen_garden/a 1", "/z/zen_garden/b 2")
    task = dataset("place365", tmp_path).task(Settings())
    assert task.names == ("airfield", "zen garden", "zen garden")
    assert any("3 classes have 2 distinct names" in note for note in task.notes)


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published descriptions are not here")
@pytest.mark.parametrize(("name", "classes"), [("cub", 200), ("dtd", 47), ("food101", 101), ("oxford_pet", 37)])
def test_the_published_descriptions_fit_the_published_classes(name: str, classes: int, tmp_path: Path) -> None:
    listed = json.loads((SHARED / "classes" / f"{name}.json").read_text())
    task = read_task(name, SHARED / name, listed, Settings(words=SHARED / "waffle_words.txt"))
    assert len(task.names) == classes
    assert list(task.by_method) == ["clip", "clip-e", "clip-d", "waffle", "cupl", "wca"]


def test_published_numbers_are_shares_of_known_data_sets() -> None:
    for name, numbers in PUBLISHED.items():
        assert name in BENCHMARKS or name in {"sdci", "urban1k", "coco2017"}
        assert all(0 < number.value < 1 for number in numbers)
    wca = {(one.metric, one.backbone): one.value for one in PUBLISHED["oxford_pet"]}
    assert wca["top1_wca", "ViT-B/16"] == 0.9223
    assert wca["top1_wca_std", "ViT-B/32"] == 0.0009
