"""``cub``: 5,794 test pictures of 200 birds (Wah et al., 2011).

Layout: ``CUB_200_2011/`` with ``images/CLASS/FILE.jpg`` and lists that count from 1: ``images.txt`` (number, file),
``image_class_labels.txt`` (number, class), ``train_test_split.txt`` (number, 1 for training), ``classes.txt``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clipalign.benchmarks.classification import ClassificationBenchmark, FoundPicture
from clipalign.benchmarks.data import numbered_rows


class Cub(ClassificationBenchmark):
    """The benchmark; see the module's text."""

    name = "cub"
    size = 5794
    markers = ("CUB_200_2011/images.txt", "images.txt")

    def _list(self, name: str) -> dict[int, str]:
        return dict(numbered_rows(self._top / name, "NUMBER VALUE"))

    @property
    def _top(self) -> Path:
        return self.marker.parent

    def class_names(self) -> tuple[str, ...]:
        """``001.Black_footed_Albatross`` without its number."""
        classes = self._list("classes.txt")
        return tuple(classes[number].partition(".")[2] for number in sorted(classes))

    def pictures(self) -> Iterator[FoundPicture]:
        """What is not for training."""
        labels, trained_on = self._list("image_class_labels.txt"), self._list("train_test_split.txt")
        places = {number: place for place, number in enumerate(sorted(self._list("classes.txt")))}
        for number, file in self._list("images.txt").items():
            if trained_on[number] == "0":
                yield FoundPicture(file, places[int(labels[number])], self._top / "images" / file)
