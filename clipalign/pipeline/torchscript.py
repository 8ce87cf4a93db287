"""The weights in a TorchScript archive, read without running it.

OpenAI published CLIP as such archives. They hold code beside the weights, and ``torch.jit.load`` executes some of it.
The weights are plain: ``data.pkl`` names modules and tensors, and ``data/0``, ``data/1``, … hold their bytes. Both are
read here with stand-ins for modules and tensors, so an archive of anybody can be opened.
"""

from __future__ import annotations

import functools
import operator
import pickle
import zipfile
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from clipalign.pipeline.pickles import load_inert

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
_DEEPEST: Final = 64
"""Modules within modules; a CLIP has some eight."""


class _Module:
    """Stands for every class of the archive: its attributes, and nothing that runs."""

    attributes: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def is_torchscript(path: Path) -> bool:
    """Whether a file is such an archive: what ``torch.save`` writes lacks ``constants.pkl``."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The tensors of an archive's modules under their dotted names, as its ``state_dict`` would have them.

    Raises:
        Exception: nearly any, where the archive is damaged or no such archive.
    """
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        # Torch stores members as they are; compressed or overlapping ones could unfold to any size.
        if sum(member.file_size for member in members.values()) > path.stat().st_size:
            raise ValueError("its members claim more bytes than the file has")
        (index,) = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
        folder = index.removesuffix("data.pkl")
        storages: dict[str, Tensor] = {}

        def storage(pid: Any) -> Tensor:
            _, dtype, key, *_ = pid
            if key not in storages:
                content = bytearray(archive.read(members[f"{folder}data/{key}"]))
                storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            return storages[key]

        root = load_inert(archive.read(members[index]), _stand_in, persistent=storage)
    tensors: dict[str, Tensor] = {}
    _collect(root, "", tensors, 0)
    return tensors


def _stand_in(module: str, name: str) -> Any:
    if module == "__torch__" or module.startswith("__torch__."):
        return _Module
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
        raise pickle.UnpicklingError("it holds a tensor that is none")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    values = functools.reduce(operator.mul, size, 1)
    if values > storage.numel() or (values and last >= storage.numel()):
        raise pickle.UnpicklingError("it holds a tensor beyond its data")
    return storage.as_strided(size, stride, offset)


def _collect(module: Any, prefix: str, tensors: dict[str, Tensor], depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("its modules hold one another")
    for name, value in getattr(module, "attributes", {}).items():
        if isinstance(value, Tensor):
            tensors[f"{prefix}{name}"] = value
        elif isinstance(value, _Module):
            _collect(value, f"{prefix}{name}.", tensors, depth + 1)
