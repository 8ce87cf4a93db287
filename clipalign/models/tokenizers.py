"""The tokenizer of a config: open_clip's own, or transformers' from files on this machine.

A tokenizer's files are beside the config, or in the repository that the config names. Code of a repository is never
run. Files that hold CLIP's own vocabulary need no transformers: open_clip's tokenizer has it too.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from clipalign.errors import ClipalignError, MissingWeights, ModelMismatch, UsageError
from clipalign.models.architecture import Architecture
from clipalign.models.build import no_network
from clipalign.models.registry import ModelRow
from clipalign.models.weights import hub_file

_LARGEST_JSON: Final = 64 * 1024 * 1024
_CONTROL_TOKENS: Final = 2
_PROBES: Final = ("a photo of two dogs, 1 cat & some (red) café tables", "ein Hund", "x", "", "unlikely " * 100)
"""Texts on which two tokenizers are compared: words, marks, numbers, other scripts, nothing, too much."""


def make_tokenizer(
    architecture: Architecture, context_tokens: int, open_clip: ModuleType, row: ModelRow
) -> tuple[Any, tuple[str, ...]]:
    """The tokenizer that open_clip uses for such a config, and what of it is a guess.

    UsageError without the package transformers, where it is needed; MissingWeights if files are missing; ModelMismatch
    if they make no tokenizer.
    """
    text = architecture.config["text_cfg"]
    own = open_clip.tokenizer._tokenizer  # made when open_clip is imported; the merges take a third of a second to read
    options = dict(text.get("tokenizer_kwargs") or {})
    folder = architecture.tokenizer
    notes: tuple[str, ...] = ()
    if "hf_model_name" in text and "context_length" not in text and architecture.is_fixed:
        notes = (f"a context of {context_tokens} tokens assumed: the config does not say",)
    try:
        if text.get("hf_tokenizer_name") or (folder and not _has_clips_vocabulary(folder, own)):
            return _of_transformers(architecture, context_tokens, open_clip, row, options), notes
        if options:
            return open_clip.tokenizer.SimpleTokenizer(context_length=context_tokens, **options), notes
    except ClipalignError:
        raise
    except Exception as error:  # a config may hold anything
        raise ModelMismatch(
            f"open_clip cannot build the tokenizer of {row.name}: {str(error).partition(chr(10))[0]}", input=row.name
        ) from error
    if architecture.is_transformers and folder is None:
        if architecture.is_siglip or text["vocab_size"] != len(own.encoder):
            said = f"{row.name} has a vocabulary of its own, and no tokenizer.json or vocab.json beside its config"
            if row.is_repository:
                raise MissingWeights(said, hint=f"clipalign download {shlex.quote(row.name)}", input=row.name)
            raise ModelMismatch(said, input=row.name)
        notes = (*notes, "CLIP's tokenizer assumed: there is none beside the config")
    tokenizer = copy.copy(own)
    tokenizer.context_length = context_tokens
    return tokenizer, notes


def _of_transformers(
    architecture: Architecture, context_tokens: int, open_clip: ModuleType, row: ModelRow, options: dict[str, Any]
) -> Any:
    if importlib.util.find_spec("transformers") is None:
        raise UsageError(
            f"the text side of {row.name} needs the package transformers",
            hint="pip install transformers",
            input=row.name,
        )
    text, folder = architecture.config["text_cfg"], architecture.tokenizer
    if folder is None:
        folder = hub_file(text["hf_tokenizer_name"], ("tokenizer.json", "tokenizer_config.json"), row).parent
    elif architecture.is_siglip:
        options = {"clean": "canonicalize" if _names_class(folder, "SiglipTokenizer") else "lower"}
    with no_network():
        made = open_clip.tokenizer.HFTokenizer(
            str(folder),
            context_length=context_tokens,
            tokenizer_mode=text.get("tokenizer_mode"),
            trust_remote_code=False,  # without a word transformers asks on stdin whether to run it
            **options,
        )
        if architecture.is_siglip and not getattr(made.tokenizer, "is_fast", True):
            _keep_places(made, folder)
    return made


def _keep_places(made: Any, folder: Path) -> None:
    """Use ``tokenizer.json`` where it makes the same tokens as SigLIP's own tokenizer, which has no positions."""
    if not (folder / "tokenizer.json").is_file():
        return
    from transformers import PreTrainedTokenizerFast

    slow, expected = made.tokenizer, made(_PROBES).tolist()
    made.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, trust_remote_code=False)
    if made(_PROBES).tolist() != expected:
        made.tokenizer = slow


def _has_clips_vocabulary(folder: Path, own: Any) -> bool:
    """Whether every token of CLIP's, but for start and end, has the same number in the files of a tokenizer."""
    vocabulary = _json(folder / "vocab.json") or (_json(folder / "tokenizer.json").get("model") or {}).get("vocab")
    if not isinstance(vocabulary, dict):
        return False
    return all(vocabulary.get(token) == number for token, number in list(own.encoder.items())[:-_CONTROL_TOKENS])


def _names_class(folder: Path, name: str) -> bool:
    return str(_json(folder / "tokenizer_config.json").get("tokenizer_class")).removesuffix("Fast") == name


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes()) if path.stat().st_size <= _LARGEST_JSON else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
