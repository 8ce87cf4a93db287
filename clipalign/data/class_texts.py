"""Classes become texts, as each method of ``classify`` wants them; torch-free.

By method (WCA, Li et al., ICML 2024, section 4) these are one template, many templates, descriptors
turned into relative clauses, random words (WaffleCLIP, Roth et al., ICCV 2023), or sentences unchanged.
"""

from __future__ import annotations

import math
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clipalign.data.classes import PLACE, Classes, Descriptions, check_names, undescribed
from clipalign.errors import UsageError

METHODS: Final = ("wca", "clip", "clip-e", "clip-d", "waffle", "cupl")

CLASS_TEMPLATE: Final = "a photo of a {}."
"""The text of a class by its name (CLIP); WCA weights sentences by their similarity to it."""

WAFFLE_PAIRS: Final = 15

_IS: Final = ("a", "used")
_PLAIN: Final = ("has", "often", "typically", "may", "can")


@dataclass(frozen=True, slots=True)
class ClassTexts:
    """The texts of one class (M), and the ``label`` whose similarity weights them; empty for a plain mean."""

    name: str
    texts: tuple[str, ...]
    label: str = ""

    @property
    def encoded(self) -> tuple[str, ...]:
        return (*self.texts, self.label) if self.label else self.texts


def default_method(classes: Classes) -> str:
    return "clip" if classes.descriptions is None else "wca"


def class_texts(
    classes: Classes, *, method: str, template: str = CLASS_TEMPLATE, seed: int = 0
) -> tuple[ClassTexts, ...]:
    """Return the texts of every class, in the order of their names; ``template`` has ``{}`` for the name.

    Raises:
        UsageError: no classes, two of one name, a class without descriptions, a template without ``{}``, no words.
    """
    names, descriptions = classes.names or tuple(classes.descriptions or ()), classes.descriptions
    if method not in METHODS:
        raise UsageError(
            f"unknown value {method!r} for --method", hint=f"one of {', '.join(METHODS)}", input="--method"
        )
    check_names(names)
    check_templates([template], "--template")
    if method == "clip":
        return tuple(ClassTexts(name, (_filled(template, name),)) for name in names)
    if method == "clip-e":
        check_templates(classes.templates, "--templates")
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
    labels = [_filled(template, name) if method == "wca" else "" for name in names]
    return tuple(ClassTexts(name, tuple(sentences[name]), label) for name, label in zip(names, labels, strict=True))


def relative_clause(descriptor: str) -> str:
    """Turn a descriptor into a clause: "a long bill" → "which is a long bill", "black feet" → "which has …".

    The prefix may be part of a word, as published: "antlers" are something a class *is*.
    """
    if descriptor.startswith(_IS):
        return f"which is {descriptor}"
    return f"which {descriptor}" if descriptor.startswith(_PLAIN) else f"which has {descriptor}"


def waffle_descriptors(
    names: Sequence[str], words: Sequence[str], descriptions: Descriptions | None = None, *, seed: int
) -> list[str]:
    """Return 15 × 2 random descriptors: words and characters in turns, as long as class names are on average.

    Words are cut to their average length; characters come from ``descriptions``, or without them from ``words``.
    """
    if not words:
        raise UsageError(
            "the method waffle draws from a list of words, and there is none",
            hint="give --words FILE, a word a line, or: clipalign download waffle-words",
            input="--words",
        )
    from statistics import mean  # only here: it costs --help a tenth of its time

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
    """Return the sentences of every class; if a name is not found, ``_`` in it counts as a space."""
    spaced = {name.replace("_", " "): sentences for name, sentences in descriptions.items()}
    found = {name: descriptions.get(name) or spaced.get(name.replace("_", " ")) for name in names}
    without = [name for name, sentences in found.items() if not sentences]
    if without:
        raise undescribed(without, "--descriptions")
    return {name: sentences for name, sentences in found.items() if sentences}


def check_templates(templates: Sequence[str], source: str) -> None:
    """Raise ``UsageError`` for no templates, or one without a place for the name; ``source`` names their origin."""
    if not templates:
        raise UsageError("there are no templates", hint="give a file with a template a line", input=source)
    for template in templates:
        if PLACE not in template:
            message = f"{source}: the template {template!r} has no place for the class"
            raise UsageError(message, hint="put {} where its name goes", input=source)


def _filled(template: str, name: str) -> str:
    return template.replace(PLACE, name)
