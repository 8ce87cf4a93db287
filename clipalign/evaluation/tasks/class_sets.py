"""Class benchmarks of lists and of CIFAR's files.

CIFAR has two layouts: the binary version (label bytes, then 3072 bytes of red, green and blue a picture), tried first,
and the Python version. That one is a pickle, and pickles run code: it is read with stand-ins that know arrays of bytes
and refuse every other name and type.
"""

from __future__ import annotations

import math
import os
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from clipalign.errors import InputUnreadable
from clipalign.evaluation.dataset_files import COMPLETE, numbered_rows, text_lines
from clipalign.evaluation.tasks.classes import ClassBenchmark, FoundPicture
from clipalign.models.torchscript import StandIn, load_inert

if TYPE_CHECKING:
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.evaluation.tasks.class_evaluator import ClassTask


class PictureLists(ClassBenchmark):
    """Pictures that a list names; their classes are given there, in a second list, or in the pictures' own names.

    Attributes:
        markers: paths of the list; all others are from its folder.
        form: of its lines: ``FILE``, ``FILE NUMBER`` or ``NUMBER FILE``. The number is the class, or the picture's own
            where ``labels`` is set.
        pictures: folders that may hold the pictures; the first that exists is used.
        folder_notes: what a reader must know of the pictures of a folder, by its name.
        suffix: ending of a picture's name that the list leaves out.
        labels: list of ``NUMBER CLASS``, a line a picture.
        split: list of ``NUMBER 0`` for pictures of the test part, other lines are left out; with ``labels``.
        picture_class: pattern whose group is the class's name in ``FILE``, where no number says it.
        classes: lists of the classes; those that exist are merged.
        classes_form: of their lines: ``NAME``, ``NAME NUMBER`` or ``NUMBER NAME``. Classes are in the order of their
            numbers, else of the list if it is one, else of the alphabet.
        class_name: pattern whose group is the class's name in ``NAME``.
    """

    form: str = "FILE"
    pictures: tuple[str, ...]
    folder_notes: dict[str, str] | None = None
    suffix: str = ""
    labels: str = ""
    split: str = ""
    picture_class: str = "(.*)"
    classes: tuple[str, ...]
    classes_form: str = "NAME"
    class_name: str = "(.*)"

    def class_names(self) -> tuple[str, ...]:
        """Names with a space for each slash, which separates nested folders."""
        return tuple(self._classes().values())

    def _classes(self) -> dict[int | str, str]:
        lists = [self.marker.parent / name for name in self.classes]
        found: dict[int | str, str] = {}
        for path in lists if len(lists) == 1 else filter(Path.is_file, lists):
            if self.classes_form == "NAME":
                names = [_name(self.class_name, line) for line in text_lines(path)]
                found |= zip(names, names, strict=True)
            else:
                rows = numbered_rows(path, self.classes_form)
                found |= {number: _name(self.class_name, text) for number, text in rows}
        if len(lists) == 1 and self.classes_form == "NAME":
            return found
        return dict(sorted(found.items(), key=lambda one: (one[0] if isinstance(one[0], int) else 0, one[1])))

    def found_pictures(self) -> Iterator[FoundPicture]:
        labels = {key: label for label, key in enumerate(self._classes())}
        folder = self._picture_folder()
        listed = list(self._listed())
        if not listed:
            raise ValueError(f"{self.marker.name} names no picture")
        for file, key in listed:
            if isinstance(key, int) and key not in labels:
                raise ValueError(f"{file} is of class {key}, and there are {len(labels)} classes")
            yield FoundPicture(file, labels[key], folder / f"{file}{self.suffix}".lstrip("/"))

    def _picture_folder(self) -> Path:
        folders = [Path(os.path.normpath(self.marker.parent / name)) for name in self.pictures]
        return next((one for one in folders if one.is_dir()), folders[0])

    def task(self, settings: EvalSettings) -> ClassTask:
        task = super().task(settings)
        note = (self.folder_notes or {}).get(self._picture_folder().name)
        return replace(task, notes=(*task.notes, note)) if note else task

    def _listed(self) -> Iterator[tuple[str, int | str]]:
        if self.form == "FILE":
            for file in text_lines(self.marker):
                yield file, _name(self.picture_class, file)
            return
        rows = numbered_rows(self.marker, self.form)
        if not self.labels:
            yield from ((file, number) for number, file in rows)
            return
        labels = dict(numbered_rows(self.marker.parent / self.labels, "NUMBER CLASS"))
        split = dict(numbered_rows(self.marker.parent / self.split, "NUMBER SPLIT"))
        yield from ((file, int(labels[number])) for number, file in rows if split[number] == "0")


