"""Pictures of data sets: what they are called when they cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipalign.errors import ImageUnreadable
from clipalign.evaluation.dataset_files import FileInTar, PictureSource, opened


def test_a_damaged_picture_is_named_wherever_it_lies(tmp_path: Path) -> None:
    file = tmp_path / "pictures.tar"
    file.write_bytes(b"no picture")
    sources: dict[str, PictureSource] = {
        f"a.jpg in {file}": FileInTar(file, "a.jpg", 0, 5),
        str(file): file,
        "7.png": b"no picture",
    }
    for name, source in sources.items():
        with pytest.raises(ImageUnreadable) as caught:
            opened(source, name="7.png")
        assert name in caught.value.message
        assert caught.value.input == name
