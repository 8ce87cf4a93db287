"""Every classification data set in its real layout, made small: what is found, with which label, in which order."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipalign.errors import ImageUnreadable, InputUnreadable, MissingDataset
from clipalign.evaluation.dataset_files import open_picture
from clipalign.evaluation.registry import find_benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks import imagenet
from clipalign.evaluation.tasks.class_evaluator import ClassSample
from clipalign.evaluation.tasks.classes import ClassBenchmark
from clipalign.evaluation.tasks.imagenet import GROUND_TRUTH as LABELS
from clipalign.evaluation.tasks.imagenet import META, synsets
from tests.classified import FOLDERS, MAKERS, dataset, found_in, lines, make_food101, make_place365, picture


@pytest.fixture(autouse=True)
def no_downloads_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the cache of whoever runs the tests must not decide them."""
    monkeypatch.setenv("CLIPALIGN_CACHE", str(tmp_path_factory.mktemp("cache")))


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
    from clipalign.download.dataset_rows import DATASETS

    benchmark = find_benchmark(name)
    assert isinstance(benchmark, ClassBenchmark)
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


def test_an_empty_list_is_named(tmp_path: Path) -> None:
    MAKERS["oxford_pet"](tmp_path)
    (tmp_path / LISTS["oxford_pet"]).write_text("")
    with pytest.raises(InputUnreadable, match=r"test\.txt names no picture"):
        found_in("oxford_pet", tmp_path)


def test_a_picture_of_a_class_that_is_not_listed_is_said_before_anything_is_scored(tmp_path: Path) -> None:
    make_place365(tmp_path)
    lines(tmp_path / "places365_val.txt", "Places365_val_00000001.jpg 3")
    with pytest.raises(InputUnreadable, match="is of class 3, and there are 3 classes"):
        list(dataset("place365", tmp_path).samples(limit=None, seed=0))


def test_lists_without_a_class_are_said(tmp_path: Path) -> None:
    make_food101(tmp_path)
    (tmp_path / "food-101/meta/classes.txt").write_text("\n")
    with pytest.raises(InputUnreadable, match="they name no class"):
        dataset("food101", tmp_path).task(EvalSettings())
    make_place365(tmp_path)
    lines(tmp_path / "categories_places365.txt", "/a/airfield 0", "/a/ 1", "/z/zen_garden 2")
    with pytest.raises(InputUnreadable, match=r"the lists of place365 in .*: class 2 has no name"):
        dataset("place365", tmp_path).task(EvalSettings())


def test_a_byte_order_mark_is_no_part_of_a_class(tmp_path: Path) -> None:
    make_food101(tmp_path)
    place = tmp_path / "food-101/meta/classes.txt"
    place.write_bytes(b"\xef\xbb\xbf" + place.read_bytes())
    assert dataset("food101", tmp_path).class_names() == ("apple_pie", "sushi")


@pytest.mark.parametrize("name", ["/elsewhere/a.jpg", "a\0.jpg", "x" * 300])
def test_a_picture_under_a_name_that_is_none_here_is_a_sample_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    lines(tmp_path / "dtd/labels/test1.txt", f"{name}/{name}")
    (sample,) = dataset("dtd", tmp_path).samples(limit=None, seed=0)
    assert isinstance(sample, ClassSample)
    with pytest.raises(ImageUnreadable):
        open_picture(sample.image)


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
    benchmark = find_benchmark("imagenet-a")
    assert isinstance(benchmark, ClassBenchmark) and len(benchmark.class_names()) == 200


def test_a_meta_mat_that_takes_its_reader_down_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy.io")
    data = tmp_path / "ILSVRC2012_devkit_t12/data"
    data.mkdir(parents=True)
    (data / "meta.mat").write_bytes(devkit(tmp_path)[:-40])
    picture(tmp_path / "val" / next(iter(FROM_NUMBERS)))
    with pytest.raises(InputUnreadable, match=r"meta\.mat in .* is not the devkit's"):
        found_in("imagenet", tmp_path)
    monkeypatch.setattr("clipalign.evaluation.tasks.imagenet._META_READER", "import os; os.abort()")
    with pytest.raises(InputUnreadable, match=r"meta\.mat in .* is not the devkit's"):
        found_in("imagenet", tmp_path)


def test_files_of_the_devkit_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo(META)
        member.size = 2000
        tar.addfile(member, io.BytesIO(bytes(2000)))
    picture(tmp_path / "val" / next(iter(FROM_NUMBERS)))
    monkeypatch.setattr(imagenet, "_DEVKIT_BYTES", 1000)
    with pytest.raises(InputUnreadable, match=r"a file of the devkit in .* has over 1,000 bytes"):
        found_in("imagenet", tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process may have any memory")
def test_the_reader_of_a_meta_mat_has_bounded_memory() -> None:
    scipy_io = pytest.importorskip("scipy.io")
    stream = io.BytesIO()
    scipy_io.savemat(stream, {"synsets": np.zeros(40_000_000, np.uint8)}, do_compression=True)
    reader = imagenet._META_READER.replace("500_000_000", "20_000_000")
    done = subprocess.run([sys.executable, "-c", reader], input=stream.getvalue(), capture_output=True)
    assert len(stream.getvalue()) < 100_000 and b"MemoryError" in done.stderr


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


def test_places365_says_whether_its_pictures_are_full_size_or_small(tmp_path: Path) -> None:
    make_place365(tmp_path)
    benchmark = dataset("place365", tmp_path)
    assert any(note.startswith("small pictures") for note in benchmark.task(EvalSettings()).notes)
    (tmp_path / "val_256").rename(tmp_path / "val_large")
    assert "pictures in full size, as in WCA's code" in benchmark.task(EvalSettings()).notes
    assert len(found_in("place365", tmp_path)) == 2
