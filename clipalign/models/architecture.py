"""What a network looks like, as an open_clip config: read from a JSON file, or inferred from a checkpoint's shapes.

Only known fields of a config are used. Shapes are enough for checkpoints in OpenAI's naming (shared by open_clip's
plain CLIP and Long-CLIP), where the number of heads is the width over 64 and the activation QuickGELU.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clipalign.errors import ModelMismatch
from clipalign.models.convert import convert_config, is_transformers, read_preprocessing
from clipalign.models.folders import CONFIGS, has_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

HEAD_WIDTH: Final = 64  # of every CLIP that OpenAI published

_RESNET_STAGES: Final = 4
_RESNET_DOWNSAMPLING: Final = 32  # input pixels to a cell of the last map, a side

_REQUIRED: Final = ("embed_dim", "vision_cfg", "text_cfg")
_TOWERS: Final = ("vision_cfg", "text_cfg", "multimodal_cfg")

_MAX_CONFIG_BYTES: Final = 1024 * 1024
_MAX_CELLS: Final = 128  # patches a side of a picture; attention takes the fourth power of them

Check = tuple[Callable[[Any], bool], str]  # test of a field's value, and what it must be, in words


def _whole(low: int, high: int) -> Check:
    return lambda value: type(value) is int and low <= value <= high, f"a whole number from {low} to {high:,}"


def _number(low: float, high: float) -> Check:
    return lambda value: type(value) in (int, float) and low <= value <= high, f"a number from {low:g} to {high:g}"


def _word(pattern: str, what: str) -> Check:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None, what


def _fields(**checks: Check) -> Check:
    def fits(value: Any) -> bool:
        return isinstance(value, dict) and all(name in checks and checks[name][0](value[name]) for name in value)

    return fits, f"an object of {', '.join(checks)}"


def _either(one: Check, other: Check) -> Check:
    return lambda value: one[0](value) or other[0](value), f"{one[1]}, or {other[1]}"


def _list_of(count: int, check: Check) -> Check:
    return (
        lambda value: isinstance(value, list) and len(value) == count and all(map(check[0], value)),
        f"{count} of them, each {check[1]}",
    )


_NULL: Final[Check] = (lambda value: value is None, "null")
_TRUTH: Final[Check] = (lambda value: isinstance(value, bool), "true or false")
_NAME: Final = _word(r"[a-z_]{0,32}", "a word")
_LAYERS: Final = _whole(1, 1000)
_WIDTH: Final = _whole(1, 16_384)
_HEADS: Final = _whole(1, 1024)
_SIDE: Final = _whole(1, 4096)
_REPOSITORY: Final = _word(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", "the name of a repository, as in owner/name")

_TOWER: Final[dict[str, Check]] = {
    "layers": _LAYERS,
    "width": _WIDTH,
    "mlp_ratio": _number(0.01, 64),
    "ls_init_value": _either(_number(0, 1), _NULL),
    "pool_type": _NAME,
    "final_ln_after_pool": _TRUTH,
    "output_tokens": _TRUTH,
    "act_kwargs": _either(_fields(approximate=_NAME), _NULL),
    "norm_kwargs": _either(_fields(eps=_number(0, 1)), _NULL),
    "block_type": _either(_NAME, _NULL),
    "qk_norm": _TRUTH,
    "scaled_cosine_attn": _TRUTH,
    "scale_heads": _TRUTH,
    "scale_attn_inner": _TRUTH,
    "scale_attn": _TRUTH,
    "scale_fc": _TRUTH,
}
_TEXT: Final[dict[str, Check]] = _TOWER | {
    "context_length": _whole(1, 4096),
    "vocab_size": _whole(1, 2_000_000),
    "heads": _HEADS,
    "embed_cls": _TRUTH,
    "pad_id": _whole(0, 2_000_000),
    "eos_id": _whole(0, 2_000_000),
    "no_causal_mask": _TRUTH,
    "proj_bias": _TRUTH,
    "proj_type": _either(_NAME, _NULL),
    "hf_tokenizer_name": _either(_REPOSITORY, _NULL),
    "tokenizer_mode": _either(_NAME, _NULL),
    "tokenizer_kwargs": _either(_fields(clean=_NAME, strip_sep_token=_TRUTH, language=_word(r"\w{1,32}", "")), _NULL),
    "hf_model_name": _either(_REPOSITORY, _NULL),
    "hf_model_pretrained": _TRUTH,
    "hf_proj_type": _either(_NAME, _NULL),
    "hf_pooler_type": _NAME,
}
_FIELDS: Final[dict[str, dict[str, Check]]] = {
    "vision_cfg": _TOWER
    | {
        "layers": _either(_LAYERS, _list_of(_RESNET_STAGES, _LAYERS)),
        "head_width": _WIDTH,
        "patch_size": _either(_whole(1, 1024), _NULL),
        "image_size": _either(_SIDE, _list_of(2, _SIDE)),
        "patch_dropout": _number(0, 1),
        "attentional_pool": _either(_TRUTH, _NAME),
        "attn_pooler_queries": _SIDE,
        "attn_pooler_heads": _HEADS,
        "no_ln_pre": _TRUTH,
        "pos_embed_type": _NAME,
        # A name with a scheme (hf-hub:, local-dir:) makes timm fetch or read a config of somebody else.
        "timm_model_name": _either(_word(r"[\w.]{1,128}", "the plain name of an architecture of timm"), _NULL),
        "timm_model_pretrained": _TRUTH,
        "timm_pool": _NAME,
        "timm_proj": _either(_NAME, _NULL),
        "timm_proj_bias": _TRUTH,
        "timm_drop": _number(0, 1),
        "timm_drop_path": _either(_number(0, 1), _NULL),
    },
    "text_cfg": _TEXT,
    "multimodal_cfg": _TEXT | {"dim_head": _WIDTH, "n_queries": _SIDE, "attn_pooler_heads": _HEADS},
    "": {
        "embed_dim": _WIDTH,
        "quick_gelu": _TRUTH,
        "custom_text": _TRUTH,
        "init_logit_scale": _number(-100, 100),
        "init_logit_bias": _either(_number(-100, 100), _NULL),
        "nonscalar_logit_scale": _TRUTH,
    },
}
"""All that a config may hold. Nothing else reaches open_clip, timm or transformers, which might run code for it.

