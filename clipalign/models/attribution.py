"""One signed number a token: how much it pulls text and image together or apart (CLIP4DM, arXiv 2412.18404).

    c = cos(image, text)        G_l = dc / dA_l        R = (1/k) Σ_l mean_h (G_l ⊙ A_l)

over the last k text layers, ``A_l`` being the attention probabilities after softmax; no ReLU, negative values are the
signal. A token's attribution is its column in the row of the pooled token. Two ways give the same numbers: a fast one
for causal towers read at the end token, and a general one for any open_clip text tower with attention (SigLIP, CoCa,
any CustomTextCLIP), in which all tokens pass the last k layers with a full backward pass. It computes attention from
the module's own parameters, since the weights that ``nn.MultiheadAttention`` returns are not on the path to its output;
towers of transformers return the probabilities they use (``eager``). Where the text vector is the mean of all tokens,
all rows count, each with its share of the mean, unlike in the paper, whose towers read one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.errors import UsageError
from clipalign.models.load import import_open_clip
from clipalign.models.text_encoder import CausalTextTower, can_read, close, project, project_pooled
from clipalign.models.tokenize import check_located

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel
    from clipalign.models.tokenize import TokenizedText


class TokenAttribution(NamedTuple):
    """Cosine of an image and a text, and attributions of the text's tokens from start to end token (T).

    Tensors are fp32 on the CPU; ``text_features`` is the text's unit vector (E).
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
    """Attribute the cosine of each image and text to the text's tokens; the model is left unchanged.

    Args:
        image_features: unit vectors, one for each text (B, E).
        layers: k, how many of the last text layers are averaged, 1 to L.

    Raises:
        UsageError: ``layers`` out of range, a text tower whose attention cannot be read, or tokens of unknown
            positions.
    """
    check_located(texts)
    tower = CausalTextTower.of(loaded.network)
    if tower is not None and not all(tower.ends(text.ids) for text in texts):
        tower = None
    n_layers = text_layers(loaded.network, loaded.architecture)
    if not 1 <= layers <= n_layers:
        raise UsageError(
            f"layers must be from 1 to {n_layers}, the text layers of {loaded.row.name}, not {layers}", input="--layers"
        )
    # Neighbors in this order share beginnings, which the fast way computes once; as it pads nothing, lengths mix.
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
    """The fast way: cosines (B), attributions (B, T) with each end token in its own column, text vectors (B, E)."""
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


class PooledText(NamedTuple):
    """Unit text vectors (B, E), fp32, with the attention that led to them.

    Attributes:
        maps: for each of the last k layers the attention probabilities, fp32 (B, H, T, T).
        pooled: 1 for each row that the text vector was read from, else 0 (B, T).
    """

    features: Tensor
    maps: Sequence[Tensor]
    pooled: Tensor


def text_layers(network: Any, architecture: str) -> int:
    """Number of text layers whose attention can be read; UsageError if there are none."""
    if _is_of_transformers(network):
        return int(network.text.config.num_hidden_layers)
    return len(_text_tower(network, architecture).transformer.resblocks)


def _is_of_transformers(network: Any) -> bool:
    return isinstance(getattr(network, "text", None), import_open_clip().hf_model.HFTextEncoder)


def _text_tower(network: Any, architecture: str) -> Any:
    """The module that holds the text tower's parts; UsageError if its attention cannot be computed here."""
    tower = getattr(network, "text", network)
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", ())
    if not len(blocks) or not all(map(can_read, blocks)):
        raise _hidden(architecture, tower)
    return tower


def encode_with_attention(network: Any, ids: Tensor, *, layers: int, architecture: str) -> PooledText:
    """Run the text tower on ``ids`` (B, T), padding included, with the last ``layers`` attention maps in the graph.

    UsageError if the tower is of another library, or returns no single text vector.
    """
    if _is_of_transformers(network):
        return _encode_with_transformers(network.text, ids, layers=layers, architecture=architecture)
    tower = _text_tower(network, architecture)
    blocks = tower.transformer.resblocks
    with torch.no_grad():
        stream, mask = _embed(tower, ids)  # (B, T, D); T counts CoCa's class token
        for block in blocks[: len(blocks) - layers]:
            stream, _ = advance(block, stream, mask)
    if torch.is_grad_enabled():
        stream = stream.detach().requires_grad_()
    maps = []
    for block in blocks[len(blocks) - layers :]:
        stream, probabilities = advance(block, stream, mask)
        maps.append(probabilities)
    pooled = _pooled_rows(network, tower, ids, stream.shape[1], architecture)
    vectors = tower.ln_final(stream[torch.arange(len(ids), device=ids.device), pooled])  # a norm acts row by row
    features = project_pooled(vectors, tower.text_projection)
    return PooledText(F.normalize(features.float(), dim=-1), maps, F.one_hot(pooled, stream.shape[1]))


