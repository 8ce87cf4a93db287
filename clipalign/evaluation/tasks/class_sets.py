"""``cifar10`` and ``cifar100``: 10,000 test pictures of 32 pixels a side (Krizhevsky, 2009).

Two layouts: the binary version (``cifar-10-batches-bin/test_batch.bin``, ``cifar-100-binary/test.bin``: label bytes,
then 3072 bytes of red, green and blue, a picture after the other), which is taken first, and the Python version
(``cifar-10-batches-py/test_batch``, ``cifar-100-python/test``), which most have on disk. That one is a pickle, and
pickles run code: it is read with stand-ins that know arrays of bytes and refuse every other name and type.

``cub``: 5,794 test pictures of 200 birds (Wah et al., 2011).

Layout: ``CUB_200_2011/`` with ``images/CLASS/FILE.jpg`` and lists that count from 1: ``images.txt`` (number, file),
``image_class_labels.txt`` (number, class), ``train_test_split.txt`` (number, 1 for training), ``classes.txt``.

``dtd``: 1,880 test pictures of 47 textures (Cimpoi et al., 2014), the first of its ten partitions.

Layout: ``dtd/images/CLASS/FILE.jpg`` and ``dtd/labels/test1.txt`` with a line ``CLASS/FILE.jpg`` a picture.

``food101``: 25,250 test pictures of 101 dishes (Bossard et al., 2014).

Layout: ``food-101/images/CLASS/ID.jpg``, ``food-101/meta/test.txt`` with a line ``CLASS/ID`` a picture, and
``food-101/meta/classes.txt``.

``oxford_pet``: 3,669 test pictures of 37 breeds of cats and dogs (Parkhi et al., 2012).

Layout: ``oxford-iiit-pet/images/NAME.jpg`` and ``oxford-iiit-pet/annotations/test.txt`` with a line
``NAME CLASS SPECIES BREED`` a picture; classes count from 1, a name is the breed, ``_`` and a number.

``place365``: the 36,500 validation pictures of Places365 (Zhou et al., 2017), at 256 pixels.

Layout: ``val_256/Places365_val_00000001.jpg``, ``places365_val.txt`` with a line ``FILE LABEL`` a picture, and
``categories_places365.txt`` with a line ``/a/airfield 0`` a class. Published with alpha 0.7.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from clipalign.errors import InputUnreadable
from clipalign.evaluation.task import numbered_rows, text_lines
from clipalign.evaluation.tasks.classes import ClassificationBenchmark, FoundPicture
from clipalign.models.torchscript import StandIn, load_inert

SIDE_PX: Final = 32
PICTURE_BYTES: Final = 3 * SIDE_PX * SIDE_PX


def _latin(text: str, encoding: str) -> bytes:
    """Bytes that Python 3 pickled for Python 2, as text; no other codec is needed, and some of them do much."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding}")
    return text.encode("latin1")


class _Bytes(StandIn):
    """Stands for ``numpy.dtype``: the type of bytes without sign, and no other.

    numpy's own would also make types that hold pointers, which a pickle may then set to any address.
    """

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it holds numbers of type {code!r}, not bytes")

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and the like, of which bytes have none


class _Array(StandIn):
    """Stands for ``numpy.ndarray``: bytes, and exactly as many as its shape has."""

    values: np.ndarray[Any, np.dtype[np.uint8]] = np.zeros(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, column_first, content = state
        if not isinstance(kind, _Bytes) or not isinstance(content, bytes) or math.prod(shape) != len(content):
            raise pickle.UnpicklingError("it holds an array that does not fit its shape")
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if column_first else "C")


def _new_array(*_: Any) -> _Array:
    return _Array()


_ARRAY_PARTS: Final[dict[tuple[str, str], Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Bytes,
    ("numpy.core.multiarray", "_reconstruct"): _new_array,  # another module in every major version of numpy
    ("numpy._core.multiarray", "_reconstruct"): _new_array,
    ("_codecs", "encode"): _latin,
}
"""All that the files name."""

_MAX_BYTES: Final = 256 * 1024 * 1024
"""Of a file; the largest has 31 MB."""


def read_pickle(path: Path) -> dict[bytes, Any]:
    """The dictionary in a file of CIFAR's Python version.

    Raises:
        InputUnreadable: it is damaged, or holds anything but data.
    """
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES:,} bytes, or no plain file")
        found = load_inert(path.read_bytes(), _ARRAY_PARTS, encoding="bytes")
    except OSError as error:
        raise InputUnreadable(f"{path} cannot be read: {error.strerror}", input=str(path)) from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputUnreadable(
            f"{path} is no file of CIFAR: {error}", hint="fetch it again, or take the binary version", input=str(path)
        ) from error
    if not isinstance(found, dict):
        raise InputUnreadable(f"{path} is no file of CIFAR", hint="fetch it again", input=str(path))
    return found


