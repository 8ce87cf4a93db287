"""``place365``: the 36,500 validation pictures of Places365 (Zhou et al., 2017), at 256 pixels.

Layout: ``val_256/Places365_val_00000001.jpg``, ``places365_val.txt`` with a line ``FILE LABEL`` a picture, and
``categories_places365.txt`` with a line ``/a/airfield 0`` a class. Published with alpha 0.7.
"""

from __future__ import annotations

from collections.abc import Iterator

from clipalign.benchmarks.classification import ClassificationBenchmark, FoundPicture
from clipalign.benchmarks.data import numbered_rows


class Place365(ClassificationBenchmark):
    """The benchmark; see the module's text."""

    name = "place365"
    size = 36_500
    markers = ("places365_val.txt", "filelist_places365-standard/places365_val.txt")
    alpha = 0.7

    def class_names(self) -> tuple[str, ...]:
        """The categories without their letter, ``arena/hockey`` as two words."""
        by_label = dict(numbered_rows(self.marker.parent / "categories_places365.txt", "CATEGORY NUMBER"))
        return tuple(by_label[label][3:].replace("/", " ") for label in sorted(by_label))

    def pictures(self) -> Iterator[FoundPicture]:
        """The lines of ``places365_val.txt``."""
        lists = self.marker.parent
        folder = next((top / "val_256" for top in (lists, lists.parent) if (top / "val_256").is_dir()), lists)
        for label, file in numbered_rows(self.marker, "FILE NUMBER"):
            yield FoundPicture(file, label, folder / file.lstrip("/"))
