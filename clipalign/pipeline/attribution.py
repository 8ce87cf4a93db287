"""One signed number a token: how much it pulls text and image together or apart (CLIP4DM, arXiv 2412.18404).

    c = cos(image, text)        G_l = dc / dA_l        R = (1/k) Σ_l mean_h (G_l ⊙ A_l)

over the last k text layers, ``A_l`` being the attention probabilities after softmax; no ReLU, negative values are the
signal. A token's attribution is its column in the row of the pooled token. Two routes give the same numbers: the fast
one for causal towers read at the end token, the general one for the rest. This room picks the route and cuts batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from clipalign.errors import UsageError
from clipalign.pipeline.general_attribution import attribute_generally, text_tower
from clipalign.pipeline.text_tower import CausalTextTower

if TYPE_CHECKING:
    from clipalign.pipeline.loaded import LoadedModel
    from clipalign.pipeline.text import TokenizedText


class TokenAttribution(NamedTuple):
    """One pair of image and text.

    Attributes:
        cosine: of image and text, -1 to 1.
        tokens: attribution of every token from the start token to the end token, fp32 on the CPU (T).
        text_features: the text's unit vector, fp32 on the CPU (E).
    """

    cosine: float
    tokens: Tensor
    text_features: Tensor


def attribute(
    loaded: LoadedModel,
    image_features: Tensor,
    texts: Sequence[TokenizedText],
    *,
    layers: int,
    batch_size: int = 32,
) -> list[TokenAttribution]:
    """Attribute the cosine of each image and text to the text's tokens.

    Args:
        loaded: the model; left bit for bit as it was.
        image_features: unit vectors, one for each text (B, E).
        texts: tokenized texts (B).
        layers: k, how many of the last text layers are averaged, 1 to L.
        batch_size: texts a batch; changes speed, and results no further than rounding.

    Raises:
        UsageError: ``layers`` out of range, or a text tower that keeps its attention to itself.
    """
    tower = CausalTextTower.of(loaded.network)
    if tower is not None and not all(tower.ends(text.ids) for text in texts):
        tower = None
    n_layers = tower.layers if tower else len(text_tower(loaded.network, loaded.architecture).transformer.resblocks)
    if not 1 <= layers <= n_layers:
        raise UsageError(
            f"layers must be from 1 to {n_layers}, the text layers of {loaded.row.name}, not {layers}", input="--layers"
        )
    # Neighbours in this order share beginnings, which the fast route computes once; as it pads nothing, lengths mix.
    order = sorted(range(len(texts)), key=lambda index: texts[index].ids)
    results: dict[int, TokenAttribution] = {}
    for begin in range(0, len(order), batch_size):
        chosen = order[begin : begin + batch_size]
        batch = [texts[index] for index in chosen]
        with torch.inference_mode(False), torch.enable_grad():
            images = image_features[chosen].clone()
            if tower is not None:
                cosines, tokens, features = _attribute_at_end(tower, images, batch, layers)
            else:
                ids = torch.tensor([text.ids + text.padding for text in batch], device=images.device)
                cosines, tokens, features = attribute_generally(
                    loaded.network, images, ids, layers=layers, architecture=loaded.architecture
                )
        for index, text, cosine, row, vector in zip(
            chosen, batch, cosines.tolist(), tokens.cpu(), features.cpu(), strict=True
        ):
            results[index] = TokenAttribution(cosine, row[: len(text.ids)], vector)
    return [results[index] for index in range(len(texts))]


def _attribute_at_end(
    tower: CausalTextTower, image_features: Tensor, texts: Sequence[TokenizedText], layers: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The fast route: cosines (B), attributions (B, T) with each end token in its own column, text vectors (B, E)."""
    lengths = [text.eot for text in texts]
    prefill = tower.prefill([text.ids for text in texts], [[length] for length in lengths], layers=layers)
    vectors, maps = tower.answer(prefill)
    features = vectors[:, 0]
    cosines = (features * image_features).sum(-1)
    gradients = torch.autograd.grad(cosines.sum(), maps)
    relevance = sum(
        ((gradient * attention).detach()[:, :, 0].mean(1) for gradient, attention in zip(gradients, maps, strict=True)),
        start=torch.zeros((), device=features.device),
    ) / len(maps)  # (B, T + 1)
    own = relevance[:, -1:].clone()
    relevance.scatter_(1, torch.tensor(lengths, device=features.device)[:, None], own)
    return cosines.detach(), relevance, features.detach()
