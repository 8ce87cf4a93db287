"""Tables as people have them go in with one line and without a rename; a name is never guessed, only hinted at."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from clipalign.config.readers import named_columns
from clipalign.data.readers import open_input
from clipalign.data.records import InputRecord
from clipalign.data.sources import read_image
from clipalign.errors import ClipalignError, InputUnreadable
from tests.unit.test_folders import write_tar

LAYOUTS: dict[str, tuple[str, str, list[list[str]]]] = {
    "flickr30k results.csv, bars for commas": (
        "results.tsv", "image=image_name,text=comment",
        [["image_name", "comment_number", "comment"], ["a.jpg", "0", "a cup"], ["a.jpg", "1", "a mug"]],
    ),
    "flickr8k captions.txt as csv": ("c.csv", "text=caption", [["image", "caption"], ["a.jpg", "a cup"]]),
    "open_clip's csv": ("t.tsv", "image=filepath,text=title", [["filepath", "title"], ["a.jpg", "a cup"]]),
    "conceptual captions with a header": ("v.tsv", "image=url,text=caption", [["caption", "url"], ["a cup", "a.jpg"]]),
    "img2dataset's input": ("l.csv", "image=URL,text=TEXT", [["URL", "TEXT", "WIDTH"], ["a.jpg", "a cup", "64"]]),
    "an export of a labeling tool": (
        "h.csv", "image=Input.image_url,text=Input.caption,id=HITId",
        [["HITId", "Input.image_url", "Input.caption", "Answer"], ["3M7", "a.jpg", "a cup", "1"]],
    ),
    "a data frame with its index": (
        "d.csv", "image=file_name,text=sentence", [["", "file_name", "sentence"], ["0", "a.jpg", 'a "cup", blue']],
    ),
    "diffusiondb and the like": ("m.csv", "image=image_name,text=prompt", [["image_name", "prompt"], ["a.jpg", "cup"]]),
    "art data sets": ("s.tsv", "image=IMAGE_FILE,text=DESCRIPTION", [["IMAGE_FILE", "DESCRIPTION"], ["a.jpg", "cup"]]),
    "a shop's catalog": (
        "p.csv", "image=photo,text=Title,id=sku", [["sku", "Title", "photo", "price"], ["X-1", "Cup", "a.jpg", "3"]],
    ),
}  # fmt: skip
"""Ten tables as public repositories have them, built anew: file, ``--columns``, header and rows."""


def read(name: Path, columns: str = "", **options: Any) -> list[InputRecord]:
    return list(open_input([str(name)], columns=named_columns()(columns) if columns else None, **options).records())


def told(record: InputRecord) -> tuple[str, str, str, ClipalignError | None]:
    return record.id, record.image_name, record.text, record.problem


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_of_another_layout_goes_in_with_the_columns_that_the_error_holds(tmp_path: Path, layout: str) -> None:
    name, columns, (header, *rows) = LAYOUTS[layout]
    mark = "\t" if name.endswith(".tsv") else ","
    with (tmp_path / name).open("w", newline="") as file:
        csv.writer(file, delimiter=mark).writerows([header, *rows])
    records = read(tmp_path / name, columns)
    image, text = named_columns()(columns).get("image", "image"), named_columns()(columns)["text"]
    assert [record.image_name for record in records] == [row[header.index(image)] for row in rows]
    assert [record.text for record in records] == [row[header.index(text)] for row in rows]
    assert [record.problem for record in records] == [None] * len(rows)
    with pytest.raises(InputUnreadable, match=r"has no column (image|text); it has") as caught:
        read(tmp_path / name)
    assert caught.value.hint == f"--columns {columns.partition(',id=')[0]}"


def test_a_column_whose_name_means_harm_stays_one_argument_of_the_line_to_copy(tmp_path: Path) -> None:
    row = {"image": "0.png", "x'; touch here #": {"caption": "a cat"}}
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputUnreadable) as caught:
        read(tmp_path / "r.jsonl")
    assert shlex.split(caught.value.hint) == ["--columns", "text=x'; touch here #.caption"]


def test_columns_that_name_what_a_results_file_never_had_are_to_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('[{"image_id": 7, "caption": "a cup"}]')
    with pytest.raises(InputUnreadable, match="has no column image_id; it has image, text") as caught:
        read(tmp_path / "r.json", "image=image_id,text=caption")
    assert caught.value.hint == "leave out --columns"


def test_captions_of_a_picture_are_numbered(tmp_path: Path) -> None:
    rows = [{"image": name, "text": "x"} for name in ("a.jpg", "a.jpg", "b.jpg", "a.jpg")]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    assert [record.id for record in read(tmp_path / "p.json")] == ["a.jpg", "a.jpg#2", "b.jpg", "a.jpg#3"]


COCO = {
    "info": {"year": 2014},
    "annotations": [
        {"image_id": 7, "id": 48, "caption": "a cup"}, {"image_id": 9, "id": 49, "caption": "a dog"}
    ],
    "images": [{"id": 9, "file_name": "9.jpg"}, {"id": 7, "file_name": "seven.jpg", "license": 3}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "columns", "found"),
    [
        (COCO, "", [("48", "seven.jpg", "a cup"), ("49", "9.jpg", "a dog")]),
        ([{"image_id": 7, "caption": "a cup"}], "", [("7", "7", "a cup")]),
        ({"a.jpg": "a cup", "b.jpg": "a dog"}, "", [("a.jpg", "a.jpg", "a cup"), ("b.jpg", "b.jpg", "a dog")]),
        ({"391895": ["a cup", "a mug"]}, "", [("391895", "391895", "a cup"), ("391895#2", "391895", "a mug")]),
        ({"x1": {"file": "a.jpg", "cap": "a cup"}}, "image=file,text=cap", [("x1", "a.jpg", "a cup")]),
        ([{"f": {"name": "a.jpg"}, "c": ["a", "b"]}], "image=f.name,text=c.-1", [("a.jpg", "a.jpg", "b")]),
        ({"images": [{"f": "a", "sentences": [{"raw": "x"}]}]}, "image=f,text=sentences.0.raw", [("a", "a", "x")]),
        ({"images": [], "annotations": []}, "", []),
    ],
)
def test_documents_of_every_shape(tmp_path: Path, content: object, columns: str, found: list[tuple[str, ...]]) -> None:
    for name, text in (("d.json", json.dumps(content)), ("i.json", json.dumps(content, indent=1))):
        (tmp_path / name).write_text(text)
        records = read(tmp_path / name, columns)
        assert [told(record) for record in records] == [(*one, None) for one in found]


def test_json_lines_that_are_called_json(tmp_path: Path) -> None:
    rows = [{"image": "a.jpg", "text": "a cup"}, {"image": "b.jpg", "text": "a dog"}]
    (tmp_path / "p.json").write_text("\n".join(map(json.dumps, rows)))
    assert [record.text for record in read(tmp_path / "p.json")] == ["a cup", "a dog"]


def test_a_data_set_of_hugging_face_by_its_metadata(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0.png").write_bytes(b"picture")
    (tmp_path / "metadata.csv").write_text("file_name,text\ntrain/0.png,a cup\n")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "train/0.png", "text": "a cup"}\n')
    for name in ("metadata.csv", "metadata.jsonl"):
        (record,) = read(tmp_path / name)
        assert told(record) == ("train/0.png", "train/0.png", "a cup", None)
        assert isinstance(record.image, str | Path)
        assert read_image(record.image, folders=record.folders) == b"picture"
    (tmp_path / "other.csv").write_text("file_name,text\ntrain/0.png,a cup\n")
    with pytest.raises(InputUnreadable) as caught:
        read(tmp_path / "other.csv")
    assert caught.value.hint == "--columns image=file_name"


def test_members_of_a_tar_are_chosen_by_what_follows_the_key(tmp_path: Path) -> None:
    files = {
        "x 1.5.left.png": b"left", "x 1.5.right.png": b"right",
        "x 1.5.json": b'{"caption": "a cup", "width": 3}', "x 1.5.note": b"by hand",
    }  # fmt: skip
    path = write_tar(tmp_path / "s.tar", files)
    with pytest.raises(InputUnreadable, match="has no column text") as caught:
        read(path)
    assert caught.value.hint == "--columns text=json.caption"
    (record,) = read(path, "image=left.png,text=json.caption", keep=("json.width", "note"))
    assert (record.id, record.image, record.image_name, record.text) == ("x 1.5", b"left", "x 1.5.left.png", "a cup")
    assert record.columns == {"json.width": 3, "note": "by hand"}
    bad = read(path, "text=json.caption")[0].problem
    assert bad is not None and bad.message == "there are two pictures of x 1.5: x 1.5.left.png and x 1.5.right.png"
    assert bad.hint == "choose with --columns image=left.png, or leave one out"
    own = write_tar(tmp_path / "own.tar", {"y.rgb.png": b"rgb", "y.txt": b"a cup"})
    assert [(one.id, one.image, one.text) for one in read(own, "image=rgb.png")] == [("y", b"rgb", "a cup")]


def test_other_columns_come_along_where_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"image": "a", "text": "x", "label": 1, "meta": {"year": 1999}}\n')
    assert read(tmp_path / "p.jsonl")[0].columns == {}
    assert read(tmp_path / "p.jsonl", keep=("meta.year", "gone"))[0].columns == {"meta.year": 1999}
    assert read(tmp_path / "p.jsonl", keep=("all",))[0].columns == {"label": 1, "meta": {"year": 1999}}
    assert read(tmp_path / "p.jsonl", "text=label", keep=("all",))[0].columns == {"meta": {"year": 1999}}


def test_columns_of_parquet(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"jpg": {"bytes": b"j", "path": "a.jpg"}, "meta": {"caption": "a cup"}, "captions": ["a", "b"], "n": 3}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "p.parquet")
    for text, found in (("meta.caption", "a cup"), ("captions.1", "b")):
        (record,) = read(tmp_path / "p.parquet", f"image=jpg,text={text}", keep=("n",))
        assert (record.image, record.text, record.columns) == (b"j", found, {"n": 3})
    with pytest.raises(InputUnreadable, match="has no column image; it has jpg, meta, captions, n"):
        read(tmp_path / "p.parquet")


@pytest.mark.parametrize("columns", ["image=gone,text=text", "text=gone"])
def test_a_column_that_is_not_there_is_said(tmp_path: Path, columns: str) -> None:
    for name, content in (("p.csv", "image,text\na,x\n"), ("p.jsonl", '{"image": "a", "text": "x"}\n')):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputUnreadable, match="has no column gone; it has image, text"):
            read(tmp_path / name, columns)


def test_names_that_a_shell_would_write_out(tmp_path: Path) -> None:
    for number in (8, 9, 10):
        write_tar(tmp_path / f"{number:03}.tar", {f"{number}.jpg": b"x", f"{number}.txt": b"a cup"})
    assert [record.id for record in read(tmp_path / "{008..010}.tar")] == ["8", "9", "10"]
    with pytest.raises(InputUnreadable, match=r"there is no input .*011\.tar"):
        read(tmp_path / "{008..011}.tar")
    with pytest.raises(ClipalignError, match=r"stands for 100,000,000 files"):
        read(tmp_path / "{0..9999}{0..9999}.tar")
