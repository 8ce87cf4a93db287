"""``coco2017``: the 5,000 pictures of COCO val2017 and the first five captions of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from clipalign.benchmarks.annotations import read_annotations
from clipalign.benchmarks.data import find_in
from clipalign.benchmarks.retrieval import Captioned, RetrievalBenchmark
from clipalign.benchmarks.task import BrokenSample
from clipalign.errors import InputUnreadable

FILE: Final = "captions_val2017.json"
CAPTIONS: Final = 5
"""Of a picture, as is usual; a few pictures have more."""


class Coco2017(RetrievalBenchmark):
    """R@1, R@5 and R@10 both ways."""

    name = "coco2017"
    at = (1, 5, 10)

    def check(self) -> None:
        """Read the captions, find the pictures."""
        file = read_annotations(find_in(self.folder, self.name, f"annotations/{FILE}", FILE), self.name)
        document = file.json()
        try:
            self._images = [(image["id"], str(image["file_name"])) for image in document["images"]]
            self._captions: dict[Any, list[str]] = {image: [] for image, _ in self._images}
            for row in document["annotations"]:
                self._captions.setdefault(row["image_id"], []).append(str(row["caption"]).strip())
        except (KeyError, TypeError) as error:
            raise file.misbuilt("COCO's format", error) from None
        self._folder = find_in(self.folder, self.name, "val2017", "images/val2017", "images")
        self.data = {FILE: file.sha256}
        self.size = len(self._images)

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Captioned | BrokenSample]:
        """Pictures in the file's order."""
        for image, name in self._images[:limit]:
            captions = [caption for caption in self._captions.get(image, []) if caption][:CAPTIONS]
            if captions:
                yield Captioned(str(image), self._folder / name, name, tuple(captions))
            else:
                yield BrokenSample(str(image), name, InputUnreadable(f"{name} has no caption", input=str(image)))
