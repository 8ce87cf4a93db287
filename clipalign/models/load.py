"""A registry row and a device become a loaded model. The only module that imports open_clip.

Weights are loaded strictly: a key too many or too few, a shape, an activation or a value that does not fit is an error,
never a log line. The network is built without drawing its random initial weights, since every one is overwritten; the
global random generators stay untouched. Nothing here reaches for a network: what is not on this machine is an error.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import importlib.util
import json
import math
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clipalign.device import DeviceChoice, torch_dtype
from clipalign.errors import ClipalignError, MissingWeights, ModelMismatch, UnknownModel, UsageError, name_some
from clipalign.models.architecture import Architecture, infer_architecture, read_config, read_text_tower
from clipalign.models.checkpoints import NAMED_KEYS, Weights, read_checkpoint
from clipalign.models.model import LoadedModel
from clipalign.models.registry import OPENAI_MEAN, OPENAI_STD, ModelRow, WeightSource, find_model, row_of_weights
from clipalign.models.weights import find_in_hub_cache, locate

_ROOM: Final = 4
_ROOM_BYTES: Final = 1024**3
"""A network may take four times its weights and a gibibyte while it is built: open_clip makes a text tower of a
repository with its decoder, and throws that away.
"""

_torchvision_schemas: torch.library.Library | None = None


def import_open_clip() -> ModuleType:
    """The ``open_clip`` package.

    It imports torchvision, whose Python side wants its compiled operators. Where torchvision was built for another
    torch those do not load and the import fails, although no operator is ever called here: then their schemas are
    declared, which is all the import needs.
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
        choice: device, precision and threads; the number of threads is set for the whole process.
        cache_dir: clipalign's cache folder, where it is not the usual one.
        offline: whether the user forbade the network; nothing is fetched here anyhow, but the error says so.

    Raises:
        UnknownModel: no such name, tag or file.
        MissingWeights: known, but not on this machine.
        VerificationFailed: the file's SHA-256 is not the one on record.
        ModelMismatch: weights that do not fit the architecture in keys, shapes, activation or values; an architecture
            that open_clip cannot build, or that is not served.
        UsageError: the text side needs the package transformers, and it is not installed.
    """
    row = find_model(row_or_spec) if isinstance(row_or_spec, str) else row_or_spec
    if choice.threads is not None:
        torch.set_num_threads(choice.threads)
    open_clip = import_open_clip()
    row, tag = _resolve_tag(row, open_clip)
    found = locate(row, cache_dir=cache_dir, offline=offline)
    known = row_of_weights(found.sha256)
    base = found.source.base
    checkpoint = read_checkpoint(found.path, base=Path(base) if base else None)
    architecture, notes = _architecture(row, checkpoint, known, open_clip)
    quick_gelu, label = _activation(row, architecture, checkpoint, known, tag)
    if found.source.kind == "embedded":
        label = Path(label).name  # where clipalign is installed is not shown
    config = architecture.config | {"quick_gelu": quick_gelu}
    if row.context_tokens:
        config["text_cfg"] = config["text_cfg"] | {"context_length": row.context_tokens}
    weights_bytes = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    network = _build(config, open_clip, row, _ROOM * weights_bytes + _ROOM_BYTES)
    _fill(network, checkpoint.tensors, open_clip, label=label, row=row)
    context_tokens = int(config["text_cfg"].get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH))
    image_size = _image_size(network, row)
    if architecture.is_fixed:
        _try_out(network, image_size, context_tokens, row)
    preprocess = architecture.preprocess | tag
    return LoadedModel(
        row=row,
        network=network.eval().requires_grad_(False).to(choice.device, torch_dtype(choice)),
        tokenizer=_tokenizer(config["text_cfg"], context_tokens, open_clip, row),
        choice=choice,
        weights_sha256=found.sha256,
        architecture=label,
        quick_gelu=quick_gelu,
        context_tokens=context_tokens,
        image_size=image_size,
        mean=row.mean or _three(preprocess.get("mean", OPENAI_MEAN)),
        std=row.std or _three(preprocess.get("std", OPENAI_STD)),
        vocabulary=_vocabulary(found.path) if found.source.kind == "embedded" else None,
        interpolation=str(preprocess.get("interpolation") or "bicubic"),
        resize_mode=str(preprocess.get("resize_mode") or "shortest"),
        fill_color=int(preprocess.get("fill_color") or 0),
        notes=notes,
        config=config,
    )


def resolve_tag(row: ModelRow) -> ModelRow:
    """``row`` with the files of its pretrained tag in place of the tag, as open_clip's own table has them.

    Raises:
        UnknownModel: the table has no such tag for that architecture.
    """
    return _resolve_tag(row, import_open_clip())[0]


def _resolve_tag(row: ModelRow, open_clip: ModuleType) -> tuple[ModelRow, dict[str, Any]]:
    """The row with a tag's files in place of the tag, and what open_clip's table says about the tag."""
    tag = next((source.tag for source in row.weights if source.kind == "open_clip"), "")
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
    return replace(row, weights=_tag_sources(entry, open_clip)), entry


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
    row: ModelRow, checkpoint: Weights, known: ModelRow | None, open_clip: ModuleType
) -> tuple[Architecture, tuple[str, ...]]:
    """What to build, and what a reader must know about how that was found out."""
    if row.architecture.endswith(".json"):
        return read_config(Path(row.architecture)), ()
    name = row.architecture or (known.architecture if known else "")
    if not name:
        assumed = checkpoint.quick_gelu is None
        note = "QuickGELU and attention heads of width 64 assumed: the checkpoint does not say"
        return infer_architecture(checkpoint.tensors), (note,) if assumed else ()
    config = open_clip.get_model_config(name)
    # Weights fine-tuned from OpenAI's are of the twin's kind, and nothing in them says so.
    guessed = (
        known is None and checkpoint.quick_gelu is None and not config.get("quick_gelu") and row.quick_gelu is None
    )
    if not guessed or row.weights[0].kind != "file" or f"{name}-quickgelu" not in open_clip.list_models():
        return Architecture(name, config), ()
    note = f"GELU assumed: the checkpoint does not say; if it grew out of OpenAI's weights, name {name}-quickgelu"
    return Architecture(name, config), (note,)


def _activation(
    row: ModelRow,
    architecture: Architecture,
    checkpoint: Weights,
    known: ModelRow | None,
    tag: dict[str, Any],
) -> tuple[bool, str]:
    """Whether to use QuickGELU, and the architecture's name with that.

    The weights decide where they are known: by their SHA-256, their format or their tag. An architecture that was only
    named is then corrected to its ``-quickgelu`` twin; one that was written down, or says QuickGELU, must agree.
    """
    declared = bool(architecture.config.get("quick_gelu", False)) if row.quick_gelu is None else row.quick_gelu
    trained = checkpoint.quick_gelu
    if known is not None:
        trained = known.quick_gelu
    elif tag.get("quick_gelu"):
        trained = True
    if trained is None or trained == declared:
        return declared, architecture.label
    if architecture.is_fixed or declared:
        ours, theirs = ("QuickGELU", "GELU") if declared else ("GELU", "QuickGELU")
        raise ModelMismatch(
            f"{architecture.label} uses {ours}, but these weights were trained with {theirs}",
            hint=f'set "quick_gelu": {"false" if declared else "true"} in the config'
            if architecture.is_fixed
            else "name the architecture without -quickgelu",
            input=row.name,
        )
    return True, f"{architecture.label}-quickgelu"


@contextmanager
def no_network() -> Iterator[None]:
    """Inside, what asks the Hub gets an error, whichever library it is and whenever that was imported."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


