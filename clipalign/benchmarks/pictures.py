"""Pictures of data sets: opened as the papers opened them, which is without turning them the way EXIF says."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from clipalign.pipeline.images import open_image


def opened(image: Image.Image | Path | bytes, *, exif: bool = False) -> Image.Image:
    """The picture in RGB; one that is generated is as it should be already.

    Raises:
        ImageUnreadable: the file is missing, damaged or no picture.
    """
    return image if isinstance(image, Image.Image) else open_image(image, exif=exif)
