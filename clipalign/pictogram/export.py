"""The shipped form of the weights, and the command that puts a training run's weights into the package.

    python -m clipalign.pictogram.export runs/pictogram/weights.safetensors

Matrices are stored in half precision. Of the token embedding only the rows that captions can reach were trained and are
kept; the others are zero when loaded, so that a word the model never saw says nothing instead of something random.
``vocabulary.txt`` lists the words it did see, one a line, in lower case.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import torch

from clipalign.models.load import import_open_clip
from clipalign.pictogram.batches import END_TOKEN, START_TOKEN
from clipalign.pictogram.captions import vocabulary
from clipalign.pictogram.scenes import HERE

EMBEDDING: Final = "token_embedding.weight"
WEIGHTS_FILE: Final = HERE / "pictogram.safetensors"
VOCABULARY_FILE: Final = HERE / "vocabulary.txt"


@cache
def clip_encoder() -> Callable[[str], list[int]]:
    """CLIP's tokenizer, made once: text to token ids without start and end token."""
    encode: Callable[[str], list[int]] = import_open_clip().get_tokenizer("ViT-B-32").encode
    return encode


def reachable_tokens() -> list[int]:
    """Ids of every token that captions, foils and prefixes can hold, ascending."""
    encode = clip_encoder()
    tokens = {START_TOKEN, END_TOKEN}
    for word in (*vocabulary(), ".", ","):
        tokens.update(encode(word))
    return sorted(tokens)


def compact(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The shipped form of a state dict whose token embedding holds the reachable rows only, in their order."""
    compacted = {
        name: (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
        for name, value in tensors.items()
        if name != EMBEDDING
    }
    compacted["token_embedding.rows"] = torch.tensor(reachable_tokens())
    compacted["token_embedding.values"] = tensors[EMBEDDING].half().contiguous()
    return compacted


def main(arguments: list[str]) -> None:
    """Write weights and vocabulary next to this file."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m clipalign.pictogram.export WEIGHTS.safetensors")
    shutil.copyfile(Path(arguments[0]), WEIGHTS_FILE)
    VOCABULARY_FILE.write_text("".join(f"{word}\n" for word in sorted(vocabulary())), encoding="utf-8")
    print(WEIGHTS_FILE, f"{WEIGHTS_FILE.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
