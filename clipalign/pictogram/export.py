"""The shipped form of the weights, and the command that puts a training run's weights into the package.

    python -m clipalign.pictogram.export runs/pictogram/weights.safetensors
    python -m clipalign.pictogram.export runs/long/best.safetensors

The first makes ``pictogram``. The second, of a ``train-specs --freeze image`` run that started from it, makes
``pictogram-long``: the text tower alone, with the SHA-256 of ``pictogram.safetensors``, whose image tower it uses, in
its metadata.

Matrices are stored in half precision. Only the trained rows of the token embedding, those that captions can reach, are
kept; the others load as zero, so that an unknown word has no effect. ``vocabulary.txt`` lists the known words.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file

from clipalign.models.load import import_open_clip
from clipalign.models.registry import LONG_CONTEXT_TOKENS
from clipalign.models.weights import sha256_of
from clipalign.pictogram.batches import END_TOKEN, START_TOKEN
from clipalign.pictogram.captions import vocabulary
from clipalign.pictogram.scenes import HERE

EMBEDDING: Final = "token_embedding.weight"


@cache
def clip_encoder() -> Callable[[str], list[int]]:
    """Return CLIP's tokenizer, cached: text to token ids without start and end token."""
    encode: Callable[[str], list[int]] = import_open_clip().get_tokenizer("ViT-B-32").encode
    return encode


def reachable_tokens() -> list[int]:
    encode = clip_encoder()
    tokens = {START_TOKEN, END_TOKEN}
    for word in (*vocabulary(), ".", ","):
        tokens.update(encode(word))
    return sorted(tokens)


def compact(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the shipped form of a state dict whose token embedding holds the reachable rows only."""
    compacted = {
        name: (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
        for name, value in tensors.items()
        if name != EMBEDDING
    }
    compacted["token_embedding.rows"] = torch.tensor(reachable_tokens())
    compacted["token_embedding.values"] = tensors[EMBEDDING].half().contiguous()
    return compacted


def export(weights: Path, folder: Path = HERE) -> Path:
    """Write weights, with vocabulary or config, into ``folder``; return the weights' file."""
    tensors = load_file(weights)
    if "token_embedding.rows" in tensors:  # of a run of the training module, compact already
        shutil.copyfile(weights, folder / "pictogram.safetensors")
        words = "".join(f"{word}\n" for word in sorted(vocabulary()))
        (folder / "vocabulary.txt").write_text(words, encoding="utf-8")
        return folder / "pictogram.safetensors"
    rows = torch.tensor(reachable_tokens())
    table = tensors[EMBEDDING]
    beyond = torch.ones(len(table), dtype=torch.bool)
    beyond[rows] = False
    base = HERE / "pictogram.safetensors"
    shared = {name: value for name, value in load_file(base).items() if name.startswith("visual.")}
    compacted = compact(tensors | {EMBEDDING: table[rows]})
    own = {name: value for name, value in compacted.items() if name not in shared}
    if len(own["positional_embedding"]) != LONG_CONTEXT_TOKENS or table[beyond].any():
        raise SystemExit(f"{weights} did not start from pictogram")
    if not all(name in compacted and torch.equal(compacted[name], value) for name, value in shared.items()):
        raise SystemExit(f"{weights} has another image tower than pictogram: train with --freeze image")
    config = json.loads((HERE / "pictogram.json").read_text(encoding="utf-8"))
    config["text_cfg"]["context_length"] = LONG_CONTEXT_TOKENS
    (folder / "pictogram-long.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    file = folder / "pictogram-long.safetensors"
    save_file(own, file, metadata={"base_sha256": sha256_of(base)})  # one: several are written in any order
    file.chmod(0o644)
    return file


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise SystemExit("usage: python -m clipalign.pictogram.export WEIGHTS.safetensors")
    file = export(Path(arguments[0]))
    print(file, f"{file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
