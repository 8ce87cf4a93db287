"""``urban1k``: 1,000 pictures of cities, each with a caption of about a hundred words (Long-CLIP)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clipalign.benchmarks.data import files_in, find_in
from clipalign.benchmarks.retrieval import Captioned, RetrievalBenchmark
from clipalign.benchmarks.task import BrokenSample
from clipalign.errors import InputUnreadable, MissingDataset

SIZE: Final = 1000
PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp")


class Urban1k(RetrievalBenchmark):
    """R@1 both ways; ``image/*.jpg`` and ``caption/*.txt`` of the same stem."""

    name = "urban1k"
    size = SIZE
    at = (1,)

    def check(self) -> None:
        """Pair the files."""
        captions = find_in(self.folder, self.name, "caption", "Urban1k/caption", "urban1k/caption")
        images = find_in(captions.parent, self.name, "image")
        pictures = {file.stem: file for file in files_in(images) if file.suffix.lower() in PICTURES}
        texts = {file.stem: file for file in captions.glob("*.txt")}
        # Numbers in the order of numbers: 2 before 10.
        stems = sorted(pictures.keys() | texts.keys(), key=lambda stem: (len(stem) if stem.isdigit() else 99, stem))
        if not stems:
            raise MissingDataset(f"{captions.parent} is empty", hint="clipalign download urban1k", input=str(captions))
        self._files = [(stem, pictures.get(stem), texts.get(stem)) for stem in stems]

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Captioned | BrokenSample]:
        """Pictures in the order of their names."""
        for stem, picture, caption in self._files[:limit]:
            if picture is None or caption is None:
                what = "picture" if picture is None else "caption"
                error = InputUnreadable(f"{stem} has no {what}", hint="is the data set complete?", input=stem)
                yield BrokenSample(stem, stem, error)
                continue
            try:
                text = " ".join(caption.read_text(encoding="utf-8").split())
            except (OSError, UnicodeDecodeError) as error:
                yield BrokenSample(
                    stem, picture.name, InputUnreadable(f"{caption} cannot be read: {error}", input=stem)
                )
                continue
            yield Captioned(stem, picture, picture.name, (text,))
