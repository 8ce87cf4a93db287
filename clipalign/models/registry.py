"""The table of models. A new model is a row here and nothing else.

Model, weights and activation belong together: OpenAI's weights, and Long-CLIP and SPECS which grew out of them, were
trained with QuickGELU and give quietly wrong numbers without it.

What may follow ``--model``, and what it means.

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
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from clipalign.errors import UnknownModel
from clipalign.files import is_file, is_folder

DEFAULT_MODEL: Final = "ViT-B-32"

OPENAI_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""Per channel, of OpenAI's training pictures (Radford et al., 2021); open_clip's default too."""

DETECT_LAYERS: Final = 3
DETECT_EPSILON: Final = -5e-5
"""CLIP4DM's k and epsilon, tuned for CLIP ViT-B/32 at fp16."""

LONG_MODEL: Final = "specs"
"""Default of score-long."""

CLIP_CONTEXT_TOKENS: Final = 77
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
        revision: of the repository; empty for its main branch.
        url: address of the file.
        tag: of open_clip's table.
        sha256: of the file in lower-case hexadecimal, or its first digits; empty where it is not on record.
        size_bytes: for display, rounded; 0 where unknown.
    """

    kind: SourceKind
    repo: str = ""
    file: str = ""
    revision: str = ""
    url: str = ""
    tag: str = ""
    sha256: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model by name.

    Attributes:
        name: registry name, or the specification as the user gave it.
        architecture: open_clip architecture, path of a config JSON, or empty: then the checkpoint's shapes tell.
        weights: sources in order of preference.
        quick_gelu: activation; None for the one of the architecture's config.
        context_tokens: 77, 248; 0 for the config's.
        image_size: side of the input in pixels; 0 for the config's.
        mean: per channel, of pixels in 0 to 1; None for the weights' own, else OpenAI's.
        std: as ``mean``.
        license: of the weights, SPDX; empty where unknown.
        layers: k of ``detect``, text layers averaged from the last.
        epsilon: threshold of ``detect``, in units of attribution.
        commands: those it was made for, as the list of models says; no other is refused.
        note: one line for lists.
        is_specs: whether it was trained with SPECS' objective, so that ``(cosine + 1) / 2`` is SPECS' published score.
    """

    name: str
    architecture: str
    weights: tuple[WeightSource, ...]
    quick_gelu: bool | None
    context_tokens: int
    image_size: int
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    license: str
    layers: int
    epsilon: float
    commands: tuple[str, ...]
    note: str
    is_specs: bool = False


def _openai(
    name: str, hub: str, *, sha256: str, file: str = "", size_px: int = 224, sizes: tuple[int, int]
) -> ModelRow:
    """A model of OpenAI's: the Hub's safetensors (fp32) before OpenAI's own TorchScript archive (fp16)."""
    pickle = file or f"{name}.pt"
    hub_bytes, archive_bytes = sizes
    return ModelRow(
        name=name,
        architecture=f"{name}-quickgelu",
        weights=(
            WeightSource("hub", repo=hub, file="open_clip_model.safetensors", size_bytes=hub_bytes),
            WeightSource(
                "url",
                file=pickle,
                url=f"https://openaipublic.azureedge.net/clip/models/{sha256}/{pickle}",
                sha256=sha256,
                size_bytes=archive_bytes,
            ),
        ),
        quick_gelu=True,
        context_tokens=CLIP_CONTEXT_TOKENS,
        image_size=size_px,
        mean=OPENAI_MEAN,
        std=OPENAI_STD,
        license="MIT",
        layers=DETECT_LAYERS,
        epsilon=DETECT_EPSILON,
        commands=("detect", "classify"),
        note="OpenAI's CLIP",
    )


def _long(
    name: str, architecture: str, weights: tuple[WeightSource, ...], *, note: str, commands: tuple[str, ...]
) -> ModelRow:
    """A CLIP with 248 positions, grown from OpenAI's."""
    return ModelRow(
        name=name,
        architecture=f"{architecture}-quickgelu",
        weights=weights,
        quick_gelu=True,
        context_tokens=LONG_CONTEXT_TOKENS,
        image_size=224,
        mean=OPENAI_MEAN,
        std=OPENAI_STD,
        license="Apache-2.0",
        layers=DETECT_LAYERS,
        epsilon=DETECT_EPSILON,
        commands=commands,
        note=note,
    )


def _specs_sources(file: str) -> tuple[WeightSource, ...]:
    """SPECS is published under either of two owners."""
    return tuple(WeightSource("hub", repo=repo, file=file) for repo in ("Xiaohud/SPECS", "XiaoFu666/SPECS"))


PICTOGRAM_LAYERS: Final = 3
PICTOGRAM_EPSILON: Final = -0.0061
"""Chosen by ``clipalign.pictogram.calibration`` on scenes kept apart; its model card has the figures."""


