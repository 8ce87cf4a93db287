"""What may follow ``--model``, and what it means.

    NAME                  a registry name
    NAME@TAG              an open_clip architecture with one of its pretrained tags
    NAME@FILE             an open_clip architecture, or a registry model's, with a local checkpoint
    CONFIG.json@FILE      an open_clip config with a local checkpoint
    FILE                  a checkpoint in OpenAI or Long-CLIP format; its architecture follows from its shapes

A file of that very name wins over the ``@`` reading. open_clip itself is not imported: its architectures are the names
of the files in its config folder. Whether a tag exists is found out when the model is loaded.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from clipalign.errors import UnknownModel
from clipalign.paths import is_file, is_folder
from clipalign.registry.rows import DETECT_EPSILON, DETECT_LAYERS, ROWS, TAGS_OF_ROWS, ModelRow, WeightSource

CHECKPOINT_SUFFIXES: Final = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_SUGGESTIONS: Final = 3


def model_names() -> list[str]:
    """The registry's names, in the order of lists."""
    return list(ROWS)


@cache
def architecture_names() -> tuple[str, ...]:
    """The architectures of the installed open_clip, sorted."""
    package = find_spec("open_clip")
    folders = package.submodule_search_locations or [] if package else []
    return tuple(sorted(file.stem for folder in folders for file in Path(folder, "model_configs").glob("*.json")))


def find_model(spec: str) -> ModelRow:
    """The row that ``spec`` stands for; its weights need not be on this machine.

    Raises:
        UnknownModel: neither a name, nor a file, nor a pair of the two; with the nearest names as a hint.
    """
    spec = spec.strip()
    if spec in ROWS:
        return ROWS[spec]
    path = _path(spec)
    if spec and is_file(path):
        return _lone_file(spec, path)
    for left, right in _splits(spec):
        row = _left_side(spec, left)
        if row is not None:
            return _with_weights(row, left, right)
    raise _unknown(spec, path)


def _path(text: str) -> Path:
    """``text`` as a path; ``~`` stands for the home folder, also where the shell left it alone."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _splits(spec: str) -> Iterator[tuple[str, str]]:
    """Both sides of every ``@``: paths may hold some too."""
    for place, character in enumerate(spec):
        if character == "@":
            yield spec[:place], spec[place + 1 :]


def _lone_file(spec: str, path: Path) -> ModelRow:
    if path.suffix == ".json":
        raise UnknownModel(
            f"{spec} is a config without weights", hint=f"add the checkpoint: --model {spec}@FILE", input=spec
        )
    row = _blank_row(spec, "", note="architecture read from the checkpoint's shapes")
    return replace(row, weights=(WeightSource("file", file=str(path)),))


def _left_side(spec: str, left: str) -> ModelRow | None:
    """What stands before the ``@``, still without weights."""
    path = _path(left)
    if left and path.suffix == ".json" and is_file(path):
        return _blank_row(spec, str(path), note="local config")
    # open_clip's name before the registry's: ViT-B-32@laion2b_e16 is no model of OpenAI's.
    if left in architecture_names():
        return _blank_row(spec, left, note="open_clip architecture")
    return replace(ROWS[left], name=spec) if left in ROWS else None


def _blank_row(name: str, architecture: str, *, note: str) -> ModelRow:
    return ModelRow(
        name=name,
        architecture=architecture,
        weights=(),
        quick_gelu=None,
        context_tokens=0,
        image_size=0,
        mean=None,
        std=None,
        licence="",
        layers=DETECT_LAYERS,
        epsilon=DETECT_EPSILON,
        commands=("detect", "classify"),
        note=note,
    )


def _with_weights(row: ModelRow, left: str, right: str) -> ModelRow:
    path = _path(right)
    if right and is_file(path):
        return replace(row, weights=(WeightSource("file", file=str(path)),))
    if not right:
        raise UnknownModel(
            f"nothing follows the @ of {row.name!r}", hint=f"--model {left}@TAG or --model {left}@FILE", input=row.name
        )
    if path.suffix in CHECKPOINT_SUFFIXES or "/" in right or is_folder(path):
        raise UnknownModel(f"there is no checkpoint file {right}", hint=_where(path), input=row.name)
    tag = right.lower().replace("-", "_")  # as open_clip reads tags
    if (tag, left) in TAGS_OF_ROWS:
        return ROWS[TAGS_OF_ROWS[tag, left]]
    if left not in architecture_names():
        raise UnknownModel(
            f"{left} has no weights called {right!r}", hint=f"name a checkpoint: {left}@FILE", input=row.name
        )
    return replace(row, weights=(WeightSource("open_clip", tag=tag),))


def _unknown(spec: str, path: Path) -> UnknownModel:
    if not spec:
        return UnknownModel("the model has no name", hint=f"one of {', '.join(ROWS)}")
    if spec in architecture_names():
        return UnknownModel(
            f"{spec} is an architecture without weights",
            hint=f"add a pretrained tag or a checkpoint: --model {spec}@TAG or {spec}@FILE",
            input=spec,
        )
    left, at, right = spec.partition("@")
    near = _nearest(left)
    if near:
        return UnknownModel(
            f"unknown model {spec!r}",
            hint=f"did you mean {' or '.join(name + at + right for name in near)}?",
            input=spec,
        )
    if path.suffix in (*CHECKPOINT_SUFFIXES, ".json") or "/" in spec or is_folder(path):
        return UnknownModel(f"there is no model file {spec}", hint=_where(path), input=spec)
    return UnknownModel(f"unknown model {spec!r}", hint=f"one of {', '.join(ROWS)}", input=spec)


def _nearest(name: str) -> list[str]:
    """Registry names before architectures, near in spelling, upper and lower case and ``/`` for ``-`` aside."""
    wanted = name.lower().replace("/", "-")
    for names in (tuple(ROWS), architecture_names()):
        by_lower = {known.lower(): known for known in names}
        found = difflib.get_close_matches(wanted, by_lower, n=_SUGGESTIONS, cutoff=0.75)
        if found:
            exact = [wanted] if wanted in by_lower else found
            return [by_lower[low] for low in exact]
    return []


def _where(path: Path) -> str:
    if is_folder(path):
        return "that is a folder; name the file in it"
    if not is_folder(path.parent):
        return f"there is no folder {path.parent}"
    return f"looked in {path.absolute().parent}"
