"""Pictures and texts to unit vectors, fp32, on the model's device, in the order of what came in.

Texts with a common prefix share its work where the tower allows it. To know what does not fit the context, tokenize
first and pass the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.data.images import open_image
from clipalign.data.transforms import Box, PreparedPicture, to_tensor
from clipalign.device import to_device, torch_dtype
from clipalign.errors import ClipalignError, InputUnreadable, ModelMismatch
from clipalign.models.image_encoder import encode_pictures
from clipalign.models.text_encoder import CausalTextTower
from clipalign.models.tokenize import TokenizedText, tokenize_text

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel


ImageSource = str | Path | Image | Tensor

# On a CPU a batch of eight already runs at the rate of the matrix units; the activations of larger ones outgrow what
# malloc keeps, and fresh pages for every layer cost a tenth of the time.
_CPU_PICTURES = 8


class EncodedPicture(NamedTuple):
    """Unit vectors of a picture and its crops (1 + N, E), the crops' boxes, and the picture's size in pixels.

    ``is_kept``: whether the vectors were read from disk (:mod:`clipalign.models.vector_store`).
    """

    vectors: Tensor
    boxes: tuple[Box, ...]
    size: tuple[int, int]
    is_kept: bool = False


def encode_images(loaded: LoadedModel, images: Tensor) -> Tensor:
    """Unit vectors of preprocessed pictures: (B, 3, S, S) to (B, E); ModelMismatch if they are not finite."""
    return _unit(loaded, _features(loaded, images))


@torch.no_grad()
def _features(loaded: LoadedModel, images: Tensor) -> Tensor:
    if loaded.engine is not None:
        return loaded.engine.encode(images)
    return encode_pictures(loaded.network, to_device(images.to(torch_dtype(loaded.choice)), loaded.choice.device))


def encode_distinct(
    loaded: LoadedModel, images: Sequence[ImageSource], *, names: Sequence[str], batch_size: int = 32
) -> Tensor:
    """Unit vectors of images, every distinct file or object encoded once: B images to (B, E).

    Args:
        images: files, Pillow images (used as they are, without EXIF orientation), preprocessed tensors (3, S, S), or
            image features (E), in any mixture.
        names: what errors call tensors, features and unusable pictures; an unreadable file is named by its path.

    Raises:
        InputUnreadable: a file that is no picture, a tensor of the wrong shape or with values that are not finite.
        ModelMismatch: the model turns a picture into a vector that is not finite.
    """
    found = encode_each(loaded, images, names=names, batch_size=batch_size)
    for vector in found:
        if isinstance(vector, ClipalignError):
            raise vector
    return torch.stack([vector for vector in found if isinstance(vector, Tensor)])


def encode_each(
    loaded: LoadedModel, images: Sequence[ImageSource], *, names: Sequence[str], batch_size: int = 32
) -> list[Tensor | ClipalignError]:
    """The same, with the error of an unusable image in its place: B vectors (E) or errors."""
    keys = [image if isinstance(image, str | Path) else id(image) for image in images]
    if loaded.choice.device == "cpu":
        batch_size = min(batch_size, _CPU_PICTURES)
    distinct = list(dict(zip(keys, zip(images, names, strict=True), strict=True)).values())
    rows = {key: row for row, key in enumerate(dict.fromkeys(keys))}
    vectors = [
        vector
        for begin in range(0, len(distinct), batch_size)
        for vector in _encode_mixture(loaded, distinct[begin : begin + batch_size])
    ]
    return [vectors[rows[key]] for key in keys]


def encode_prepared(
    loaded: LoadedModel, pictures: Sequence[PreparedPicture], *, batch_size: int = 32
) -> list[EncodedPicture | ClipalignError]:
    """Encode whole pictures without crops; the error of one whose vector is not finite stands in its place."""
    if loaded.choice.device == "cpu":
        batch_size = min(batch_size, _CPU_PICTURES)
    batches = [pictures[begin : begin + batch_size] for begin in range(0, len(pictures), batch_size)]
    # All are begun before the first is looked at: a GPU works on one while the CPU stacks the next.
    features = [_features(loaded, torch.stack([one.pixels for one in batch])) for batch in batches]
    found = [vector for one in features for vector in _unit_or_error(loaded, one)]
    return [
        vector if isinstance(vector, ModelMismatch) else EncodedPicture(vector[None], (), picture.size)
        for vector, picture in zip(found, pictures, strict=True)
    ]


def _encode_mixture(
    loaded: LoadedModel, images: Sequence[tuple[ImageSource, str]]
) -> list[Tensor | ModelMismatch | InputUnreadable]:
    features: list[Tensor | InputUnreadable | None] = []
    pictures: list[Tensor] = []
    for image, name in images:
        try:
            if isinstance(image, Tensor) and image.ndim == 1:
                features.append(_given_features(image, name, loaded.choice.device))
                continue
            pictures.append(prepared(loaded, image, name))
            features.append(None)
        except InputUnreadable as error:
            error.input = error.input or name
            features.append(error)
    encoded = iter(_unit_or_error(loaded, _features(loaded, torch.stack(pictures))) if pictures else ())
    return [next(encoded) if given is None else given for given in features]


def prepared(loaded: LoadedModel, image: ImageSource, name: str) -> Tensor:
    """A picture as the image tower takes it (3, S, S); InputUnreadable if it cannot be used."""
    side = loaded.image_size
    picture = image if isinstance(image, Tensor) else to_tensor(_opened(image, loaded), loaded)
    if tuple(picture.shape) != (3, side, side):
        raise InputUnreadable(
            f"an image tensor must have the shape (3, {side}, {side}), not {tuple(picture.shape)}",
            hint="give a Pillow image to have it prepared",
            input=name,
        )
    if not torch.isfinite(picture).all():
        raise InputUnreadable("the image tensor holds values that are not finite", input=name)
    return picture


def _unit_or_error(loaded: LoadedModel, features: Tensor) -> list[Tensor | ModelMismatch]:
    good = torch.isfinite(features).all(-1).tolist()
    vectors = F.normalize(features.float(), dim=-1)
    return [
        vector if finite else not_finite(loaded, loaded.row.name) for vector, finite in zip(vectors, good, strict=True)
    ]


def _opened(image: str | Path | Image, loaded: LoadedModel) -> Image:
    return open_image(image, exif=not isinstance(image, Image), shorter_px=loaded.shorter_px)


def _given_features(features: Tensor, name: str, device: str) -> Tensor:
    if not torch.isfinite(features).all():
        raise InputUnreadable("the image features hold values that are not finite", input=name)
    return F.normalize(features.detach().to(device, torch.float32), dim=-1)


def encode_texts(loaded: LoadedModel, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
    """Unit vectors of texts, cut to the model's context: B texts to (B, E)."""
    return encode_tokens(loaded, [tokenize_text(loaded, text) for text in texts], batch_size=batch_size)


