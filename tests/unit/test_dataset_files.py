"""Files of data sets: what is said when they are not there or cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipalign.errors import ImageUnreadable, InputUnreadable, MissingDataset
from clipalign.evaluation.dataset_files import FileInTar, PictureSource, files_in, find_in, open_picture
from clipalign.files import is_file


def test_a_data_set_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingDataset) as error:
        find_in(tmp_path / "dtd", "dtd", "labels/test1.txt", "dtd/labels/test1.txt")
    assert error.value.exit_status == 4
    assert error.value.hint == "clipalign download dtd, or --data-root DIR"
    with pytest.raises(MissingDataset, match=r"there is no labels/test1\.txt and no dtd/labels/test1\.txt"):
        find_in(tmp_path, "dtd", "labels/test1.txt", "dtd/labels/test1.txt")
    (tmp_path / "dtd" / "labels").mkdir(parents=True)
    assert find_in(tmp_path, "dtd", "labels", "dtd/labels") == tmp_path / "dtd" / "labels"


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "images").touch()
    with pytest.raises(InputUnreadable, match="images cannot be read: Not a directory"):
        files_in(tmp_path / "images")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "x/" * 3000])
def test_a_name_that_no_file_can_have_is_of_none(tmp_path: Path, name: str) -> None:
    assert not is_file(tmp_path / name)


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
            open_picture(source, name="7.png")
        assert name in caught.value.message
        assert caught.value.input == name
