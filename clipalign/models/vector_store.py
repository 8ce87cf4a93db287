"""Vectors kept on disk, so that a later run computes texts alone.

One file an entry, named by the SHA-256 of all that its numbers depend on, in safetensors. It is written whole or not at
all, so several processes may share a folder and be killed. Nothing in it is trusted: an entry that is damaged, of
something else, of another shape, not finite or not of unit length is computed again. What was used longest ago goes
first when the folder is full. A folder that cannot be written costs time only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy
import torch
from PIL import Image
from safetensors import numpy as safetensors

from clipalign.cache import IMAGE_VECTORS_FOLDER, cache_folder, write_kept
from clipalign.device import torch_dtype
from clipalign.files import is_part, open_plain
from clipalign.models.encode import EncodedPicture
from clipalign.version import versions

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from clipalign.models.model import LoadedModel

    Arrays = Mapping[str, NDArray[Any]]

FORMAT: Final = 2
"""Raised whenever the numbers of an entry would come out differently."""

_DIGEST: Final = "sha256"
"""The array of an entry with the digest of its name and of all its other arrays."""

_HEADER_BYTES: Final = 4096
_BLOCK_BYTES: Final = 4096
"""What a file takes on most disks is a multiple of this."""

_ENTRY: Final = re.compile(r"[0-9a-f]{62,64}\.safetensors")

_STEPS: Final = 16
"""The folder is looked through each time that a process has written this fraction of the limit."""

_UNIT_TOLERANCE: Final = 1e-3

logger = logging.getLogger(__name__)


class DamagedEntry(Exception):
    """An entry that is not what its name says."""


def model_key(loaded: LoadedModel, *, without: AbstractSet[str] = frozenset()) -> dict[str, object]:
    """Return what all vectors of a model depend on, in JSON's types; ``without`` are keys of its config."""
    choice = asdict(loaded.choice) | {"device": loaded.choice.device.partition(":")[0]}
    return {
        "weights": loaded.weights_sha256,
        "architecture": loaded.architecture,
        "config": {name: value for name, value in loaded.config.items() if name not in without},
        "quick_gelu": loaded.quick_gelu,
        "choice": {name: value for name, value in choice.items() if name not in ("reason", "threads")},
        "dtype": str(torch_dtype(loaded.choice)),
        "versions": versions(loaded.choice.engine),
    }


def picture_key(loaded: LoadedModel, *, crops: int = 0, **cut: object) -> dict[str, object] | None:
    """Return what vectors of pictures depend on besides the picture; None for weights that may change unnoticed.

    ``crops`` are those a picture, ``cut`` how they are drawn.
    """
    if not loaded.weights_sha256 or not loaded.row.weights:
        return None
    return {
        **model_key(loaded, without={"text_cfg", "multimodal_cfg"}),
        "image_size": loaded.image_size,
        "preprocessing": [loaded.mean, loaded.std, loaded.interpolation, loaded.resize_mode, loaded.fill_color],
        "shorter_px": loaded.shorter_px,
        "crops": crops,
        "cut": cut,
    }


def entry_name(key: Mapping[str, object]) -> str:
    described = json.dumps({"format": FORMAT, **key}, sort_keys=True, default=str)
    return hashlib.sha256(described.encode("utf-8", "surrogatepass")).hexdigest()


def read_entry(file: Path, name: str, *, limit_bytes: int) -> dict[str, NDArray[Any]] | None:
    """Return the arrays of an entry, None for none; raise ``DamagedEntry`` unless it is the one of this name."""
    try:
        with open_plain(file) as stream:
            if os.fstat(stream.fileno()).st_size > limit_bytes:
                raise DamagedEntry
            content = stream.read()  # asked for a number of bytes, it would take memory for all of them at once
    except OSError:
        return None
    try:
        arrays = safetensors.load(content)
    except Exception as error:  # nearly anything, on damaged bytes
        raise DamagedEntry from error
    said = arrays.pop(_DIGEST, None)
    if said is None or said.tobytes() != _digest(name, arrays):
        raise DamagedEntry
    with suppress(OSError):  # a read-only folder forgets nothing
        os.utime(file)
    return arrays


def entry_bytes(name: str, arrays: Arrays) -> bytes:
    """Return the content of an entry for :func:`read_entry`."""
    digest = numpy.frombuffer(_digest(name, arrays), dtype=numpy.uint8)
    content: bytes = safetensors.save({**arrays, _DIGEST: digest})
    return content


