"""Pictures and texts to unit vectors.

Vectors leave this room in fp32, of length one, on the model's device, in the order of what came in. Texts that begin
alike share the work of their beginnings where the tower allows it. Nothing here cuts silently for its caller: whoever
must know what did not fit the context tokenizes first and hands over the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.device import torch_dtype
from clipalign.errors import InputUnreadable, ModelMismatch
from clipalign.pipeline.image_tower import encode_pictures
from clipalign.pipeline.images import open_image, to_tensor
from clipalign.pipeline.text import TokenizedText, encode_text
from clipalign.pipeline.text_tower import CausalTextTower

if TYPE_CHECKING:
    from clipalign.pipeline.model import LoadedModel


ImageSource = str | Path | Image | Tensor

# On a CPU a batch of eight already runs at the rate of the matrix units; the activations of larger ones outgrow what
# malloc keeps, and fresh pages for every layer cost a tenth of the time.
_CPU_PICTURES = 8


@torch.no_grad()
def encode_images(loaded: LoadedModel, images: Tensor) -> Tensor:
    """Unit vectors of preprocessed pictures: (B, 3, S, S) to (B, E).

    Raises:
        ModelMismatch: the model turns the pictures into vectors that are not finite.
    """
    features = encode_pictures(loaded.network, images.to(loaded.choice.device, torch_dtype(loaded.choice)))
    return _unit(loaded, features)


def encode_distinct(
    loaded: LoadedModel, images: Sequence[ImageSource], *, names: Sequence[str], batch_size: int = 32
) -> Tensor:
    """Unit vectors of images, every distinct file or object encoded once: B images to (B, E).

    Args:
        loaded: the model.
        images: files, Pillow images, preprocessed tensors (3, S, S), or image features (E), in any mixture. Pillow
            images are taken as they are: whoever opened them has turned them, or has left them unturned.
        names: what errors call them.
        batch_size: pictures prepared and encoded at a time, at most.

    Raises:
        InputUnreadable: a file that is no picture, a tensor of the wrong shape or with values that are not finite.
    """
    keys = [image if isinstance(image, str | Path) else id(image) for image in images]
    if loaded.choice.device == "cpu":
        batch_size = min(batch_size, _CPU_PICTURES)
    distinct = list(dict(zip(keys, zip(images, names, strict=True), strict=True)).values())
    rows = {key: row for row, key in enumerate(dict.fromkeys(keys))}
    batches = [
        _encode_mixture(loaded, distinct[begin : begin + batch_size]) for begin in range(0, len(distinct), batch_size)
    ]
    return torch.cat(batches)[[rows[key] for key in keys]]


def _encode_mixture(loaded: LoadedModel, images: Sequence[tuple[ImageSource, str]]) -> Tensor:
    side = loaded.image_size
    features: list[Tensor | None] = []
    pictures: list[Tensor] = []
    for image, name in images:
        if isinstance(image, Tensor) and image.ndim == 1:
            features.append(_given_features(image, name, loaded.choice.device))
            continue
        picture = image if isinstance(image, Tensor) else to_tensor(_opened(image), loaded)
        if tuple(picture.shape) != (3, side, side):
            raise InputUnreadable(
                f"an image tensor must have the shape (3, {side}, {side}), not {tuple(picture.shape)}",
                hint="give a Pillow image to have it prepared",
                input=name,
            )
        if not torch.isfinite(picture).all():
            raise InputUnreadable("the image tensor holds values that are not finite", input=name)
        features.append(None)
        pictures.append(picture)
    encoded = iter(encode_images(loaded, torch.stack(pictures)) if pictures else ())
    return torch.stack([next(encoded) if given is None else given for given in features])


def _opened(image: str | Path | Image) -> Image:
    return open_image(image, exif=not isinstance(image, Image))


def _given_features(features: Tensor, name: str, device: str) -> Tensor:
    if not torch.isfinite(features).all():
        raise InputUnreadable("the image features hold values that are not finite", input=name)
    return F.normalize(features.detach().to(device, torch.float32), dim=-1)


def encode_texts(loaded: LoadedModel, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
    """Unit vectors of texts, cut to the model's context: B texts to (B, E)."""
    return encode_tokens(loaded, [encode_text(loaded, text) for text in texts], batch_size=batch_size)


@torch.no_grad()
def encode_tokens(loaded: LoadedModel, texts: Sequence[TokenizedText], *, batch_size: int = 64) -> Tensor:
    """Unit vectors of tokenized texts: B texts to (B, E)."""
    tower = CausalTextTower.of(loaded.network)
    order = sorted(range(len(texts)), key=lambda index: texts[index].ids)
    batches = []
    for begin in range(0, len(order), batch_size):
        batch = [texts[index] for index in order[begin : begin + batch_size]]
        if tower is not None and all(tower.ends(text.ids) for text in batch):
            features = tower.encode_prefixes([text.ids for text in batch], [[text.eot] for text in batch])[:, 0]
        else:
            ids = torch.tensor([text.ids + text.padding for text in batch], device=loaded.choice.device)
            features = loaded.network.encode_text(ids)
        batches.append(_unit(loaded, features))
    places = torch.tensor(order, device=loaded.choice.device).argsort()
    return torch.cat(batches)[places]


def _unit(loaded: LoadedModel, features: Tensor) -> Tensor:
    if not torch.isfinite(features).all():
        raise ModelMismatch(
            f"{loaded.row.name} gave vectors that are not finite in {loaded.choice.precision}",
            hint="try --precision fp32; if that is what failed, the weights are damaged",
            input=loaded.row.name,
        )
    return F.normalize(features.float(), dim=-1)
