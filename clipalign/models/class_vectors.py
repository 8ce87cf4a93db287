"""Classes become texts, as each method wants them.

A class is scored by its texts. What they are differs by method (WCA, Li et al., ICML 2024, section 4): the prompt
alone, the prompt in many templates, descriptors turned into relative clauses, random words (WaffleCLIP, Roth et al.,
ICCV 2023), or sentences as they stand. Nothing here knows a model.

One vector a class, encoded once and kept on disk.

``Y = normalize(Σ v_j y_j)`` over the class's texts, with ``v`` the softmax of ``exp(logscale) · cos(label, y_j)``, or a
plain mean where the class has no label text (WCA, Li et al., ICML 2024). Texts are encoded in the order of their
tokens, so that beginnings they share are computed once, and a text that neighboring classes have is encoded once.

On disk a set of classes is one file, named by a hash of the weights and of every text; the whole key and a checksum
stand in it. What is damaged, or belongs to other texts or weights, is made again, and a warning says so. A cache that
cannot be written costs time, nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import random
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.cache import write_kept
from clipalign.config.choices import METHODS
from clipalign.data.classes import PLACE, Classes, Descriptions, check_names, undescribed
from clipalign.errors import UsageError
from clipalign.files import is_file
from clipalign.models.encode import encode_tokens
from clipalign.models.tokenize import TokenizedText, encode_text

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel


DEFAULT_PROMPT: Final = "a photo of a {}."
"""The text that stands for a class by its name (CLIP); WCA weighs sentences by their likeness to it."""

WAFFLE_PAIRS: Final = 15
"""Random descriptors of words, and as many of characters (WaffleCLIP)."""

_IS: Final = ("a", "used")
_PLAIN: Final = ("has", "often", "typically", "may", "can")


@dataclass(frozen=True, slots=True)
class ClassTexts:
    """One class as the text tower meets it.

    Attributes:
        name: of the class, as given.
        texts: what is encoded for it, M, at least one.
        label: the text whose likeness weighs ``texts``; empty for a plain mean.
    """

    name: str
    texts: tuple[str, ...]
    label: str = ""

    @property
    def encoded(self) -> tuple[str, ...]:
        """Everything that the text tower reads for it: its texts, and its label where it has one."""
        return (*self.texts, self.label) if self.label else self.texts


def default_method(classes: Classes) -> str:
    """``wca`` where there are descriptions, ``clip`` where there are names alone."""
    return "clip" if classes.descriptions is None else "wca"


def class_texts(
    classes: Classes, *, method: str, prompt: str = DEFAULT_PROMPT, seed: int = 0
) -> tuple[ClassTexts, ...]:
    """The texts of every class, in the order of their names.

    Args:
        classes: what there is to choose from.
        method: one of :data:`clipalign.config.choices.METHODS`.
        prompt: with ``{}`` for the class name.
        seed: of what ``waffle`` draws.

    Raises:
        UsageError: no classes, two of one name, a class without descriptions, a template without ``{}``, no words.
    """
    names, descriptions = classes.names or tuple(classes.descriptions or ()), classes.descriptions
    if method not in METHODS:
        raise UsageError(
            f"unknown value {method!r} for --method", hint=f"one of {', '.join(METHODS)}", input="--method"
        )
    check_names(names)
    _check_templates([prompt], "--prompt")
    if method == "clip":
        return tuple(ClassTexts(name, (_filled(prompt, name),)) for name in names)
    if method == "clip-e":
        _check_templates(classes.templates, "--templates")
        return tuple(ClassTexts(name, tuple(_filled(one, name) for one in classes.templates)) for name in names)
    if method == "waffle":
        clauses = [relative_clause(one) for one in waffle_descriptors(names, classes.words, descriptions, seed=seed)]
        return tuple(ClassTexts(name, tuple(f"A photo of a {name}, {one}." for one in clauses)) for name in names)
    if descriptions is None:
        raise UsageError(
            f"the method {method} needs descriptions of the classes",
            hint="give --descriptions FILE.json, --dataset NAME, --describe-with URL MODEL, or --method clip",
            input="--descriptions",
        )
    sentences = _of_classes(names, descriptions)
    if method == "clip-d":
        return tuple(
            ClassTexts(name, tuple(f"{name}, {relative_clause(one)}" for one in sentences[name])) for name in names
        )
    labels = [_filled(prompt, name) if method == "wca" else "" for name in names]
    return tuple(ClassTexts(name, tuple(sentences[name]), label) for name, label in zip(names, labels, strict=True))


def relative_clause(descriptor: str) -> str:
    """A descriptor as it follows a class name: "a long bill" → "which is a long bill", "black feet" → "which has …".

    Any word that starts with these letters counts, as published: "antlers" are something a class *is*.
    """
    if descriptor.startswith(_IS):
        return f"which is {descriptor}"
    return f"which {descriptor}" if descriptor.startswith(_PLAIN) else f"which has {descriptor}"


def waffle_descriptors(
    names: Sequence[str], words: Sequence[str], descriptions: Descriptions | None = None, *, seed: int
) -> list[str]:
    """15 × 2 random descriptors: words and characters in turns, as long as class names are on average.

    Args:
        names: the classes; the number and length of their words set the descriptors' own.
        words: to draw from; cut to the average word's length.
        descriptions: where the characters come from; from ``words`` without them.
        seed: the same seed and input give the same descriptors.

    Raises:
        UsageError: there are no words.
    """
    if not words:
        raise UsageError(
            "the method waffle draws from a list of words, and there is none",
            hint="give --words FILE, a word a line, or: clipalign download waffle-words",
            input="--words",
        )
    draw = random.Random(f"waffle {seed}").random  # the one method that no version of Python changes
    split = [name.replace("_", " ").split() or [name] for name in names]
    n_words = max(1, round(mean(len(parts) for parts in split)))
    word_length = max(1, round(mean(mean(len(part) for part in parts) for parts in split)))
    shortened = [word[:word_length] for word in words]
    source = " ".join(one for each in descriptions.values() for one in each) if descriptions else " ".join(words)
    characters = sorted(set("".join(source.split())) - set(",.")) or list(string.ascii_lowercase)
    n_groups = n_words  # a group of characters stands for a word
    longest = math.ceil(mean(max(map(len, parts)) for parts in split))
    group_length = longest // n_groups + 1
    found = []
    for _ in range(WAFFLE_PAIRS):
        found.append(" ".join(_pick(shortened, draw()) for _ in range(n_words)))
        groups = ("".join(_pick(characters, draw()) for _ in range(group_length)) for _ in range(n_groups))
        found.append(", ".join(groups))
    return found


def _pick(choices: Sequence[str], share: float) -> str:
    return choices[int(share * len(choices))]


def _of_classes(names: Sequence[str], descriptions: Descriptions) -> dict[str, Sequence[str]]:
    """The sentences of every class; ``_`` in a name counts as a space where the name itself is not found."""
    spaced = {name.replace("_", " "): sentences for name, sentences in descriptions.items()}
    found = {name: descriptions.get(name) or spaced.get(name.replace("_", " ")) for name in names}
    without = [name for name, sentences in found.items() if not sentences]
    if without:
        raise undescribed(without, "--descriptions")
    return {name: sentences for name, sentences in found.items() if sentences}


def _check_templates(templates: Sequence[str], source: str) -> None:
    if not templates:
        raise UsageError("there are no templates", hint="give a file with a template a line", input=source)
    for template in templates:
        if template.count(PLACE) < 1:
            raise UsageError(
                f"the template {template!r} has no place for the class", hint="put {} where its name goes", input=source
            )


def _filled(template: str, name: str) -> str:
    return template.replace(PLACE, name)


FORMAT: Final = 1
"""Of a cache file; raised whenever the numbers in it would come out differently."""

CACHE_BYTES: Final = 1_000_000_000
"""What the folder may hold; the files used longest ago go first."""

_GROUP_TEXTS: Final = 8192
"""Texts encoded and pooled together, at least a class: bounds memory and leaves beginnings to share."""

Progress = Callable[[int], None]
"""Is told how many more texts are done."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ClassVectors:
    """A set of classes, ready to be compared with pictures.

    Attributes:
        vectors: a unit vector a class (C, E), fp32 on the model's device.
        truncated: how many distinct texts, labels among them, were cut by the model's context.
        cached: whether they came from disk.
    """

    vectors: Tensor
    truncated: int
    cached: bool = False


