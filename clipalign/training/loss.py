"""The objectives of SPECS (Chen et al., 2025, arXiv 2509.03897) and Long-CLIP, as published.

Of SPECS, with ``s = logit_scale.exp() * cos(image, text)``, three terms:

- contrastive: cross entropy of captions against the images of the batch, text side only;
- detail: ``relu(epsilon + s(base) - s(detail))``, a true detail raises the score;
- negative: ``relu(epsilon + s(negative) - s(base))``, a wrong one lowers it.

A fixed epsilon is the margin of both hinges. An adaptive one (``epsilon=0``) is updated after each hinge term: it
becomes the mean margin by which the better text leads, clamped to 0 to 1.5, for the next hinge term. Here it is an
argument and a result, so that a run can resume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.training.settings import SpecsSettings

EPSILON_LIMIT: Final = 1.5  # largest adaptive epsilon, as published

COARSE_COMPONENTS: Final = 32
LABEL_SMOOTHING: Final = 0.1
LONGCLIP_LOGIT_SCALE: Final = 4.6052
"""Of Long-CLIP: model/model_longclip.py, and the initial temperature of train/train.py."""


@dataclass(frozen=True, slots=True)
class SpecsFeatures:
    """Unit vectors of pictures and whole captions (B, E), and of prefixes, the next longer ones and wrong ones (N, E).

    ``owners`` has for each prefix the row of its picture (N); None for one of each, in order, as published.
    """

    images: Tensor
    captions: Tensor
    bases: Tensor
    details: Tensor
    negatives: Tensor
    owners: Tensor | None = None


@dataclass(frozen=True, slots=True)
class SpecsLoss:
    """The loss of one batch: scalars with gradients, each already weighted; ``total`` is their sum.

    ``epsilon`` is that of the next batch, or the fixed one.
    """

    total: Tensor
    contrastive: Tensor
    detail: Tensor
    negative: Tensor
    epsilon: float


def specs_loss(
    features: SpecsFeatures,
    logit_scale: Tensor,
    settings: SpecsSettings,
    *,
    epsilon: float,
    all_images: Tensor | None = None,
    first_row: int = 0,
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> SpecsLoss:
    """The objective for one batch; with one picture in all the contrastive term is 0.

    Args:
        features: unit vectors, of any floating type; the arithmetic is fp32.
        logit_scale: the network's own, before ``exp``.
        epsilon: of the last batch's result, 0 at the start; a fixed one in ``settings`` overrides it.
        all_images: unit vectors of the pictures of every process (W * B, E), for the contrastive term; None for this
            batch's alone.
        first_row: the row of this batch's first picture in ``all_images``.
        mean: of the lead of the better texts, for the adaptive epsilon; several processes average over all of them.
    """
    margin = settings.hinge_margin or epsilon
    scale = logit_scale.float().exp()
    images = features.images.float()
    others = images if all_images is None else all_images.float()
    similarity = scale * features.captions.float() @ others.T  # (B, W * B)
    own = torch.arange(first_row, first_row + len(images), device=images.device)
    contrastive = settings.lambda_contrastive * F.cross_entropy(similarity, own)
    pictures, shares = _of_beginnings(images, features.owners)
    base, detail, negative = (
        scale * (pictures * texts.float()).sum(-1) for texts in (features.bases, features.details, features.negatives)
    )  # (N)
    detail_term = settings.lambda_detail * (F.relu(margin + base - detail) * shares).mean()
    if not settings.hinge_margin:
        margin = _lead((detail - base) * shares, mean)
    negative_term = settings.lambda_negative * (F.relu(margin + negative - base) * shares).mean()
    if not settings.hinge_margin:
        margin = _lead((base - negative) * shares, mean)
    return SpecsLoss(contrastive + detail_term + negative_term, contrastive, detail_term, negative_term, margin)


def short_loss(images: Tensor, shorts: Tensor, logit_scale: Tensor, *, all_images: Tensor, first_row: int) -> Tensor:
    """Mean of both cross entropies of short captions and pictures, so that a model of long captions keeps short ones.

    Args:
        images: unit vectors of the batch's pictures (B, E).
        shorts: of short captions (W * B, 1 + F, E), of all processes where they share; the true one first, then false
            versions, used as negatives of the pictures only.
        all_images: of the pictures that belong to ``shorts`` (W * B, E).
        first_row: the row of this batch's first picture among them.
    """
    scale = logit_scale.float().exp()
    own = torch.arange(first_row, first_row + len(images), device=images.device)
    texts = shorts.transpose(0, 1).flatten(0, 1).float()  # the true ones of all, then the first false ones, and so on
    to_texts = F.cross_entropy(scale * images.float() @ texts.T, own)
    to_images = F.cross_entropy(scale * shorts[own, 0].float() @ all_images.float().T, own)
    return (to_texts + to_images) / 2


def longclip_loss(
    images: Tensor,
    captions: Tensor,
    shorts: Tensor,
    logit_scale: Tensor,
    *,
    gather: Callable[[Tensor], tuple[Tensor, int]] = lambda rows: (rows, 0),
) -> tuple[Tensor, Tensor]:
    """The objective of Long-CLIP (Zhang et al., ECCV 2024, arXiv 2403.15378): its fine and its coarse term, unweighted.

    Whole captions are matched with pictures; short ones with the pictures' projections onto the batch's first 32
    principal components, as published neither centered nor normalized afterwards. Both are cross entropies, both ways,
    over all processes, with labels smoothed by 0.1. Vectors are unit vectors (B, E); ``gather`` returns the rows of all
    processes (W * B, 3 E or so), and which of them is this one's first.
    """
    scale = logit_scale.float().exp()
    mine = images.float(), main_components(images.float()), captions.float(), shorts.float()
    rows, first_row = gather(torch.cat(mine, 1))
    all_images, all_coarse, all_captions, all_shorts = rows.chunk(4, 1)
    own = torch.arange(first_row, first_row + len(images), device=images.device)

    def both_ways(pictures: Tensor, texts: Tensor, all_pictures: Tensor, all_texts: Tensor) -> Tensor:
        to_texts = F.cross_entropy(scale * pictures @ all_texts.T, own, label_smoothing=LABEL_SMOOTHING)
        to_pictures = F.cross_entropy(scale * texts @ all_pictures.T, own, label_smoothing=LABEL_SMOOTHING)
        return (to_texts + to_pictures) / 2

    fine = both_ways(mine[0], mine[2], all_images, all_captions)
    return fine, both_ways(mine[1], mine[3], all_coarse, all_shorts)


def main_components(vectors: Tensor, components: int = COARSE_COMPONENTS) -> Tensor:
    """Project ``vectors`` (B, E) onto their first principal components, uncentered."""
    mean = vectors.mean(0)
    projected: Tensor = _LowRank.apply(vectors - mean, components)
    return projected + mean


class _LowRank(torch.autograd.Function):
    """The nearest matrix of rank k, ``U_k S_k V_k^T``, with the gradient of the singular vectors in it.

    torch's own gradient of the SVD divides by differences of all singular values: in batches of no more than k + 1
    pictures, and wherever two values coincide, it is not finite though this matrix changes smoothly. Only the gap
    between value k and k + 1 matters. For i <= k < j, with G' = U^T G V, the gradient differs from G by (s_j^2 G'_ij +
    s_i s_j G'_ji) / (s_i^2 - s_j^2) at (i, j), likewise at (j, i), and keeps nothing beyond k.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, rank: int) -> Tensor:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        ctx.rank = rank
        ctx.save_for_backward(u, s, vh)
        nearest: Tensor = (u[:, :rank] * s[:rank]) @ vh[:rank]
        return nearest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        u, s, vh = ctx.saved_tensors
        k = ctx.rank
        u_in, u_out, v_in, v_out = u[:, :k], u[:, k:], vh[:k].T, vh[k:].T
        kept, lost = s[:k, None], s[None, k:]
        right, left = u_in.T @ gradient @ v_out, (u_out.T @ gradient @ v_in).T  # (k, n - k)
        gap = (kept**2 - lost**2).clamp_min(torch.finfo(s.dtype).eps * s[0] ** 2)  # equal pictures: fewer components
        toward_right = u_in @ ((lost**2 * right + kept * lost * left) / gap) @ v_out.T
        toward_left = u_out @ ((lost**2 * left + kept * lost * right) / gap).T @ v_in.T
        beyond = gradient - u_in @ (u_in.T @ gradient)
        return gradient - (beyond - (beyond @ v_in) @ v_in.T) + toward_right + toward_left, None


def _of_beginnings(images: Tensor, owners: Tensor | None) -> tuple[Tensor, Tensor]:
    """The picture of each prefix (N, E), and its weight (N): pictures weigh alike, with mean 1."""
    if owners is None:
        return images, images.new_ones(len(images))
    shares = owners.bincount(minlength=len(images)).reciprocal()[owners]
    return images[owners], shares * (len(owners) / len(images))


@torch.no_grad()
def _lead(leads: Tensor, mean: Callable[[Tensor], Tensor]) -> float:
    return float(mean(leads).clamp(0.0, EPSILON_LIMIT))