def _encode_with_transformers(tower: Any, ids: Tensor, *, layers: int, architecture: str) -> PooledText:
    present = (ids != tower.config.pad_token_id).long()
    pooler = type(tower.pooler).__name__
    if pooler == "MeanPooler":
        pooled = present
    elif pooler in ("ClsPooler", "ClsLastHiddenStatePooler"):
        pooled = F.one_hot(torch.zeros_like(ids[:, 0]), ids.shape[1])
    else:
        raise _unpooled(architecture, pooler)
    # A graph begins where something asks for a gradient; the parameters do not, and stay as they are.
    name, parameter = next(iter(tower.transformer.named_parameters()))
    begin = {name: parameter.detach().requires_grad_(torch.is_grad_enabled())}
    asked = {"input_ids": ids, "attention_mask": present, "output_attentions": True}
    out = torch.func.functional_call(tower.transformer, begin, (), asked)
    if any(attention is None for attention in out.attentions or (None,)):
        raise _hidden(architecture, tower.transformer)
    features = tower.proj(tower.pooler(out, present))
    return PooledText(F.normalize(features.float(), dim=-1), out.attentions[-layers:], pooled)


def attribute_generally(
    network: Any, image_features: Tensor, ids: Tensor, *, layers: int, architecture: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Token attribution with a full backward pass, for image unit vectors (B, E) and ids padded to the context (B, T).

    Returns cosines (B), attributions of all tokens (B, T), text vectors (B, E).
    """
    text = encode_with_attention(network, ids, layers=layers, architecture=architecture)
    cosines = (text.features * image_features).sum(-1)
    gradients = torch.autograd.grad(cosines.sum(), text.maps)
    relevance = torch.stack(
        [(gradient * attention).detach().mean(1) for gradient, attention in zip(gradients, text.maps, strict=True)]
    ).mean(0)  # (B, T, T)
    rows = (relevance * text.pooled[..., None]).sum(1)  # (B, T)
    return cosines.detach(), rows[:, : ids.shape[1]], text.features.detach()


def _embed(tower: Any, ids: Tensor) -> tuple[Tensor, Tensor | None]:
    """Embedded tokens (B, T, D) and additive mask, if any, shaped to be added to scores (B, H, T, T)."""
    if not hasattr(tower, "_embeds"):  # CLIP, which is its own text tower
        dtype = tower.transformer.get_cast_dtype()
        n_tokens = ids.shape[1]
        stream = tower.token_embedding(ids).to(dtype) + tower.positional_embedding[:n_tokens].to(dtype)
        mask = tower.attn_mask
        return stream, None if mask is None else mask[:n_tokens, :n_tokens]
    stream, mask = tower._embeds(ids)
    if mask is not None and mask.ndim == 3:  # (B * H, T, T)
        mask = mask.unflatten(0, (len(ids), -1))
    elif mask is not None:
        mask = mask[: stream.shape[1], : stream.shape[1]]
    return stream, mask


def advance(block: Any, stream: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """One layer, attention included: the stream after it (B, T, D), and attention probabilities, fp32 (B, H, T, T)."""
    query, key, value = (part.transpose(1, 2) for part in project(block, stream))  # (B, H, T, D / H)
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    probabilities = scores.float().softmax(dim=-1)  # (B, H, T, T)
    mixed = probabilities.to(value.dtype) @ value
    return close(block, stream, mixed.transpose(1, 2)), probabilities


def _pooled_rows(network: Any, tower: Any, ids: Tensor, n_rows: int, architecture: str) -> Tensor:
    """The row open_clip reads the text vector from (open_clip.transformer.text_global_pool)."""
    if getattr(tower, "cls_emb", None) is not None:  # CoCa's class token, whatever the pooling says
        return torch.full_like(ids[:, 0], n_rows - 1)
    pooling = network.text_pool_type if tower is network else tower.pool_type
    if pooling == "first":
        return torch.zeros_like(ids[:, 0])
    if pooling == "last":
        return torch.full_like(ids[:, 0], n_rows - 1)
    if pooling == "argmax":
        return ids.argmax(dim=-1)
    if pooling == "eos":
        end_id: int = network.text_eos_id if tower is network else tower.eos_id
        return ids.eq(end_id).int().argmax(dim=-1)
    raise _unpooled(architecture, pooling)


def _hidden(architecture: str, tower: Any) -> UsageError:
    return UsageError(
        f"the text tower of {architecture} ({type(tower).__name__}) does not expose its attention",
        hint="choose a model whose text tower is open_clip's own, for example --model ViT-B-32",
    )


def _unpooled(architecture: str, pooling: str) -> UsageError:
    return UsageError(
        f"the text tower of {architecture} is not pooled from tokens ({pooling}): no attention leads to its vector",
        hint="choose a model that pools its text, for example --model ViT-B-32",
    )
