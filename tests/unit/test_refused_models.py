"""Every model that the page says is refused is refused, in the words that stand there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from clipalign.device import DeviceChoice
from clipalign.errors import ModelMismatch
from clipalign.models.load import load_model
from tests.checkpoints import config, state_dict
from tests.tiny import GOLDEN

PAGE = Path(__file__).parents[2] / "clipalign" / "models" / "README.md"
ROWS = re.findall(r"^\| .* \| (.*) \|$", PAGE.read_text(encoding="utf-8").partition("## What is refused")[2], re.M)[1:]


def folder(tmp_path: Path, content: dict[str, Any], tensors: dict[str, Tensor] | None = None, **files: str) -> str:
    """A folder with a config and weights."""
    (tmp_path / "config.json").write_text(json.dumps(content))
    for name, text in files.items():
        (tmp_path / f"{name}.json").write_text(text)
    save_file(
        {name: value.contiguous() for name, value in (tensors or state_dict()).items()}, tmp_path / "model.safetensors"
    )
    return str(tmp_path)


def file(tmp_path: Path, content: Any) -> str:
    torch.save(content, tmp_path / "w.pt")
    return str(tmp_path / "w.pt")


def replaced(name: str, *shape: int) -> dict[str, Tensor]:
    return state_dict() | {name: torch.zeros(shape)}


def empty(tmp_path: Path) -> str:
    return str(tmp_path)


def adapter(tmp_path: Path) -> str:
    (tmp_path / "adapter_config.json").write_text("{}")
    return str(tmp_path)


def text_tower_of_code(tmp_path: Path) -> str:
    place = tmp_path / "hub" / "models--owner--own"
    (place / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("a" * 40)
    (place / "snapshots" / ("a" * 40) / "config.json").write_text('{"model_type": "own", "auto_map": {}}')
    return folder(tmp_path, config(text_cfg={"hf_model_name": "owner/own"}))


CLIP: dict[str, Any] = {"model_type": "clip"}
TOWER = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1}
SIZES = {
    "projection_dim": 16,
    "text_config": {**TOWER, "num_hidden_layers": 3, "vocab_size": 64},
    "vision_config": {**TOWER, "num_hidden_layers": 2, "image_size": 8, "patch_size": 4},
}
"""Those of :func:`state_dict`."""
GELU = config(quick_gelu=False)
CASES: tuple[Callable[[Path], str], ...] = (
    lambda path: folder(path, {"model_type": "siglip2"}),
    lambda path: folder(path, {"model_type": "blip"}),
    adapter,
    lambda path: file(path, {"ema": state_dict()}),
    lambda path: file(path, {"model": state_dict(), "place": path}),
    empty,
    lambda path: folder(path, config(surprise=1)),
    text_tower_of_code,
    lambda path: folder(path, CLIP | SIZES),
    lambda path: folder(path, CLIP | {"text_config": {"hidden_act": "relu"}}),
    lambda path: folder(path, CLIP, preprocessor_config='{"rescale_factor": 1}'),
    lambda path: folder(
        path, config(vision_cfg={"image_size": [8, 16]}), replaced("visual.positional_embedding", 9, 64)
    ),
    lambda path: file(path, replaced("visual.conv1.weight", 80, 3, 4, 4)),
    lambda path: file(path, {"text_model.head.weight": torch.zeros(2, 2), "vision_model.head.probe": torch.zeros(1)}),
    lambda path: folder(path, config(text_cfg={"layers": 4})),
    lambda path: f"{folder(path, GELU)}/config.json@{file(path, state_dict() | {'vocab_size': torch.tensor(64)})}",
)


@pytest.mark.parametrize(("words", "case"), list(zip(ROWS, CASES, strict=True)), ids=ROWS)
def test_it_is_refused_in_these_words(
    words: str, case: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CLIPALIGN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelMismatch, match=re.escape(words).replace("…", ".*")):
        load_model(case(tmp_path), choice=DeviceChoice("cpu", "fp32", ""))


def test_memory_that_runs_out_is_no_fault_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*given: Any) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch.nn.functional, "layer_norm", run_out)
    spec = f"{GOLDEN / 'tiny-clip.json'}@{GOLDEN / 'tiny-clip.safetensors'}"
    with pytest.raises(torch.OutOfMemoryError):
        load_model(spec, choice=DeviceChoice("cpu", "fp32", "a test"))
