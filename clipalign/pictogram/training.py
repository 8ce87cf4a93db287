"""Train the embedded model on scenes made as it goes, starting from the weights that this installation ships.

    python -m clipalign.pictogram.training --output runs/pictogram

It may be interrupted; the same command continues from the last checkpoint with the same scenes in the same order. The
learning rate rises, stays, and falls to zero at the end, so that a run can be extended until it falls. Layers that the
shipped weights lack begin as ones that change nothing.

The objective: contrast, foils, calibration, what is in each cell of the picture, what is true of each group and where,
and word attribution. The last differentiates through the gradient of the cosine with respect to the attention maps
(CLIP4DM's ``G * A``). It changes the weights only, not the measure that ``detect`` uses.
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
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset

from clipalign.files import replacing
from clipalign.models.attribution import advance
from clipalign.models.checkpoints import read_checkpoint
from clipalign.models.load import import_open_clip
from clipalign.models.registry import find_model
from clipalign.models.weights import sha256_of
from clipalign.pictogram.batches import COLOR_NAMES, FIELDS, NO_KIND, BatchMaker, SceneBatch, make_sample
from clipalign.pictogram.export import EMBEDDING, clip_encoder, compact, reachable_tokens
from clipalign.pictogram.scenes import HERE

LENGTH_CHUNKS: Final = 4
SHORT_TOKENS: Final = 40
"""Longer texts are embedded by themselves, since shorter ones beside them would be padded."""
CONTENT_SCALE: Final = 16.0
"""Scales unit vectors for a linear head: the root of their width."""
ABOUT_WIDTH: Final = 256
ATTRIBUTION_SCALE: Final = 400.0
"""Initial factor from attributions (near 1e-2 for a clear foil) to logits."""
BATCHES_AHEAD: Final = 3
LONG_WEIGHT: Final = 3.0
"""Of a long caption among its scene's texts; two more details are harder to tell apart than two words."""
FALSE_WORD_WEIGHT: Final = 4.0
"""A false word weighs about as much as the true ones around it together."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Texts after the tower: unit vectors (B, E) and the attention maps (B, H, T, T) of each layer."""

    vectors: torch.Tensor
    attention: list[torch.Tensor]


def embed_texts(network: Any, ids: torch.Tensor, ends: torch.Tensor) -> Embedded:
    """Run open_clip's causal text tower on ``ids`` (B, T), with attention maps on the path to the result."""
    length = ids.shape[1]
    x = network.token_embedding(ids) + network.positional_embedding[:length]
    mask = network.attn_mask[:length, :length]
    maps = []
    for block in network.transformer.resblocks:
        x, probabilities = advance(block, x, mask)
        maps.append(probabilities)
    pooled = network.ln_final(x[torch.arange(len(x)), ends])
    return Embedded(F.normalize(pooled @ network.text_projection, dim=-1), maps)


def word_attributions(embedded: Embedded, cosines: torch.Tensor, batch: SceneBatch, rows: torch.Tensor) -> torch.Tensor:
    """Return CLIP4DM over all layers for ``rows``: (R, W), differentiable. Words without tokens get 0."""
    gradients = torch.autograd.grad(cosines.sum(), embedded.attention, create_graph=True)
    ends = batch.ends[rows]
    here = torch.arange(len(rows))
    relevance = torch.stack(
        [(g * a)[here, :, ends].mean(1) for g, a in zip(gradients, embedded.attention, strict=True)]
    ).mean(0)  # (R, T)
    words = batch.word_of_token[rows, : relevance.shape[1]]
    width = batch.false_words.shape[1]
    belongs = F.one_hot(words.clamp(min=0), width).float() * (words >= 0).unsqueeze(-1)  # (R, T, W)
    return torch.einsum("rt,rtw->rw", relevance, belongs) / belongs.sum(1).clamp(min=1)


@dataclass(frozen=True, slots=True)
class Read:
    """All texts of a batch: unit vectors (N, E) and, if requested, word attributions (N, W)."""

    vectors: torch.Tensor
    attributions: torch.Tensor | None


def read_texts(network: Any, batch: SceneBatch, images: torch.Tensor | None) -> Read:
    """Embed all texts in chunks of like length; ``images`` (N, E) requests attributions."""
    order = batch.ends.argsort()
    short = int((batch.ends < SHORT_TOKENS).sum())
    vectors, attributions = [], []
    for chunk in filter(len, (*order[:short].chunk(LENGTH_CHUNKS), *order[short:].chunk(2))):
        longest = int(batch.ends[chunk].max()) + 1
        embedded = embed_texts(network, batch.ids[chunk, :longest], batch.ends[chunk])
        vectors.append(embedded.vectors)
        if images is not None:
            if (batch.false_words[chunk] >= 0).any():
                cosines = (embedded.vectors * images[chunk]).sum(-1)
                attributions.append(word_attributions(embedded, cosines, batch, chunk))
            else:
                attributions.append(torch.zeros(len(chunk), batch.false_words.shape[1]))
    back = order.argsort()
    return Read(torch.cat(vectors)[back], torch.cat(attributions)[back] if attributions else None)


