"""A registry row and a device become a loaded model. The only module that imports open_clip.

An activation that does not fit is an error, as are keys, shapes and values (``clipalign.models.build``); guesses are in
the model's notes. Nothing is downloaded: what is not on this machine is an error.
"""

from __future__ import annotations

import difflib
import importlib
import shlex
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

import torch

from clipalign.device import TORCH, DeviceChoice, torch_dtype
from clipalign.errors import MissingWeights, ModelMismatch, UnknownModel
from clipalign.models.architecture import Architecture, infer_architecture, read_config
from clipalign.models.build import image_size_of, load_network
from clipalign.models.checkpoints import Weights, read_checkpoint
from clipalign.models.folders import config_beside
from clipalign.models.model import LoadedModel
from clipalign.models.registry import OPENAI_MEAN, OPENAI_STD, ModelRow, WeightSource, find_model, row_of_weights
from clipalign.models.tokenizers import make_tokenizer
from clipalign.models.weights import WeightsFile, locate

_PREPROCESSING: Final = ("mean", "std", "interpolation", "resize_mode")

_torchvision_schemas: torch.library.Library | None = None


def import_open_clip() -> ModuleType:
    """The ``open_clip`` package.

    It imports torchvision, which fails where its compiled operators were built for another torch, although none is ever
    called here; then their schemas are declared, which is all the import needs.
    """
    global _torchvision_schemas
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _torchvision_schemas is not None:
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        # Declared operators live as long as this object does.
        _torchvision_schemas = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            _torchvision_schemas.define(schema)
    return importlib.import_module("open_clip")


def load_model(
    row_or_spec: ModelRow | str,
    *,
    choice: DeviceChoice,
    cache_dir: str | Path | None = None,
    offline: bool = False,
) -> LoadedModel:
    """Load a model from this machine.

    Args:
        row_or_spec: a registry row, or what ``--model`` takes (see ``clipalign.models.registry``).
        choice: device, engine, precision and threads; the number of threads is set for the whole process.
        offline: whether the user forbade the network; only mentioned in the error.

    Raises:
        UnknownModel: no such name, tag or file.
        MissingWeights: known, but not on this machine.
        VerificationFailed: the file's SHA-256 is not the one on record.
        ModelMismatch: weights that do not fit the architecture in keys, shapes, activation or values; an architecture
            that open_clip cannot build, or that is unsupported.
        UsageError: the text side needs the package transformers, and it is not installed.
        DeviceUnavailable: the engine that was asked for by name cannot run the image tower.
    """
    row = find_model(row_or_spec) if isinstance(row_or_spec, str) else row_or_spec
    if choice.threads is not None:
        torch.set_num_threads(choice.threads)
    open_clip = import_open_clip()
    row, tag = _resolve_tag(row, open_clip)
    found = locate(row, cache_dir=cache_dir, offline=offline)
    known = row_of_weights(found.sha256)
    source = found.source
    checkpoint = read_checkpoint(found.path, source.set, base=Path(source.base) if source.base else None)
    architecture = _architecture(row, found.path, checkpoint, known, open_clip)
    quick_gelu, label = _activation(row, architecture, checkpoint, known, tag)
    if source.kind == "embedded":
        label = Path(label).name  # where clipalign is installed is not shown
    config = architecture.config | {"quick_gelu": quick_gelu}
    if row.context_tokens:
        config["text_cfg"] = config["text_cfg"] | {"context_length": row.context_tokens}
    context_tokens = int(config["text_cfg"].get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH))
    network = load_network(
        replace(architecture, label=label, config=config), checkpoint.tensors, open_clip, row, context_tokens
    )
    preprocess = architecture.preprocess | tag
    tokenizer, assumed = make_tokenizer(architecture, context_tokens, open_clip, row)
    loaded = LoadedModel(
        row=row,
        network=network,
        tokenizer=tokenizer,
        choice=choice,
        weights_sha256="#".join(filter(None, (found.sha256, source.set))),
        architecture=label,
        quick_gelu=quick_gelu,
        context_tokens=context_tokens,
        image_size=image_size_of(network, row),
        mean=row.mean or _three(preprocess.get("mean", OPENAI_MEAN)),
        std=row.std or _three(preprocess.get("std", OPENAI_STD)),
        vocabulary=_vocabulary(found.path) if source.kind == "embedded" else None,
        interpolation=str(preprocess.get("interpolation") or "bicubic"),
        resize_mode=str(preprocess.get("resize_mode") or "shortest"),
        fill_color=int(preprocess.get("fill_color") or 0),
        notes=(*architecture.notes, *assumed, *_of_averages(checkpoint, found)),
        config=config,
    )
    if choice.engine != TORCH:
        from clipalign.models.engines import attach_engine

        attach_engine(loaded, cache_dir=cache_dir)
    network.to(choice.device, torch_dtype(loaded.choice))
    return loaded