def _name(pattern: str, text: str) -> str:
    found = re.fullmatch(pattern, text)
    if found is None:
        raise ValueError(f"{text!r} names no class")
    return found[1].replace("/", " ")


SIDE_PX: Final = 32
PICTURE_BYTES: Final = 3 * SIDE_PX * SIDE_PX

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def _latin(text: str, encoding: str) -> bytes:
    """Encode text that Python 3 pickled for Python 2; other codecs are refused, as some of them run much code."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding}")
    return text.encode("latin1")


class _Bytes(StandIn):
    """Stand-in for ``numpy.dtype``, unsigned bytes only: numpy's own can hold pointers, which a pickle may set."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it holds numbers of type {code!r}, not bytes")

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and the like, of which bytes have none


class _Array(StandIn):
    """Stand-in for ``numpy.ndarray``: bytes, exactly as many as its shape has."""

    values: Pixels = np.zeros(0, np.uint8)

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

_MAX_BYTES: Final = 256 * 1024 * 1024  # the largest real file has 31 MB


def read_pickle(path: Path) -> dict[bytes, Any]:
    """The dictionary in a file of CIFAR's Python version; InputUnreadable if it is damaged or holds more than data."""
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
        raise _damaged(path)
    return found


class Cifar(ClassBenchmark):
    """10,000 test pictures.

    Attributes:
        label_bytes: of a picture in the binary version, the last of which counts.
        label_key: of the labels in the Python version.
        names_file: with a class a line.
        meta_file: pickled, with the names of the classes under ``meta_key``.
    """

    label_bytes: int
    label_key: str
    names_file: str
    meta_file: str
    meta_key: str

    def class_names(self) -> tuple[str, ...]:
        top = self.marker.parent
        if (top / self.names_file).is_file():
            return tuple(text_lines(top / self.names_file))
        path = top / self.meta_file
        if not path.is_file():
            raise InputUnreadable(f"{top} has no list of classes", hint=COMPLETE, input=str(self.folder))
        held = read_pickle(path).get(self.meta_key.encode())
        if not isinstance(held, list) or not all(isinstance(one, bytes) and one.isascii() for one in held):
            raise _damaged(path)
        return tuple(one.decode("ascii") for one in held)

    def found_pictures(self) -> Iterator[FoundPicture]:
        pixels, labels = self._read_binary() if self.marker.suffix == ".bin" else self._read_pickle()
        for number, (values, label) in enumerate(zip(pixels, labels, strict=True)):
            picture = Image.fromarray(values.reshape(3, SIDE_PX, SIDE_PX).transpose(1, 2, 0).copy())
            yield FoundPicture(f"test-{number:05}", int(label), picture)

    def _read_binary(self) -> tuple[Pixels, list[int]]:
        try:
            content = np.fromfile(self.marker, dtype=np.uint8, count=_MAX_BYTES)
        except OSError as error:
            raise InputUnreadable(f"{self.marker} cannot be read: {error}", input=str(self.marker)) from error
        row = self.label_bytes + PICTURE_BYTES
        if not len(content) or len(content) % row:
            raise InputUnreadable(f"{self.marker} is cut short", hint="fetch it again", input=str(self.marker))
        rows = content.reshape(-1, row)
        return rows[:, self.label_bytes :], rows[:, self.label_bytes - 1].tolist()

    def _read_pickle(self) -> tuple[Pixels, list[int]]:
        found = read_pickle(self.marker)
        held, labels = found.get(b"data"), found.get(self.label_key.encode())
        pixels = held.values if isinstance(held, _Array) else _Array.values
        whole = pixels.ndim == 2 and pixels.shape[1:] == (PICTURE_BYTES,)
        if not whole or not isinstance(labels, list) or len(labels) != len(pixels):
            raise _damaged(self.marker)
        if not all(isinstance(label, int) for label in labels):
            raise _damaged(self.marker)
        return pixels, labels


def _damaged(path: Path) -> InputUnreadable:
    return InputUnreadable(f"{path} is no file of CIFAR", hint="fetch it again", input=str(path))