class _Building(TorchDispatchMode):
    """Inside, random initial values are left out: every one of them is overwritten, and drawing them takes seconds.

    A network that needs more memory than its weights account for is not built to its end.
    """

    def __init__(self, room_bytes: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room_bytes = room_bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        kwargs = dict(kwargs or {})
        operator = func.overloadpacket
        if operator in (aten.empty, aten.zeros, aten.ones, aten.full, aten.randn, aten.rand):
            self._room_bytes -= 4 * math.prod(args[0])
            if self._room_bytes < 0:
                raise ValueError("it is far larger than its weights")
        if operator in (aten.normal_, aten.uniform_):
            return args[0]
        if operator in (aten.randn, aten.rand):
            kwargs.pop("generator", None)
            return torch.empty(args[0], **kwargs)
        return func(*args, **kwargs)


def _build(config: dict[str, Any], open_clip: ModuleType, row: ModelRow, room_bytes: int) -> Any:
    """The network with arbitrary weights, by the class that open_clip takes for such a config."""
    config = copy.deepcopy(config)
    tower: dict[str, Any] = {}
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    custom_text = config.pop("custom_text", False)
    if "hf_model_name" in text:
        custom_text = True
        text["hf_model_pretrained"] = False
        tower = read_text_tower(Path(_hub_folder(text["hf_model_name"], ("config.json",), row), "config.json"))
    kind = open_clip.model.CustomTextCLIP if custom_text else open_clip.model.CLIP
    if custom_text and "multimodal_cfg" in config:
        kind = open_clip.coca_model.CoCa
    try:
        with TemporaryDirectory() as folder, no_network(), _Building(room_bytes):
            if tower:
                Path(folder, "config.json").write_text(json.dumps(tower), encoding="utf-8")
                text["hf_model_name"] = folder
            return kind(**config)
    except Exception as error:  # a config may hold anything, and open_clip takes it at its word
        raise ModelMismatch(
            f"open_clip cannot build the architecture of {row.name}: {str(error).partition(chr(10))[0]}", input=row.name
        ) from error


def _fill(network: Any, tensors: dict[str, Tensor], open_clip: ModuleType, *, label: str, row: ModelRow) -> None:
    """Put the weights in place, every one of them and no other."""
    wanted = network.state_dict()
    tensors = open_clip.convert.convert_state_dict(network, dict(tensors))
    if "positional_embedding" in tensors and "text.positional_embedding" in wanted:
        tensors = open_clip.model.convert_to_custom_text_state_dict(tensors)
    # Former versions of transformers saved the numbers of the positions as if they were weights.
    tensors.pop("text.transformer.embeddings.position_ids", None)
    for scalar in ("logit_scale", "logit_bias"):  # of no dimension, or of one
        if scalar in tensors and scalar in wanted and tensors[scalar].numel() == 1:
            tensors[scalar] = tensors[scalar].reshape(wanted[scalar].shape)
    missing = [name for name in wanted if name not in tensors]
    unexpected = [name for name in tensors if name not in wanted]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(wanted[name].shape)}"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    mistyped = [
        f"{name} {str(tensors[name].dtype).removeprefix('torch.')}"
        for name in wanted
        if name in tensors and tensors[name].is_floating_point() != wanted[name].is_floating_point()
    ]
    found = [("missing", missing), ("not expected", unexpected), ("of another shape", misshapen)]
    found.append(("of another type", mistyped))
    wrong = [f"{what}: {name_some(names, most=NAMED_KEYS)}" for what, names in found if names]
    if wrong:
        raise ModelMismatch(
            f"the weights do not fit {label}; {'; '.join(wrong)}",
            hint="name the architecture they were made with: --model ARCHITECTURE@FILE or CONFIG.json@FILE",
            input=row.name,
        )
    network.load_state_dict(tensors, strict=True, assign=True)


