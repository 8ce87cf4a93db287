"""What ``hat`` and ``nocaps-foil`` share: one JSON file of rows with an ``image_path``, from the ALOHa repository."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from clipalign.benchmarks.annotations import read_annotations
from clipalign.benchmarks.data import find_in
from clipalign.benchmarks.words import ABOUT, NEAREST, WordBenchmark, hashes

VERSION: Final = "that of the ALOHa repository at 7da6b90"


class AlohaBenchmark(WordBenchmark):
    """A benchmark of ALOHa (Petryk et al., NAACL 2024).

    Attributes:
        file: name of the annotations.
        sha256: of them, as the repository has them.
        places: where pictures are looked for, from the data set's folder.
    """

    file: ClassVar[str]
    sha256: ClassVar[str]
    places: ClassVar[tuple[str, ...]]

    def check(self) -> None:
        """Read the annotations and find the pictures."""
        place = find_in(self.folder, self.name, self.file, f"data/{self.file}", f"annotations/{self.file}")
        file = read_annotations(place, self.name, known=self.sha256, version=VERSION)
        rows = file.json()
        if not isinstance(rows, list):
            raise file.unusable("is no list of rows")
        self._rows: list[Any] = rows
        names = [str(row["image_path"]) for row in rows if isinstance(row, dict) and "image_path" in row]
        self._folder = self._pictures(names, *self.places)
        self.data = hashes(file)
        self.notes = tuple(filter(None, (*self._remarks(rows), file.note(), NEAREST, ABOUT)))

    @abstractmethod
    def _remarks(self, rows: Sequence[Any]) -> tuple[str, ...]:
        """What is said beside the numbers about these rows; empty ones are passed over."""
