"""Folders of pictures and tar shards as inputs."""

from __future__ import annotations

import io
import json
import os
import shlex
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from clipalign.data import tars
from clipalign.data.images import open_image
from clipalign.data.readers import open_input
from clipalign.data.records import InputRecord
from clipalign.data.tars import MAX_HEADER_BYTES
from clipalign.errors import InputUnreadable


def read(name: Path, *, needs_text: bool = True) -> list[InputRecord]:
    return list(open_input([str(name)], needs_text=needs_text).records())


def told(record: InputRecord) -> str:
    """What is wrong with a record, or nothing."""
    return "" if record.problem is None else record.problem.message


def alike(some: list[InputRecord], others: list[InputRecord]) -> bool:
    """Whether they are the same records with the same problems."""
    some, others = ([replace(record, problem=told(record)) for record in records] for records in (some, others))  # type: ignore[arg-type]
    return some == others


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures in folders, one without a caption."""
    files = {
        "b.PNG": b"b", "b.txt": b"\xef\xbb\xbfthe second\n", "a.jpg": b"a", "a.txt": b"  two\nlines \n",
        "deep/c.webp": b"c", "deep/c.txt": b"the third", "deep/none.jpeg": b"d", "deep/.hidden.jpg": b"e",
        ".git/f.jpg": b"f", "notes.md": b"x", "alone.txt": b"y", "bad.jpg": b"g", "bad.txt": b"\xff", "blank.gif": b"",
        "blank.txt": b" \n",
    }  # fmt: skip
    for name, content in files.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "photos"


def test_a_folder_with_its_captions_in_a_list_is_answered_with_the_list(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,text\na.jpg,a cat\n")
    read(folder)
    (folder / "a.txt").unlink()
    with pytest.raises(InputUnreadable) as caught:
        read(folder)
    assert caught.value.hint == f"--input {folder / 'metadata.csv'}"
    hostile = folder.rename(folder.with_name("photos; touch x"))
    with pytest.raises(InputUnreadable) as caught:
        read(hostile)
    assert shlex.split(caught.value.hint) == ["--input", str(hostile / "metadata.csv")]


def test_a_folder_in_sorted_order_with_captions_beside(folder: Path) -> None:
    records = read(folder)
    assert [record.id for record in records] == ["a", "b", "bad", "blank", "deep/c", "deep/none"]
    assert [record.text for record in records] == ["two\nlines", "the second", "", "", "the third", ""]
    assert records[4].image == folder / "deep" / "c.webp"
    assert records[4].image_name == str(folder / "deep" / "c.webp")
    assert [told(record) for record in records[:2]] == ["", ""]
    assert told(records[2]) == f"{folder / 'bad.txt'} is not valid UTF-8"
    assert told(records[3]) == f"{folder / 'blank.txt'} is empty"
    assert told(records[5]) == f"{folder / 'deep' / 'none.jpeg'} has no caption"
    assert [record.place.number for record in records] == list(range(6))
    assert open_input([str(folder)]).count() == 6


@pytest.mark.parametrize(
    "ending", [".apng", ".bmp", ".gif", ".ico", ".jp2", ".JPG", ".png", ".ppm", ".tga", ".tif", ".webp"]
)
def test_a_picture_of_any_format_is_found_in_a_folder_and_in_a_tar(tmp_path: Path, ending: str) -> None:
    (tmp_path / "photos").mkdir()
    picture = tmp_path / "photos" / f"cup{ending}"
    Image.new("RGB", (16, 16), "red").save(picture)
    picture.with_name("cup.txt").write_text("a cup")
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for file in sorted(picture.parent.iterdir()):
            tar.add(file, arcname=file.name)
    found = [*read(picture.parent), *read(tmp_path / "photos.tar")]
    assert [(record.id, record.text, told(record)) for record in found] == [("cup", "a cup", "")] * 2
    for record in found:
        assert isinstance(record.image, Path | bytes)
        assert open_image(record.image, name=record.image_name).size == (16, 16)


def test_captions_of_folders_from_other_systems(tmp_path: Path) -> None:
    names = (
        *("A.PNG", "A.TXT", "caf\u00e9.jpg", "cafe\u0301.txt", "cat.jpg", "cat.png", "cat.txt"),
        *("IMG_1.JPG", "img_1.txt", "Owl.jpg", "owl.txt", "OWL.txt"),
        *("dog.jpg", "dog.Txt", "dog.TXT", "egg.jpg", "egg.txt", "egg.TXT"),
    )
    for name in names:
        (tmp_path / name).write_text(name)
    if len(list(tmp_path.iterdir())) < len(names):
        pytest.skip("names that differ in case are one here")
    records = {record.image_name.rpartition("/")[2]: record for record in read(tmp_path)}
    found = {name: record.text for name, record in records.items() if record.problem is None}
    assert found == {
        "A.PNG": "A.TXT",
        "caf\u00e9.jpg": "cafe\u0301.txt",
        "egg.jpg": "egg.txt",
        "IMG_1.JPG": "img_1.txt",
    }
    assert told(records["Owl.jpg"]) == f"{tmp_path / 'Owl.jpg'} has no caption"
    assert told(records["cat.jpg"]) == told(records["cat.png"])
    assert told(records["cat.jpg"]) == f"cat.jpg and cat.png in {tmp_path} are two pictures of cat"
    assert told(records["dog.jpg"]) == f"dog.TXT and dog.Txt in {tmp_path} are two texts of dog"
    assert [told(record) for record in read(tmp_path, needs_text=False)] == [""] * len(records)


def test_a_folder_needs_no_captions_where_no_text_is_needed(folder: Path) -> None:
    assert all(record.problem is None and record.text == "" for record in read(folder, needs_text=False))


def test_shards_of_a_folder(folder: Path) -> None:
    source = open_input([str(folder)])
    whole = list(source.records())
    assert alike(list(source.records((1, 2))), whole[::2]) and alike(list(source.records((2, 2))), whole[1::2])


def test_a_link_to_a_folder_above_does_not_run_in_circles(folder: Path) -> None:
    try:
        (folder / "deep" / "up").symlink_to(folder, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    assert len(read(folder)) == 6


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputUnreadable, match="there are no pictures in") as caught:
        open_input([str(tmp_path)])
    assert caught.value.hint == ""
    (tmp_path / "0.tar").write_bytes(b"")
    with pytest.raises(InputUnreadable) as caught:
        open_input([str(tmp_path)])
    assert caught.value.hint == f"name the files in it: '{tmp_path}/*.tar'"


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    """A tar of these files, in this order."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