def _tokenizer(text: dict[str, Any], context_tokens: int, open_clip: ModuleType, row: ModelRow) -> Any:
    """The tokenizer that open_clip takes for such a config."""
    options = text.get("tokenizer_kwargs") or {}
    try:
        if text.get("hf_tokenizer_name"):
            folder = _hub_folder(text["hf_tokenizer_name"], ("tokenizer.json", "tokenizer_config.json"), row)
            with no_network():
                return open_clip.tokenizer.HFTokenizer(
                    folder,
                    context_length=context_tokens,
                    tokenizer_mode=text.get("tokenizer_mode"),
                    trust_remote_code=False,  # without a word transformers asks on stdin whether to run it
                    **options,
                )
        if options:
            return open_clip.tokenizer.SimpleTokenizer(context_length=context_tokens, **options)
    except ClipalignError:
        raise
    except Exception as error:  # as above
        raise ModelMismatch(
            f"open_clip cannot build the tokenizer of {row.name}: {str(error).partition(chr(10))[0]}", input=row.name
        ) from error
    # open_clip makes one when it is imported, and the merges take a third of a second to read.
    tokenizer = copy.copy(open_clip.tokenizer._tokenizer)
    tokenizer.context_length = context_tokens
    return tokenizer


def _hub_folder(repo: str, files: tuple[str, ...], row: ModelRow) -> str:
    """The folder of a Hub repository in the local cache; transformers reads a folder without asking the network."""
    if not isinstance(repo, str):
        raise ModelMismatch(f"the config of {row.name} names a model or tokenizer {repo!r}", input=row.name)
    if importlib.util.find_spec("transformers") is None:
        raise UsageError(
            f"the text side of {row.name} needs the package transformers",
            hint="pip install transformers",
            input=row.name,
        )
    for file in files:
        path = find_in_hub_cache(repo, file)
        if path is not None:
            return str(path.parent)
    raise MissingWeights(
        f"{row.name} needs files of {repo} that are not on this machine",
        hint=f"clipalign download {shlex.quote(row.name)}",
        input=row.name,
    )


def _image_size(network: Any, row: ModelRow) -> int:
    size = network.visual.image_size
    sides = set(size) if isinstance(size, (tuple, list)) else {size}
    if len(sides) != 1:
        raise ModelMismatch(f"{row.name} wants pictures of {size} pixels; only squares are served", input=row.name)
    return int(sides.pop())


def _try_out(network: Any, image_size: int, context_tokens: int, row: ModelRow) -> None:
    """Whether both towers of a config that somebody wrote run, and end in vectors of one length."""
    network.eval()
    try:
        with torch.inference_mode():
            image = network.encode_image(torch.zeros(1, 3, image_size, image_size))
            text = network.encode_text(torch.zeros(1, context_tokens, dtype=torch.long))
            lengths = tuple(image.shape), tuple(text.shape)
    except Exception as error:  # a config may put together what does not fit
        why = str(error).partition("\n")[0]
        raise ModelMismatch(f"the architecture of {row.name} does not run: {why}", input=row.name) from error
    if lengths[0] != lengths[1] or len(lengths[0]) != 2:
        raise ModelMismatch(
            f"{row.name} turns a picture into numbers of shape {lengths[0]} and a text into {lengths[1]}; "
            "both must be one vector of one length",
            input=row.name,
        )


def _three(numbers: Any) -> tuple[float, float, float]:
    """Channel numbers of a config: three, or one for all."""
    first, second, third = numbers if isinstance(numbers, (tuple, list)) else (numbers,) * 3
    return float(first), float(second), float(third)


def _vocabulary(weights: Path) -> frozenset[str] | None:
    """The words an embedded model was trained on, a line a word, from the file beside its weights."""
    file = weights.with_name("vocabulary.txt")
    return frozenset(file.read_text(encoding="utf-8").split()) if file.is_file() else None
