"""One vector a class, encoded once and kept on disk.

``Y = normalize(Σ v_j y_j)`` over the class's texts, with ``v`` the softmax of ``exp(logscale) · cos(label, y_j)``, or a
plain mean where the class has no label text (WCA, Li et al., ICML 2024). Texts are encoded in the order of their
tokens, so that common prefixes are computed once. The file of a set of classes is named by a hash of the weights and of
every text, and holds the whole key and a checksum. What is damaged, or belongs to other texts or weights, is computed
again, with a warning. A cache that cannot be written costs time only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.cache import write_kept
from clipalign.data.class_texts import ClassTexts
from clipalign.files import is_file
from clipalign.models.encode import encode_tokens
from clipalign.models.tokenize import TokenizedText, tokenize_text

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel


FORMAT: Final = 1  # of a cache file; raised whenever the numbers in it would come out differently

CACHE_BYTES: Final = 1_000_000_000  # of the folder; the least recently used files are removed first

_GROUP_TEXTS: Final = 8192
"""Texts encoded and pooled together, at least a class: bounds memory, yet leaves prefixes to share."""

Progress = Callable[[int], None]  # called with the number of texts just done

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ClassVectors:
    """Unit vectors of classes (C, E), fp32 on the model's device, and whether they were cached.

    ``truncated`` counts the distinct texts, labels among them, that were cut by the model's context.
    """

    vectors: Tensor
    truncated: int
    cached: bool = False


@dataclass(frozen=True, eq=False)
class DescribedClass:
    """Unit vectors (M, E) and weights (M), which sum to 1, of a class's texts, for an explanation.

    ``norm`` is the length of the weighted sum before normalization, 0 to 1.
    """

    texts: Tensor
    weights: Tensor
    norm: float


def class_vectors(
    loaded: LoadedModel,
    classes: Sequence[ClassTexts],
    *,
    logscale: float,
    cache: Path | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> ClassVectors:
    """The vectors of ``classes``, from ``cache`` where it has them; ModelMismatch if they are not finite.

    Args:
        logscale: of the weights of texts; classes without a label do not use it.
        cache: folder of cache files; None neither reads nor writes. Weights without a hash are never cached.
    """
    key = _key(loaded, classes, logscale)
    file = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors" if cache else None
    if file is None or not loaded.weights_sha256:
        return _encoded(loaded, classes, logscale, batch_size, progress)
    found = _read(file, key, len(classes))
    if found is not None:
        return ClassVectors(found[0].to(loaded.choice.device), found[1], cached=True)
    made = _encoded(loaded, classes, logscale, batch_size, progress)
    _write(file, key, made)
    return made


def describe_class(loaded: LoadedModel, one: ClassTexts, *, logscale: float, batch_size: int = 64) -> DescribedClass:
    """The texts of one class with their vectors and weights."""
    texts = list(dict.fromkeys(one.encoded))
    rows = {text: row for row, text in enumerate(texts)}
    vectors = encode_tokens(loaded, [tokenize_text(loaded, text) for text in texts], batch_size=batch_size)
    own, weights = _weighed(one, vectors, rows, logscale)
    return DescribedClass(own, weights, float((weights @ own).norm()))


def text_weights(texts: Tensor, label: Tensor | None, logscale: float) -> Tensor:
    """``v`` of M texts (M, E): by their similarity to ``label`` (E), or equal without one; the sum is 1."""
    if label is None:
        return texts.new_full((len(texts),), 1 / len(texts))
    return torch.softmax(math.exp(logscale) * (texts @ label), dim=0)


def _encoded(
    loaded: LoadedModel,
    classes: Sequence[ClassTexts],
    logscale: float,
    batch_size: int,
    progress: Progress | None,
) -> ClassVectors:
    pooled: list[Tensor] = []
    cut: set[str] = set()  # a text that distant classes share is encoded in both their groups
    for group in _groups(classes):
        texts = list(dict.fromkeys(text for one in group for text in one.encoded))
        tokens = [tokenize_text(loaded, text) for text in texts]
        cut.update(text for text, one in zip(texts, tokens, strict=True) if one.truncated)
        vectors = _encode_in_order(loaded, tokens, batch_size, progress)
        rows = {text: row for row, text in enumerate(texts)}
        for one in group:
            own, weights = _weighed(one, vectors, rows, logscale)
            pooled.append(F.normalize(weights @ own, dim=-1))
    return ClassVectors(torch.stack(pooled), len(cut))


def _weighed(one: ClassTexts, vectors: Tensor, rows: Mapping[str, int], logscale: float) -> tuple[Tensor, Tensor]:
    """The vectors of a class's texts (M, E) and their weights (M); ``rows`` are the texts' indices into ``vectors``."""
    own = vectors[[rows[text] for text in one.texts]]
    return own, text_weights(own, vectors[rows[one.label]] if one.label else None, logscale)


def _groups(classes: Sequence[ClassTexts]) -> Iterator[list[ClassTexts]]:
    group: list[ClassTexts] = []
    texts = 0
    for one in classes:
        if group and texts + len(one.texts) > _GROUP_TEXTS:
            yield group
            group, texts = [], 0
        group.append(one)
        texts += len(one.texts) + 1
    yield group


def _encode_in_order(
    loaded: LoadedModel, texts: Sequence[TokenizedText], batch_size: int, progress: Progress | None
) -> Tensor:
    """Unit vectors (M, E) of texts, encoded in batches in dictionary order."""
    order = sorted(range(len(texts)), key=lambda index: texts[index].ids)
    batches = []
    for begin in range(0, len(order), batch_size):
        batch = [texts[index] for index in order[begin : begin + batch_size]]
        batches.append(encode_tokens(loaded, batch, batch_size=batch_size))
        if progress is not None:
            progress(len(batch))
    return torch.cat(batches)[torch.tensor(order, device=loaded.choice.device).argsort()]


def _key(loaded: LoadedModel, classes: Sequence[ClassTexts], logscale: float) -> str:
    weighted = any(one.label for one in classes)
    return json.dumps(
        {
            "format": FORMAT,
            "weights": loaded.weights_sha256,
            "architecture": loaded.architecture,
            "quick_gelu": loaded.quick_gelu,
            "context_tokens": loaded.context_tokens,
            "device": loaded.choice.device.partition(":")[0],
            "precision": loaded.choice.precision,
            "logscale": logscale if weighted else None,
            "classes": hashlib.sha256(
                json.dumps([[one.label, one.texts] for one in classes]).encode("utf-8", "surrogatepass")
            ).hexdigest(),
        },
        sort_keys=True,
    )


def _read(file: Path, key: str, n_classes: int) -> tuple[Tensor, int] | None:
    """Vectors and the count of truncated texts; None if there is no file, or, with a warning, no usable one."""
    if not is_file(file):
        return None
    try:
        with safe_open(file, framework="pt") as content:
            said = content.metadata() or {}
            vectors = content.get_tensor("vectors")
        truncated = int(said["truncated"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        logger.warning("the cached class vectors in %s are damaged (%s) and are made again", file, _first_line(error))
        return None
    whole = vectors.ndim == 2 and len(vectors) == n_classes and vectors.dtype == torch.float32
    if said.get("key") != key:
        why = "belong to other texts or weights"
    elif not whole or said.get("checksum") != _checksum(vectors):
        why = "are damaged"
    else:
        _touch(file)
        return vectors, truncated
    logger.warning("the cached class vectors in %s %s and are made again", file, why)
    return None


def _write(file: Path, key: str, made: ClassVectors) -> None:
    vectors = made.vectors.cpu().contiguous()
    said = {"key": key, "checksum": _checksum(vectors), "truncated": str(made.truncated)}
    try:
        write_kept(file, save({"vectors": vectors}, metadata=said))
        _forget_old(file.parent)
    except OSError as error:
        logger.info("class vectors could not be kept in %s: %s", file.parent, error.strerror or error)


def _checksum(vectors: Tensor) -> str:
    return hashlib.sha256(vectors.contiguous().numpy().tobytes()).hexdigest()


def _touch(file: Path) -> None:
    with contextlib.suppress(OSError):  # a read-only cache forgets nothing
        os.utime(file)


def _forget_old(folder: Path) -> None:
    found = []
    for file in folder.glob("*.safetensors"):
        with contextlib.suppress(OSError):  # another process was quicker
            stat = file.stat()
            found.append((stat.st_mtime, stat.st_size, file))
    found.sort(key=lambda one: one[0], reverse=True)
    used = 0
    for number, (_, size, file) in enumerate(found):
        used += size
        if used > CACHE_BYTES and number:
            with contextlib.suppress(OSError):  # it may be another user's, or in use
                file.unlink()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
