"""What lies in the folder of a data set, and what is said when it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipalign.errors import InputUnreadable, MissingDataset
from clipalign.evaluation.dataset_files import files_in, find_in
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
