"""A weights file becomes named tensors in open_clip's naming, fp32, checked for values that are not finite.

Read are safetensors, pickles (always ``weights_only=True``), both also in several files with an index, and OpenAI's
TorchScript archives, whose code is never run. Wrappers of training programs are removed; a moving average (EMA) of the
weights is taken only on request; names of transformers become open_clip's; Long-CLIP's two position tables are folded;
the compact vocabulary of the embedded model is expanded. LoRA adapters are refused. The activation is known for
OpenAI's own and Long-CLIP's formats only, and not guessed for others.
"""

from __future__ import annotations

import pickle
import re
import shlex
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clipalign.errors import ModelMismatch, name_some
from clipalign.models.convert import convert_names
from clipalign.models.folders import MERGE_FIRST, weight_files
from clipalign.models.long_context import fold_tables, is_two_tables
from clipalign.models.torchscript import is_torchscript, read_torchscript, refuse_unfolding

CLIP_VOCABULARY: Final = 49408  # of CLIP's byte-pair encoding, start and end token included

_WRAPPINGS: Final = ("state_dict", "model_state_dict", "model", "module")
_PREFIXES: Final = ("module.", "_orig_mod.", "model.", "clip.")
"""Of data-parallel and compiled modules, and of modules that hold a CLIP, nested in any order."""

_AVERAGE: Final = re.compile(r"(?:.*_)?ema(?:_.*)?", re.IGNORECASE)  # ema, model_ema, state_dict_ema

_ADAPTER: Final = re.compile(r".*\.(lora_[ABE]|lora_(up|down)|lora_embedding_[AB]|lora_magnitude_vector)(\.|$)")