The bounds are far above every published CLIP: open_clip's largest have texts of 77 positions, 901,629 tokens, a width
of 1,280, and image towers of 56 layers.
"""

_FEED: Final = _whole(1, 65_536)
_TOKEN: Final = _either(_whole(0, 2_000_000), _NULL)
_ACTIVATION: Final = _word(r"[a-z_-]{1,32}", "a word")
_TEXT_REPOSITORY: Final[dict[str, Check]] = {
    # Those that open_clip serves; every other kind could only be built by code of the repository.
    "model_type": _word("bert|roberta|xlm-roberta|mt5|m2m_100", "bert, roberta, xlm-roberta, mt5 or m2m_100"),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "num_decoder_layers"), _LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), _LAYERS),
    **dict.fromkeys(("hidden_size", "d_model", "d_kv"), _WIDTH),
    **dict.fromkeys(("intermediate_size", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim"), _FEED),
    **dict.fromkeys(("num_attention_heads", "num_heads"), _HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), _HEADS),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), _TOKEN),
    **dict.fromkeys(("hidden_act", "activation_function", "feed_forward_proj", "dense_act_fn"), _ACTIVATION),
    **dict.fromkeys(("is_encoder_decoder", "scale_embedding", "tie_word_embeddings", "is_gated_act"), _TRUTH),
    **dict.fromkeys(("layer_norm_eps", "layer_norm_epsilon"), _number(0, 1)),
    **dict.fromkeys(("relative_attention_num_buckets", "relative_attention_max_distance"), _SIDE),
    "vocab_size": _whole(1, 2_000_000),
    "max_position_embeddings": _whole(1, 16_384),
    "type_vocab_size": _whole(0, 1024),
}
"""What is read of the ``config.json`` of a text tower's repository; other fields may name code to run."""

