"""Archives that try to get out of their folder, or to fill the disk, and those that are as they should be."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from clipalign.download import archives
from clipalign.download.archives import unpack
from clipalign.errors import VerificationFailed


def tar_of(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def zip_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_is_unpacked_with_the_hash_of_each_file(tmp_path: Path, mode: str) -> None:
    archive = tar_of(tmp_path / "a.tar", ("set/a.txt", b"a"), ("./set/deep/b.txt", b"bb"), mode=mode)
    members = unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == {"set/a.txt": b"a", "set/deep/b.txt": b"bb"}
    assert [(m.path, m.size_bytes) for m in members] == [("set/a.txt", 1), ("set/deep/b.txt", 2)]
    assert members[0].sha256 == sha256(b"a").hexdigest()


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("set/", b""), ("set/a.txt", b"a"), ("set\\b.txt", b"b"))
    unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == {"set/a.txt": b"a", "set/b.txt": b"b"}


def test_what_is_there_stays_and_what_has_the_same_name_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out" / "set").mkdir(parents=True)
    (tmp_path / "out" / "set" / "mine.txt").write_bytes(b"mine")
    (tmp_path / "out" / "set" / "a.txt").write_bytes(b"old")
    unpack(zip_of(tmp_path / "a.zip", ("set/a.txt", b"new")), tmp_path / "out")
    assert tree(tmp_path / "out") == {"set/a.txt": b"new", "set/mine.txt": b"mine"}


ESCAPES = ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "C:\\evil", "c:/evil", "a/b/../../../evil"]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    make: Any = tar_of if kind == "tar" else zip_of
    archive = make(tmp_path / "a", ("fine", b"fine"), (name, b"evil"))
    with pytest.raises(VerificationFailed, match="leads out of its folder") as caught:
        unpack(archive, tmp_path / "x" / "y" / "out")
    assert caught.value.exit_status == 4
    assert tree(tmp_path / "x") == {} and not (tmp_path / "evil").exists()
    assert list((tmp_path / "x" / "y" / "out").iterdir()) == []


@pytest.mark.parametrize("target", ["../../evil", "/etc/passwd", "a/../../../..", "../../../../../../etc"])
def test_a_link_that_leads_out_is_refused(tmp_path: Path, target: str) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        archive = tar_of(tmp_path / "a.tar", special("set/link", kind, target))
        with pytest.raises(VerificationFailed, match="leads out"):
            unpack(archive, tmp_path / "out")
    info = zipfile.ZipInfo("set/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(VerificationFailed, match="leads out"):
        unpack(zip_of(tmp_path / "a.zip", (info, target.encode())), tmp_path / "out")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    archive = tar_of(tmp_path / "a.tar", special("x", tarfile.SYMTYPE, str(tmp_path / "victim")), ("x/evil", b"evil"))
    with pytest.raises(VerificationFailed):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "victim").iterdir()) == []
    # A link that is already where the archive goes is replaced, not followed.
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").symlink_to(tmp_path / "victim")
    unpack(zip_of(tmp_path / "b.zip", ("x/evil", b"evil")), tmp_path / "there")
    assert list((tmp_path / "victim").iterdir()) == []


def test_a_link_inside_becomes_a_second_file(tmp_path: Path) -> None:
    archive = tar_of(
        tmp_path / "a.tar",
        special("set/before.txt", tarfile.SYMTYPE, "a.txt"),
        ("set/a.txt", b"a"),
        special("set/hard.txt", tarfile.LNKTYPE, "set/a.txt"),
        special("set/nowhere", tarfile.SYMTYPE, "missing"),
    )
    unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == dict.fromkeys(["set/a.txt", "set/before.txt", "set/hard.txt"], b"a")
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_devices_and_pipes_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(VerificationFailed, match="device or a pipe"):
        unpack(tar_of(tmp_path / "a.tar", special("set/x", kind)), tmp_path / "out")


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zip_of(tmp_path / "a.zip", ("zeros", bytes(5_000_000)))
    for limits in ({"MAX_RATIO": 100, "RATIO_FROM_BYTES": 1000}, {"MAX_UNPACKED_BYTES": 1000}):
        with monkeypatch.context() as patch, pytest.raises(VerificationFailed, match="bomb"):
            for name, value in limits.items():
                patch.setattr(archives, name, value)
            unpack(archive, tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    with pytest.raises(VerificationFailed, match="more than 2 members"):
        unpack(zip_of(tmp_path / "b.zip", *[(str(n), b"") for n in range(3)]), tmp_path / "out")
    assert tree(tmp_path / "out") == {}


def test_a_size_that_is_a_lie_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", ("zeros", bytes(100_000)))
    data = bytearray(archive.read_bytes())
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = (10).to_bytes(4, "little")  # in the list at the end; the file itself is longer
    archive.write_bytes(data)
    with pytest.raises(VerificationFailed):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100, b"PK\x03\x04 half"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(VerificationFailed, match="no zip or tar archive"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", ("a", os.urandom(100_000)), ("b", os.urandom(100_000)))
    archive.write_bytes(archive.read_bytes()[:-80_000])
    with pytest.raises(VerificationFailed, match="damaged"):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_path_longer_than_any_file_system_takes_is_refused_and_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(VerificationFailed, match="is no file name"):
        unpack(tar_of(tmp_path / "a.tar", ("x/" * 3000 + "y", b"1")), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "error", [IndexError("string index out of range"), ValueError("negative seek"), OSError(22, "")]
)
def test_what_readers_of_archives_raise_by_mistake_is_damage_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(*arguments: object) -> None:
        raise error

    archive = zip_of(tmp_path / "a.zip", ("x", b"1"))
    monkeypatch.setattr(zipfile.ZipFile, "infolist", failing)
    with pytest.raises(VerificationFailed, match="it is damaged"):
        unpack(archive, tmp_path / "out")


def test_a_file_that_is_a_folder_too_is_refused(tmp_path: Path) -> None:
    for members in ([("x", b"1"), ("x/y", b"2")], [("x/y", b"2"), ("x", b"1")]):
        with pytest.raises(VerificationFailed, match="a file and a folder at once"):
            unpack(zip_of(tmp_path / "a.zip", *members), tmp_path / "out")


def test_a_full_disk_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archives, "_write", full)
    with pytest.raises(OSError, match="No space"):
        unpack(zip_of(tmp_path / "a.zip", ("set/a.txt", b"a")), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_modes_are_not_taken_over(tmp_path: Path) -> None:
    info = tarfile.TarInfo("set/a")
    info.size, info.mode = 0, 0o4777
    unpack(tar_of(tmp_path / "a.tar", info), tmp_path / "out")
    assert not (tmp_path / "out" / "set" / "a").stat().st_mode & 0o7111


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_unfolds_without_end_is_not_read(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("name")
    info.type, info.size = kind, 1 << 32
    with gzip.open(tmp_path / "a.tar.gz", "wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    with pytest.raises(VerificationFailed, match="a header of 4,294,967,296 bytes"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


def test_an_xz_file_that_asks_for_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar_of(tmp_path / "a.tar.xz", ("a.txt", b"a"), mode="w:xz")
    (tmp_path / "cut.tar.xz").write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(VerificationFailed, match="it is damaged"):
        unpack(tmp_path / "cut.tar.xz", tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_XZ_BYTES", 1 << 20)
    with pytest.raises(VerificationFailed, match="Memory usage limit"):
        unpack(archive, tmp_path / "out")


def test_a_header_of_digits_takes_no_time(tmp_path: Path) -> None:
    """Some versions of tarfile search it in the square of its length."""
    info = tarfile.TarInfo("name")
    info.type, info.size = tarfile.XHDTYPE, 8000
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + b"1" * 8000 + bytes(192 + 1024))
    with pytest.raises(VerificationFailed, match="not of the length that they say"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_a_tar_file_with_holes_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("name")
    info.type = tarfile.GNUTYPE_SPARSE
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(VerificationFailed, match="a file with holes"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("packed", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_unfolds_without_a_bound_is_refused(tmp_path: Path, packed: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", packed) as made:
        made.writestr("zeros", bytes(1000))
    with pytest.raises(VerificationFailed, match="uses an unsupported compression"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_zip_with_too_long_a_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        for number in range(1000):
            made.writestr(f"{number}", b"")
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 1 << 15)
    with pytest.raises(VerificationFailed, match="a list of members of"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