_OPENAI_FACTS: Final = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives keep among the weights."""

_COMPACT_ROWS: Final = "token_embedding.rows"
_COMPACT_VALUES: Final = "token_embedding.values"
_WIDEST: Final = 16_384  # numbers a token, where no row need be in the file

NAMED_KEYS: Final = 3  # weights that an error names

_SHARED: Final = 4  # times that the values of a file may occur in its tensors; tied weights occur twice

_DAMAGE: Final = (
    *(RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, TypeError),
    *(struct.error, zipfile.BadZipFile, zlib.error, MemoryError, OverflowError),
)
"""Errors of torch on bytes that are no weights."""


@dataclass(frozen=True, eq=False, slots=True)
class Weights:
    """Tensors of a weights file by open_clip's names; floating ones are fp32, finite, on the CPU.

    ``quick_gelu`` is None where the file's format implies nothing; ``averages`` are moving averages that were left out.
    """

    tensors: dict[str, Tensor]
    quick_gelu: bool | None
    averages: tuple[str, ...] = ()


def read_checkpoint(path: Path, chosen: str = "", *, base: Path | None = None) -> Weights:
    """Read the set ``chosen`` of a weights file or of all that an index names, and from ``base`` the tensors it lacks.

    Raises:
        ModelMismatch: not a weights file, a refused pickle, a LoRA adapter, or values that are not finite; no such set
            of weights, or none but moving averages and none chosen.
    """
    files = weight_files(path)
    loaded = _read(path) if files == (path,) else _joined(files, path)
    loaded, averages = _choose_set(loaded, chosen, path)
    tensors = convert_names(_unwrap(loaded, path, sum(file.stat().st_size for file in files)))
    if base is not None:
        tensors = _unwrap(_read(base), base, base.stat().st_size) | tensors
    quick_gelu = None
    if any(name in tensors for name in _OPENAI_FACTS):
        quick_gelu = True
        tensors = {name: tensor for name, tensor in tensors.items() if name not in _OPENAI_FACTS}
    if is_two_tables(tensors):
        quick_gelu = True
        tensors = fold_tables(tensors)
    # Copied in any case: a model that stays mapped to its file dies with it when another program cuts that file short.
    tensors = {
        name: tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in tensors.items()
    }
    _refuse_non_finite(tensors, path)
    if _COMPACT_ROWS in tensors:
        tensors = _expand_vocabulary(tensors)
    return Weights(tensors, quick_gelu, averages)


def _joined(files: tuple[Path, ...], index: Path) -> dict[str, Tensor]:
    joined: dict[str, Tensor] = {}
    for file in files:
        part = _read(file)
        if not isinstance(part, dict) or joined.keys() & part.keys():
            raise ModelMismatch(f"{file} does not belong to the other files of {index}", input=str(index))
        joined |= part
    return joined


def _choose_set(loaded: Any, chosen: str, path: Path) -> tuple[Any, tuple[str, ...]]:
    """The chosen set of weights, else all but moving averages, and the names of those."""
    if not isinstance(loaded, dict):
        return loaded, ()
    sets = {name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, dict)}
    for name in loaded:  # sets without dicts of their own: names that begin alike
        first, dot, _ = name.partition(".") if isinstance(name, str) else ("", "", "")
        if dot and first not in sets and (first == chosen or _AVERAGE.fullmatch(first)):
            start = f"{first}."
            sets[first] = {key.removeprefix(start): loaded[key] for key in loaded if str(key).startswith(start)}
    averages = tuple(name for name in sets if _AVERAGE.fullmatch(name))
    if chosen:
        if chosen not in sets:
            raise ModelMismatch(
                f"{path} has no set of weights called {chosen!r}",
                hint=f"it has {', '.join(map(str, sets)) or 'a single one: leave out what follows the #'}",
                input=str(path),
            )
        return sets[chosen], ()
    starts = tuple(f"{name}." for name in averages)
    rest = {name: value for name, value in loaded.items() if name not in averages and not str(name).startswith(starts)}
    if averages and not any(isinstance(value, dict | Tensor) for value in rest.values()):
        raise ModelMismatch(
            f"{path} has no weights but moving averages (EMA): {', '.join(averages)}",
            hint=f"choose one: --model {shlex.quote(f'{path}#{averages[0]}')}",
            input=str(path),
        )
    return rest, averages


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise _unreadable(path, f"{error}") from error
    if not is_torchscript(path):
        return _read_pickle(path)
    try:
        return read_torchscript(path)
    except Exception as error:  # a damaged archive raises nearly anything
        raise _unreadable(path, f"it is not a TorchScript archive of weights: {error}") from error


def _read_pickle(path: Path) -> Any:
    zipped = zipfile.is_zipfile(path)
    try:
        if zipped:
            refuse_unfolding(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        with path.open("rb") as stream:
            is_pickle = zipped or stream.read(1) == pickle.PROTO
        if not is_pickle:
            raise _unreadable(path, "it is not a pickle") from error
        refused = re.search(r"GLOBAL (\S+)", str(error))
        raise ModelMismatch(
            f"{path} was refused: it holds more than tensors{f' ({refused.group(1)})' if refused else ''}, "
            "and opening it could run code",
            hint="save its state_dict as safetensors and load that",
            input=str(path),
        ) from error
    except _DAMAGE as error:
        raise _unreadable(path, str(error).partition("\n")[0]) from error


def _unreadable(path: Path, why: str) -> ModelMismatch:
    with path.open("rb") as stream:
        start = stream.read(64)
    hint = "is it complete? fetch it again"
    if not start:
        why = "it is empty"
    elif start.startswith(b"version https://git-lfs"):
        why, hint = "it is a Git LFS pointer, not the file itself", "run: git lfs pull"
    elif start.lstrip()[:1] == b"<":
        why = "it is a web page"
    return ModelMismatch(f"{path} is not a readable weights file: {why}", hint=hint, input=str(path))


def _unwrap(loaded: Any, path: Path, file_bytes: int) -> dict[str, Tensor]:
    """The state dict inside what training programs save around it."""
    for wrapping in _WRAPPINGS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapping), dict):
            loaded = loaded[wrapping]
    if not isinstance(loaded, dict) or not loaded:
        raise ModelMismatch(
            f"{path} does not hold a state dict but {'nothing' if isinstance(loaded, dict) else type(loaded).__name__}",
            hint="save model.state_dict()",
            input=str(path),
        )
    strangers = [
        str(name) for name, value in loaded.items() if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if strangers:
        raise ModelMismatch(
            f"{path} holds things that are not weights: {name_some(strangers)}",
            hint="save model.state_dict() alone",
            input=str(path),
        )
    tensors: dict[str, Tensor] = dict(loaded)
    hollow = [name for name, tensor in tensors.items() if not _is_plain(tensor)]
    if hollow:
        raise ModelMismatch(
            f"{path} holds tensors without values of their own: {name_some(hollow)}",
            hint="save a state_dict of dense tensors on the CPU",
            input=str(path),
        )
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if held > _SHARED * file_bytes:
        raise ModelMismatch(
            f"{path} holds the same values in many tensors, {held:,} bytes of them",
            hint="save a state_dict in which tensors share nothing",
            input=str(path),
        )
    if any(map(_ADAPTER.match, tensors)):
        raise ModelMismatch(f"{path} holds a LoRA adapter, not a model", hint=MERGE_FIRST, input=str(path))
    while prefix := next((one for one in _PREFIXES if all(name.startswith(one) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _is_plain(tensor: Tensor) -> bool:
    """Whether the tensor is dense with each value in the file; else a tiny file could fill the memory."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _expand_vocabulary(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """``token_embedding.weight`` from the rows that are not zero, as the embedded model stores them."""
    expanded = dict(tensors)
    rows, values = expanded.pop(_COMPACT_ROWS), expanded.pop(_COMPACT_VALUES, torch.empty(0))
    fits = rows.ndim == 1 and values.ndim == 2 and len(rows) == len(values)
    fits = fits and rows.dtype in (torch.int32, torch.int64) and values.is_floating_point()
    fits = fits and values.shape[1] <= _WIDEST
    if not fits or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < CLIP_VOCABULARY):
        raise ModelMismatch(
            f"{_COMPACT_ROWS} {tuple(rows.shape)} and {_COMPACT_VALUES} {tuple(values.shape)} do not belong together"
        )
    weight = torch.zeros(CLIP_VOCABULARY, values.shape[1])
    weight[rows.long()] = values
    expanded["token_embedding.weight"] = weight
    return expanded


def _refuse_non_finite(tensors: dict[str, Tensor], path: Path) -> None:
    """One pass over each tensor: minimum and maximum are NaN or infinite if any value is."""
    bad = [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and tensor.numel() and not torch.isfinite(torch.stack(tensor.aminmax())).all()
    ]
    if bad:
        raise ModelMismatch(
            f"{path} holds values that are not finite: {name_some(bad, most=NAMED_KEYS)}",
            hint="the file is damaged",
            input=str(path),
        )
