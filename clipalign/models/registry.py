"""Models by name, from ``models.toml``, and what may follow ``--model``.

    NAME                          a registry name, or OpenAI's spelling of one: ViT-L/14@336px
    NAME@TAG, NAME:TAG, NAME,TAG  an open_clip architecture with one of its pretrained tags
    NAME@FILE, CONFIG.json@FILE   an architecture, a registry model's, or a config, with a local checkpoint
    FILE                          a checkpoint in OpenAI or Long-CLIP format; its architecture follows from its shapes
    FILE#SET                      one of several sets of weights in a file, such as those of a moving average (EMA)
    DIR, local-dir:DIR            a folder with a config and weights, see ``clipalign.models.folders``
    OWNER/NAME[@REVISION]         a repository of the Hub with the same, also after ``hf-hub:``

What exists under that very name wins: a file, then a folder. open_clip itself is not imported: its architectures are
the names of the files in its config folder. Whether a tag exists is found out when the model is loaded.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from clipalign.errors import ModelMismatch, UnknownModel
from clipalign.files import is_file, is_folder, read_package_rows
from clipalign.models.folders import INDEX, WEIGHTS, find_in_folder

DEFAULT_MODEL: Final = "ViT-B-32"

OPENAI_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""Per channel, of OpenAI's training pictures (Radford et al., 2021); open_clip's default too."""

DETECT_LAYERS: Final = 3
DETECT_EPSILON: Final = -5e-5
"""CLIP4DM's k and epsilon, tuned for CLIP ViT-B/32 at fp16."""

LONG_MODEL: Final = "specs"  # default of score-long

LONG_CONTEXT_TOKENS: Final = 248

SourceKind = Literal["hub", "url", "embedded", "file", "open_clip"]


