"""Classes and what is said about them: names from a list, sentences from a file, texts as each method wants them.

A class is scored by its texts. What they are differs by method (WCA, Li et al., ICML 2024, section 4): the prompt
alone, the prompt in many templates, descriptors turned into relative clauses, random words (WaffleCLIP, Roth et al.,
ICCV 2023), or sentences as they stand. Everything is checked here, once, and an error names the file and the class.
Nothing here knows a model.
"""

from __future__ import annotations

import json
import math
import random
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Final

from clipalign.errors import MissingDataset, UsageError

DEFAULT_PROMPT: Final = "a photo of a {}."
"""The text that stands for a class by its name (CLIP); WCA weighs sentences by their likeness to it."""

METHODS: Final = ("wca", "clip", "clip-e", "clip-d", "waffle", "cupl")
PUBLISHED: Final = "wca-descriptions"
"""What ``clipalign download`` calls the files of WCA's repository."""

PLACE: Final = "{}"
"""Where a template has the class name."""

WAFFLE_PAIRS: Final = 15
"""Random descriptors of words, and as many of characters (WaffleCLIP)."""

_IS: Final = ("a", "used")
_PLAIN: Final = ("has", "often", "typically", "may", "can")

_NAMED: Final = 5
"""How many classes an error names before it only counts."""

Descriptions = Mapping[str, Sequence[str]]
"""Class name to its sentences."""


@dataclass(frozen=True, slots=True)
class Classes:
    """What there is to choose from.

    Attributes:
        names: of the classes, C; empty for those of ``descriptions``, more of which than names do no harm.
        descriptions: sentences (``wca``, ``cupl``) or descriptors (``clip-d``) by class; ``waffle`` takes its
            characters from them where they are given.
        templates: of ``clip-e``, with ``{}`` for the name; empty for the 80 of OpenAI's CLIP.
        words: that ``waffle`` draws from.
    """

    names: tuple[str, ...] = ()
    descriptions: Descriptions | None = None
    templates: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


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


def default_method(classes: Classes) -> str:
    """``wca`` where there are descriptions, ``clip`` where there are names alone."""
    return "clip" if classes.descriptions is None else "wca"


