"""What the embedded model learns from: contrast, foils, calibration, a dense look at the picture, and word attribution.

The text tower is spelled out here with explicit attention because the attribution objective differentiates through the
gradient of the cosine with respect to the attention maps (CLIP4DM's ``G * A``). The measure used by ``detect`` is not
touched: this only trains a tower whose attributions say which word is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from clipalign.pictogram.batches import COLOR_NAMES, FACTS, NO_KIND, Batch

LENGTH_CHUNKS: Final = 4
CONTENT_SCALE: Final = 16.0
"""Unit vectors times the root of their width: what a linear head expects."""
ATTRIBUTION_SCALE: Final = 400.0
"""Start value that turns attributions (near 1e-2 for a clear foil) into logits."""
FALSE_WORD_WEIGHT: Final = 4.0
"""A false word stands among several true ones; it weighs about as much as they do together."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Texts after the tower: unit vectors (B, E) and the attention maps (B, H, T, T) of each layer."""

    vectors: torch.Tensor
    attention: list[torch.Tensor]


def embed_texts(network: Any, ids: torch.Tensor, ends: torch.Tensor) -> Embedded:
    """open_clip's causal text tower over ``ids`` (B, T), attention maps on the path to the result."""
    length = ids.shape[1]
    x = network.token_embedding(ids) + network.positional_embedding[:length]
    mask = network.attn_mask[:length, :length]
    maps = []
    for block in network.transformer.resblocks:
        attention = block.attn
        normed = block.ln_1(x)
        qkv = F.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = (
            part.reshape(*part.shape[:2], attention.num_heads, -1).transpose(1, 2) for part in qkv.chunk(3, dim=-1)
        )  # (B, H, T, D/H)
        probabilities = (q @ k.transpose(-1, -2) * attention.head_dim**-0.5 + mask).softmax(-1)
        maps.append(probabilities)
        mixed = (probabilities @ v).transpose(1, 2).flatten(2)
        x = x + attention.out_proj(mixed)
        x = x + block.mlp(block.ln_2(x))
    pooled = network.ln_final(x[torch.arange(len(x)), ends])
    return Embedded(F.normalize(pooled @ network.text_projection, dim=-1), maps)


def word_attributions(embedded: Embedded, cosines: torch.Tensor, batch: Batch, rows: torch.Tensor) -> torch.Tensor:
    """CLIP4DM over all layers for ``rows``: (R, W), differentiable. Words without tokens get 0."""
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
    """All texts of a batch: unit vectors (N, E) and, where asked for, word attributions (N, W)."""

    vectors: torch.Tensor
    attributions: torch.Tensor | None


def read_texts(network: Any, batch: Batch, images: torch.Tensor | None, *, rows: int | None = None) -> Read:
    """The batch's first ``rows`` texts (all: None) in chunks of like length, each cut at its longest.

    ``images`` (N, E), the picture of each text, asks for attributions.
    """
    order = batch.ends[:rows].argsort()
    vectors, attributions = [], []
    for chunk in order.chunk(LENGTH_CHUNKS):
        longest = int(batch.ends[chunk].max()) + 1
        embedded = embed_texts(network, batch.ids[chunk, :longest], batch.ends[chunk])
        vectors.append(embedded.vectors)
        if images is not None:
            cosines = (embedded.vectors * images[chunk]).sum(-1)
            attributions.append(word_attributions(embedded, cosines, batch, chunk))
    back = order.argsort()
    return Read(torch.cat(vectors)[back], torch.cat(attributions)[back] if attributions else None)


class Heads(nn.Module):
    """What training needs beside the CLIP itself, and throws away afterwards."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.kinds = nn.Conv2d(channels, NO_KIND + 1, 1)
        # One head for pictures and texts: what reads a kind off the one must read it off the other.
        self.content = nn.Linear(embedding, NO_KIND)
        self.color = nn.Linear(embedding, len(COLOR_NAMES))
        self.facts = nn.Linear(embedding, len(FACTS))
        self.fit_scale = nn.Parameter(torch.tensor(10.0))
        self.fit_bias = nn.Parameter(torch.tensor(-5.0))
        self.word_scale = nn.Parameter(torch.tensor(ATTRIBUTION_SCALE).log())
        self.word_bias = nn.Parameter(torch.tensor(1.0))


def embed_images(network: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors (B, E) and the third stage's map (B, D, GRID, GRID) of open_clip's ModifiedResNet."""
    visual = network.visual
    x = visual.layer2(visual.layer1(visual.stem(pixels)))
    grid = visual.layer3(x)
    return F.normalize(visual.attnpool(visual.layer4(grid)), dim=-1), grid