def _digest(name: str, arrays: Arrays) -> bytes:
    digest = hashlib.sha256(name.encode())
    for key, array in sorted(arrays.items()):
        digest.update(f" {key} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.digest()


def forget_oldest(folder: Path, limit_bytes: int) -> int:
    """Remove what was used longest ago until the entries in ``folder`` fit the limit; return the bytes left.

    Memory does not grow with the number of entries: they are counted by tenths of a second, then removed.
    """
    sizes: Counter[int] = Counter()
    for _, moment, size in _entries(folder):
        sizes[moment] += size
    left, last = sizes.total(), None
    for moment in sorted(sizes):
        if left <= limit_bytes:
            break
        left, last = left - sizes[moment], moment
    if last is not None:
        for file, moment, _ in _entries(folder):
            if moment <= last:
                with suppress(OSError):  # another process was quicker, or it is another user's
                    file.unlink()
    return left


def _entries(folder: Path) -> Iterator[tuple[Path, int, int]]:
    """Yield file, tenth of a second of the last use, and bytes on disk, parts of killed processes included."""
    for place, _, names in os.walk(folder):  # follows no links
        for name in names:
            if _ENTRY.fullmatch(name) or is_part(name):  # the folder may be a link to one of models
                with suppress(OSError):
                    file = Path(place, name)
                    state = file.lstat()
                    yield file, int(state.st_mtime * 10), _on_disk(state.st_size)


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


class VectorStore:
    """Vectors of one model's pictures, whole or cropped in one way; reads in any thread, writes in one.

    Args:
        key: of :func:`picture_key`; None keeps nothing.
        keep_gb: size of the folder, of all models together, in gigabytes; 0 keeps nothing.
        cache_dir: clipalign's cache folder, where it is not the usual one.
    """

    def __init__(
        self, key: Mapping[str, object] | None = None, *, keep_gb: float = 0, cache_dir: str | Path | None = None
    ) -> None:
        self._limit = int(keep_gb * 1e9)
        self._folder = cache_folder(cache_dir) / IMAGE_VECTORS_FOLDER if key is not None and keep_gb else None
        self._key = "" if key is None else entry_name(key)
        self._rows = 1 + int(str((key or {}).get("crops", 0)))
        self._room = 0  # bytes that may be written before the folder is looked through
        self._failed = self._damaged = False

    def identity(self, picture: bytes | Image.Image, *, exif: bool) -> str:
        """Return what tells a file's bytes, or an RGB picture in memory, from all others; empty if nothing is kept.

        ``exif``: whether an EXIF orientation is applied; without one the identity does not depend on it.
        """
        if self._folder is None:
            return ""
        if isinstance(picture, bytes):
            return f"{hashlib.sha256(picture).hexdigest()} {_turned(picture, exif)}"
        return f"{hashlib.sha256(picture.tobytes()).hexdigest()} {picture.size}"

    def get(self, identity: str) -> EncodedPicture | None:
        """Return what was kept of a picture, on the CPU."""
        if self._folder is None or not identity:
            return None
        name, file = self._place(identity, self._folder)
        try:
            arrays = read_entry(file, name, limit_bytes=_HEADER_BYTES + self._limit // _STEPS)
            return None if arrays is None else _picture_of(arrays, self._rows)
        except DamagedEntry:
            if not self._damaged:
                logger.warning("the kept vectors in %s are damaged and are made again", file)
            self._damaged = True
            return None

    def keep(self, identity: str, picture: EncodedPicture) -> EncodedPicture:
        """Keep what was encoded; return what is there already, so that all records of a picture have one vector."""
        if self._folder is None or not identity:
            return picture
        if (there := self.get(identity)) is not None:
            return there
        name, file = self._place(identity, self._folder)
        arrays = {
            "vectors": picture.vectors.cpu().contiguous().numpy(),
            "boxes": numpy.array(picture.boxes, dtype=numpy.int32).reshape(-1, 4),
            "size": numpy.array(picture.size, dtype=numpy.int32),
        }
        self._write(file, entry_bytes(name, arrays), self._folder)
        return picture

    def _place(self, identity: str, folder: Path) -> tuple[str, Path]:
        name = hashlib.sha256(f"{self._key} {identity}".encode()).hexdigest()
        return name, folder / name[:2] / f"{name[2:]}.safetensors"  # 256 folders: one of a million files is slow

    def _write(self, file: Path, content: bytes, folder: Path) -> None:
        size = _on_disk(len(content))
        step = self._limit // _STEPS
        if self._failed or size > step:
            return
        try:
            if size > self._room:
                left = forget_oldest(folder, self._limit - step)
                self._room = min(step, self._limit - left)
            write_kept(file, content)
            self._room -= size
        except OSError as error:
            self._failed = True
            logger.warning("vectors of images are not kept: %s: %s", file.parent, error.strerror or error)


def _turned(content: bytes, exif: bool) -> str:
    """Say whether the EXIF orientation counts, as far as there may be one."""
    plain = content.startswith(b"\xff\xd8") and b"Exif" not in content and b"tiff:Orientation" not in content
    return "" if plain else f"exif {exif}"


def _picture_of(arrays: Arrays, rows: int) -> EncodedPicture:
    """Return the picture of an entry; raise ``DamagedEntry`` for anything but unit vectors of boxes in a picture."""
    vectors, boxes, size = (arrays.get(name, numpy.empty(0)) for name in ("vectors", "boxes", "size"))
    if vectors.dtype != numpy.float32 or vectors.ndim != 2 or len(vectors) != rows:
        raise DamagedEntry
    if boxes.dtype != numpy.int32 or boxes.shape != (rows - 1, 4) or size.dtype != numpy.int32 or size.shape != (2,):
        raise DamagedEntry
    lengths = numpy.linalg.norm(vectors, axis=1)
    inside = (boxes[:, :2] >= 0).all() and (boxes[:, :2] < boxes[:, 2:]).all() and (boxes[:, 2:] <= size).all()
    if not (numpy.abs(lengths - 1) < _UNIT_TOLERANCE).all() or not inside or not (size > 0).all():  # NaN is not near
        raise DamagedEntry
    width, height = size.tolist()
    found = tuple((left, top, right, bottom) for left, top, right, bottom in boxes.tolist())
    return EncodedPicture(torch.from_numpy(vectors.copy()), found, (width, height), is_kept=True)
