"""Weights in TorchScript archives, and other untrusted pickles, read for their data without running anything.

A pickle is a program that names functions and calls them. ``load_inert`` first checks its instructions and then runs it
with stand-ins of our own; a name without a stand-in is an error, so nothing that a pickle names can run.

OpenAI published CLIP as archives with code beside the weights, some of which ``torch.jit.load`` executes. ``data.pkl``
names modules and tensors, and ``data/0``, ``data/1``, … hold their bytes. The code is only searched for the lists of
those tensors of a module that are weights: a mask of attention is none.
"""

from __future__ import annotations

import functools
import io
import itertools
import operator
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

_PREALLOCATING: Final = {"BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "EXT1", "EXT2", "EXT4", "INST", "OBJ"}
"""Instructions that allocate memory before they check that their data exists, or that no file of ours has."""

_MEMO_PUTS: Final = {"PUT", "BINPUT", "LONG_BINPUT"}

Find = Callable[[str, str], Any]  # from module and name to a stand-in; None refuses


_Unpickler: Any = pickle._Unpickler  # type: ignore[attr-defined, unused-ignore]
"""The one written in Python, of which an instruction can be changed."""


class StandIn:
    """Object whose state a pickle may set by ``__setstate__``; that of functions and tensors would allow too much."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it sets a state where there is none")


class _Inert(_Unpickler):  # type: ignore[misc]
    dispatch: Final = dict(_Unpickler.dispatch)

    def __init__(self, content: bytes, find: Find, persistent: Callable[[Any], Any] | None, encoding: str) -> None:
        super().__init__(io.BytesIO(content), encoding=encoding)
        self._find = find
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        found = self._find(module, name)
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data does not need")
        return found

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], StandIn):
            raise pickle.UnpicklingError(f"it sets the state of a {type(self.stack[-1]).__name__}")
        self.stack[-1].__setstate__(state)

    dispatch[pickle.BUILD[0]] = load_build

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError("it refers to data outside itself")
        return self._persistent(pid)


def load_inert(
    content: bytes,
    find: Find | Mapping[tuple[str, str], Any],
    *,
    persistent: Callable[[Any], Any] | None = None,
    encoding: str = "ASCII",
) -> Any:
    """What a pickle holds, with every name it asks for replaced; a damaged one raises nearly any exception.

    Args:
        find: the stand-in of a module's name; None refuses it.
        persistent: turns a persistent id into what it stands for.
        encoding: of the strings of Python 2; ``"bytes"`` leaves them as bytes.
    """
    for opcode, argument, _ in pickletools.genops(content):
        # The memo is an array as long as its largest index, which five bytes can put beyond all memory.
        if opcode.name in _PREALLOCATING or (opcode.name in _MEMO_PUTS and int(argument or 0) > len(content)):
            raise pickle.UnpicklingError(f"it holds the instruction {opcode.name}, which data does not need")
    lookup: Find = find if callable(find) else lambda module, name: find.get((module, name))
    return _Inert(content, lookup, persistent, encoding).load()


_STORAGES: Final[dict[str, torch.dtype]] = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DEEPEST: Final = 64  # modules within modules; a CLIP has some eight

_MOST: Final = 100_000
"""Modules of an archive; one may be within several others, and a few bytes could name one without end."""

_MOST_CODE: Final = 64 * 1024 * 1024  # bytes of unpacked code; that of the largest CLIP has less than two million

_LISTS: Final = re.compile(r"^class (\w+)\(Module\):\n  __parameters__ = \[(.*)\]\n  __buffers__ = \[(.*)\]", re.M)


class _Module(StandIn):
    """Stand-in for every class of the archive: its attributes, and names of those that are weights."""

    attributes: dict[str, Any] = {}  # noqa: RUF012
    weights: frozenset[str] = frozenset()

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def is_torchscript(path: Path) -> bool:
    """Whether a file is such an archive: what ``torch.save`` writes lacks ``constants.pkl``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The tensors of an archive under their names in a ``state_dict``; a damaged one raises nearly any exception."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        refuse_unfolding(path)
        weights: dict[str, frozenset[str]] = {}
        (index,) = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
        folder = index.removesuffix("data.pkl")
        storages: dict[str, Tensor] = {}

        def storage(pid: Any) -> Tensor:
            _, dtype, key, *_ = pid
            if key not in storages:
                content = bytearray(archive.read(members[f"{folder}data/{key}"]))
                storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            return storages[key]

        for name in members:
            if name.startswith(f"{folder}code/") and name.endswith(".py"):
                module = name.removeprefix(f"{folder}code/").removesuffix(".py").replace("/", ".")
                for kind, *lists in _LISTS.findall(archive.read(name).decode()):
                    weights[f"{module}.{kind}"] = frozenset(re.findall(r'"([^"]*)"', " ".join(lists)))
        find = functools.partial(_stand_in, weights)
        root = load_inert(archive.read(members[index]), find, persistent=storage)
    return dict(_collect(root, "", 0, itertools.count()))


def refuse_unfolding(path: Path) -> None:
    """Raise ValueError if the archive unpacks to more bytes than the file has, its compressed code aside."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    code = sum(member.file_size for member in members if "/code/" in member.filename)
    if sum(member.file_size for member in members) - code > path.stat().st_size or code > _MOST_CODE:
        raise ValueError("its members claim more bytes than the file has")


def _stand_in(weights: dict[str, frozenset[str]], module: str, name: str) -> Any:
    if module == "__torch__" or module.startswith("__torch__."):
        return type("_Module", (_Module,), {"weights": weights.get(f"{module}.{name}", frozenset())})
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
        return _rebuild
    if module == "torch.jit._pickle":
        return list if name.startswith("build_") else lambda value, _: value  # lists of one type; a tag for a type
    if (module, name) == ("collections", "OrderedDict"):
        return dict
    return _STORAGES.get(name) if module == "torch" else None


def _rebuild(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A tensor over its storage, which must hold every value of it."""
    if not isinstance(storage, Tensor) or min((offset, *size, *stride)) < 0 or len(size) != len(stride):
        raise pickle.UnpicklingError("it holds an invalid tensor")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    values = functools.reduce(operator.mul, size, 1)
    if values > storage.numel() or (values and last >= storage.numel()):
        raise pickle.UnpicklingError("it holds a tensor beyond its data")
    return storage.as_strided(size, stride, offset)


def _collect(module: Any, prefix: str, depth: int, visits: Iterator[int]) -> Iterator[tuple[str, Tensor]]:
    if depth > _DEEPEST or next(visits) > _MOST:
        raise ValueError("its modules hold one another")
    for name, value in module.attributes.items():
        if isinstance(value, Tensor) and name in module.weights:
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _collect(value, f"{prefix}{name}.", depth + 1, visits)
