"""One vector a class, encoded once and kept on disk.

``Y = normalize(Σ v_j y_j)`` over the class's texts, with ``v`` the softmax of ``exp(logscale) · cos(label, y_j)``, or a
plain mean where the class has no label text (WCA, Li et al., ICML 2024). Texts are encoded in the order of their
tokens, so that common prefixes are computed once. The file of a set of classes is an entry of
:mod:`clipalign.models.vector_store`, named by a hash of the weights and of every text.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.cache import write_kept
from clipalign.data.class_texts import ClassTexts
from clipalign.models.encode import encode_tokens
from clipalign.models.tokenize import tokenize_text
from clipalign.models.vector_store import DamagedEntry, entry_bytes, entry_name, forget_oldest, model_key, read_entry

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel


CACHE_BYTES: Final = 1_000_000_000  # of the folder; the least recently used files are removed first

_GROUP_TEXTS: Final = 8192
"""Texts encoded and pooled together, at least a class: bounds memory, yet leaves prefixes to share."""


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
    progress: Callable[[int], None] = lambda texts: None,
) -> ClassVectors:
    """The vectors of ``classes``, from ``cache`` where it has them; ModelMismatch if they are not finite.

    Args:
        logscale: of the weights of texts; classes without a label do not use it.
        cache: folder of cache files; None neither reads nor writes. Weights without a hash are never cached.
    """
    if cache is None or not loaded.weights_sha256:
        return _encoded(loaded, classes, logscale, batch_size, progress)
    name = entry_name(_key(loaded, classes, logscale))
    file = cache / f"{name}.safetensors"
    found = _read(file, name, len(classes))
    if found is not None:
        return ClassVectors(found[0].to(loaded.choice.device), found[1], cached=True)
    made = _encoded(loaded, classes, logscale, batch_size, progress)
    _write(file, name, made)
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
    progress: Callable[[int], None],
) -> ClassVectors:
    pooled: list[Tensor] = []
    cut: set[str] = set()  # a text that distant classes share is encoded in both their groups
    for group in _groups(classes):
        texts = list(dict.fromkeys(text for one in group for text in one.encoded))
        tokens = [tokenize_text(loaded, text) for text in texts]
        cut.update(text for text, one in zip(texts, tokens, strict=True) if one.truncated)
        vectors = encode_tokens(loaded, tokens, batch_size=batch_size, progress=progress)
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


def _key(loaded: LoadedModel, classes: Sequence[ClassTexts], logscale: float) -> dict[str, object]:
    return {
        **model_key(loaded),
        "context_tokens": loaded.context_tokens,
        "logscale": logscale if any(one.label for one in classes) else None,
        "classes": [[one.label, one.texts] for one in classes],
    }


def _read(file: Path, name: str, n_classes: int) -> tuple[Tensor, int] | None:
    """Vectors and the count of truncated texts; None if there is no file, or, with a warning, no usable one."""
    try:
        arrays = read_entry(file, name, limit_bytes=CACHE_BYTES)
        if arrays is None:
            return None
        vectors, truncated = torch.from_numpy(arrays["vectors"].copy()), int(arrays["truncated"])
        if vectors.ndim == 2 and len(vectors) == n_classes and vectors.dtype == torch.float32:
            return vectors, truncated
    except (DamagedEntry, KeyError, TypeError, ValueError):
        pass
    logger.warning("the cached class vectors in %s are damaged, or of something else, and are made again", file)
    return None


def _write(file: Path, name: str, made: ClassVectors) -> None:
    arrays = {"vectors": made.vectors.cpu().contiguous().numpy(), "truncated": numpy.array(made.truncated)}
    try:
        write_kept(file, entry_bytes(name, arrays))
        forget_oldest(file.parent, CACHE_BYTES)
    except OSError as error:
        logger.info("class vectors could not be kept in %s: %s", file.parent, error.strerror or error)
