"""Find the names, descriptions, templates and words of a data set's classes in the files beside its pictures.

Two layouts: that of WCA's repository (``prompts/SET/cupl.json``, ``features/SET/SET.json``), and
``descriptions/SET/cupl.json`` with ``classes/SET.json``. They are looked for in the data set's folder, where the folder
``SET`` may be left out, in ``wca-descriptions`` or ``wca`` beside it, in its parent folder, and where ``download`` puts
them. A method that lacks its file, or finds one that does not fit, is left out and named.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from clipalign.cache import data_folder
from clipalign.data.class_texts import check_templates
from clipalign.data.classes import PUBLISHED, WORDS, Classes, find_words, read_descriptions, read_lines, spoken
from clipalign.errors import UsageError
from clipalign.evaluation.tasks.class_evaluator import ClassTask

if TYPE_CHECKING:
    from clipalign.evaluation.settings import EvalSettings

T = TypeVar("T")

REPOSITORY: Final = (PUBLISHED, "wca")

IMAGENET: Final = "imagenet"

ALPHA_NOTE: Final = (
    "crops reach down to alpha, as the paper says; the authors' code cropped down to 0.1 whatever was set, which "
    "--alpha 0.1 repeats"
)

_SIMILAR: Final = 0.95
"""Share of names that must agree for lists of equal length to count as the same classes in the same order."""


def read_task(
    name: str, folder: Path, own_names: Sequence[str], settings: EvalSettings, *, indices: Sequence[int] | None = None
) -> ClassTask:
    """The classes of data set ``name`` for every method, named as in its file of descriptions.

    Args:
        own_names: of the classes, as its own files have them, in the order of the labels.
        settings: whose ``descriptions``, ``templates`` and ``words`` win over files that are found.
        indices: indices into ``own_names`` of the classes that count; None for all.

    Raises:
        UsageError: a file that was given has the wrong shape or other classes.
    """
    bases = _bases(folder, settings)
    listed = _published_names(name, bases, own_names)
    indices = range(len(listed)) if indices is None else indices
    names = tuple(listed[index] for index in indices)
    described = partial(_described, listed=listed, indices=indices)
    sentences, no_sentences = _read(described, settings.descriptions, _find(bases, name, "cupl.json"))
    descriptors, no_descriptors = _read(described, None, _find(bases, name, "clip-d.json"))
    templates, no_templates = _read(_templates, settings.templates, _find(bases, name, "clip-e.json"))
    words_file = find_words(folder, folder.parent / WORDS, cache_dir=settings.cache_dir)
    words, no_words = _read(partial(read_lines, what="words"), settings.words, words_file)
    plain = Classes(names=names)
    by_method = {"clip": plain, "clip-e": replace(plain, templates=templates or ())}
    notes = [f"clip-e has the 80 templates of OpenAI's CLIP: {no_templates}"] if no_templates else []
    if descriptors is not None:
        by_method["clip-d"] = descriptors
    else:
        notes.append(f"without clip-d: {no_descriptors or f'there is no clip-d.json for {name}'}")
    if words is not None:
        by_method["waffle"] = replace(descriptors or plain, words=tuple(words))
    else:
        notes.append(f"without waffle: {no_words or f'there is no list of words (--words) for {name}'}")
    if sentences is not None:
        by_method |= {"cupl": sentences, "wca": sentences}
        notes += [ALPHA_NOTE] if settings.method in (None, "wca") else []
    else:
        file = "file of descriptions (--descriptions, or cupl.json)"
        notes.append(f"without cupl and wca: {no_sentences or f'there is no {file} for {name}'}")
    distinct = len(set(names))
    if distinct < len(names):
        notes.append(
            f"{len(names)} classes have {distinct} distinct names; as published, the first of one name wins and the "
            "others are never right"
        )
    return ClassTask(names, by_method, tuple(notes))


def _bases(folder: Path, settings: EvalSettings) -> tuple[Path, ...]:
    downloaded = data_folder(PUBLISHED, cache_dir=settings.cache_dir)
    return (folder, *(folder.parent / name for name in REPOSITORY), folder.parent, downloaded)


def _folders(bases: Sequence[Path], name: str) -> Iterator[Path]:
    for base in bases:
        for inner in ("prompts", "descriptions"):
            yield base / inner / name
            if base == bases[0]:
                yield base / inner


def _find(bases: Sequence[Path], name: str, file: str) -> Path | None:
    sets = (name, IMAGENET) if name.startswith(IMAGENET) else (name,)  # its variants have its classes
    paths = (path / file for one in sets for path in _folders(bases, one))
    return next((path for path in paths if path.is_file()), None)


def _published_names(name: str, bases: Sequence[Path], own: Sequence[str]) -> tuple[str, ...]:
    """Names used by the descriptions, if files list them for these very classes; else, and for ImageNet, ``own``."""
    if name.startswith(IMAGENET):
        return tuple(map(spoken, own))
    lists = [
        path
        for base in bases
        for path in (base / "features" / name / f"{name}.json", base / "classes" / f"{name}.json")
    ]
    described = [_find(bases, name, file) for file in ("clip-d.json", "cupl.json")]
    for path in [*lists, *filter(None, described)]:
        if path.is_file():
            listed = _names_in(path)
            if len(listed) == len(own) and _agreeing(listed, own) >= _SIMILAR * len(own):
                return tuple(spoken(one) for one in listed)
    return tuple(spoken(one) for one in own)


def _names_in(path: Path) -> list[str]:
    try:
        listed = list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return []
    return listed if all(isinstance(one, str) for one in listed) else []


def _agreeing(listed: Sequence[str], own: Sequence[str]) -> int:
    """How many names agree at the same index; one may have more words than the other ("arena" for "arena/hockey")."""
    pairs = [(_words_of(one), _words_of(other)) for one, other in zip(listed, own, strict=True)]
    return sum(one <= other or other <= one for one, other in pairs)


def _read(read: Callable[[Path], T], given: Path | None, found: Path | None) -> tuple[T | None, str]:
    """Read the given file, or else the one that was found; if the latter does not fit, return why."""
    if given is not None:
        return read(given), ""
    try:
        return (None if found is None else read(found)), ""
    except UsageError as error:
        return None, error.message


def _templates(path: Path) -> tuple[str, ...]:
    lines = tuple(read_lines(path, what="templates"))
    check_templates(lines, str(path))
    return lines


def _described(path: Path, listed: Sequence[str], indices: Sequence[int]) -> Classes:
    """The classes at these indices with their sentences, however the file spells their names.

    A file of the same classes in the same order may name some differently, and its names count then: WCA's ``clip-d``
    and ``waffle`` have OpenAI's first list of ImageNet's names ("eft"), its other methods the revised one ("newt"), in
    which two names stand for two classes each.
    """
    found = read_descriptions(path)
    spelled = {_plain(key): sentences for key, sentences in found.items()}
    keys = list(found) if len(found) == len(listed) else list(listed)
    in_order = _agreeing(keys, listed) >= _SIMILAR * len(listed)
    often = Counter(listed)
    names = [
        key if in_order and (often[name] > 1 or _plain(name) not in spelled) else name
        for name, key in zip(listed, keys, strict=True)
    ]
    chosen = [names[index] for index in indices]
    described = {name: found.get(name) or spelled.get(_plain(name)) for name in chosen}
    without = [name for name, sentences in described.items() if sentences is None]
    if without:
        raise UsageError(
            f"{path} describes {len(described) - len(without)} of {len(described)} classes; not {without[0]!r}",
            hint="does it belong to this data set?",
            input=str(path),
        )
    return Classes(tuple(chosen), {name: sentences for name, sentences in described.items() if sentences})


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _words_of(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))