def _pictogram(*, long: bool = False) -> ModelRow:
    folder = files("clipalign") / "pictogram"
    name = "pictogram-long" if long else "pictogram"
    return ModelRow(
        name=name,
        architecture=str(folder / f"{name}.json"),
        weights=(WeightSource("embedded", file=str(folder / f"{name}.safetensors")),),
        quick_gelu=None,
        context_tokens=0,
        image_size=0,
        mean=None,
        std=None,
        license="Apache-2.0",
        layers=PICTOGRAM_LAYERS,
        epsilon=PICTOGRAM_EPSILON,
        commands=("detect", "classify", "score-long", "eval", "train-specs"),
        note="pictogram, stretched to 248 tokens and trained on long captions by train-specs"
        if long
        else "shipped with clipalign; knows scenes of pictograms and nothing else",
    )


_TABLE: Final = (
    _openai(
        "ViT-B-32",
        "timm/vit_base_patch32_clip_224.openai",
        sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        sizes=(605_000_000, 354_000_000),
    ),
    _openai(
        "ViT-B-16",
        "timm/vit_base_patch16_clip_224.openai",
        sha256="5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        sizes=(0, 0),
    ),
    _openai(
        "ViT-L-14",
        "timm/vit_large_patch14_clip_224.openai",
        sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        sizes=(0, 0),
    ),
    _openai(
        "ViT-L-14-336",
        "timm/vit_large_patch14_clip_336.openai",
        sha256="3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        file="ViT-L-14-336px.pt",
        size_px=336,
        sizes=(0, 0),
    ),
    ModelRow(
        name="ViT-H-14",
        architecture="ViT-H-14",
        weights=(
            WeightSource("hub", repo="laion/CLIP-ViT-H-14-laion2B-s32B-b79K", file="open_clip_model.safetensors"),
            WeightSource(
                "hub",
                repo="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
                file="open_clip_pytorch_model.bin",
                sha256="9a78ef8e8c73fd0df621682e7a8e8eb36c6916cb3c16b291a082ecd52ab79cc4",
                size_bytes=3_940_000_000,
            ),
        ),
        quick_gelu=False,
        context_tokens=CLIP_CONTEXT_TOKENS,
        image_size=224,
        mean=OPENAI_MEAN,
        std=OPENAI_STD,
        license="MIT",
        layers=DETECT_LAYERS,
        epsilon=DETECT_EPSILON,
        commands=("detect", "classify"),
        note="LAION-2B; the best published results of CLIP4DM",
    ),
    _long(
        "longclip-B",
        "ViT-B-16",
        (
            WeightSource(
                "hub",
                repo="BeichenZhang/LongCLIP-B",
                file="longclip-B.pt",
                sha256="ca2face3716d60473a4e284e5be2cf0a1f3a4ad9954a6a651d878e814cc0c894",
                size_bytes=599_000_000,
            ),
        ),
        note="Long-CLIP, ViT-B/16",
        commands=("score-long",),
    ),
    _long(
        "longclip-B-32",
        "ViT-B-32",
        (
            WeightSource(
                "hub",
                repo="BeichenZhang/LongCLIP-B-32",
                file="longclip-B-32.pt",
                sha256="a0b92baca8e8fe330abd5f16711e901a4ee05c76fbb80c5d41db45cbc356a3b5",
                size_bytes=606_000_000,
            ),
        ),
        note="Long-CLIP, ViT-B/32",
        commands=("score-long", "train-specs"),
    ),
    _long(
        "longclip-L",
        "ViT-L-14",
        (
            WeightSource(
                "hub",
                repo="BeichenZhang/LongCLIP-L",
                file="longclip-L.pt",
                revision="a29856989d49817508dbda0fb95c7f6ffc314331",  # an older upload precedes a training fix
                sha256="9d2c12ffcbf9099f95bfb9cf8f08f949b695e22fb0018e8895e088f4a88b6afd",
                size_bytes=1_710_000_000,
            ),
        ),
        note="Long-CLIP, ViT-L/14",
        commands=("score-long",),
    ),
    replace(
        _long(
            "specs",
            "ViT-B-32",
            _specs_sources("spec.pt"),
            note="SPECS, default of score-long",
            commands=("score-long",),
        ),
        is_specs=True,
    ),
    _long(
        "specs-base",
        "ViT-B-32",
        _specs_sources("openai_b32_longclip.pt"),
        note="where the training of SPECS starts",
        commands=("train-specs",),
    ),
    _pictogram(),
    _pictogram(long=True),
)

ROWS: Final[dict[str, ModelRow]] = {row.name: row for row in _TABLE}
"""Registry name to row, in the order of lists."""

TAGS_OF_ROWS: Final = {
    **{("openai", name): name for name in ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336")},
    ("laion2b_s32b_b79k", "ViT-H-14"): "ViT-H-14",
}
"""Tag and open_clip architecture to the row that is the same model."""


def row_of_weights(sha256: str) -> ModelRow | None:
    """The row whose weights file has this SHA-256, wherever the file lies and whatever it is called."""
    for row in _TABLE:
        if sha256 and any(source.sha256 == sha256 for source in row.weights):
            return row
    return None


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
        license="",
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
