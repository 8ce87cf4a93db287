"""``food101``: 25,250 test pictures of 101 dishes (Bossard et al., 2014).

Layout: ``food-101/images/CLASS/ID.jpg``, ``food-101/meta/test.txt`` with a line ``CLASS/ID`` a picture, and
``food-101/meta/classes.txt``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clipalign.benchmarks.classification import ClassificationBenchmark, FoundPicture
from clipalign.benchmarks.data import text_lines


class Food101(ClassificationBenchmark):
    """The benchmark; see the module's text."""

    name = "food101"
    size = 25_250
    markers = ("food-101/meta/test.txt", "meta/test.txt")

    @property
    def _top(self) -> Path:
        return self.marker.parent.parent

    def class_names(self) -> tuple[str, ...]:
        """The folders' names, in the order of ``classes.txt``."""
        return tuple(text_lines(self._top / "meta" / "classes.txt"))

    def pictures(self) -> Iterator[FoundPicture]:
        """The lines of ``test.txt``."""
        labels = {name: label for label, name in enumerate(self.class_names())}
        for line in text_lines(self._top / "meta" / "test.txt"):
            yield FoundPicture(line, labels[line.partition("/")[0]], self._top / "images" / f"{line}.jpg")
