"""``cifar10`` and ``cifar100``: 10,000 test pictures of 32 pixels a side (Krizhevsky, 2009).

Two layouts: the binary version (``cifar-10-batches-bin/test_batch.bin``, ``cifar-100-binary/test.bin``: label bytes,
then 3072 bytes of red, green and blue, a picture after the other), which is taken first, and the Python version
(``cifar-10-batches-py/test_batch``, ``cifar-100-python/test``), which most have on disk. That one is a pickle, and
pickles run code: it is read with stand-ins that know arrays of bytes and refuse every other name and type.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from clipalign.benchmarks.classification import ClassificationBenchmark, FoundPicture
from clipalign.benchmarks.data import text_lines
from clipalign.errors import InputUnreadable
from clipalign.pipeline.pickles import StandIn, load_inert

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