class Heads(nn.Module):
    """What reads the auxiliary targets; pictures and texts share all but ``kinds``.

    What reads a kind off the one must read it off the other.
    """

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.kinds = nn.Conv2d(channels, NO_KIND + 1, 1)
        self.content = nn.Linear(embedding, NO_KIND)
        self.color = nn.Linear(embedding, len(COLOR_NAMES))
        self.about = nn.Embedding(NO_KIND, ABOUT_WIDTH)
        self.group = nn.ModuleList([nn.Linear(embedding, ABOUT_WIDTH), nn.Linear(ABOUT_WIDTH, sum(FIELDS.values()))])
        self.where = nn.Embedding(NO_KIND, ABOUT_WIDTH)
        self.place = nn.ModuleList([nn.Linear(embedding, ABOUT_WIDTH), nn.Linear(ABOUT_WIDTH, 2)])
        self.fit_scale = nn.Parameter(torch.tensor(10.0))
        self.fit_bias = nn.Parameter(torch.tensor(-5.0))
        self.word_scale = nn.Parameter(torch.tensor(ATTRIBUTION_SCALE).log())
        self.word_bias = nn.Parameter(torch.tensor(1.0))


def embed_images(network: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit vectors (B, E) and the third stage's map (B, D, GRID, GRID) of open_clip's ModifiedResNet."""
    visual = network.visual
    x = visual.layer2(visual.layer1(visual.stem(pixels)))
    grid = visual.layer3(x)
    return F.normalize(visual.attnpool(visual.layer4(grid)), dim=-1), grid


def compute_losses(
    network: Any, heads: Heads, batch: SceneBatch, *, attribution: bool = False
) -> dict[str, torch.Tensor]:
    """Return the terms of the objective for one batch, each a scalar, whose weighted sum is minimized."""
    scenes = len(batch.pixels)
    images, grid = embed_images(network, batch.pixels)
    # Texts stand foil by foil, not scene by scene: all true captions, then the first foil of each scene, and so on.
    owner = torch.arange(scenes).repeat(len(batch.ids) // scenes)
    # For the attribution objective the image is a constant: it shapes the text tower alone.
    texts = read_texts(network, batch, images.detach()[owner] if attribution else None)
    true = texts.vectors[:scenes]
    losses = {
        "kinds": _dense(heads.kinds(grid), batch.cells),
        "image_content": _content(heads, images, batch.shown, batch.color),
        "text_content": _content(heads, true, batch.named, batch.named_color),
        "image_groups": _groups(heads, images, batch.groups),
        "text_groups": _groups(heads, true, batch.named_groups),
        "image_centers": _centers(heads, images, batch),
    }
    losses |= _contrast(network, heads, images, texts.vectors, batch.holds)
    if texts.attributions is not None:
        losses["words"], losses["place"] = _word_losses(heads, texts.attributions, batch)
    return losses


def _contrast(
    network: Any, heads: Heads, images: torch.Tensor, texts: torch.Tensor, holds: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Contrast pictures (B, E) and texts (B * (1 + F), E), unit vectors; true captions against their foils too.

    ``holds`` (B, 1 + F) marks true texts: one that tells less than the first is true, and yet to be ranked below it.
    """
    scenes = len(images)
    scale = network.logit_scale.exp().clamp(max=100)
    similarity = scale * images @ texts.T
    diagonal = torch.arange(scenes)
    own = torch.einsum("be,fbe->bf", images, texts.view(-1, *images.shape))  # (B, 1 + F), the true one first
    stranger = (images * texts[:scenes].roll(1, 0)).sum(-1, keepdim=True)
    fits = heads.fit_scale * torch.cat([own, stranger], 1) + heads.fit_bias
    is_true = torch.cat([holds, torch.zeros_like(stranger)], 1)
    # True captions are outnumbered by foils; they weigh as much as all the others together.
    balance = torch.where(is_true == 1, (1 - is_true).sum() / is_true.sum(), 1.0)
    weight = torch.where(holds[:, 1:].any(1), LONG_WEIGHT, 1.0)
    share = weight / weight.sum()
    return {
        "image_to_text": F.cross_entropy(similarity, diagonal),
        "text_to_image": F.cross_entropy(similarity[:, :scenes].T, diagonal),
        "foil": (F.cross_entropy(scale * own, torch.zeros(scenes, dtype=torch.long), reduction="none") * share).sum(),
        "fit": F.binary_cross_entropy_with_logits(fits, is_true, balance),
    }


def _dense(logits: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the kind in each cell; empty cells, the great majority, weigh less."""
    weight = torch.ones(NO_KIND + 1)
    weight[NO_KIND] = 0.1
    return F.cross_entropy(logits, cells, weight)


def _content(heads: Heads, vectors: torch.Tensor, kinds: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
    wide = vectors * CONTENT_SCALE
    shares = kinds / kinds.sum(-1, keepdim=True).clamp(min=1)
    return F.cross_entropy(heads.content(wide), shares) + _known_entropy(heads.color(wide), color)


def _groups(heads: Heads, vectors: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Cross entropy of each of ``FIELDS``, asked of the vectors (B, E) kind by kind; ``groups`` as in the batch."""
    kinds = groups[..., 0]
    logits = _answers(heads.group, heads.about, vectors, kinds)
    fields = zip(logits.split(list(FIELDS.values()), -1), groups[kinds >= 0][:, 1:].unbind(-1), strict=True)
    return torch.stack([_known_entropy(field, target) for field, target in fields]).mean()


def _centers(heads: Heads, vectors: torch.Tensor, batch: SceneBatch) -> torch.Tensor:
    """Squared error of where each kind is in the picture, in quarters of its side."""
    kinds = batch.groups[..., 0]
    return F.mse_loss(_answers(heads.place, heads.where, vectors, kinds), batch.centers[kinds >= 0])


def _answers(head: nn.ModuleList, about: nn.Embedding, vectors: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """What a head reads off vectors (B, E) about each of their ``kinds`` (B, GROUPS), -1 left out: (N, outputs)."""
    there = kinds >= 0
    inner, outer = head
    hidden = inner(vectors * CONTENT_SCALE).unsqueeze(1).expand(-1, kinds.shape[1], -1)[there]
    answers: torch.Tensor = outer(F.gelu(hidden * about(kinds[there])))
    return answers


def _known_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    total = F.cross_entropy(logits, target, ignore_index=-1, reduction="sum")
    return total / (target >= 0).sum().clamp(min=1)


def _word_losses(heads: Heads, attributions: torch.Tensor, batch: SceneBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses from attributions (N, W): is each word true, and which word of a foil is the false one."""
    logits = heads.word_scale.exp() * attributions
    known = batch.false_words >= 0
    false = batch.false_words == 1
    weight = torch.where(false, FALSE_WORD_WEIGHT, 1.0)
    words = F.binary_cross_entropy_with_logits(
        (logits + heads.word_bias)[known], (~false)[known].float(), weight[known]
    )
    foils = false.any(-1)
    chance = (-logits).masked_fill(~known, -torch.inf)[foils].log_softmax(-1)
    place = -chance.masked_fill(~false[foils], -torch.inf).logsumexp(-1).mean()
    return words, place


CONFIG_FILE: Final = HERE / "pictogram-long.json"
GRID_CHANNELS_PER_WIDTH: Final = 16
WEIGHTS: Final = {
    "image_to_text": 1.0,
    "text_to_image": 0.5,
    "foil": 2.0,
    "fit": 1.0,
    "kinds": 1.0,
    "image_content": 1.0,
    "text_content": 1.0,
    "image_groups": 10.0,
    "text_groups": 4.0,
    "image_centers": 4.0,
    "words": 1.0,
    "place": 1.0,
}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """All that decides the weights, written beside them; the defaults are those of the shipped weights.

    Attributes:
        batch_size: scenes a step, each with ``foils`` false captions.
        decay_share: share of the steps over which the learning rate falls to zero at the end.
        weight_decay: for matrices; vectors and embeddings have none.
        attribution_every: steps between uses of that objective, which costs half a step.
    """

    steps: int = 3500
    batch_size: int = 64
    foils: int = 2
    learning_rate: float = 8e-4
    warmup_steps: int = 150
    decay_share: float = 0.5
    weight_decay: float = 0.05
    attribution_every: int = 2
    seed: int = 0


def learning_rate(step: int, settings: TrainingSettings) -> float:
    rise = min(1.0, (step + 1) / settings.warmup_steps)
    fall = min(1.0, (settings.steps - step) / max(1.0, settings.decay_share * settings.steps))
    return settings.learning_rate * rise * fall


@cache
def _config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))
    return config


def build_network(seed: int) -> Any:
    open_clip = import_open_clip()
    config = {name: value for name, value in _config().items() if name != "preprocess"}
    torch.manual_seed(seed)
    network = open_clip.model.CLIP(**config)
    return network.to(memory_format=torch.channels_last)


def keep_reachable_rows(network: Any) -> None:
    """Reduce the token embedding to the rows that captions can reach, to save memory and time."""
    full = network.token_embedding.weight.detach()
    rows = full[reachable_tokens()].clone()
    network.token_embedding = nn.Embedding(len(rows), rows.shape[1], _weight=rows)


def row_of_token() -> dict[int, int]:
    return {token: row for row, token in enumerate(reachable_tokens())}


def grow(network: Any, tensors: dict[str, torch.Tensor]) -> None:
    """Load weights of all tokens into a network with more layers; those it adds, and words never seen, stay new.

    A new layer's result begins as zero, so that at first the network computes what the weights did.
    """
    state = network.state_dict()
    for name in state.keys() - tensors.keys():
        if name.endswith(("bn3.weight", "out_proj.weight", "out_proj.bias", "c_proj.weight", "c_proj.bias")):
            state[name].zero_()
    rows = tensors[EMBEDDING][reachable_tokens()]
    seen = rows.any(-1)
    state[EMBEDDING][seen] = rows[seen]
    for name in (state.keys() & tensors.keys()) - {EMBEDDING}:
        state[name].copy_(tensors[name])


def shipped_weights() -> tuple[dict[str, torch.Tensor], str]:
    """Tensors of the shipped model for long texts, and the SHA-256 of its file, which names that of its base."""
    source = find_model("pictogram-long").weights[0]
    return read_checkpoint(Path(source.file), base=Path(source.base)).tensors, sha256_of(Path(source.file))


def normalize(batch: SceneBatch) -> SceneBatch:
    mean, std = (torch.tensor(_config()["preprocess"][key]).view(3, 1, 1) for key in ("mean", "std"))
    pixels = (batch.pixels.float() / 255 - mean) / std
    return replace(batch, pixels=pixels.contiguous(memory_format=torch.channels_last))


def build_optimizer(modules: list[nn.Module], settings: TrainingSettings) -> torch.optim.AdamW:
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for module in modules:
        for name, parameter in module.named_parameters():
            (decayed if parameter.ndim > 1 and "embedding" not in name else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), eps=1e-8)


@cache
def _maker() -> BatchMaker:
    return BatchMaker(clip_encoder(), row_of_token())


def make_batch(step: int, settings: TrainingSettings) -> SceneBatch:
    """Return the batch of a step, the same on every machine and in every run."""
    first = step * settings.batch_size
    numbers = range(first, first + settings.batch_size)
    return _maker().make([make_sample(n, split=f"train-{settings.seed}", foils=settings.foils) for n in numbers])


class Batches(Dataset[SceneBatch]):
    """The batches from a step on."""

    def __init__(self, first: int, settings: TrainingSettings) -> None:
        self._first = first
        self._settings = settings

    def __len__(self) -> int:
        return max(0, self._settings.steps - self._first)

    def __getitem__(self, index: int) -> SceneBatch:
        return make_batch(self._first + index, self._settings)


class Run:
    def __init__(self, folder: Path, settings: TrainingSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.step = 0
        self.network = build_network(settings.seed)
        keep_reachable_rows(self.network)
        tensors, self.grown_from = shipped_weights()
        grow(self.network, tensors)
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
        state = {
            "step": self.step,
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "network": self.network.state_dict(),
        }
        with replacing(self.folder / "checkpoint.pt") as part:
            torch.save(state, part)
        with replacing(self.folder / "weights.safetensors") as part:
            save_file(compact(self.network.state_dict()), part, metadata={"step": str(self.step)})
        written = asdict(self.settings) | {"grown_from": self.grown_from}
        (self.folder / "settings.json").write_text(json.dumps(written, indent=2), encoding="utf-8")

    def train_step(self, batch: SceneBatch | None = None) -> dict[str, float]:
        settings = self.settings
        batch = normalize(batch or make_batch(self.step, settings))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, settings)
        attribution = self.step % settings.attribution_every == 0
        losses = compute_losses(self.network, self.heads, batch, attribution=attribution)
        total = torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_([*self.network.parameters(), *self.heads.parameters()], 1.0)
        self.optimizer.step()
        self.step += 1
        return {"total": total.item(), **{name: loss.item() for name, loss in losses.items()}}


def train(folder: Path, settings: TrainingSettings, *, save_every: int = 100, log_every: int = 20) -> Path:
    """Train to the end, from the last checkpoint if there is one; return the folder's weights file."""
    run = Run(folder, settings)
    run.network.train()
    began, since = time.monotonic(), run.step
    drawing = DataLoader(
        Batches(run.step, settings), None, num_workers=1, prefetch_factor=BATCHES_AHEAD, multiprocessing_context="spawn"
    )
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as log:
        for batch in drawing:
            losses = run.train_step(batch)
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
