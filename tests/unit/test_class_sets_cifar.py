"""CIFAR in its two versions: bytes, and pickles that may hold nothing but arrays."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from clipalign.errors import InputUnreadable
from clipalign.evaluation.dataset_files import open_picture
from clipalign.evaluation.tasks.class_evaluator import ClassSample
from clipalign.evaluation.tasks.class_sets import read_pickle
from tests.classified import dataset, found_in, lines, make_cifar10, write_pickle


def test_cifars_binary_version_comes_first_and_its_planes_become_pixels(tmp_path: Path) -> None:
    make_cifar10(tmp_path)
    top = tmp_path / "cifar-10-batches-bin"
    lines(top / "batches.meta.txt", "airplane", "automobile", "")
    red = bytes([1]) + bytes([255]) * 1024 + bytes(2048)
    (top / "test_batch.bin").write_bytes(red)
    benchmark = dataset("cifar10", tmp_path)
    assert benchmark.class_names() == ("airplane", "automobile")
    (sample,) = benchmark.samples(limit=None, seed=0)
    assert isinstance(sample, ClassSample) and sample.label == 1
    assert open_picture(sample.image).getcolors() == [(1024, (255, 0, 0))]
    (top / "test_batch.bin").write_bytes(red[:-1] + b"x")
    (other,) = benchmark.samples(limit=None, seed=0)
    assert isinstance(other, ClassSample)
    assert open_picture(other.image).tobytes() != open_picture(sample.image).tobytes()
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
    with pytest.raises(InputUnreadable, match=r"asks for .*eval, which data does not need"):
        read_pickle(place)
    place.write_bytes(b"\x80\x02}q")
    with pytest.raises(InputUnreadable, match="is no file of CIFAR"):
        read_pickle(place)
    write_pickle(place, {b"data": np.zeros((1, 7), dtype=np.uint8), b"labels": [1]})
    with pytest.raises(InputUnreadable, match="is no file of CIFAR"):
        list(dataset("cifar10", tmp_path).samples(limit=None, seed=0))


def test_pickles_written_by_old_numpy_are_read(tmp_path: Path) -> None:
    content = pickle.dumps({b"data": np.arange(6, dtype=np.uint8).reshape(2, 3)}, protocol=2)
    assert b"numpy._core" in content or b"numpy.core" in content
    (tmp_path / "x").write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_pickle(tmp_path / "x")[b"data"].values.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("content", [{}, {b"label_names": 7}, {b"label_names": ["cat"]}, {b"label_names": [b"\xff"]}])
def test_names_of_classes_are_names(tmp_path: Path, content: object) -> None:
    make_cifar10(tmp_path)
    write_pickle(tmp_path / "cifar-10-batches-py/batches.meta", content)
    with pytest.raises(InputUnreadable, match="is no file of CIFAR"):
        dataset("cifar10", tmp_path).class_names()


def _array(dtype: bytes, shape: bytes, content: bytes) -> bytes:
    """A pickled array of any type over any bytes, as no numpy would write it."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n" + shape + b"cnumpy\ndtype\n(S'"
        b"" + dtype + b"'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI63\ntbI00\n" + content + b"tb."
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (_array(b"O8", b"(I1\nt", b"S'AAAAAAAA'\n"), "numbers of type b'O8', not bytes"),  # pointers of its choice
        (_array(b"u1", b"(I3072\nt", b"S'A'\n"), "does not fit its shape"),  # memory that nobody wrote
        (_array(b"u1", b"(I1\nt", b"N"), "does not fit its shape"),
        (b"\x80\x02]r\xff\xff\xff\x7f.", "LONG_BINPUT"),
    ],
)
def test_arrays_are_bytes_and_as_many_as_they_say(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputUnreadable, match=why):
        read_pickle(tmp_path / "x")
