"""Turns the weights of a training run into the files that ship with the package.

    python -m clipalign.pictogram.export runs/pictogram/weights.safetensors

Matrices are stored in half precision. Of the token embedding only the rows that training could reach are kept; the
others never received a gradient and are zero when loaded, so that a word the model never saw says nothing instead of
something random. ``vocabulary.txt`` lists the words it did see, one a line, in lower case.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file

from clipalign.pictogram.batches import END_TOKEN, START_TOKEN
from clipalign.pictogram.captions import vocabulary
from clipalign.pictogram.world import HERE
from clipalign.pipeline.model import import_open_clip

EMBEDDING: Final = "token_embedding.weight"
WEIGHTS_FILE: Final = HERE / "pictogram.safetensors"
VOCABULARY_FILE: Final = HERE / "vocabulary.txt"


def reachable_tokens() -> list[int]:
    """Ids of every token that captions, foils and prefixes can hold, ascending."""
    encode = import_open_clip().get_tokenizer("ViT-B-32").encode
    tokens = {START_TOKEN, END_TOKEN}
    for word in (*vocabulary(), ".", ","):
        tokens.update(encode(word))
    return sorted(tokens)


def compact(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The shipped form of a state dict: half precision for matrices, reachable embedding rows only."""
    rows = torch.tensor(reachable_tokens())
    compacted = {
        name: value.half().contiguous() if value.is_floating_point() and value.ndim > 1 else value
        for name, value in tensors.items()
        if name != EMBEDDING
    }
    compacted["token_embedding.rows"] = rows
    compacted["token_embedding.values"] = tensors[EMBEDDING][rows].half()
    return compacted


def main(arguments: list[str]) -> None:
    """Write weights and vocabulary next to this file."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m clipalign.pictogram.export WEIGHTS.safetensors")
    save_file(compact(load_file(Path(arguments[0]))), WEIGHTS_FILE)
    VOCABULARY_FILE.write_text("".join(f"{word}\n" for word in sorted(vocabulary())), encoding="utf-8")
    print(WEIGHTS_FILE, f"{WEIGHTS_FILE.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