def _of_averages(checkpoint: Weights, found: WeightsFile) -> tuple[str, ...]:
    if not checkpoint.averages:
        return ()
    return (f"the file also has averaged weights (EMA), which were not taken: {found.path}#{checkpoint.averages[0]}",)


def resolve_tag(row: ModelRow) -> ModelRow:
    """``row`` with its pretrained tag's files from open_clip's table in its place; UnknownModel if it has none."""
    return _resolve_tag(row, import_open_clip())[0]


def _resolve_tag(row: ModelRow, open_clip: ModuleType) -> tuple[ModelRow, dict[str, Any]]:
    tag = row.tag or next((source.tag for source in row.weights if source.kind == "open_clip"), "")
    if not tag:
        return row, {}
    entry: dict[str, Any] = open_clip.get_pretrained_cfg(row.architecture, tag)
    if not entry:
        tags: list[str] = open_clip.list_pretrained_tags_by_model(row.architecture)
        near = difflib.get_close_matches(tag, tags, n=3)
        raise UnknownModel(
            f"open_clip has no weights called {tag!r} for {row.architecture}",
            hint=f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(tags) or 'none'}",
            input=row.name,
        )
    return row if row.tag else replace(row, weights=_tag_sources(entry, open_clip)), entry


def _tag_sources(entry: dict[str, Any], open_clip: ModuleType) -> tuple[WeightSource, ...]:
    """Hub before address, safetensors before pickles: open_clip's own order."""
    sources = []
    if entry.get("hf_hub"):
        constants = importlib.import_module(f"{open_clip.__name__}.constants")
        repo, _, file = entry["hf_hub"].rpartition("/")
        file = file or constants.HF_WEIGHTS_NAME
        safe = constants.HF_SAFE_WEIGHTS_NAME if file == constants.HF_WEIGHTS_NAME else ""
        if not safe and file.endswith((".bin", ".pth")):
            safe = f"{file[:-4]}.safetensors"
        sources += [WeightSource("hub", repo=repo, file=name) for name in (safe, file) if name]
    if entry.get("url"):
        path = PurePosixPath(urlsplit(entry["url"]).path)
        sha256 = ""
        if "openaipublic" in entry["url"]:
            sha256 = path.parent.name
        elif "mlfoundations" in entry["url"]:
            sha256 = path.stem.rpartition("-")[2]  # its first digits
        sources.append(WeightSource("url", file=path.name, url=entry["url"], sha256=sha256))
    return tuple(sources)


