"""Pictures of data sets: opened as the papers opened them, which is without turning them the way EXIF says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from clipalign.errors import ImageUnreadable
from clipalign.pipeline.images import open_image


@dataclass(frozen=True, slots=True)
class FileInTar:
    """A file of a tar that is not unpacked.

    Attributes:
        tar: the archive, uncompressed.
        name: of the file in it.
        offset: of its first byte.
        size: in bytes.
    """

    tar: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            ImageUnreadable: the archive cannot be read.
        """
        try:
            with self.tar.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise ImageUnreadable(
                f"{self.name} in {self.tar} cannot be read: {error.strerror}", input=str(self.tar)
            ) from error


PictureSource: TypeAlias = Image.Image | Path | bytes | FileInTar


def opened(image: PictureSource, *, exif: bool = False, name: str | None = None) -> Image.Image:
    """The picture in RGB; one that is generated is as it should be already.

    Args:
        image: the picture, or where it is.
        exif: whether to turn it the way its EXIF orientation says.
        name: what errors call bytes; what lies in a file is called by that.

    Raises:
        ImageUnreadable: the file is missing, damaged or no picture.
    """
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, FileInTar):
        return open_image(image.read(), exif=exif, name=f"{image.name} in {image.tar}")
    return open_image(image, exif=exif, name=name if isinstance(image, bytes) else None)
