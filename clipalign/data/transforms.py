"""Preprocessing: an RGB picture becomes the tensor a model takes, whole or in random square crops.

open_clip's evaluation transform bit for bit, without torchvision, in two halves, :func:`to_square` and
:func:`to_values`.

Crops depend on the picture and the seed alone: every picture has its own generator, derived from the seed, its size and
its pixels (WCA, Li et al., ICML 2024, arXiv 2406.02915: side ``u * min(width, height)`` with ``u`` uniform in alpha to
0.9, place uniform).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy
import torch
from PIL import Image
from torch import Tensor

from clipalign.data.images import MAX_PIXELS
from clipalign.data.in_memory import Prepared
from clipalign.errors import ImageUnreadable

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are one past the last."""


@dataclass(frozen=True, eq=False)
class PreparedPicture:
    """A picture, and its crops where a method cuts some, as the image tower takes them.

    Attributes:
        pixels: of the whole picture alone, fp32 (3, S, S); with crops behind it, bytes (1 + N, S, S, 3).
        boxes, size: of the crops (N), and of the picture, in its pixels.
    """

    pixels: Tensor
    boxes: tuple[Box, ...]
    size: tuple[int, int]


def prepare_whole(image: Image.Image | Prepared, loaded: LoadedModel) -> PreparedPicture:
    """Return one picture as :func:`to_tensor`, with its size."""
    tensor = to_tensor(image, loaded)
    size = image.size if isinstance(image, Image.Image) else (loaded.image_size, loaded.image_size)
    return PreparedPicture(tensor, (), size)


def to_tensor(image: Image.Image | Prepared, loaded: LoadedModel) -> Tensor:
    """Return the input of ``loaded`` for one picture (3, S, S), fp32 on the CPU: open_clip's evaluation transform.

    Raises:
        ImageUnreadable: the picture is too long and thin, or was prepared for another model.
    """
    if isinstance(image, Prepared):
        return _checked(image.tensor, loaded.image_size)
    square = to_square(image, loaded)
    # Not with torch, which would start threads of its own in every thread that prepares pictures.
    values = numpy.array(square.transpose(2, 0, 1), dtype=numpy.float32, order="C")  # (3, S, S)
    mean, std = (numpy.array(numbers, dtype=numpy.float32).reshape(3, 1, 1) for numbers in (loaded.mean, loaded.std))
    values /= numpy.float32(255)
    values -= mean
    values /= std
    return torch.from_numpy(values)


def _checked(tensor: Tensor, side: int) -> Tensor:
    if tuple(tensor.shape) != (3, side, side) or not tensor.is_floating_point():
        raise ImageUnreadable(
            f"a prepared tensor must hold floats of the shape (3, {side}, {side}), "
            f"not {str(tensor.dtype).removeprefix('torch.')} of {tuple(tensor.shape)}",
            hint="give a path or a Pillow image to have it prepared",
        )
    if not torch.isfinite(tensor).all():
        raise ImageUnreadable("the prepared tensor holds values that are not finite")
    return tensor.detach().to("cpu", torch.float32)


def to_square(image: Image.Image, loaded: LoadedModel) -> numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.uint8]]:
    """Apply the first half of :func:`to_tensor`: an RGB picture as the model's square of bytes (S, S, 3)."""
    side = loaded.image_size
    bicubic = loaded.interpolation != "bilinear"
    filter_ = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    width, height = image.size
    if loaded.resize_mode == "squash":
        resized = _resize(image, side, side, filter_)
    elif loaded.resize_mode == "longest":
        ratio = max(height / side, width / side)
        resized = _resize(image, max(1, round(width / ratio)), max(1, round(height / ratio)), filter_)
    else:
        # The longer side is cut, not rounded, to whole pixels.
        short = min(width, height)
        resized = _resize(image, int(side * width / short), int(side * height / short), filter_)
    return numpy.asarray(_center_square(resized, side, loaded.fill_color))


def to_values(squares: Tensor, loaded: LoadedModel) -> Tensor:
    """Apply the second half of :func:`to_tensor` on any device: bytes (B, S, S, 3) to fp32 (B, 3, S, S)."""
    values = squares.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    mean, std = (torch.tensor(numbers, device=squares.device).view(3, 1, 1) for numbers in (loaded.mean, loaded.std))
    return values.div_(255).sub_(mean).div_(std)


def _resize(image: Image.Image, width: int, height: int, filter_: Image.Resampling) -> Image.Image:
    if width * height > MAX_PIXELS:
        raise ImageUnreadable(
            f"a picture of {image.width} × {image.height} pixels is too long and thin", hint="crop it to what matters"
        )
    return image if image.size == (width, height) else image.resize((width, height), filter_)


def _center_square(image: Image.Image, side: int, fill: int) -> Image.Image:
    """Return the middle square, padding a smaller picture with ``fill``, the odd pixel right and below."""
    width, height = image.size
    if width < side or height < side:
        ground = Image.new("RGB", (max(width, side), max(height, side)), (fill,) * 3)
        ground.paste(image, (max(0, (side - width) // 2), max(0, (side - height) // 2)))
        image = ground
        width, height = image.size
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


LARGEST_SHARE: Final = 0.9
"""Longest side of a crop as a share of the picture's shorter side (WCA)."""

_SAMPLES: Final = 64


def picture_seed(picture: Image.Image, seed: int) -> int:
    """Derive one picture's seed from ``seed``, its size and a grid of its pixels."""
    grid = picture.convert("RGB").resize((_SAMPLES, _SAMPLES), Image.Resampling.NEAREST)
    digest = hashlib.sha256(f"{seed} {picture.width} {picture.height} ".encode() + grid.tobytes())
    return int.from_bytes(digest.digest()[:16], "big")


def crop_boxes(size: tuple[int, int], *, crops: int, alpha: float, seed: int) -> list[Box]:
    """Return N boxes of square crops inside the picture, at least one pixel a side.

    Args:
        size: width and height of the picture in pixels, at least 1 each.
        alpha: smallest side as a share of the picture's shorter side, 0 to 0.9.
        seed: of this picture, see :func:`picture_seed`.
    """
    width, height = size
    # Of all its methods only random() is promised to give the same numbers in every version of Python.
    draw = random.Random(seed).random
    boxes = []
    for _ in range(crops):
        share = alpha + (LARGEST_SHARE - alpha) * draw()
        side = max(1, int(share * min(width, height)))
        left, top = int(draw() * (width - side + 1)), int(draw() * (height - side + 1))
        boxes.append((left, top, left + side, top + side))
    return boxes


def cut_and_prepare(picture: Image.Image, boxes: Sequence[Box], loaded: LoadedModel) -> Tensor:
    """Return the whole picture and its crops as squares for :func:`to_values`: bytes (1 + N, S, S, 3), on the CPU.

    Raises ``ImageUnreadable`` for a picture that is too long and thin.
    """
    side = loaded.image_size
    squares = numpy.empty((1 + len(boxes), side, side, 3), dtype=numpy.uint8)
    squares[0] = to_square(picture, loaded)
    for index, box in enumerate(boxes, 1):
        # Cut before resizing: a resize with a box would let the filter look over the crop's edge.
        squares[index] = to_square(picture.crop(box), loaded)
    return torch.from_numpy(squares)