@dataclass(frozen=True, eq=False)
class DescribedClass:
    """What an explanation needs of one class.

    Attributes:
        texts: unit vectors of its texts (M, E).
        weights: their weights, which sum to 1 (M).
        norm: length of the weighted sum before it was made a unit vector, 0 to 1.
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
    """The vectors of ``classes``, from ``cache`` where they are there.

    Args:
        loaded: the model.
        classes: C of them, each with its texts.
        logscale: of the weights of texts; classes without a label do not use it.
        cache: folder of cache files; None neither reads nor writes. Weights without a hash are never kept.
        batch_size: texts at a time.
        progress: told of every batch.

    Raises:
        ModelMismatch: the model gives vectors that are not finite.
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
    vectors = encode_tokens(loaded, [encode_text(loaded, text) for text in texts], batch_size=batch_size)
    own, weights = _weighed(one, vectors, rows, logscale)
    return DescribedClass(own, weights, float((weights @ own).norm()))


def text_weights(texts: Tensor, label: Tensor | None, logscale: float) -> Tensor:
    """``v`` of M texts (M, E): by their likeness to ``label`` (E), or all alike without one; the sum is 1."""
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
        tokens = [encode_text(loaded, text) for text in texts]
        cut.update(text for text, one in zip(texts, tokens, strict=True) if one.truncated)
        vectors = _encode_in_order(loaded, tokens, batch_size, progress)
        rows = {text: row for row, text in enumerate(texts)}
        for one in group:
            own, weights = _weighed(one, vectors, rows, logscale)
            pooled.append(F.normalize(weights @ own, dim=-1))
    return ClassVectors(torch.stack(pooled), len(cut))


def _weighed(one: ClassTexts, vectors: Tensor, rows: Mapping[str, int], logscale: float) -> tuple[Tensor, Tensor]:
    """The vectors of a class's texts (M, E) and their weights (M); ``rows`` says where a text's vector is."""
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
    """Unit vectors of texts, neighbors in the dictionary side by side, a batch at a time: (M, E)."""
    order = sorted(range(len(texts)), key=lambda index: texts[index].ids)
    batches = []
    for begin in range(0, len(order), batch_size):
        batch = [texts[index] for index in order[begin : begin + batch_size]]
        batches.append(encode_tokens(loaded, batch, batch_size=batch_size))
        if progress is not None:
            progress(len(batch))
    return torch.cat(batches)[torch.tensor(order, device=loaded.choice.device).argsort()]


def _key(loaded: LoadedModel, classes: Sequence[ClassTexts], logscale: float) -> str:
    """Everything the vectors depend on, as one text."""
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
    """Vectors and the count of truncated texts; None where nothing usable is there, and a warning if something is."""
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
    """All or nothing; failing is worth a word in the log, no more."""
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
