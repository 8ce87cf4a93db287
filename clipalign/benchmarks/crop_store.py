"""Vectors of pictures and their crops, kept on disk: a second run with other scales or descriptions takes seconds.

A file a picture, named by a hash of everything its numbers depend on: weights, precision, crop settings, and the
picture itself. It carries a checksum; what is damaged counts as not there and is made again. A folder that cannot be
written costs time, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clipalign.cache import write_kept
from clipalign.paths import is_file

FORMAT: Final = 1
"""Raised whenever the numbers in a file would come out differently."""

CROPS_FOLDER: Final = "crops"
"""In clipalign's cache folder."""

_FOLDER_DIGITS: Final = 16
_SPREAD_DIGITS: Final = 2
"""Of a file's name, for its folder: 256 folders hold ImageNet in pieces that every file system likes."""

logger = logging.getLogger(__name__)


class CropStore:
    """Vectors of the pictures of one model and one way to crop.

    Args:
        folder: of clipalign's cache; None keeps nothing.
        key: what all pictures' numbers depend on, in JSON's types.
    """

    def __init__(self, folder: Path | None, key: Mapping[str, object]) -> None:
        digest = hashlib.sha256(json.dumps({"format": FORMAT, **key}, sort_keys=True).encode()).hexdigest()
        self._folder = None if folder is None else folder / CROPS_FOLDER / digest[:_FOLDER_DIGITS]
        self._said = False

    def get(self, identity: str) -> Tensor | None:
        """The vectors of the picture ``identity``, or None."""
        file = self._file(identity)
        if file is None or not is_file(file):
            return None
        try:
            with safe_open(file, framework="pt") as content:
                said = content.metadata() or {}
                vectors: Tensor = content.get_tensor("vectors")
        except (OSError, SafetensorError, KeyError, ValueError):
            said, vectors = {}, torch.empty(0)
        if said.get("identity") == identity and said.get("checksum") == _checksum(vectors):
            return vectors
        logger.warning("the kept vectors in %s are damaged and are made again", file)
        return None

    def put(self, identity: str, vectors: Tensor) -> None:
        """Keep them, all or nothing."""
        file = self._file(identity)
        if file is None or self._said:
            return
        content = save({"vectors": vectors}, metadata={"identity": identity, "checksum": _checksum(vectors)})
        try:
            write_kept(file, content)
        except OSError as error:
            self._said = True
            logger.warning("vectors of crops are not kept: %s: %s", file.parent, error.strerror or error)

    def _file(self, identity: str) -> Path | None:
        if self._folder is None or not identity:
            return None
        name = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._folder / name[:_SPREAD_DIGITS] / f"{name}.safetensors"


def _checksum(vectors: Tensor) -> str:
    return hashlib.sha256(vectors.contiguous().numpy().tobytes()).hexdigest()
