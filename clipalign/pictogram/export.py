"""The shipped form of the weights, and the command that puts a training run's weights into the package.

    python -m clipalign.pictogram.export runs/pictogram/weights.safetensors

It makes ``pictogram``, with CLIP's 77 positions, and ``pictogram-long``: the 248 positions alone, with the SHA-256 of
``pictogram.safetensors``, which has all other tensors of both, in its metadata.

Matrices are stored in half precision. Only the trained rows of the token embedding, those that captions can reach, are
kept; the others load as zero, so that an unknown word has no effect. ``vocabulary.txt`` lists the known words.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file

from clipalign.models.load import import_open_clip
from clipalign.models.weights import sha256_of
from clipalign.pictogram.batches import END_TOKEN, START_TOKEN
from clipalign.pictogram.captions import vocabulary
from clipalign.pictogram.scenes import HERE

EMBEDDING: Final = "token_embedding.weight"
POSITIONS: Final = "positional_embedding"
CLIPS_POSITIONS: Final = 77


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


def export(weights: Path, folder: Path = HERE) -> tuple[Path, Path]:
    """Write both models and the vocabulary into ``folder``; return the models' files."""
    short, long = (folder / f"{name}.safetensors" for name in ("pictogram", "pictogram-long"))
    tensors = load_file(weights)
    positions = tensors[POSITIONS]
    save_file(tensors | {POSITIONS: positions[:CLIPS_POSITIONS].contiguous()}, short)
    save_file({POSITIONS: positions}, long, metadata={"base_sha256": sha256_of(short)})
    for file in (short, long):
        file.chmod(0o644)
    (folder / "vocabulary.txt").write_text("".join(f"{word}\n" for word in sorted(vocabulary())), encoding="utf-8")
    return short, long


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise SystemExit("usage: python -m clipalign.pictogram.export WEIGHTS.safetensors")
    for file in export(Path(arguments[0])):
        print(file, f"{file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
