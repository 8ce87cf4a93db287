"""A folder with a model, which is also what a repository of the Hub becomes on this machine: config, weights, shards.

Supported are folders as open_clip and as transformers write them, with weights in several files and an index too, and
the output folder of ``train-specs``. Files are chosen by exact name, never by ending.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Final

from clipalign.errors import ModelMismatch, UnknownModel
from clipalign.files import is_folder

CONFIGS: Final = ("open_clip_config.json", "config.json")

INDEX: Final = ".index.json"  # suffix of a file that says which weights are in which of several files

WEIGHTS: Final = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin"),
    *("best.safetensors", "last.safetensors"),  # of train-specs
    *("model.safetensors", f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}"),
)
"""Weights by name, best first; open_clip's before transformers', which is then converted."""

PREPROCESSING: Final = ("preprocessor_config.json", "processor_config.json")
"""Preprocessing, of transformers before version 5 and since."""

TOKENIZER: Final = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"),
)

ADAPTER: Final = "adapter_config.json"  # says that weights are low-rank differences (LoRA) to another model's

MERGE_FIRST: Final = "merge first: load it with peft, call merge_and_unload() and save the model"

_MAX_INDEX_BYTES: Final = 16 * 1024 * 1024


def find_in_folder(folder: Path) -> tuple[Path, Path]:
    """Config and weights of a folder.

    Raises:
        UnknownModel: there is no such folder.
        ModelMismatch: it lacks one of them, or holds an adapter.
    """
    if not is_folder(folder):
        raise UnknownModel(f"there is no folder {folder}", input=str(folder))
    names = (*CONFIGS, *WEIGHTS, ADAPTER)
    config, weights = choose_files({name for name in names if (folder / name).is_file()}, str(folder))
    return folder / config, folder / weights


def choose_files(names: Collection[str], place: str) -> tuple[str, str]:
    """Choose config and weights of a folder or repository; ModelMismatch if one is missing, or it holds an adapter."""
    chosen = [next((name for name in known if name in names), "") for known in (CONFIGS, WEIGHTS)]
    if all(chosen):
        return chosen[0], chosen[1]
    if ADAPTER in names:
        raise ModelMismatch(f"{place} holds a LoRA adapter, not a model", hint=MERGE_FIRST, input=place)
    what, known = ("config", CONFIGS) if not chosen[0] else ("weights", WEIGHTS)
    raise ModelMismatch(
        f"{place} has no {what} under a name that clipalign looks for",
        hint=f"one of {', '.join(known)}; or name the file: --model ARCHITECTURE@FILE or CONFIG.json@FILE",
        input=place,
    )


def config_beside(weights: Path) -> Path | None:
    return next((path for path in map(weights.with_name, CONFIGS) if path.is_file()), None)


def has_tokenizer(folder: Path) -> bool:
    alone = {"special_tokens_map.json", "added_tokens.json", "merges.txt"}
    return any((folder / name).is_file() for name in TOKENIZER if name not in alone)


def weight_files(path: Path) -> tuple[Path, ...]:
    """Files of weights: ``path``, or those an index names; ModelMismatch if it is invalid or names other folders."""
    if not path.name.endswith(INDEX):
        return (path,)
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            raise ValueError("it is too large")
        names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelMismatch(f"{path} is not an index of weights: {error!r:.80}", input=str(path)) from error
    if not names or not all(isinstance(name, str) and _is_plain(name) for name in names):
        raise ModelMismatch(f"{path} names no weights, or some that are not beside it", input=str(path))
    return tuple(path.with_name(name) for name in sorted(names))


def _is_plain(name: str) -> bool:
    return name.isprintable() and not set("/\\:") & set(name) and name.endswith((".safetensors", ".bin"))