@dataclass(frozen=True, slots=True)
class WeightSource:
    """One place that has a model's weights.

    Attributes:
        kind: ``hub`` (Hugging Face), ``url``, ``embedded`` (inside this package), ``file`` (a path as given) or
            ``open_clip`` (a tag of open_clip's own table).
        repo: of the Hub, ``owner/name``.
        file: file in the repository, or the path.
        base: embedded file with the tensors that ``file`` leaves out.
        revision: of the repository; empty for its main branch.
        sha256: of the file in lower-case hexadecimal, or its first digits; empty where it is not on record.
        size_bytes: for display, rounded; 0 where unknown.
        set: of several sets of weights in the file; empty for the only one, or the one that is no moving average.
    """

    kind: SourceKind
    repo: str = ""
    file: str = ""
    base: str = ""
    revision: str = ""
    url: str = ""
    tag: str = ""
    sha256: str = ""
    size_bytes: int = 0
    set: str = ""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model by name.

    Attributes:
        name: registry name, or the specification as the user gave it.
        architecture: open_clip architecture, path of a config JSON, or empty for the config beside the weights in a
            repository of the Hub, or the shapes of a file.
        weights: sources in order of preference.
        tag: open_clip's tag for these very weights; its table has their preprocessing.
        quick_gelu: activation; None for that of the architecture's config.
        context_tokens: 77, 248; 0 for the config's.
        image_size: side of the input in pixels; 0 for the config's.
        mean, std: per channel, of pixels in 0 to 1; None for the weights' own, else OpenAI's.
        license: of the weights, SPDX; empty where unknown.
        layers: k of ``detect``, text layers averaged from the last.
        epsilon: threshold of ``detect``, in units of attribution.
        epsilon_tested: whether it was chosen on, or published for, these weights; a guess otherwise.
        commands: those it is listed for; no other is refused.
        is_specs: whether it was trained with SPECS' objective, so that ``(cosine + 1) / 2`` is SPECS' published score.
    """

    name: str
    architecture: str
    weights: tuple[WeightSource, ...] = ()
    tag: str = ""
    quick_gelu: bool | None = None
    context_tokens: int = 0
    image_size: int = 0
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    license: str = ""
    layers: int = DETECT_LAYERS
    epsilon: float = DETECT_EPSILON
    epsilon_tested: bool = False
    commands: tuple[str, ...] = ("detect", "classify")
    note: str = ""
    is_specs: bool = False

    @property
    def is_repository(self) -> bool:
        """Whether it is a repository of the Hub, whose config is beside its weights."""
        return not self.architecture and self.weights[0].kind == "hub"


def _row(table: Mapping[str, Any]) -> ModelRow:
    row = ModelRow(**(dict(table) | {"weights": tuple(WeightSource(**source) for source in table["weights"])}))
    if row.weights[0].kind != "embedded":
        return row
    package = Path(__file__).parents[1]
    weights = [
        replace(source, file=str(package / source.file), base=source.base and str(package / source.base))
        for source in row.weights
    ]
    return replace(row, architecture=str(package / row.architecture), weights=tuple(weights))


ROWS: Final[dict[str, ModelRow]] = {
    table["name"]: _row(table) for table in read_package_rows("models/models.toml")
}  # registry name to row, in the order of lists


def row_of_weights(sha256: str) -> ModelRow | None:
    """The row whose weights file has this SHA-256, wherever the file is and whatever its name."""
    for row in ROWS.values():
        if sha256 and any(source.sha256 == sha256 for source in row.weights):
            return row
    return None


CHECKPOINT_SUFFIXES: Final = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_SUGGESTIONS: Final = 3

_HUB: Final = "hf-hub:"
_LOCAL: Final = "local-dir:"
_REPOSITORY: Final = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
_REVISION: Final = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95}){0,3}", re.ASCII)
_OPENAI_AT_336: Final = "ViT-L-14@336px"

LISTED: Final = "clipalign download lists all there are"  # hint where no name is near


def model_names() -> list[str]:
    return list(ROWS)


@cache
def open_clip_configs() -> dict[str, Path]:
    """The configs of the architectures in the installed open_clip by name, sorted."""
    package = find_spec("open_clip")
    folders = package.submodule_search_locations or [] if package else []
    files = (file for folder in folders for file in Path(folder, "model_configs").glob("*.json"))
    return {file.stem: file for file in sorted(files, key=lambda file: file.stem)}


def architecture_names() -> tuple[str, ...]:
    return tuple(open_clip_configs())


def find_model(spec: str) -> ModelRow:
    """The row that ``spec`` stands for; its weights need not be on this machine.

    Raises:
        UnknownModel: no name, file, folder, repository or pair of two of them; the hint has the nearest names.
        ModelMismatch: a folder without a config or without weights.
    """
    spec = spec.strip()
    if spec in ROWS:
        return ROWS[spec]
    if spec.startswith(_LOCAL):
        return row_of_folder(spec, _path(spec.removeprefix(_LOCAL)))
    if not spec.startswith(_HUB):
        if source := _file(spec):
            return _lone_file(spec, source)
        if spec and is_folder(_path(spec)):
            return row_of_folder(spec, _path(spec))
        if (name := spec.replace("/", "-")) in ROWS:
            return ROWS[name]
        for left, right in _splits(spec):
            if (row := _left_side(spec, left)) is not None:
                return _with_weights(row, left, right)
    if row := _repository(spec):
        return row
    raise _unknown(spec)


def with_activation(row: ModelRow, quick_gelu: bool | None) -> ModelRow:
    """``row`` with the activation that the user gives, None for the row's own; ModelMismatch if the row has another."""
    if quick_gelu is None or row.quick_gelu == quick_gelu:
        return row
    if row.quick_gelu is not None:
        name = "QuickGELU" if row.quick_gelu else "GELU"
        hint = "leave out --quick-gelu and --no-quick-gelu"
        raise ModelMismatch(f"{row.name} was trained with {name}", hint=hint, input=row.name)
    return replace(row, quick_gelu=quick_gelu)


def row_of_folder(spec: str, folder: Path) -> ModelRow:
    config, weights = find_in_folder(folder)
    source = WeightSource("file", file=str(weights))
    return ModelRow(spec, str(config), (source,), note=f"{weights.name} with {config.name}")


def _repository(spec: str) -> ModelRow | None:
    repo, _, revision = spec.removeprefix(_HUB).partition("@")
    named = _REPOSITORY.fullmatch(repo) and (not revision or _REVISION.fullmatch(revision))
    if not named or ".." in revision:
        return None
    if not spec.startswith(_HUB) and (_path(spec).suffix in (*CHECKPOINT_SUFFIXES, ".json") or _is_misspelled(repo)):
        return None
    weights = tuple(WeightSource("hub", repo=repo, file=file, revision=revision) for file in WEIGHTS)
    return ModelRow(spec, "", weights, note="repository of the Hub")


