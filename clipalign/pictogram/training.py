"""Trains the embedded model from nothing, on scenes it makes as it goes; stops and goes on at any step.

    python -m clipalign.pictogram.training --output runs/pictogram

Interrupt it when you like; the same command continues from the last checkpoint with the same scenes, in the same order.
The learning rate rises, stays, and falls to zero over the last third, so that a run can be made longer until it falls.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import nn

from clipalign.pictogram.batches import Batch, BatchMaker, make_sample
from clipalign.pictogram.export import clip_encoder, compact, reachable_tokens
from clipalign.pictogram.objectives import Heads, compute_losses
from clipalign.pictogram.world import HERE
from clipalign.pipeline.model import import_open_clip

CONFIG_FILE: Final = HERE / "pictogram.json"
GRID_CHANNELS_PER_WIDTH: Final = 16
WEIGHTS: Final = {
    "image_to_text": 1.0,
    "text_to_image": 0.5,
    "foil": 2.0,
    "fit": 1.0,
    "kinds": 1.0,
    "image_content": 1.0,
    "text_content": 1.0,
    "image_facts": 18.0,
    "text_facts": 9.0,
    "words": 1.0,
    "place": 1.0,
}
"""How much each term of the objective counts."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Everything that decides the weights; written beside them. The defaults are those of the shipped weights.

    Attributes:
        steps: optimiser steps in all.
        batch_size: scenes a step.
        foils: false captions a scene.
        learning_rate: at its height.
        warmup_steps: linear rise at the start.
        decay_share: share of the steps over which the learning rate falls to zero at the end.
        weight_decay: for matrices; vectors and embeddings have none.
        contrast_from: share of the steps after which captions and foils are told apart; before, contents are learnt.
        facts_from: share of the steps after which counts, sizes and places are read off both towers.
        attribution_from: share of the steps after which the attribution objective joins.
        attribution_every: steps from one with that objective to the next; it costs half a step.
        seed: of the initial weights; scenes are numbered and need none.
    """

    steps: int = 3700
    batch_size: int = 64
    foils: int = 2
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    decay_share: float = 0.33
    weight_decay: float = 0.05
    contrast_from: float = 0.1135
    facts_from: float = 0.4054
    attribution_from: float = 0.6
    attribution_every: int = 2
    seed: int = 0


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Warm-up, plateau, linear decay to zero; ``step`` counts from 0."""
    rise = min(1.0, (step + 1) / settings.warmup_steps)
    fall = min(1.0, (settings.steps - step) / max(1.0, settings.decay_share * settings.steps))
    return settings.learning_rate * rise * fall


@cache
def _config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))
    return config


def build_network(seed: int) -> Any:
    """The untrained model of ``pictogram.json``."""
    open_clip = import_open_clip()
    config = {name: value for name, value in _config().items() if name != "preprocess"}
    torch.manual_seed(seed)
    network = open_clip.model.CLIP(**config)
    return network.to(memory_format=torch.channels_last)


def keep_reachable_rows(network: Any) -> dict[int, int]:
    """Shrink the token embedding to the rows that captions can reach; returns the row of each such token.

    The other 48,000 would never see a gradient, but cost memory and time in every step of the optimiser.
    """
    tokens = reachable_tokens()
    full = network.token_embedding.weight.detach()
    network.token_embedding = nn.Embedding(len(tokens), full.shape[1], _weight=full[tokens].clone())
    return {token: row for row, token in enumerate(tokens)}


def normalise(batch: Batch) -> Batch:
    """The model's own preprocessing of pictures that already have its size."""
    mean, std = (torch.tensor(_config()["preprocess"][key]).view(3, 1, 1) for key in ("mean", "std"))
    return replace(batch, pixels=((batch.pixels - mean) / std).contiguous(memory_format=torch.channels_last))


def build_optimizer(modules: list[nn.Module], settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW; weight decay for matrices other than embeddings."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for module in modules:
        for name, parameter in module.named_parameters():
            (decayed if parameter.ndim > 1 and "embedding" not in name else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), eps=1e-8)


class Run:
    """A training run in a folder: its state, how it is saved and how it goes on."""

    def __init__(self, folder: Path, settings: TrainingSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.step = 0
        self.network = build_network(settings.seed)
        rows = keep_reachable_rows(self.network)
        self.maker = BatchMaker(clip_encoder(), rows)
        channels = self.network.visual.layer1[0].conv1.out_channels * GRID_CHANNELS_PER_WIDTH
        self.heads = Heads(channels, self.network.text_projection.shape[1])
        self.optimizer = build_optimizer([self.network, self.heads], settings)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "checkpoint.pt").exists():
            self._load()

    def _load(self) -> None:
        state = torch.load(self.folder / "checkpoint.pt", weights_only=True)
        self.step = state["step"]
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.network.load_state_dict(state["network"])

    def save(self) -> None:
        """Checkpoint and weights, each whole or not at all."""
        state = {
            "step": self.step,
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "network": self.network.state_dict(),
        }
        torch.save(state, self.folder / "checkpoint.part")
        (self.folder / "checkpoint.part").replace(self.folder / "checkpoint.pt")
        save_file(compact(self.network.state_dict()), self.folder / "weights.part", metadata={"step": str(self.step)})
        (self.folder / "weights.part").replace(self.folder / "weights.safetensors")
        (self.folder / "settings.json").write_text(json.dumps(asdict(self.settings), indent=2), encoding="utf-8")

    def train_step(self) -> dict[str, float]:
        """One step on the next scenes; returns the terms of the objective."""
        settings = self.settings
        first = self.step * settings.batch_size
        numbers = range(first, first + settings.batch_size)
        batch = normalise(self.maker.make([make_sample(n, split="train", foils=settings.foils) for n in numbers]))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, settings)
        done = self.step / settings.steps
        contrast = done >= settings.contrast_from
        attribution = done >= settings.attribution_from and self.step % settings.attribution_every == 0
        losses = compute_losses(
            self.network,
            self.heads,
            batch,
            contrast=contrast,
            facts=done >= settings.facts_from,
            attribution=attribution,
        )
        total = torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([*self.network.parameters(), *self.heads.parameters()], 1.0)
        self.optimizer.step()
        self.step += 1
        return {"total": total.item(), **{name: loss.item() for name, loss in losses.items()}}


def train(folder: Path, settings: TrainingSettings, *, save_every: int = 100, log_every: int = 20) -> Path:
    """Run to the end, or from the last checkpoint to the end; returns the folder's weights file."""
    run = Run(folder, settings)
    run.network.train()
    began, since = time.monotonic(), run.step
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as log:
        while run.step < settings.steps:
            losses = run.train_step()
            if run.step % log_every == 0:
                rate = (run.step - since) * settings.batch_size / (time.monotonic() - began)
                began, since = time.monotonic(), run.step
                line = {"step": run.step, "scenes_per_second": round(rate, 1)}
                line |= {name: round(value, 4) for name, value in losses.items()}
                log.write(json.dumps(line) + os.linesep)
                log.flush()
            if run.step % save_every == 0:
                run.save()
    run.save()
    return folder / "weights.safetensors"


def main() -> None:
    """Command line of the training program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints, weights and metrics")
    parser.add_argument("--threads", type=int, default=0, help="processor threads (0: as many as torch takes)")
    for name, default in asdict(TrainingSettings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    arguments = vars(parser.parse_args())
    folder, threads = arguments.pop("output"), arguments.pop("threads")
    if threads:
        torch.set_num_threads(threads)
    print(train(folder, TrainingSettings(**arguments)))


if __name__ == "__main__":
    main()