def _architecture(
    row: ModelRow, path: Path, checkpoint: Weights, known: ModelRow | None, open_clip: ModuleType
) -> Architecture:
    if row.architecture.endswith(".json"):
        return read_config(Path(row.architecture))
    if row.is_repository:
        config = config_beside(path)
        if config is None:
            raise MissingWeights(
                f"the config of {row.name} is not on this machine",
                hint=f"clipalign download {shlex.quote(row.name)}",
                input=row.name,
            )
        return read_config(config)
    name = row.architecture or (known.architecture if known else "")
    unsaid = known is None and checkpoint.quick_gelu is None and row.quick_gelu is None
    if not name:
        activation = "" if row.quick_gelu is not None else "QuickGELU (else --no-quick-gelu), "
        note = (
            f"{activation}attention heads of width 64 and OpenAI's preprocessing assumed: the checkpoint does not say"
        )
        return replace(infer_architecture(checkpoint.tensors), notes=() if checkpoint.quick_gelu else (note,))
    config = open_clip.get_model_config(name)
    if row.weights[0].kind != "file" or known is not None:
        return Architecture(name, config)
    preprocess, notes = ({}, ()) if row.mean else _preprocessing_of_tags(name, open_clip)
    # Weights fine-tuned from OpenAI's are of the twin's kind, and nothing in them says so.
    if unsaid and not config.get("quick_gelu") and f"{name}-quickgelu" in open_clip.list_models():
        guess = "GELU assumed: the checkpoint does not say; if it grew out of OpenAI's weights: --quick-gelu"
        notes = (guess, *notes)
    return Architecture(name, config, preprocess, notes=notes)


def _preprocessing_of_tags(name: str, open_clip: ModuleType) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The preprocessing that all pretrained tags of an architecture have, else OpenAI's, and what of it is a guess."""
    tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    found = [{key: tag[key] for key in _PREPROCESSING if tag.get(key)} for tag in tags]
    if not found or any(one != found[0] for one in found):
        why = f"open_clip's weights of {name} differ in it" if found else f"open_clip has no weights of {name}"
        return {}, (f"OpenAI's preprocessing assumed: {why}; a CONFIG.json with preprocess_cfg decides",)
    (said,) = found[:1]
    if (said.get("mean"), said.get("std"), said.get("resize_mode")) == (OPENAI_MEAN, OPENAI_STD, "shortest"):
        return said, ()
    words = ", ".join(f"{key} {value}" for key, value in said.items())
    return said, (f"preprocessing of open_clip's own weights of {name} assumed: {words}",)


def _activation(
    row: ModelRow,
    architecture: Architecture,
    checkpoint: Weights,
    known: ModelRow | None,
    tag: dict[str, Any],
) -> tuple[bool, str]:
    """Whether to use QuickGELU, and the architecture's name with that.

    It follows from known weights (SHA-256), their format or tag, a user's config, a name that ends in ``-quickgelu``,
    or the user, who must all agree; else it is that of the plain name.
    """
    label, configured = architecture.label, bool(architecture.config.get("quick_gelu"))
    trained = known.quick_gelu if known else True if tag.get("quick_gelu") else checkpoint.quick_gelu
    is_written = architecture.is_fixed or label.endswith("-quickgelu")
    claims = {
        f"{label} uses": configured if is_written else None,
        "these weights were trained with": trained,
        "what was asked for is": row.quick_gelu,
    }
    said = {quick_gelu: who for who, quick_gelu in reversed(claims.items()) if quick_gelu is not None}
    if len(said) > 1:
        hint = "leave out --quick-gelu and --no-quick-gelu"
        if row.quick_gelu is None:
            hint = "name the architecture without -quickgelu"
        if architecture.is_fixed and trained is not None:
            hint = f'set "quick_gelu": {"true" if trained else "false"} in the config'
        both = [f"{who} {'QuickGELU' if quick_gelu else 'GELU'}" for quick_gelu, who in reversed(said.items())]
        raise ModelMismatch(", but ".join(both), hint=hint, input=row.name)
    (quick_gelu,) = said or (configured,)
    twin = quick_gelu and not configured and bool(row.architecture)
    return quick_gelu, f"{label}-quickgelu" if twin else label


def _three(numbers: Any) -> tuple[float, float, float]:
    """Channel numbers of a config: three, or one for all."""
    first, second, third = numbers if isinstance(numbers, (tuple, list)) else (numbers,) * 3
    return float(first), float(second), float(third)


def _vocabulary(weights: Path) -> frozenset[str] | None:
    """The words an embedded model was trained on, a line a word, from the file beside its weights."""
    file = weights.with_name("vocabulary.txt")
    return frozenset(file.read_text(encoding="utf-8").split()) if file.is_file() else None