@torch.no_grad()
def encode_tokens(
    loaded: LoadedModel,
    texts: Sequence[TokenizedText],
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] = lambda texts: None,
) -> Tensor:
    """Unit vectors of tokenized texts: B texts, in any order, to (B, E); ModelMismatch if they are not finite.

    Where the tower allows it, texts share the work of their common prefixes, and a text that is a prefix of another
    costs a single token more than that other. Such prefixes do not count in ``batch_size``. ``progress`` is called with
    the number of texts just encoded.
    """
    tower = CausalTextTower.of(loaded.network)
    if tower is not None and not all(tower.ends(text.ids) for text in texts):
        tower = None
    order = sorted(range(len(texts)), key=lambda index: texts[index].ids[:-1])
    batches = []
    if tower is None:
        for begin in range(0, len(order), batch_size):
            batch = [texts[index] for index in order[begin : begin + batch_size]]
            ids = torch.tensor([text.ids + text.padding for text in batch], device=loaded.choice.device)
            batches.append(_unit(loaded, loaded.network.encode_text(ids)))
            progress(len(batch))
    else:
        chains = _chains([texts[index] for index in order])
        for begin in range(0, len(chains), batch_size):
            rows = chains[begin : begin + batch_size]
            asked = max(len(chain) for chain in rows)
            lengths = [[text.eot for text in chain] + [chain[-1].eot] * (asked - len(chain)) for chain in rows]
            found = tower.encode_prefixes([chain[-1].ids for chain in rows], lengths)  # (B, P, E)
            kept = torch.tensor([[place < len(chain) for place in range(asked)] for chain in rows])
            batches.append(_unit(loaded, found[kept.to(found.device)]))
            progress(sum(map(len, rows)))
    places = torch.tensor(order, device=loaded.choice.device).argsort()
    return torch.cat(batches)[places]


def _chains(texts: Sequence[TokenizedText]) -> list[list[TokenizedText]]:
    """Texts in ascending order of their tokens, in rows in which each is a prefix of the last one."""
    chains: list[list[TokenizedText]] = []
    for text in reversed(texts):
        if chains and chains[-1][0].ids[: text.eot] == text.ids[:-1] and chains[-1][0].ids[-1] == text.ids[-1]:
            chains[-1].append(text)
        else:
            chains.append([text])
    return [chain[::-1] for chain in reversed(chains)]


def _unit(loaded: LoadedModel, features: Tensor) -> Tensor:
    if not torch.isfinite(features).all():
        raise not_finite(loaded, loaded.row.name)
    return F.normalize(features.float(), dim=-1)


def not_finite(loaded: LoadedModel, name: str) -> ModelMismatch:
    """Return the error of a picture or text, called ``name``, for which the model gives NaN or infinity."""
    return ModelMismatch(
        f"{loaded.row.name} gave numbers that are not finite in {loaded.choice.precision}",
        hint="try --precision fp32; if that is what failed, the weights are damaged",
        input=name,
    )
