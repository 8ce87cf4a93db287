"""ImageNet's classes on other pictures: ``imagenetv2``, ``imagenet-a``, ``imagenet-r``, ``imagenet-s`` (Sketch).

Layouts: ``imagenetv2-matched-frequency-format-val/LABEL/….jpeg`` with labels 0 to 999; ``imagenet-a/SYNSET/….jpg``,
``imagenet-r/SYNSET/….jpg`` and ``sketch/SYNSET/….JPEG``. ImageNet-A and -R choose among their own 200 classes only.
The published descriptors of ImageNet (``clip-d``) go by other names for two of its classes; that those are the same
follows from their order, which 200 of 1,000 do not share. One of the two, "newt", is among ImageNet-A's: ``clip-d`` is
left out there, and a note says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from clipalign.benchmarks.classification import FoundPicture
from clipalign.benchmarks.imagenet import ImageNetFamily, numbered_folders, synsets


class ImageNetV2(ImageNetFamily):
    """New pictures, gathered like the old ones (Recht et al., 2019); matched frequency."""

    name = "imagenetv2"
    size = 10_000
    markers = ("imagenetv2-matched-frequency-format-val", "0")

    def pictures(self) -> Iterator[FoundPicture]:
        """All pictures of the numbered folders."""
        top = self.marker if self.marker.name != "0" else self.folder
        yield from numbered_folders(top, len(synsets()))


class _InSynsets(ImageNetFamily):
    """A set whose folders lie in one that the archive makes, or in the data set's own."""

    def pictures(self) -> Iterator[FoundPicture]:
        """All pictures of the folders."""
        yield from self.in_folders(self.folder if self.marker.name.startswith("n0") else self.marker)


class ImageNetA(_InSynsets):
    """Pictures that a ResNet-50 took for something else (Hendrycks et al., 2021)."""

    name = "imagenet-a"
    size = 7500
    subset = "imagenet_a"
    markers = ("imagenet-a", "n01498041")


class ImageNetR(_InSynsets):
    """Paintings, toys, cartoons and other renditions (Hendrycks et al., 2021)."""

    name = "imagenet-r"
    size = 30_000
    subset = "imagenet_r"
    markers = ("imagenet-r", "n01443537")


class ImageNetSketch(_InSynsets):
    """Black and white sketches (Wang et al., 2019)."""

    name = "imagenet-s"
    size = 50_889
    markers = ("sketch", "imagenet-sketch", "ImageNet-Sketch", "n01440764")