def compute_losses(
    network: Any, heads: Heads, batch: Batch, *, contrast: bool = True, facts: bool = True, attribution: bool = False
) -> dict[str, torch.Tensor]:
    """The terms of the objective for one batch, each a scalar; their weighted sum is minimised.

    Without ``contrast`` the two towers only learn what is in a picture and in its true caption. Trained on contrast
    from the first step they do not: while one tower cannot tell kinds apart, naming them costs the other.
    """
    scenes = len(batch.pixels)
    images, grid = embed_images(network, batch.pixels)
    owner = torch.arange(scenes).repeat(len(batch.ids) // scenes)
    # For the attribution objective the image is a constant: it shapes the text tower alone.
    texts = read_texts(
        network, batch, images.detach()[owner] if attribution else None, rows=None if contrast else scenes
    )
    true = texts.vectors[:scenes]
    losses = {
        "kinds": _dense(heads.kinds(grid), batch.cells),
        "image_content": _content(heads, images, batch.shown, batch.color),
        "text_content": _content(heads, true, batch.named, batch.named_color),
    }
    if facts:
        losses["image_facts"] = _facts(heads, images, batch.facts)
        losses["text_facts"] = _facts(heads, true, batch.named_facts)
    if contrast:
        losses |= _contrast(network, heads, images, texts.vectors)
    if texts.attributions is not None:
        losses["words"], losses["place"] = _word_losses(heads, texts.attributions, batch, scenes)
    return losses


def _contrast(network: Any, heads: Heads, images: torch.Tensor, texts: torch.Tensor) -> dict[str, torch.Tensor]:
    """Pictures against all texts, true captions against all pictures and against their own foils, and fit.

    Args:
        network: for its logit scale.
        heads: for the calibration of the fit.
        images: (B, E) unit vectors.
        texts: (B * (1 + F), E) unit vectors: the true captions, then the first foils, and so on.
    """
    scenes = len(images)
    scale = network.logit_scale.exp().clamp(max=100)
    similarity = scale * images @ texts.T
    diagonal = torch.arange(scenes)
    own = torch.einsum("be,fbe->bf", images, texts.view(-1, *images.shape))  # (B, 1 + F), the true one first
    stranger = (images * texts[:scenes].roll(1, 0)).sum(-1, keepdim=True)
    fits = heads.fit_scale * torch.cat([own, stranger], 1) + heads.fit_bias
    is_true = torch.zeros_like(fits)
    is_true[:, 0] = 1
    # True captions are outnumbered by foils; they weigh as much as all the others together.
    balance = torch.ones_like(fits)
    balance[:, 0] = fits.shape[1] - 1
    return {
        "image_to_text": F.cross_entropy(similarity, diagonal),
        "text_to_image": F.cross_entropy(similarity[:, :scenes].T, diagonal),
        "foil": F.cross_entropy(scale * own, torch.zeros(scenes, dtype=torch.long)),
        "fit": F.binary_cross_entropy_with_logits(fits, is_true, balance),
    }


def _dense(logits: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the kind in each cell; empty cells, the great majority, weigh less."""
    weight = torch.ones(NO_KIND + 1)
    weight[NO_KIND] = 0.1
    return F.cross_entropy(logits, cells, weight)


def _content(heads: Heads, vectors: torch.Tensor, kinds: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
    """Kinds and colour read off unit vectors (B, E): cross entropy with the kinds that are there in equal shares."""
    wide = vectors * CONTENT_SCALE
    shares = kinds / kinds.sum(-1, keepdim=True)
    known = color >= 0
    colors = F.cross_entropy(heads.color(wide), color, ignore_index=-1, reduction="sum") / known.sum().clamp(min=1)
    return F.cross_entropy(heads.content(wide), shares) + colors


def _facts(heads: Heads, vectors: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
    """Counts, sizes and places read off unit vectors (B, E)."""
    return F.binary_cross_entropy_with_logits(heads.facts(vectors * CONTENT_SCALE), facts)


def _word_losses(
    heads: Heads, attributions: torch.Tensor, batch: Batch, scenes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Is each word true, and which word of a foil is the false one, read off the attributions (N, W)."""
    logits = heads.word_scale.exp() * attributions
    known = batch.false_words >= 0
    false = batch.false_words == 1
    weight = torch.where(false, FALSE_WORD_WEIGHT, 1.0)
    words = F.binary_cross_entropy_with_logits(
        (logits + heads.word_bias)[known], (~false)[known].float(), weight[known]
    )
    chance = (-logits).masked_fill(~known, -torch.inf)[scenes:].log_softmax(-1)
    place = -chance.masked_fill(~false[scenes:], -torch.inf).logsumexp(-1).mean()
    return words, place