SHARD = {
    "x/000.jpg": b"first", "x/000.txt": b"a cup\n", "x/000.json": b'{"references": ["cup"], "text": "a cup"}',
    "./001.txt": b"a dog", "./001.seg.png": b"second", "./001.cls": b"7",
    "002.json": json.dumps({"text": "a cat", "id": "cat"}).encode(), "002.webp": b"third",
    "003.txt": b"no picture",
    "004.jpg": b"no text",
    "005.jpg": b"broken json", "005.json": b"{",
    "006.JPG": b"last", "006.txt": b"a bird",
}  # fmt: skip


@pytest.mark.parametrize(("name", "mode"), [("s.tar", "w"), ("s.tar.gz", "w:gz"), ("s.tgz", "w:gz")])
def test_neighbors_of_one_name_in_a_tar_are_a_record(tmp_path: Path, name: str, mode: str) -> None:
    path = write_tar(tmp_path / name, SHARD, mode)
    records = read(path)
    assert [record.id for record in records] == ["x/000", "001", "cat", "003", "004", "005", "006"]
    assert [record.image for record in records[:3]] == [b"first", b"second", b"third"]
    assert [record.image_name for record in records[:3]] == ["x/000.jpg", "001.seg.png", "002.webp"]
    assert [record.text for record in records[:3]] == ["a cup", "a dog", "a cat"]
    assert records[0].references == ("cup",)
    assert [told(record) for record in records[:3]] == ["", "", ""]
    assert told(records[3]) == f"{path}, 003 has no picture"
    assert told(records[4]) == f"{path}, 004 has no caption"
    assert told(records[5]).startswith(f"the caption of {path}, 005 cannot be read")
    assert told(records[6]) == ""


def test_a_dot_in_a_name_belongs_to_the_key(tmp_path: Path) -> None:
    names = ("scene 2.0.png", "scene 2.0.txt", "scene 2.1.png", "scene 2.1.txt", ".hidden.png", ".hidden.txt")
    path = write_tar(tmp_path / "s.tar", {name: name.encode() for name in names})
    found = [(record.id, record.image, record.text) for record in read(path)]
    assert found == [(key, f"{key}.png".encode(), f"{key}.txt") for key in ("scene 2.0", "scene 2.1", ".hidden")]


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("x.left.png", "x.right.png", "pictures"),
        ("x.jpg", "x.png", "pictures"),
        ("x.txt", "x.caption.txt", "texts"),
        ("x.txt", "x.json", "texts"),
    ],
)
def test_two_members_of_one_kind_and_key_are_an_error_that_names_both(
    tmp_path: Path, one: str, other: str, kind: str
) -> None:
    both = {name: b'{"text": "another"}' if name.endswith(".json") else name.encode() for name in (one, other)}
    files = {"x.gif": b"g", **both} if kind == "texts" else {**both, "x.txt": b"a cup"}
    bad, good = read(write_tar(tmp_path / "s.tar", {**files, "y.gif": b"g", "y.txt": b"a dog"}))
    assert told(bad) == f"there are two {kind} of x: {one} and {other}"
    assert (good.id, told(good)) == ("y", "")


def header(kind: bytes, content: bytes) -> bytes:
    """A header that says something of the next one."""
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, len(content)
    return member.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