def class_texts(
    classes: Classes, *, method: str, prompt: str = DEFAULT_PROMPT, seed: int = 0
) -> tuple[ClassTexts, ...]:
    """The texts of every class, in the order of their names.

    Args:
        classes: what there is to choose from.
        method: one of :data:`METHODS`.
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
    split = [name.replace("_", " ").split() for name in names]
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


def read_dataset(folders: Sequence[Path], name: str, *, method: str) -> Classes:
    """The classes of a data set and what was published about them.

    Args:
        folders: where its files may lie, as ``prompts/NAME/cupl.json`` and ``features/NAME/NAME.json`` (the layout of
            WCA's repository), or as ``descriptions/NAME/cupl.json`` and ``classes/NAME.json``.
        name: of the data set.
        method: which decides what is read.

    Raises:
        MissingDataset: none of the folders has the file that the method needs.
        UsageError: a file is of the wrong shape.
    """
    described = _published(folders, name, "cupl.json" if method in ("wca", "cupl") else "clip-d.json")
    listed = _published(folders, name, f"{name}.json")
    if described is None and (method not in ("clip", "clip-e") or listed is None):
        other = "clip-d" if _published(folders, name, "clip-d.json") else ""
        raise MissingDataset(
            f"the published descriptions of {name} for {method} are not on this machine",
            hint=f"--method {other} has them, or give --descriptions FILE.json"
            if other
            else f"clipalign download {PUBLISHED}, or give --descriptions FILE.json",
            input=name,
        )
    descriptions = read_descriptions(described) if described else None
    # A list may hold one name for several classes (Places365), and need not spell them as the descriptions do.
    names = tuple(descriptions) if descriptions else tuple(dict.fromkeys(map(_spoken, _strings(listed))))
    templates = _published(folders, name, "clip-e.json") if method == "clip-e" else None
    return Classes(
        names=names,
        descriptions=None if method in ("clip", "clip-e") else descriptions,
        templates=tuple(read_lines(templates, what="templates")) if templates else (),
    )


def _published(folders: Sequence[Path], name: str, file: str) -> Path | None:
    inner = (f"prompts/{name}", f"descriptions/{name}", f"features/{name}", "classes", name, ".")
    places = (folder / part / file for folder in folders for part in inner)
    return next((place for place in places if place.is_file()), None)


def _strings(path: Path | None) -> list[str]:
    """The names of a list; the first of those that a class goes by."""
    found = _json(path) if path else []
    rows = found if isinstance(found, list) else []
    return [str(row[0]) if isinstance(row, list) and row else str(row) for row in rows]


def _spoken(name: str) -> str:
    return name.replace("_", " ").strip()


def check_names(names: Iterable[str], *, source: str = "--labels") -> None:
    """Raise a :class:`UsageError` for no classes, an empty name, or two alike; ``source`` is where they stand."""
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise UsageError(f"class {number} has an empty name", hint="every class needs a name", input=source)
        key = " ".join(name.split())
        if key in seen:
            raise UsageError(
                f"the class {name!r} is there twice, as number {seen[key]} and {number}",
                hint="two classes of one name cannot be told apart; remove or rename one",
                input=source,
            )
        seen[key] = number
    if not seen:
        raise UsageError("there are no classes", hint="give at least one class name", input=source)


def read_labels(path: Path) -> list[str]:
    """Class names of a text file, a line each, or of a JSON list; blank lines are passed over.

    Raises:
        UsageError: the file cannot be read, holds no class, or one twice.
    """
    if path.suffix.lower() == ".json":
        names = _json(path)
        if isinstance(names, dict):
            names = list(names)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UsageError(f"{path} must hold a list of class names", input=str(path))
    else:
        names = [line.strip() for line in _read(path).splitlines() if line.strip()]
    check_names(names, source=str(path))
    return names


def read_lines(path: Path, *, what: str) -> list[str]:
    """The lines of a text file, or the strings of a JSON list, that are not blank: templates, words.

    Raises:
        UsageError: the file cannot be read, or holds none.
    """
    found: object = _json(path) if path.suffix.lower() == ".json" else _read(path).splitlines()
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UsageError(f"{path} must hold a list of {what}", input=str(path))
    lines = [one.strip() for one in found if one.strip()]
    if not lines:
        raise UsageError(f"{path} holds no {what}", input=str(path))
    return lines


def read_descriptions(path: Path) -> dict[str, tuple[str, ...]]:
    """Class name → sentences, from a JSON object of lists.

    Raises:
        UsageError: the file cannot be read or has another shape, a class is there twice or has no sentence.
    """
    return check_descriptions(_json(path), source=str(path))


def check_descriptions(found: object, *, source: str) -> dict[str, tuple[str, ...]]:
    """The same for what is in memory already; ``source`` is what errors call it."""
    if not isinstance(found, Mapping):
        templates = isinstance(found, list) and all(isinstance(one, str) and PLACE in one for one in found)
        raise UsageError(
            f"{source} must hold an object of class name to list of sentences, not {_kind(found)}",
            hint="a list of templates goes to --templates" if templates else '{"cat": ["A cat has fur.", …], …}',
            input=source,
        )
    checked: dict[str, tuple[str, ...]] = {}
    for name, sentences in found.items():
        if not isinstance(name, str):
            raise UsageError(f"{source}: a class name must be a string, not {_kind(name)}", input=source)
        if not isinstance(sentences, list | tuple):
            raise UsageError(
                f"{source}: the descriptions of {name!r} must be a list, not {_kind(sentences)}",
                hint='{"cat": ["A cat has fur.", …], …}',
                input=source,
            )
        for number, sentence in enumerate(sentences, 1):
            if not isinstance(sentence, str) or not sentence.strip():
                what = "empty" if isinstance(sentence, str) else _kind(sentence)
                raise UsageError(f"{source}: description {number} of {name!r} is {what}", input=source)
        checked[name] = tuple(sentence.strip() for sentence in sentences)
    check_names(checked, source=source)
    without = [name for name, sentences in checked.items() if not sentences]
    if without:
        raise _undescribed(without, source)
    return checked


def _of_classes(names: Sequence[str], descriptions: Descriptions) -> dict[str, Sequence[str]]:
    """The sentences of every class; ``_`` in a name counts as a space where the name itself is not found."""
    spaced = {name.replace("_", " "): sentences for name, sentences in descriptions.items()}
    found = {name: descriptions.get(name) or spaced.get(name.replace("_", " ")) for name in names}
    without = [name for name, sentences in found.items() if not sentences]
    if without:
        raise _undescribed(without, "--descriptions")
    return {name: sentences for name, sentences in found.items() if sentences}


def _undescribed(names: Sequence[str], source: str) -> UsageError:
    named = ", ".join(repr(name) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return UsageError(
        f"{'a class has' if len(names) == 1 else f'{len(names)} classes have'} no descriptions: {named}{more}",
        hint="add a sentence, take the class out, or use --method clip",
        input=source,
    )


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


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", input=str(path)) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="check the path", input=str(path)) from error


def _json(path: Path) -> object:
    def no_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twin = next(name for index, name in enumerate(names) if name in names[:index])
            raise UsageError(f"{path}: the class {twin!r} is there twice", hint="join its lists", input=str(path))
        return dict(pairs)

    try:
        found: object = json.loads(_read(path), object_pairs_hook=no_twins)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{path} is not valid JSON: {error.msg}, line {error.lineno}",
            hint='{"cat": ["A cat has fur.", …], …}',
            input=str(path),
        ) from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply", input=str(path)) from error
    return found


def _kind(value: object) -> str:
    names = {list: "a list", tuple: "a list", dict: "an object", str: "a string", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")
