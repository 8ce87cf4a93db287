"""A model that a program holds becomes a loaded model: one of open_clip as it is, one of transformers as a copy.

Its description is read from the model, its tokenizer and its preprocessing, which must give the same numbers as ours. A
model of transformers is saved to a folder and read by :mod:`clipalign.models.folders`.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from PIL import Image

from clipalign.data.transforms import to_tensor
from clipalign.device import DeviceChoice, choose_device
from clipalign.errors import UsageError
from clipalign.models.build import image_size_of
from clipalign.models.load import import_open_clip, load_model
from clipalign.models.model import LoadedModel
from clipalign.models.registry import OPENAI_MEAN, OPENAI_STD, ModelRow, find_model

_PRECISIONS: Final = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_PROBE_SIZE: Final = (90, 60)
_PROBE_TOLERANCE: Final = 1e-4


def wrap_model(network: Any, *, tokenizer: Any = None, preprocess: Any = None, name: str = "") -> LoadedModel:
    """The model as the methods take it, on its device and in its precision.

    Raises:
        UsageError: it is in training mode, or is no model of these two libraries; a tokenizer or preprocessing that
            cannot be read.
        ModelMismatch: an unsupported kind of model.
    """
    if not isinstance(network, torch.nn.Module):
        raise UsageError(f"the model must be a torch module, not {type(network).__name__}", input="model")
    if network.training:
        raise UsageError("the model is in training mode", hint="call model.eval() first", input="model")
    choice = _choice(network)
    name = name or type(network).__name__
    if hasattr(network, "save_pretrained") and hasattr(network, "config"):
        return _copy_of_transformers(network, tokenizer, preprocess, choice, name)
    if not (hasattr(network, "encode_image") and hasattr(network, "encode_text") and hasattr(network, "visual")):
        raise UsageError(f"{name} is no CLIP of open_clip or transformers", input="model")
    row = ModelRow(name, name)
    said = dict(getattr(network.visual, "preprocess_cfg", None) or {}) if preprocess is None else _read(preprocess)
    text = getattr(network, "text", network)
    context_tokens = int(getattr(text, "context_length", 0) or getattr(network, "context_length", 77))
    loaded = LoadedModel(
        row=row,
        network=network,
        tokenizer=_tokenizer(tokenizer, text, context_tokens),
        choice=choice,
        weights_sha256=_fingerprint(network),
        architecture=name,
        quick_gelu=any(type(module).__name__ == "QuickGELU" for module in network.modules()),
        context_tokens=context_tokens,
        image_size=image_size_of(network, row),
        mean=tuple(said.get("mean") or OPENAI_MEAN),
        std=tuple(said.get("std") or OPENAI_STD),
        interpolation=str(said.get("interpolation") or "bicubic"),
        resize_mode=str(said.get("resize_mode") or "shortest"),
        fill_color=int(said.get("fill_color") or 0),
        notes=() if said else ("OpenAI's preprocessing assumed: the model does not say its own",),
    )
    if callable(preprocess):
        _compare(preprocess, loaded)
    return loaded


def _choice(network: Any) -> DeviceChoice:
    kinds = {(str(one.device), one.dtype) for one in network.parameters() if one.is_floating_point()}
    if len(kinds) != 1 or next(iter(kinds))[1] not in _PRECISIONS:
        said = ", ".join(sorted(f"{dtype} on {device}" for device, dtype in kinds)) or "none"
        hint = "model.float() or .half(), and .to(device), make them one"
        raise UsageError(f"the model's weights are of several kinds: {said}", hint=hint, input="model")
    ((device, dtype),) = kinds
    return DeviceChoice(device, _PRECISIONS[dtype], "device and precision of the model that was given")


def _copy_of_transformers(
    network: Any, tokenizer: Any, preprocess: Any, choice: DeviceChoice, name: str
) -> LoadedModel:
    with TemporaryDirectory() as folder:
        for part in filter(None, (network, tokenizer, preprocess)):
            if not hasattr(part, "save_pretrained"):
                what = f"a tokenizer or preprocessing of transformers must come from there, not {type(part).__name__}"
                raise UsageError(what, hint="AutoTokenizer and AutoImageProcessor make them", input="tokenizer")
            part.save_pretrained(folder)
        row = find_model(folder)
        loaded = load_model(row, choice=choose_device(choice.device, choice.precision))
    loaded.choice = choice
    loaded.row = replace(row, name=name)
    loaded.architecture = name
    loaded.notes = tuple(note.replace(folder, name) for note in loaded.notes)
    return loaded


def _tokenizer(given: Any, text: Any, context_tokens: int) -> Any:
    kinds = import_open_clip().tokenizer
    if isinstance(given, kinds.SimpleTokenizer | kinds.HFTokenizer):
        return given
    if given is not None:
        hint = "open_clip.get_tokenizer(name)"
        what = f"the tokenizer must be one of open_clip, not {type(given).__name__}"
        raise UsageError(what, hint=hint, input="tokenizer")
    tokenizer = copy.copy(kinds._tokenizer)
    if getattr(text, "vocab_size", None) != len(tokenizer.encoder):
        hint = "tokenizer=open_clip.get_tokenizer(name)"
        raise UsageError("the model has a vocabulary of its own, and needs its tokenizer", hint=hint, input="tokenizer")
    tokenizer.context_length = context_tokens
    return tokenizer


def _read(preprocess: Any) -> dict[str, Any]:
    if isinstance(preprocess, dict):
        return preprocess
    said: dict[str, Any] = {"resize_mode": "squash"}
    for step in getattr(preprocess, "transforms", ()):
        kind = type(step).__name__
        if kind == "Normalize":
            said |= {"mean": [float(one) for one in step.mean], "std": [float(one) for one in step.std]}
        if hasattr(step, "interpolation"):
            said["interpolation"] = "bilinear" if "bilinear" in str(step.interpolation).lower() else "bicubic"
        if kind == "CenterCrop":
            said["resize_mode"] = "shortest"
        if kind == "CenterCropOrPad":
            said |= {"resize_mode": "longest", "fill_color": step.fill}
    return said


def _compare(preprocess: Any, loaded: LoadedModel) -> None:
    """Check that ours gives what ``preprocess`` gives, for a picture of noise; UsageError if not."""
    width, height = _PROBE_SIZE
    noise = hashlib.shake_256(b"probe").digest(3 * width * height)
    probe = Image.frombytes("RGB", _PROBE_SIZE, noise)
    try:
        theirs = preprocess(probe)
        same = torch.allclose(torch.as_tensor(theirs), to_tensor(probe, loaded), atol=_PROBE_TOLERANCE)
    except Exception:  # a function of the caller's
        same = False
    if not same:
        raise UsageError(
            "the preprocessing is none that clipalign has: resize, center crop or padding, normalize",
            hint="leave it out, and give pictures as clipalign.Prepared(preprocess(picture))",
            input="preprocess",
        )


def _fingerprint(network: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
