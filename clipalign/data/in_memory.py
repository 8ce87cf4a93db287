"""Pictures that a program holds: arrays, tensors, file objects, Pillow's images, rows of Hugging Face's data sets.

An array or tensor is accepted only if its shape and type leave no doubt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy
from PIL import Image

from clipalign.data.images import damaged
from clipalign.errors import ImageUnreadable, UsageError

if TYPE_CHECKING:
    from typing import IO

    from torch import Tensor

    ImageLike: TypeAlias = (
        "str | bytes | os.PathLike[str] | IO[bytes] | Image.Image | numpy.ndarray[Any, Any] | Tensor | Prepared"
        " | Mapping[str, Any]"
    )
    """What a program may give as a picture; see :func:`picture_source`."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture as the model takes it, resized and normalized already; ``Session.preprocess`` makes one.

    Attributes:
        tensor: (3, S, S), or for several pictures (B, 3, S, S).

    Example:
        >>> session = clipalign.load("pictogram")
        >>> prepared = session.preprocess("images/fruit.png")
        >>> prepared.tensor.shape
        torch.Size([3, 96, 96])
        >>> session.detect(prepared, "two apples and a pear").misaligned
        ('pear',)
    """

    tensor: Tensor


def picture_source(image: object) -> str | Path | bytes | Image.Image | Prepared:
    """Return what another thread can read or decode, whatever the caller does with ``image`` meanwhile.

    Args:
        image: a path, an http(s) or data: address, bytes, a binary file object, a Pillow image, a NumPy array
            (H, W, 3), a torch tensor (3, H, W), :class:`Prepared`, or ``{"bytes": …, "path": …}``.

    Raises:
        UsageError: another type.
        ImageUnreadable: an array or tensor that is no picture, or a Pillow image whose file is truncated.
    """
    if isinstance(image, Mapping) and image.keys() & {"bytes", "path"}:
        image = image.get("bytes") or image.get("path")
    if isinstance(image, os.PathLike):
        return Path(os.fsdecode(image))
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, Image.Image):
        return _loaded(image)
    if isinstance(image, numpy.ndarray) or _is_tensor(image):
        return image_of(image)
    if isinstance(image, str | bytes | Prepared):
        return image
    if callable(getattr(image, "read", None)):
        content = image.read()  # type: ignore[attr-defined]
        if isinstance(content, bytes):
            return content
        raise UsageError("a file object must be open for bytes", hint="open(path, 'rb')", input="image")
    raise UsageError(
        f"an image must be a path, an address, bytes, a Pillow image, an array or a tensor, not {type(image).__name__}",
        hint="NumPy arrays are (H, W, 3), torch tensors (3, H, W)",
        input="image",
    )


def each_picture(images: Any) -> Iterator[Any]:
    """Yield the pictures of a batch (B, …) or a list, or the one picture."""
    batch = images.tensor if isinstance(images, Prepared) else images
    if getattr(batch, "ndim", 0) == 4:
        yield from map(Prepared, batch) if isinstance(images, Prepared) else batch
    elif isinstance(images, list | tuple) or hasattr(images, "__next__"):
        yield from images
    else:
        yield images


def _loaded(image: Image.Image) -> Image.Image:
    """Load the pixels into memory, as the caller may close the file."""
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # nearly anything, on damaged bytes
        raise damaged(str(getattr(image, "filename", "") or "the image"), str(error)) from error
    return image


def _is_tensor(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def image_of(held: Any) -> Image.Image:
    """Convert an array or tensor to RGB, rounding floats in 0 to 1 to 8 bits; raise ``ImageUnreadable`` for others."""
    layout = "(H, W, 3)"
    if _is_tensor(held):
        layout = "(3, H, W)"
        held = held.detach().cpu()
        held = (held.float() if held.is_floating_point() else held).numpy()
        held = held[0] if held.ndim == 4 and len(held) == 1 else held
        wrong = held.ndim != 3 or held.shape[0] != 3
        values = held if wrong else held.transpose(1, 2, 0)
    else:
        values, wrong = held, held.ndim != 3 or held.shape[2] != 3
    if wrong or 0 in held.shape:
        what = f"the image has the shape {tuple(held.shape)}; a picture is {layout}"
        raise ImageUnreadable(what, hint="one picture, three channels, in this order")
    if values.dtype != numpy.uint8:
        values = _to_bytes(values)
    return Image.fromarray(numpy.ascontiguousarray(values))


def _to_bytes(values: Any) -> Any:
    if values.dtype.kind != "f":
        raise ImageUnreadable(
            f"the image holds {values.dtype}; a picture holds uint8, or floats from 0 to 1",
            hint="convert it to uint8",
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise ImageUnreadable(
            f"the image holds floats from {low:.4g} to {high:.4g}; a picture holds floats from 0 to 1",
            hint="divide by 255, or wrap what is normalized already as clipalign.Prepared(tensor)",
        )
    return numpy.rint(values.astype(numpy.float32) * 255).astype(numpy.uint8)