def _is_misspelled(repo: str) -> bool:
    """Whether ``owner/name`` is rather an architecture in OpenAI's spelling: ViT-B/33."""
    family = repo.partition("/")[0].lower() + "-"
    return any(name.lower().startswith(family) for name in architecture_names())


def _path(text: str) -> Path:
    """``text`` as a path, with ``~`` expanded even where the shell left it."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _splits(spec: str) -> Iterator[tuple[str, str]]:
    """Both sides of every ``@``, ``:`` and ``,``, since paths may hold some too."""
    for place, character in enumerate(spec):
        if character in "@:,":
            yield spec[:place], spec[place + 1 :]


def _file(text: str) -> WeightSource | None:
    """A checkpoint, and after ``#`` a set of weights in it; None where there is no such file."""
    whole, (name, _, chosen) = _path(text), text.rpartition("#")
    if text and is_file(whole):
        return WeightSource("file", file=str(whole))
    return WeightSource("file", file=str(_path(name)), set=chosen) if name and is_file(_path(name)) else None


def _lone_file(spec: str, source: WeightSource) -> ModelRow:
    path = Path(source.file)
    if path.suffix == ".json" and not path.name.endswith(INDEX):
        raise UnknownModel(
            f"{spec} is a config without weights",
            hint=f"add the checkpoint: --model {shlex.quote(spec)}@FILE",
            input=spec,
        )
    return ModelRow(spec, "", (source,), note="architecture read from the checkpoint's shapes")


def _left_side(spec: str, left: str) -> ModelRow | None:
    """The row of what is before the weights, still without them."""
    path = _path(left)
    if left and path.suffix == ".json" and is_file(path):
        return ModelRow(spec, str(path), note="local config")
    # open_clip's name before the registry's: ViT-B-32@laion2b_e16 is no model of OpenAI's.
    if (name := left.replace("/", "-")) in architecture_names():
        return ModelRow(spec, name, note="open_clip architecture")
    return replace(ROWS[name], name=spec, epsilon_tested=False) if name in ROWS else None


def _with_weights(row: ModelRow, left: str, right: str) -> ModelRow:
    path = _path(right)
    if source := _file(right):
        return replace(row, weights=(source,))
    if not right:
        raise UnknownModel(
            f"nothing follows the @ of {row.name!r}",
            hint=f"--model {shlex.quote(left)}@TAG or {shlex.quote(left)}@FILE",
            input=row.name,
        )
    if path.suffix in CHECKPOINT_SUFFIXES or "/" in right or is_folder(path):
        raise UnknownModel(f"there is no checkpoint file {right}", hint=_where(path), input=row.name)
    tag = right.lower().replace("-", "_")  # as open_clip reads tags
    left = left.replace("/", "-")
    for known in (ROWS.get(f"{left}@{tag}"), ROWS.get(left)):
        if known and known.tag == tag:
            return known
    if f"{left}@{tag}" == _OPENAI_AT_336:
        return ROWS["ViT-L-14-336"]
    if left not in architecture_names():
        raise UnknownModel(
            f"{left} has no weights called {right!r}", hint=f"name a checkpoint: {left}@FILE", input=row.name
        )
    return replace(row, weights=(WeightSource("open_clip", tag=tag),))


def _unknown(spec: str) -> UnknownModel:
    if not spec:
        return UnknownModel("the model has no name", hint=LISTED)
    if (name := spec.replace("/", "-")) in architecture_names():
        return UnknownModel(
            f"{spec} is an architecture without weights",
            hint=f"add a pretrained tag or a checkpoint: --model {shlex.quote(name)}@TAG or {shlex.quote(name)}@FILE",
            input=spec,
        )
    left, at, right = spec.partition("@")
    if near := _nearest(left):
        return UnknownModel(
            f"unknown model {spec!r}",
            hint=f"did you mean {' or '.join(name + at + right for name in near)}?",
            input=spec,
        )
    path = _path(spec)
    if path.suffix in (*CHECKPOINT_SUFFIXES, ".json") or "/" in spec:
        return UnknownModel(f"there is no model file, folder or repository {spec}", hint=_where(path), input=spec)
    return UnknownModel(f"unknown model {spec!r}", hint=LISTED, input=spec)


def _nearest(name: str) -> list[str]:
    """Registry names, then architectures, of similar spelling, ignoring case and ``/`` for ``-``."""
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
    return f"looked in {path.absolute().parent}" if is_folder(path.parent) else f"there is no folder {path.parent}"
