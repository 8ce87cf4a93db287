"""Data sets: fetched, handed over, unpacked, remembered, verified and removed; and the table of them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipalign.cache import data_folder
from clipalign.download import datasets
from clipalign.download.catalog import all_statuses, check_license, find, license_of, remove, status_of, verify
from clipalign.download.dataset_rows import DataFile, DatasetRow, Pictures
from clipalign.download.datasets import fetch_dataset
from clipalign.download.fetch import DownloadContext, DownloadResult, RemoteFile, fetch, partial_path
from clipalign.download.licenses import license_class, license_of_family
from clipalign.download.manifest import read_manifest
from clipalign.download.web import RetryPolicy, Web
from clipalign.errors import (
    DownloadFailed,
    LicenseNotAccepted,
    MissingDataset,
    UnknownDataset,
    UnknownModel,
    UsageError,
    VerificationFailed,
)
from clipalign.models.registry import find_model
from tests.server import Server, cut, status

pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture
def context(tmp_path: Path) -> DownloadContext:
    policy = RetryPolicy(attempts=2, connect_seconds=2, stall_seconds=2)
    return DownloadContext(web=Web(policy, sleep=lambda seconds: None), cache_dir=tmp_path / "cache")


@pytest.fixture
def folder(context: DownloadContext) -> Path:
    """Of the data set ``tiny``."""
    return data_folder("tiny", cache_dir=context.cache_dir)


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def of(*files: DataFile, **more: object) -> DatasetRow:
    row = DatasetRow("tiny", "a tiny one", "MIT", "free", "https://example.org/tiny", files)
    return replace(row, **more)  # type: ignore[arg-type]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class TestFetching:
    def test_a_file_lands_in_the_folder(self, server: Server, context: DownloadContext, tmp_path: Path) -> None:
        row = of(DataFile("deep/a.json", url=server.put("/a", b"{}"), sha256=sha256(b"{}"), size_bytes=2))
        (found,) = fetch_dataset(row, context)
        assert found.path == data_folder("tiny", cache_dir=tmp_path / "cache") / "deep" / "a.json"
        assert found.path.read_bytes() == b"{}" and found.verified and found.fresh
        assert status_of(row, context.cache_dir).state == "here" and status_of(row, context.cache_dir).verified

    def test_an_archive_is_unpacked_and_deleted(self, server: Server, context: DownloadContext, folder: Path) -> None:
        content = zipped(set__a=b"aa", set__b=b"bbb")
        row = of(
            DataFile("a.zip", url=server.put("/a.zip", content), md5=hashlib.md5(content).hexdigest(), gives=("set",))
        )
        fetch_dataset(row, context)
        assert (folder / "set" / "b").read_bytes() == b"bbb" and not (folder / "a.zip").exists()
        what = read_manifest(folder, row.files[0])
        assert what is not None and what.verified and what.sha256 == sha256(content)
        assert [(one.path, one.size_bytes) for one in what.members] == [("set/a", 2), ("set/b", 3)]

    def test_what_is_there_is_not_fetched_again(self, server: Server, context: DownloadContext) -> None:
        row = of(DataFile("a.zip", url=server.put("/a.zip", zipped(set__a=b"aa")), gives=("set",)))
        fetch_dataset(row, context)
        (found,) = fetch_dataset(row, context)
        assert not found.fresh and len(server.asked) == 1

    def test_what_a_run_left_that_was_killed_while_it_unpacked_is_deleted(
        self, server: Server, context: DownloadContext, folder: Path
    ) -> None:
        row = of(DataFile("a.zip", url=server.put("/a.zip", zipped(set__a=b"aa")), gives=("set",)))
        (folder / ".unpacking-x" / "set").mkdir(parents=True)
        (folder / ".unpacking-x" / "set" / "a").write_bytes(b"a")
        fetch_dataset(row, context)
        assert sorted(path.name for path in folder.iterdir()) == [".clipalign", "set"]

    def test_an_archive_that_a_killed_run_could_not_delete_any_more_is_deleted(
        self, server: Server, context: DownloadContext, folder: Path
    ) -> None:
        row = of(DataFile("a.zip", url=server.put("/a.zip", zipped(set__a=b"aa")), gives=("set",)))
        fetch_dataset(row, context)
        (folder / "a.zip").write_bytes(b"")
        fetch_dataset(row, context)
        assert not (folder / "a.zip").exists() and (folder / "set" / "a").exists()

    @pytest.mark.parametrize("content", [None, b"a", b"aaa"], ids=["gone", "shorter", "longer"])
    def test_what_is_not_what_it_was_is_fetched_again(
        self, server: Server, context: DownloadContext, content: bytes | None, folder: Path
    ) -> None:
        row = of(DataFile("a.zip", url=server.put("/a.zip", zipped(set__a=b"aa")), gives=("set",)))
        fetch_dataset(row, context)
        (folder / "set" / "a").unlink()
        if content is not None:
            (folder / "set" / "a").write_bytes(content)
        fetch_dataset(row, context)
        assert (folder / "set" / "a").read_bytes() == b"aa"

    def test_an_archive_may_want_a_folder_of_its_own(
        self, server: Server, context: DownloadContext, folder: Path
    ) -> None:
        row = of(DataFile("a.zip", url=server.put("/a.zip", zipped(a=b"aa")), gives=("val",), into="val"))
        fetch_dataset(row, context)
        assert (folder / "val" / "a").read_bytes() == b"aa"
        assert verify(row, context.cache_dir) == []

    def test_an_archive_without_what_it_should_give_is_named(self, server: Server, context: DownloadContext) -> None:
        row = of(DataFile("a.zip", url=server.put("/a.zip", zipped(other=b"aa")), gives=("set",)))
        with pytest.raises(VerificationFailed, match="set was not in it"):
            fetch_dataset(row, context)

    def test_an_archive_that_escapes_is_refused_and_nothing_is_left(
        self, server: Server, context: DownloadContext
    ) -> None:
        row = of(DataFile("a.zip", url=server.put("/a.zip", zipped(**{"..__..__evil": b"x"})), gives=("set",)))
        with pytest.raises(VerificationFailed, match="leads out"):
            fetch_dataset(row, context)
        assert not list(context.cache_dir.rglob("evil"))  # type: ignore[union-attr]

    def test_a_folder_of_the_hub_comes_file_by_file(
        self, server: Server, context: DownloadContext, folder: Path
    ) -> None:
        names = ("data/test-1.parquet", "data/test-2.parquet", "data/train-1.parquet")
        entries = [
            {"type": "file", "path": n, "size": 4, "lfs": {"oid": sha256(n.encode()), "size": len(n)}} for n in names
        ]
        server.next("/api/datasets/o/n/tree/main/data?recursive=true", status(200, json.dumps(entries).encode()))
        for name in names:
            server.put_in_hub("datasets/o/n", name, name.encode())
        row = of(DataFile("shards", repo="o/n", source="data", pattern="data/test-*"))
        found = fetch_dataset(row, context)
        assert [one.path.name for one in found] == ["test-1.parquet", "test-2.parquet"]
        assert all(one.verified for one in found)
        assert (folder / "shards" / "test-2.parquet").read_bytes() == names[1].encode()
        assert not any(one.fresh for one in fetch_dataset(row, context))

    def test_the_page_of_a_gated_data_set_is_one_of_data(self, server: Server, context: DownloadContext) -> None:
        address = "/datasets/o/n/resolve/main/a.json"
        server.put_in_hub("datasets/o/n", "a.json", b"{}", large=False)
        server.next(address, lambda handler: False, status(403, X_Error_Code="GatedRepo"))
        with pytest.raises(DownloadFailed, match="o/n is gated") as caught:
            fetch_dataset(of(DataFile("a.json", repo="o/n", source="a.json")), context)
        assert f"{server.url}/datasets/o/n" in caught.value.hint
        server.put_in_hub("datasets/o/n", "b.json", b"{}")
        with pytest.raises(VerificationFailed) as replaced:
            fetch_dataset(of(DataFile("b.json", repo="o/n", source="b.json", sha256="0" * 64)), context)
        assert replaced.value.hint.endswith(f"see {server.url}/datasets/o/n")

    def test_a_repository_may_be_one_of_models(self, server: Server, context: DownloadContext) -> None:
        server.put_in_hub("o/n", "a.bin", b"abc")
        row = of(DataFile("a.bin", repo="o/n", source="a.bin", kinds=("dataset", "model")))
        assert fetch_dataset(row, context)[0].verified


class TestUnpackedByHand:
    """What an archive gives, put there by the user: nothing is remembered of it, and nothing is fetched for it."""

    def test_is_taken_as_it_is(self, server: Server, context: DownloadContext, folder: Path) -> None:
        row = of(
            DataFile("a.zip", url=f"{server.url}/a.zip", gives=("set/a",)),
            DataFile("b.zip", gives=("more",), by_hand="save b.zip"),
        )
        for name in ("set", "more"):
            (folder / name).mkdir(parents=True)
        (folder / "set" / "a").write_bytes(b"aa")
        found = fetch_dataset(row, context)
        assert [(one.path, one.fresh, one.verified) for one in found] == [
            (folder / "set" / "a", False, False),
            (folder / "more", False, False),
        ]
        assert server.asked == [] and status_of(row, context.cache_dir).state == "here"

    @pytest.mark.parametrize("beside", ["a.zip", "a.zip.part"])
    def test_is_what_a_killed_run_left_where_the_archive_is_there_too(
        self, server: Server, context: DownloadContext, beside: str, folder: Path
    ) -> None:
        content = zipped(set__a=b"aa", set__b=b"bb")
        row = of(DataFile("a.zip", url=server.put("/a.zip", content), gives=("set",)))
        (folder / "set").mkdir(parents=True)
        (folder / beside).write_bytes(content)
        fetch_dataset(row, context)
        assert (folder / "set" / "b").exists() and read_manifest(folder, row.files[0]) is not None


class TestPictures:
    def row(self, server: Server, *names: str) -> DatasetRow:
        listed = [{"file_name": name, "coco_url": f"{server.url}/{name}"} for name in ("1.jpg", "2.jpg", "3.jpg")]
        server.put("/listed", json.dumps({"images": listed}).encode())
        server.put("/needed", json.dumps([{"image_path": name} for name in names]).encode())
        for name in ("1.jpg", "2.jpg"):
            server.put(f"/{name}", name.encode())
        return of(
            DataFile("needed.json", url=f"{server.url}/needed"),
            DataFile("listed.json", url=f"{server.url}/listed"),
            pictures=Pictures("listed.json", "needed.json", "images"),
        )

    def test_come_one_by_one_and_only_those_that_are_needed(self, server: Server, context: DownloadContext) -> None:
        fetch_dataset(self.row(server, "2.jpg"), context)
        folder = data_folder("tiny", cache_dir=context.cache_dir) / "images"
        assert [path.name for path in folder.iterdir()] == ["2.jpg"]

    def test_that_cannot_be_had_are_counted_and_the_others_stay(
        self, server: Server, context: DownloadContext, folder: Path
    ) -> None:
        row = self.row(server, "1.jpg", "2.jpg", "3.jpg")
        with pytest.raises(DownloadFailed, match=r"1 of 3 pictures of tiny could not be fetched, such as 3.jpg: .*404"):
            fetch_dataset(row, context)
        assert len(list((folder / "images").iterdir())) == 2
        server.put("/3.jpg", b"3")
        asked = len(server.asked)
        fetch_dataset(row, context)
        assert [one.path for one in server.asked[asked:]] == ["/3.jpg"]

    def test_come_several_at_a_time(
        self, server: Server, context: DownloadContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        together = threading.Barrier(3)

        def waits_for_the_others(remote: RemoteFile, target: Path, **more: Any) -> DownloadResult:
            if target.suffix == ".jpg":
                together.wait(timeout=60)
            return fetch(remote, target, **more)

        monkeypatch.setattr(datasets, "fetch", waits_for_the_others)
        server.put("/3.jpg", b"3")
        fetch_dataset(self.row(server, "1.jpg", "2.jpg", "3.jpg"), context)
        folder = data_folder("tiny", cache_dir=context.cache_dir) / "images"
        assert sorted(path.name for path in folder.iterdir()) == ["1.jpg", "2.jpg", "3.jpg"]

    def test_that_would_land_elsewhere_are_refused(
        self, server: Server, context: DownloadContext, folder: Path
    ) -> None:
        row = self.row(server, "../evil.jpg")
        listed = {"images": [{"file_name": "../evil.jpg", "coco_url": f"{server.url}/1.jpg"}]}
        server.put("/listed", json.dumps(listed).encode())
        with pytest.raises(VerificationFailed, match="outside its folder"):
            fetch_dataset(row, context)


class TestByHand:
    ROW = of(
        DataFile("val.tar", md5=hashlib.md5(b"").hexdigest(), gives=("val",), into="val", by_hand="save val.tar"),
        DataFile("kit.json", by_hand="save kit.json"),
    )

    def tar(self, path: Path) -> DatasetRow:
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo("1.jpg")
            info.size = 1
            archive.addfile(info, io.BytesIO(b"1"))
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        return replace(self.ROW, files=(replace(self.ROW.files[0], md5=md5), self.ROW.files[1]))

    def test_says_what_to_do_and_where_it_is_looked_for(self, context: DownloadContext) -> None:
        with pytest.raises(MissingDataset, match="has to be fetched by hand") as caught:
            fetch_dataset(self.ROW, context)
        assert caught.value.exit_status == 4
        assert "save val.tar" in caught.value.hint and "save kit.json" in caught.value.hint
        assert "clipalign download tiny --from val.tar --from kit.json" in caught.value.hint
        assert str(data_folder("tiny", cache_dir=context.cache_dir)) in caught.value.hint
        assert status_of(self.ROW, context.cache_dir).state == "by hand"
        assert not data_folder("tiny", cache_dir=context.cache_dir).exists()

    def test_takes_what_is_handed_over_and_leaves_it_where_it_is(
        self, context: DownloadContext, tmp_path: Path, folder: Path
    ) -> None:
        row = self.tar(tmp_path / "val.tar")
        (tmp_path / "kit.json").write_text("{}")
        fetch_dataset(row, context, handed_over=[tmp_path / "val.tar", tmp_path / "kit.json"])
        assert (folder / "val" / "1.jpg").read_bytes() == b"1" and (folder / "kit.json").read_text() == "{}"
        assert (tmp_path / "val.tar").exists() and not (folder / "val.tar").exists()
        assert status_of(row, context.cache_dir).state == "here"
        assert not status_of(row, context.cache_dir).verified  # nobody knows the hash of kit.json

    def test_takes_them_one_after_the_other(self, context: DownloadContext, tmp_path: Path) -> None:
        row = self.tar(tmp_path / "val.tar")
        with pytest.raises(MissingDataset) as caught:
            fetch_dataset(row, context, handed_over=[tmp_path / "val.tar"])
        assert "save kit.json" in caught.value.hint and "save val.tar" not in caught.value.hint
        assert status_of(row, context.cache_dir).state == "part"

    def test_finds_what_was_put_into_the_folder(self, context: DownloadContext, tmp_path: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        row = self.tar(folder / "val.tar")
        (folder / "kit.json").write_text("{}")
        fetch_dataset(row, context)
        assert (folder / "val" / "1.jpg").exists() and (folder / "val.tar").exists()

    def test_refuses_another_file_and_names_both_hashes(self, context: DownloadContext, tmp_path: Path) -> None:
        self.tar(tmp_path / "val.tar")
        with pytest.raises(VerificationFailed, match=r"val.tar of tiny: its MD5 is \w+, not d41d8cd98f"):
            fetch_dataset(self.ROW, context, handed_over=[tmp_path / "val.tar"])
        with pytest.raises(UsageError, match="none of the files of tiny") as caught:
            (tmp_path / "x.tar").write_bytes(b"")
            fetch_dataset(self.ROW, context, handed_over=[tmp_path / "x.tar"])
        assert "val.tar, kit.json" in caught.value.hint
        with pytest.raises(UsageError, match="there is no file"):
            fetch_dataset(self.ROW, context, handed_over=[tmp_path / "missing"])

    def test_says_where_files_go_that_have_no_names_of_their_own(
        self, context: DownloadContext, tmp_path: Path
    ) -> None:
        (tmp_path / "x.parquet").write_bytes(b"")
        with pytest.raises(UsageError, match="none of the files of tiny") as caught:
            fetch_dataset(
                of(DataFile("shards", repo="o/n", pattern="*")), context, handed_over=[tmp_path / "x.parquet"]
            )
        place = data_folder("tiny", cache_dir=context.cache_dir) / "shards"
        assert caught.value.hint == f"put what you have into {place}, and leave out --from"

    def test_a_folder_is_taken_for_a_folder_only(self, context: DownloadContext, tmp_path: Path, folder: Path) -> None:
        given = tmp_path / "given"
        given.mkdir()
        (given / "1.json").write_text("{}")
        with pytest.raises(UsageError, match=r"(?m)given is a folder, not kit.json$"):
            fetch_dataset(of(DataFile("kit.json", by_hand="save it")), context, handed_over=[given])
        with pytest.raises(UsageError, match=r"(?m)given is a folder, not val.tar$") as caught:
            fetch_dataset(of(self.ROW.files[0]), context, handed_over=[given])
        assert caught.value.hint == f"what was unpacked by hand is looked for at {folder / 'val'}"
        assert not folder.exists()
        fetch_dataset(of(DataFile("annotations", by_hand="save them")), context, handed_over=[given])
        assert (folder / "annotations" / "1.json").exists()

    def test_also_what_could_be_fetched_may_be_handed_over(
        self, server: Server, context: DownloadContext, tmp_path: Path
    ) -> None:
        row = of(DataFile("a.json", url=server.url + "/a", sha256=sha256(b"{}")))
        (tmp_path / "other name").write_bytes(b"{}")
        assert fetch_dataset(row, context, handed_over=[tmp_path / "other name"])[0].verified
        assert server.asked == []


class TestAfterwards:
    def test_damage_is_found(self, server: Server, context: DownloadContext, folder: Path) -> None:
        row = of(DataFile("a.zip", url=server.put("/a", zipped(set__a=b"aa", set__b=b"bb")), gives=("set",)))
        fetch_dataset(row, context)
        assert verify(row, context.cache_dir) == []
        (folder / "set" / "a").write_bytes(b"ab")
        (folder / "set" / "b").unlink()
        assert [re.sub(r".*/", "", line) for line in verify(row, context.cache_dir)] == [
            "a is not what it was",
            "b is missing",
        ]

    @pytest.mark.parametrize("note", ["[" * 10_000, '{"members": [["a", 1e999, ""]]}', "null", ""])
    def test_a_damaged_note_counts_as_none(
        self, server: Server, context: DownloadContext, note: str, folder: Path
    ) -> None:
        row = of(DataFile("a.zip", url=server.put("/a", zipped(set__a=b"aa")), gives=("set",)))
        fetch_dataset(row, context)
        (place,) = (folder / ".clipalign").glob("*.json")
        place.write_text(note)
        assert verify(row, context.cache_dir) == []

    def test_a_note_about_a_name_that_no_file_can_have_names_it_as_missing(
        self, server: Server, context: DownloadContext, folder: Path
    ) -> None:
        row = of(DataFile("a.zip", url=server.put("/a", zipped(set__a=b"aa")), gives=("set",)))
        fetch_dataset(row, context)
        (place,) = (folder / ".clipalign").glob("*.json")
        place.write_text(place.read_text().replace("set/a", "x" * 300))
        assert [line.endswith("x is missing") for line in verify(row, context.cache_dir)] == [True]

    def test_it_can_be_removed(self, server: Server, context: DownloadContext) -> None:
        row = of(DataFile("a.zip", url=server.put("/a", zipped(set__a=b"aa")), gives=("set",)))
        fetch_dataset(row, context)
        paths, size = remove(row, context.cache_dir)
        assert size > 2 and paths == [data_folder("tiny", cache_dir=context.cache_dir)] and not paths[0].exists()
        assert remove(row, context.cache_dir) == ([], 0)

    def test_an_unfinished_one_is_known_and_removed_too(
        self, server: Server, context: DownloadContext, folder: Path
    ) -> None:
        server.put("/a", b"0123456789")
        server.next("/a", cut(5), cut(0), cut(0))
        row = of(DataFile("a", url=server.url + "/a"))
        with pytest.raises(DownloadFailed):
            fetch_dataset(row, context)
        assert partial_path(folder / "a").exists()
        assert status_of(row, context.cache_dir).state == "part"
        remove(row, context.cache_dir)
        assert status_of(row, context.cache_dir).state == "absent"


class TestLicenses:
    def test_have_four_classes(self) -> None:
        assert [license_class(name) for name in ("MIT", "CC-BY-NC-4.0", "Apple-AMLR", "")] == [
            "free", "non-commercial", "non-commercial", "none stated",
        ]  # fmt: skip

    def test_of_tags_follow_their_family(self) -> None:
        assert license_of_family("laion/CLIP-ViT-H-14-laion2B-s32B-b79K") == "MIT"
        assert license_of_family("timm/vit_large_patch14_clip_224.metaclip_2pt5b") == "CC-BY-NC-4.0"
        assert license_of_family("nobody/knows") == ""

    @pytest.mark.parametrize("kind", ["non-commercial", "consent or account", "none stated"])
    def test_that_are_not_free_must_be_accepted_by_name(self, kind: str) -> None:
        row = of(license_class=kind, license="some words")
        with pytest.raises(LicenseNotAccepted, match="some words") as caught:
            check_license(row, ("other",))
        assert caught.value.hint == "clipalign download tiny --accept-license tiny" and caught.value.exit_status == 4
        check_license(row, ("tiny",))

    def test_of_models_of_the_registry_are_free_or_asked_about(self) -> None:
        for row in all_statuses(None):
            if row.kind == "model" and row.license_class == "free":
                check_license(find(row.name), ())
            elif row.kind == "model":
                with pytest.raises(LicenseNotAccepted, match="not for commercial use"):
                    check_license(find(row.name), ())
                check_license(find(row.name), (row.name,))

    def test_of_a_users_file_are_the_users_business(self, tmp_path: Path) -> None:
        (tmp_path / "w.pt").write_bytes(b"")
        check_license(find_model(f"ViT-B-32@{tmp_path / 'w.pt'}"), ())
        assert license_of(find_model("ViT-B-32")) == ("MIT", "free")


class TestNames:
    def test_names_that_are_none_get_a_hint(self) -> None:
        with pytest.raises(UnknownDataset, match="unknown name 'imagnet'") as caught:
            find("imagnet")
        assert "imagenet" in caught.value.hint
        with pytest.raises(UnknownModel, match="unknown name 'xyzzy'"):
            find("xyzzy")
        with pytest.raises(UsageError, match="generated"):
            find("pictogram-foil")