class _Cifar(ClassificationBenchmark):
    """What both have in common.

    Attributes:
        label_bytes: of a picture in the binary version, the last of which counts.
        label_key: of the labels in the Python version.
        names_files: with a class a line, or pickled under the key beside it.
    """

    size = 10_000
    label_bytes: int
    label_key: bytes
    names_files: tuple[tuple[str, bytes], ...]

    def class_names(self) -> tuple[str, ...]:
        """From the file beside the pictures."""
        for file, key in self.names_files:
            place = self.marker.parent / file
            if place.is_file():
                if not key:
                    return tuple(text_lines(place))
                held = read_pickle(place).get(key)
                if not isinstance(held, list) or not all(isinstance(one, bytes) and one.isascii() for one in held):
                    raise InputUnreadable(f"{place} is no file of CIFAR", hint="fetch it again", input=str(place))
                return tuple(one.decode("ascii") for one in held)
        raise InputUnreadable(
            f"{self.marker.parent} has no list of classes", hint="is the data set complete?", input=str(self.folder)
        )

    def pictures(self) -> Iterator[FoundPicture]:
        """All test pictures, numbered."""
        pixels, labels = self._read()
        for number, (values, label) in enumerate(zip(pixels, labels, strict=True)):
            picture = Image.fromarray(values.reshape(3, SIDE_PX, SIDE_PX).transpose(1, 2, 0).copy())
            yield FoundPicture(f"test-{number:05}", int(label), picture)

    def _read(self) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], list[int]]:
        if self.marker.suffix == ".bin":
            try:
                content = np.fromfile(self.marker, dtype=np.uint8, count=_MAX_BYTES)
            except OSError as error:
                raise InputUnreadable(f"{self.marker} cannot be read: {error}", input=str(self.marker)) from error
            row = self.label_bytes + PICTURE_BYTES
            if not len(content) or len(content) % row:
                raise InputUnreadable(f"{self.marker} is cut short", hint="fetch it again", input=str(self.marker))
            rows = content.reshape(-1, row)
            return rows[:, self.label_bytes :], rows[:, self.label_bytes - 1].tolist()
        found = read_pickle(self.marker)
        held, labels = found.get(b"data"), found.get(self.label_key)
        pixels = held.values if isinstance(held, _Array) else _Array.values
        if (
            pixels.ndim != 2
            or pixels.shape[1:] != (PICTURE_BYTES,)
            or not isinstance(labels, list)
            or len(labels) != len(pixels)
            or not all(isinstance(label, int) for label in labels)
        ):
            raise InputUnreadable(f"{self.marker} is no file of CIFAR", hint="fetch it again", input=str(self.marker))
        return pixels, labels


class Cifar10(_Cifar):
    """Ten kinds of animals and vehicles."""

    name = "cifar10"
    markers = (
        "cifar-10-batches-bin/test_batch.bin",
        "cifar-10-batches-py/test_batch",
        "test_batch.bin",
        "test_batch",
    )
    label_bytes = 1
    label_key = b"labels"
    names_files = (("batches.meta.txt", b""), ("batches.meta", b"label_names"))


class Cifar100(_Cifar):
    """A hundred kinds; the fine labels."""

    name = "cifar100"
    markers = ("cifar-100-binary/test.bin", "cifar-100-python/test", "test.bin", "test")
    label_bytes = 2
    label_key = b"fine_labels"
    names_files = (("fine_label_names.txt", b""), ("meta", b"fine_label_names"))


