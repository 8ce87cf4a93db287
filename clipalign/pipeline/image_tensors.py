"""An RGB picture becomes the tensor a model wants, by the model's own numbers.

open_clip's evaluation transform bit for bit, without torchvision. Its two halves, :func:`to_square` and
:func:`to_values`, serve those who hold many pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy
import torch
from PIL import Image
from torch import Tensor

from clipalign.errors import ImageUnreadable
from clipalign.pipeline.images import MAX_PIXELS

if TYPE_CHECKING:
    from clipalign.pipeline.loaded import LoadedModel


def to_tensor(image: Image.Image, loaded: LoadedModel) -> Tensor:
    """The input of ``loaded`` for one picture (3, S, S), fp32 on the CPU: open_clip's evaluation transform.

    Args:
        image: RGB.
        loaded: its ``image_size``, ``mean``, ``std``, ``interpolation``, ``resize_mode`` and ``fill_color`` count.

    Raises:
        ImageUnreadable: the picture is too long and thin.
    """
    square = to_square(image, loaded)
    # Not with torch, which would start threads of its own in every thread that prepares pictures.
    values = numpy.array(square.transpose(2, 0, 1), dtype=numpy.float32, order="C")  # (3, S, S)
    mean, std = (numpy.array(numbers, dtype=numpy.float32).reshape(3, 1, 1) for numbers in (loaded.mean, loaded.std))
    values /= numpy.float32(255)
    values -= mean
    values /= std
    return torch.from_numpy(values)


def to_square(image: Image.Image, loaded: LoadedModel) -> numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.uint8]]:
    """The first half of :func:`to_tensor`: an RGB picture as the square the model sees (S, S, 3), before any number is
    touched; a quarter of the memory.
    """
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
    return numpy.asarray(_centre(resized, side, loaded.fill_color))


def to_values(squares: Tensor, loaded: LoadedModel) -> Tensor:
    """The second half of :func:`to_tensor`, for many and on any device: bytes (B, S, S, 3) to fp32 (B, 3, S, S)."""
    values = squares.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    mean, std = (torch.tensor(numbers, device=squares.device).view(3, 1, 1) for numbers in (loaded.mean, loaded.std))
    return values.div_(255).sub_(mean).div_(std)


def _resize(image: Image.Image, width: int, height: int, filter_: Image.Resampling) -> Image.Image:
    if width * height > MAX_PIXELS:
        raise ImageUnreadable(
            f"a picture of {image.width} × {image.height} pixels is too long and thin", hint="crop it to what matters"
        )
    return image if image.size == (width, height) else image.resize((width, height), filter_)


def _centre(image: Image.Image, side: int, fill: int) -> Image.Image:
    """The middle square; where the picture is smaller, ``fill`` around it, the odd pixel right and below."""
    width, height = image.size
    if width < side or height < side:
        ground = Image.new("RGB", (max(width, side), max(height, side)), (fill,) * 3)
        ground.paste(image, (max(0, (side - width) // 2), max(0, (side - height) // 2)))
        image = ground
        width, height = image.size
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))
