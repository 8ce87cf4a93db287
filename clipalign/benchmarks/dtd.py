"""``dtd``: 1,880 test pictures of 47 textures (Cimpoi et al., 2014), the first of its ten partitions.

Layout: ``dtd/images/CLASS/FILE.jpg`` and ``dtd/labels/test1.txt`` with a line ``CLASS/FILE.jpg`` a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clipalign.benchmarks.classification import ClassificationBenchmark, FoundPicture
from clipalign.benchmarks.data import text_lines


class Dtd(ClassificationBenchmark):
    """The benchmark; see the module's text."""

    name = "dtd"
    size = 1880
    markers = ("dtd/dtd/labels/test1.txt", "dtd/labels/test1.txt", "labels/test1.txt")

    @property
    def _top(self) -> Path:
        return self.marker.parent.parent

    def class_names(self) -> tuple[str, ...]:
        """The textures of all three lists of the partition, in the order of the alphabet."""
        names: set[str] = set()
        for part in ("train", "val", "test"):
            file = self._top / "labels" / f"{part}1.txt"
            if file.is_file():
                names.update(line.partition("/")[0] for line in text_lines(file))
        return tuple(sorted(names))

    def pictures(self) -> Iterator[FoundPicture]:
        """The lines of ``test1.txt``."""
        labels = {name: label for label, name in enumerate(self.class_names())}
        for line in text_lines(self.marker):
            yield FoundPicture(line, labels[line.partition("/")[0]], self._top / "images" / line)
