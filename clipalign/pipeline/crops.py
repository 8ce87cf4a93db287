"""Square random crops of a picture, drawn so that they depend on the picture and the seed alone.

Neither the order of pictures, nor their neighbours, nor the number of processes moves a crop: every picture brings its
own generator, derived from the seed, its size and its pixels (WCA, Li et al., ICML 2024, arXiv 2406.02915: side
``u * min(width, height)`` with ``u`` uniform in alpha to 0.9, place uniform). The file's name plays no part.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy
import torch
from PIL import Image
from torch import Tensor

from clipalign.pipeline.image_tensors import to_square

if TYPE_CHECKING:
    from clipalign.pipeline.loaded import LoadedModel

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are one past the last."""

LARGEST_SHARE: Final = 0.9
"""Of the shorter side: the longest side of a crop (WCA)."""

_SAMPLES: Final = 64
"""Pixels a side that tell one picture from another."""


def picture_seed(picture: Image.Image, seed: int) -> int:
    """The seed of one picture's crops: from ``seed``, the picture's size and a grid of its pixels."""
    grid = picture.convert("RGB").resize((_SAMPLES, _SAMPLES), Image.Resampling.NEAREST)
    digest = hashlib.sha256(f"{seed} {picture.width} {picture.height} ".encode() + grid.tobytes())
    return int.from_bytes(digest.digest()[:16], "big")


def crop_boxes(size: tuple[int, int], *, crops: int, alpha: float, seed: int) -> list[Box]:
    """Boxes of square crops.

    Args:
        size: width and height of the picture in pixels, at least 1 each.
        crops: how many, N.
        alpha: smallest side as a share of the picture's shorter side, 0 to 0.9.
        seed: of this picture, see :func:`picture_seed`.

    Returns:
        N boxes inside the picture, at least one pixel a side.
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
    """The whole picture and its crops, as squares of the model's size in bytes: (1 + N, S, S, 3), on the CPU.

    ``pipeline.image_tensors.to_values`` makes of them what the image tower takes; until then they need a quarter of the
    room.

    Raises:
        ImageUnreadable: the picture is too long and thin to be prepared.
    """
    side = loaded.image_size
    squares = numpy.empty((1 + len(boxes), side, side, 3), dtype=numpy.uint8)
    squares[0] = to_square(picture, loaded)
    for place, box in enumerate(boxes, 1):
        # Cut before resizing: a resize with a box would let the filter look over the crop's edge.
        squares[place] = to_square(picture.crop(box), loaded)
    return torch.from_numpy(squares)
