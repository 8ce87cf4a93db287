"""Puts the weights of a ``train-specs`` run that started from ``pictogram`` into the package, as ``pictogram-long``.

    python -m clipalign.pictogram.export_long runs/long/best.safetensors

The form is that of ``export``: half precision, and of the token embedding the rows that captions can reach.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file

from clipalign.models.registry import LONG_CONTEXT_TOKENS
from clipalign.pictogram.export import EMBEDDING, compact, reachable_tokens
from clipalign.pictogram.scenes import HERE

WEIGHTS_FILE: Final = HERE / "pictogram-long.safetensors"
CONFIG_FILE: Final = HERE / "pictogram-long.json"


def export_long(weights: Path, folder: Path = HERE) -> Path:
    """Write weights and config into ``folder``; returns the weights' file.

    Raises:
        SystemExit: the weights know tokens that captions cannot reach, or are not those of a long pictogram model.
    """
    tensors = load_file(weights)
    rows = torch.tensor(reachable_tokens())
    table = tensors[EMBEDDING]
    beyond = torch.ones(len(table), dtype=torch.bool)
    beyond[rows] = False
    if len(tensors["positional_embedding"]) != LONG_CONTEXT_TOKENS or table[beyond].any():
        raise SystemExit(f"{weights} did not start from pictogram")
    config = json.loads((HERE / "pictogram.json").read_text(encoding="utf-8"))
    config["text_cfg"]["context_length"] = LONG_CONTEXT_TOKENS
    (folder / CONFIG_FILE.name).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(compact(tensors | {EMBEDDING: table[rows]}), folder / WEIGHTS_FILE.name, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE.name).chmod(0o644)
    return folder / WEIGHTS_FILE.name


def main(arguments: list[str]) -> None:
    """Write weights and config next to this file."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m clipalign.pictogram.export_long WEIGHTS.safetensors")
    file = export_long(Path(arguments[0]))
    print(file, f"{file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