class Cub(ClassificationBenchmark):
    """The benchmark; see the module's text."""

    name = "cub"
    size = 5794
    markers = ("CUB_200_2011/images.txt", "images.txt")

    def _list(self, name: str) -> dict[int, str]:
        return dict(numbered_rows(self._top / name, "NUMBER VALUE"))

    @property
    def _top(self) -> Path:
        return self.marker.parent

    def class_names(self) -> tuple[str, ...]:
        """``001.Black_footed_Albatross`` without its number."""
        classes = self._list("classes.txt")
        return tuple(classes[number].partition(".")[2] for number in sorted(classes))

    def pictures(self) -> Iterator[FoundPicture]:
        """What is not for training."""
        labels, trained_on = self._list("image_class_labels.txt"), self._list("train_test_split.txt")
        places = {number: place for place, number in enumerate(sorted(self._list("classes.txt")))}
        for number, file in self._list("images.txt").items():
            if trained_on[number] == "0":
                yield FoundPicture(file, places[int(labels[number])], self._top / "images" / file)


class Dtd(ClassificationBenchmark):
    """The benchmark; see the module's text."""

    name = "dtd"
    size = 1880
    markers = ("dtd/dtd/labels/test1.txt", "dtd/labels/test1.txt", "labels/test1.txt")

    @property
    def _top(self) -> Path:
        return self.marker.parent.parent

    def class_names(self) -> tuple[str, ...]:
        """The textures of all three lists of the partition, in the order of the alphabet."""
        names: set[str] = set()
        for part in ("train", "val", "test"):
            file = self._top / "labels" / f"{part}1.txt"
            if file.is_file():
                names.update(line.partition("/")[0] for line in text_lines(file))
        return tuple(sorted(names))

    def pictures(self) -> Iterator[FoundPicture]:
        """The lines of ``test1.txt``."""
        labels = {name: label for label, name in enumerate(self.class_names())}
        for line in text_lines(self.marker):
            yield FoundPicture(line, labels[line.partition("/")[0]], self._top / "images" / line)


class Food101(ClassificationBenchmark):
    """The benchmark; see the module's text."""

    name = "food101"
    size = 25_250
    markers = ("food-101/meta/test.txt", "meta/test.txt")

    @property
    def _top(self) -> Path:
        return self.marker.parent.parent

    def class_names(self) -> tuple[str, ...]:
        """The folders' names, in the order of ``classes.txt``."""
        return tuple(text_lines(self._top / "meta" / "classes.txt"))

    def pictures(self) -> Iterator[FoundPicture]:
        """The lines of ``test.txt``."""
        labels = {name: label for label, name in enumerate(self.class_names())}
        for line in text_lines(self._top / "meta" / "test.txt"):
            yield FoundPicture(line, labels[line.partition("/")[0]], self._top / "images" / f"{line}.jpg")


class OxfordPet(ClassificationBenchmark):
    """The benchmark; see the module's text."""

    name = "oxford_pet"
    size = 3669
    markers = ("oxford-iiit-pet/annotations/test.txt", "annotations/test.txt")

    @property
    def _top(self) -> Path:
        return self.marker.parent.parent

    def class_names(self) -> tuple[str, ...]:
        """The breeds in the order of their numbers, from both lists."""
        names: dict[int, str] = {}
        for part in ("trainval", "test"):
            file = self._top / "annotations" / f"{part}.txt"
            for number, picture in numbered_rows(file, "NAME NUMBER") if file.is_file() else ():
                names[number] = picture.rpartition("_")[0]
        return tuple(names[number] for number in sorted(names))

    def pictures(self) -> Iterator[FoundPicture]:
        """The lines of ``test.txt``."""
        labels = {name: label for label, name in enumerate(self.class_names())}
        for _, picture in numbered_rows(self.marker, "NAME NUMBER"):
            label = labels[picture.rpartition("_")[0]]
            yield FoundPicture(picture, label, self._top / "images" / f"{picture}.jpg")


class Place365(ClassificationBenchmark):
    """The benchmark; see the module's text."""

    name = "place365"
    size = 36_500
    markers = ("places365_val.txt", "filelist_places365-standard/places365_val.txt")
    alpha = 0.7

    def class_names(self) -> tuple[str, ...]:
        """The categories without their letter, ``arena/hockey`` as two words."""
        by_label = dict(numbered_rows(self.marker.parent / "categories_places365.txt", "CATEGORY NUMBER"))
        return tuple(by_label[label][3:].replace("/", " ") for label in sorted(by_label))

    def pictures(self) -> Iterator[FoundPicture]:
        """The lines of ``places365_val.txt``."""
        lists = self.marker.parent
        folder = next((top / "val_256" for top in (lists, lists.parent) if (top / "val_256").is_dir()), lists)
        for label, file in numbered_rows(self.marker, "FILE NUMBER"):
            yield FoundPicture(file, label, folder / file.lstrip("/"))
