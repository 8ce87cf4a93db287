"""Where in a picture the image tower looks: gradient times attention (arXiv 2103.15679), for directions in its space.

    c = x · d        heat = mean_h (dc/dA ⊙ A), where that is positive

``x`` is the picture's unit vector, ``d`` a direction, ``A`` the attention of the last layer from the class token to the
patches, after softmax. A ResNet of CLIP attends in its pooling alone, over a grid too coarse for small things. So there
the heat is multiplied, on the grid of the last stage but one, with that stage's ``dc/dz ⊙ z``, summed over channels,
where that is positive. Only the last layer or stage is run with a gradient; the network is not changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.device import torch_dtype
from clipalign.errors import UsageError
from clipalign.models.image_encoder import reads_class_token_alone
from clipalign.models.load import import_open_clip
from clipalign.models.text_encoder import close, project_keys_values, project_pooled, project_queries

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel


def check_explainable(loaded: LoadedModel) -> None:
    """Raise ``UsageError`` for an image tower whose attention cannot be read."""
    visual = loaded.network.visual
    if not (_is_resnet(visual) or reads_class_token_alone(visual)):
        raise UsageError(
            f"the image tower of {loaded.row.name} ({type(visual).__name__}) does not expose its attention",
            hint="choose a model with CLIP's own image tower, for example --model ViT-B-32",
            input="--explain",
        )


def heat_maps(loaded: LoadedModel, picture: Tensor, directions: Tensor) -> Tensor:
    """Heat of a preprocessed picture (3, S, S) for directions (W, E): fp32, CPU, at least 0 (W, rows, columns)."""
    check_explainable(loaded)
    visual = loaded.network.visual
    images = picture[None].to(loaded.choice.device, torch_dtype(loaded.choice))
    with torch.inference_mode(False), torch.enable_grad():
        of_tower = _of_resnet if _is_resnet(visual) else _of_transformer
        maps = of_tower(visual, images.clone(), directions.clone())
    return maps.float().cpu()


def _is_resnet(visual: Any) -> bool:
    return isinstance(visual, import_open_clip().modified_resnet.ModifiedResNet)


def _of_transformer(visual: Any, images: Tensor, directions: Tensor) -> Tensor:
    *blocks, last = visual.transformer.resblocks
    with torch.no_grad():
        stream = visual._embeds(images)  # (1, T, D)
        for block in blocks:
            stream = block(stream)
        key, value = (part.transpose(1, 2) for part in project_keys_values(last, stream))  # (1, H, T, D / H)
        attention = _attention(project_queries(last, stream[:, :1]).transpose(1, 2), key)
    attention.requires_grad_()
    mixed = attention.to(value.dtype) @ value
    pooled = close(last, stream[:, :1], mixed.transpose(1, 2))[:, 0]
    cosines = _cosines(project_pooled(visual.ln_post(pooled), visual.proj), directions)
    maps: Tensor = torch.stack([_shares(cosine, attention) for cosine in cosines]).unflatten(1, visual.grid_size)
    return maps


def _of_resnet(visual: Any, images: Tensor, directions: Tensor) -> Tensor:
    with torch.no_grad():
        stage = visual.layer3(visual.layer2(visual.layer1(visual.stem(images))))  # (1, C, rows, columns)
    stage.requires_grad_()
    grid, pool = visual.layer4(stage), visual.attnpool
    tokens = grid.flatten(2).transpose(1, 2)  # (1, T, D)
    tokens = torch.cat((tokens.mean(1, keepdim=True), tokens), 1) + pool.positional_embedding.to(tokens.dtype)

    def heads(part: Tensor) -> Tensor:
        split: Tensor = part.unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)  # (1, H, T, D / H)
        return split

    attention = _attention(heads(pool.q_proj(tokens[:, :1])), heads(pool.k_proj(tokens)))
    mixed = attention.to(tokens.dtype) @ heads(pool.v_proj(tokens))
    cosines = _cosines(pool.c_proj(mixed.transpose(1, 2).flatten(2))[:, 0], directions)
    maps = []
    for cosine in cosines:
        coarse = _shares(cosine, attention).view(1, 1, *grid.shape[2:])
        fine = (torch.autograd.grad(cosine, stage, retain_graph=True)[0] * stage).detach().sum(1)[0].clamp(0)
        maps.append(fine * F.interpolate(coarse, fine.shape, mode="bilinear")[0, 0])
    return torch.stack(maps)


def _attention(query: Tensor, key: Tensor) -> Tensor:
    """Probabilities of the first query (1, H, 1, D / H) over all keys, fp32 (1, H, 1, T)."""
    logits: Tensor = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
    return logits.float().softmax(-1)


def _cosines(vector: Tensor, directions: Tensor) -> Tensor:
    return directions @ F.normalize(vector.float(), dim=-1)[0]  # (W)


def _shares(cosine: Tensor, attention: Tensor) -> Tensor:
    """What the attention to each patch adds to the cosine, where it adds (T - 1)."""
    (gradient,) = torch.autograd.grad(cosine, attention, retain_graph=True)
    return (gradient * attention).detach().mean(1)[0, 0, 1:].clamp(0)