_SHOWN: Final = 200  # characters of a message that repeats what a config holds


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network's shape and how its pictures are prepared.

    Attributes:
        label: for people: open_clip name, path, or the shapes in words.
        config: arguments of open_clip's model classes.
        preprocess: any of ``mean``, ``std``, ``interpolation``, ``resize_mode``, ``fill_color``.
        is_fixed: whether a user wrote it, so that nothing in it may be corrected.
        is_siglip: whether its image tower is that of transformers' SigLIP, of any size.
        tokenizer: folder with the files of its tokenizer, where they are beside the config.
        notes: what of that is a guess.
    """

    label: str
    config: dict[str, Any]
    preprocess: dict[str, Any] = field(default_factory=dict)
    is_fixed: bool = False
    is_transformers: bool = False
    is_siglip: bool = False
    tokenizer: Path | None = None
    notes: tuple[str, ...] = ()


def read_config(path: Path) -> Architecture:
    """A config of open_clip, plain or the Hub's, or of transformers; ModelMismatch for anything else.

    As in open_clip, tokenizer files beside a config of the usual name are the model's.
    """
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ValueError(f"it is larger than {_MAX_CONFIG_BYTES:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelMismatch(f"{path} is not readable as JSON: {error}", input=str(path)) from error
    outer = content if isinstance(content, dict) else {}
    tokenizer = path.parent if path.name in CONFIGS and has_tokenizer(path.parent) else None
    if is_transformers(outer):
        config = convert_config(outer, path)
        _check_fields(path, config)
        siglip = "timm_model_name" in config["vision_cfg"]
        preprocess, notes = read_preprocessing(path.parent, config["vision_cfg"]["image_size"], squash=siglip)
        _check_preprocessing(path, preprocess)
        plain = Architecture(str(path), config, preprocess, is_fixed=True, tokenizer=tokenizer, notes=notes)
        return replace(plain, is_transformers=True, is_siglip=siglip)
    config = dict(outer.get("model_cfg", outer)) if isinstance(outer.get("model_cfg", outer), dict) else {}
    preprocess = outer.get("preprocess_cfg") or config.pop("preprocess", None) or {}
    missing = [key for key in _REQUIRED if key not in config]
    if missing:
        raise ModelMismatch(f"{path} is not an open_clip config: it lacks {', '.join(missing)}", input=str(path))
    for key, part in (*((key, config.get(key, {})) for key in _TOWERS), ("preprocess_cfg", preprocess)):
        if not isinstance(part, dict):
            raise ModelMismatch(
                f"{path} is not an open_clip config: its {key} is not an object but {part!r}"[:_SHOWN], input=str(path)
            )
    _check_fields(path, config)
    _check_preprocessing(path, preprocess)
    return Architecture(str(path), config, preprocess, is_fixed=True, tokenizer=tokenizer)


def _check_preprocessing(path: Path, preprocess: dict[str, Any]) -> None:
    for key in ("mean", "std"):
        numbers = preprocess.get(key, 0.0)
        if not _are_numbers(numbers if isinstance(numbers, list) and len(numbers) == 3 else [numbers]):
            raise ModelMismatch(f"{path} has a {key} that is not three numbers", input=str(path))
    if (preprocess.get("fill_color") or 0) not in range(256):
        raise ModelMismatch(f"{path} has a fill_color that is not a whole number from 0 to 255", input=str(path))


def read_text_tower(path: Path) -> dict[str, Any]:
    """What transformers may know of a text tower's repository; ModelMismatch for an unsupported text tower."""
    try:
        content = json.loads(path.read_bytes()[: _MAX_CONFIG_BYTES + 1])
    except (OSError, ValueError, RecursionError) as error:
        raise ModelMismatch(f"{path} is not readable as JSON: {error}", input=str(path)) from error
    held = content if isinstance(content, dict) else {}
    known = {"model_type": None} | {name: value for name, value in held.items() if name in _TEXT_REPOSITORY}
    for name, value in known.items():
        fits, what = _TEXT_REPOSITORY[name]
        if not fits(value):
            raise ModelMismatch(
                f"{path}: {name} must be {what}, not {repr(value)[:60]}",
                hint="Python code of a repository is never run; take a model whose text side is part of transformers",
                input=str(path),
            )
    return known