TOO_LONG = "a header of 8,193 bytes; at most 8,192 are read"
OF_OTHER_LENGTH = "a header whose attributes are not of the length that they say"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (header(tarfile.GNUTYPE_LONGNAME, b"a" * (MAX_HEADER_BYTES + 1)), TOO_LONG),
        (header(tarfile.XHDTYPE, b"1" * (MAX_HEADER_BYTES + 1)), TOO_LONG),
        (header(tarfile.XHDTYPE, b"1" * MAX_HEADER_BYTES), OF_OTHER_LENGTH),
        (header(tarfile.XHDTYPE, b"2 " * 4000 + b"="), OF_OTHER_LENGTH),
        (header(tarfile.XGLTYPE, b"8012 comment=" + b"1" * 7998 + b"\n"), "a header with a number of endless digits"),
        (header(tarfile.GNUTYPE_LONGNAME, b"a") * 2000, "headers of headers without end"),
        (header(tarfile.GNUTYPE_SPARSE, b""), "a file with holes"),
        (header(tarfile.XHDTYPE, b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"), "a file with holes"),
    ],
    ids=["long name", "attributes", "digits", "lengths", "long number", "nested", "sparse", "newer sparse"],
)
def test_headers_are_bounded(tmp_path: Path, headers: bytes, said: str) -> None:
    path = write_tar(tmp_path / "s.tar", {"a.jpg": b"", "b.jpg": b""})
    content = path.read_bytes()
    path.write_bytes(content[:512] + headers + content[512:])
    _, bad = read(path, needs_text=False)
    assert told(bad) == f"{path} breaks off after a: {said}"


def test_attributes_of_a_tar_are_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("\u00e9" * 200 + ".jpg")
    info.pax_headers = {"mtime": "1700000000.123456789", "comment": "1" * 64 + "\n=\n"}
    with tarfile.open(tmp_path / "s.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
        tar.addfile(tarfile.TarInfo("z.jpg"))
    assert [record.id for record in read(tmp_path / "s.tar.gz", needs_text=False)] == ["\u00e9" * 200, "z"]


def test_members_that_nobody_wants_are_not_passed_over_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {f"{number}.bin": b"" for number in range(12)}
    path = write_tar(tmp_path / "s.tar", {"a.jpg": b"", **others, "b.jpg": b""})
    assert [record.id for record in read(path, needs_text=False)] == ["a", "b"]
    monkeypatch.setattr(tars, "MAX_PASSED", 10)
    *_, bad = read(path, needs_text=False)
    assert told(bad) == f"{path} breaks off after a: 10 members in a row are no part of a record"


def test_shards_of_tars_are_whole_ones_where_there_are_enough(tmp_path: Path) -> None:
    source = open_input([str(write_tar(tmp_path / f"{name}.tar", SHARD)) for name in "abc"])
    whole = list(source.records())
    assert len(whole) == 21 and source.count() is None
    assert alike(list(source.records((1, 3))), whole[:7])
    assert alike(list(source.records((2, 2))), whole[7:])
    parts = [record for index in range(1, 6) for record in source.records((index, 5))]
    assert sorted((record.place.file, record.place.number) for record in parts) == [
        (record.place.file, record.place.number) for record in whole
    ]


def test_a_tar_needs_no_captions_where_no_text_is_needed(tmp_path: Path) -> None:
    records = read(write_tar(tmp_path / "s.tar", {"a.jpg": b"x", "b.txt": b"y"}), needs_text=False)
    assert [told(record) for record in records] == ["", f"{tmp_path / 's.tar'}, b has no picture"]


def test_links_and_folders_of_a_tar_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        for kind, name in ((tarfile.DIRTYPE, "d.jpg"), (tarfile.SYMTYPE, "passwd.txt"), (tarfile.REGTYPE, "a.jpg")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member, io.BytesIO(b""))
    assert [record.id for record in read(path, needs_text=False)] == ["a"]


def test_a_tar_that_is_cut_short_keeps_what_is_whole_and_says_so(tmp_path: Path) -> None:
    files = {f"{index:03}.{ending}": os.urandom(3000) for index in range(10) for ending in ("jpg", "cls")}
    path = write_tar(tmp_path / "s.tar", files)
    path.write_bytes(path.read_bytes()[:20_000])
    records = read(path, needs_text=False)
    assert "breaks off" in told(records[-1])
    assert all(record.problem is None for record in records[:2])


@pytest.mark.parametrize("rest", [b"", b"b.jpg" + bytes(90), b"#" * 512])
def test_a_tar_that_ends_in_half_a_header_or_a_damaged_one_says_so(tmp_path: Path, rest: bytes) -> None:
    path = write_tar(tmp_path / "s.tar", {"a.jpg": os.urandom(512)})
    path.write_bytes(path.read_bytes()[:1024] + rest)  # a tar without its last, empty blocks is whole
    records = read(path, needs_text=False)
    assert [told(record) for record in records[:1]] == [""]
    assert ["breaks off after a" in told(record) for record in records[1:]] == [True] * bool(rest)


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(b"not a tar" * 1000)
    with pytest.raises(InputUnreadable, match=r"(?m)is not a readable tar file: invalid header$"):
        open_input([str(tmp_path / "s.tar")])
    with pytest.raises(InputUnreadable, match="there are no pictures in"):
        open_input([str(write_tar(tmp_path / "empty.tar", {"a.cls": b"1"}))])
