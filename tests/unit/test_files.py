"""Files are written whole or not at all, and nothing stays of processes that were killed."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from clipalign.cache import write_kept
from clipalign.files import part_beside, remove_leftovers, replacing, write_whole


def test_a_file_is_written_and_replaced_and_its_folder_made(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "a.json"
    write_kept(file, b"one")
    write_kept(file, b"two")
    assert file.read_bytes() == b"two" and len([*file.parent.iterdir()]) == 1


def test_a_full_disk_leaves_what_was_there_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "no space")

    write_kept(tmp_path / "a", b"one")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_kept(tmp_path / "a", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"one"


def test_parts_of_killed_processes_go_after_an_hour_and_other_peoples_files_stay(tmp_path: Path) -> None:
    old, young, others = (tmp_path / name for name in (".clipalign-x.part", ".clipalign-y.part", "movie.part"))
    for path in (old, young, others):
        path.write_bytes(b"half")
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    os.utime(others, (hours_ago, hours_ago))
    write_kept(tmp_path / "a", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a", young.name, others.name}


def test_a_failed_write_names_the_file_and_not_its_part(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a") as caught:
        write_whole(tmp_path / "a", [b"one", b"two"])
    assert caught.value.filename == str(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_fails_in_between_leaves_nothing(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"one")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a") as part:
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"one"


def test_who_holds_the_lock_removes_parts_of_one_file_or_of_all(tmp_path: Path) -> None:
    names = ("a.json", "b[1].json", "long" * 60)
    for name in names:
        part_beside(tmp_path / name).write_bytes(b"half")
    remove_leftovers(tmp_path, names[1])
    remove_leftovers(tmp_path, names[2])
    assert [path.name[:18] for path in tmp_path.iterdir()] == [".clipalign-a.json-"]
    part_beside(tmp_path / "folder").mkdir()
    (tmp_path / "mine.part").touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.part"]