def _check_fields(path: Path, config: dict[str, Any]) -> None:
    parts: dict[str, dict[str, Any]] = {key: config[key] for key in _TOWERS if key in config}
    parts[""] = {key: value for key, value in config.items() if key not in _TOWERS}
    for part, values in parts.items():
        for name, value in values.items():
            place = f"{part}.{name}" if part else name
            if name not in _FIELDS[part]:
                raise ModelMismatch(
                    f"{path} has a field {place!r} that clipalign does not pass on"[:_SHOWN],
                    hint="remove it, if the model does not need it",
                    input=str(path),
                )
            fits, what = _FIELDS[part][name]
            if not fits(value):
                raise ModelMismatch(f"{path}: {place} must be {what}, not {repr(value)[:60]}", input=str(path))
    sides, patch = config["vision_cfg"].get("image_size", 224), config["vision_cfg"].get("patch_size", 16)
    if max(sides if isinstance(sides, list) else [sides]) > _MAX_CELLS * (patch or _RESNET_DOWNSAMPLING):
        raise ModelMismatch(f"{path} cuts pictures into more than {_MAX_CELLS} patches a side", input=str(path))
    if "multimodal_cfg" not in config and any(config[key].get("output_tokens") for key in ("vision_cfg", "text_cfg")):
        raise ModelMismatch(
            f"{path} asks for output_tokens, which only models with a text decoder (multimodal_cfg) have",
            hint="set it to false",
            input=str(path),
        )


def _are_numbers(values: list[object]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def infer_architecture(tensors: dict[str, Tensor]) -> Architecture:
    """The architecture of a checkpoint in OpenAI's naming; ModelMismatch for other keys or shapes."""
    try:
        vision = _infer_vit(tensors) if "visual.proj" in tensors else _infer_resnet(tensors)
        context_tokens, text_width = tensors["positional_embedding"].shape
        text = {
            "context_length": context_tokens,
            "vocab_size": tensors["token_embedding.weight"].shape[0],
            "width": text_width,
            "heads": _heads(text_width, "text"),
            "layers": _count_blocks(tensors, "transformer.resblocks."),
        }
        embed_dim = tensors["text_projection"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else "its shapes do not fit together"
        raise ModelMismatch(
            f"the checkpoint is not in OpenAI's or Long-CLIP's format: {what}",
            hint="name its architecture: --model ARCHITECTURE@FILE or CONFIG.json@FILE",
        ) from error
    tower = "ResNet" if isinstance(vision["layers"], list) else f"ViT/{vision['patch_size']}"
    label = (
        f"{tower} of width {vision['width']} at {vision['image_size']} px, "
        f"text of {text['layers']} layers of width {text_width}, {context_tokens} tokens"
    )
    return Architecture(label, {"embed_dim": embed_dim, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text})


def _infer_vit(tensors: dict[str, Tensor]) -> dict[str, Any]:
    width, _, patch_size, _ = tensors["visual.conv1.weight"].shape
    _heads(width, "vision")
    return {
        "image_size": _side(tensors["visual.positional_embedding"]) * patch_size,
        "layers": _count_blocks(tensors, "visual.transformer.resblocks."),
        "width": width,
        "head_width": HEAD_WIDTH,
        "patch_size": patch_size,
    }


def _infer_resnet(tensors: dict[str, Tensor]) -> dict[str, Any]:
    positions = tensors["visual.attnpool.positional_embedding"]
    return {
        "image_size": _side(positions) * _RESNET_DOWNSAMPLING,
        "layers": [_count_blocks(tensors, f"visual.layer{stage}.") for stage in range(1, _RESNET_STAGES + 1)],
        "width": tensors["visual.layer1.0.conv1.weight"].shape[0],
        "head_width": HEAD_WIDTH,
        "patch_size": None,
    }


def _side(positions: Tensor) -> int:
    """Cells a side of a square map, from its table of positions with one more for the class token."""
    cells = positions.shape[0] - 1
    side = math.isqrt(cells)
    if side * side != cells:
        raise ValueError(f"{cells} cells make no square")
    return side


def _count_blocks(tensors: dict[str, Tensor], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return len({match.group(1) for match in map(pattern.match, tensors) if match})


def _heads(width: int, tower: str) -> int:
    if width % HEAD_WIDTH:
        raise ModelMismatch(
            f"the {tower} width {width} is not a multiple of {HEAD_WIDTH}, so the number of heads is unknown",
            hint="give a config with the checkpoint: --model CONFIG.json@FILE",
        )
    return width // HEAD_WIDTH
