"""``oxford_pet``: 3,669 test pictures of 37 breeds of cats and dogs (Parkhi et al., 2012).

Layout: ``oxford-iiit-pet/images/NAME.jpg`` and ``oxford-iiit-pet/annotations/test.txt`` with a line
``NAME CLASS SPECIES BREED`` a picture; classes count from 1, a name is the breed, ``_`` and a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clipalign.benchmarks.classification import ClassificationBenchmark, FoundPicture
from clipalign.benchmarks.data import numbered_rows


class OxfordPet(ClassificationBenchmark):
    """The benchmark; see the module's text."""

    name = "oxford_pet"
    size = 3669
    markers = ("oxford-iiit-pet/annotations/test.txt", "annotations/test.txt")

    @property
    def _top(self) -> Path:
        return self.marker.parent.parent

    def class_names(self) -> tuple[str, ...]:
        """The breeds in the order of their numbers, from both lists."""
        names: dict[int, str] = {}
        for part in ("trainval", "test"):
            file = self._top / "annotations" / f"{part}.txt"
            for number, picture in numbered_rows(file, "NAME NUMBER") if file.is_file() else ():
                names[number] = picture.rpartition("_")[0]
        return tuple(names[number] for number in sorted(names))

    def pictures(self) -> Iterator[FoundPicture]:
        """The lines of ``test.txt``."""
        labels = {name: label for label, name in enumerate(self.class_names())}
        for _, picture in numbered_rows(self.marker, "NAME NUMBER"):
            label = labels[picture.rpartition("_")[0]]
            yield FoundPicture(picture, label, self._top / "images" / f"{picture}.jpg")
