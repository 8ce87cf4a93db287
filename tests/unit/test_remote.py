"""Inputs and pictures at addresses: read in blocks with retries, and nothing else reached through them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clipalign.data import remote
from clipalign.data.readers import open_input
from clipalign.data.remote import open_address
from clipalign.data.sources import read_image
from clipalign.errors import DownloadFailed, ImageUnreadable, InputUnreadable, MissingExtra, UsageError
from tests.server import Server, cut, running

fsspec: Any = pytest.importorskip("fsspec")

PICTURE = (Path(__file__).parents[2] / ".assets" / "examples" / "images" / "fruit.png").read_bytes()


pytestmark = pytest.mark.usefixtures("memory")


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as one:
        yield one


def tar_of(names: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for number in range(names):
            for ending, content in ((".png", PICTURE), (".txt", b"two apples")):
                member = tarfile.TarInfo(f"{number:04}{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


LINES = b"".join(json.dumps({"image": f"{n}.png", "text": "a pear"}).encode() + b"\n" for n in range(3))
CSV = b"image,text\n0.png,a pear\n1.png,a pear\n2.png,a pear\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", LINES), ("a.jsonl.gz", gzip.compress(LINES, mtime=0)), ("a.csv", CSV), ("a.tar", tar_of(3))],
)
def test_every_kind_of_file_is_read_from_a_store(memory: Any, name: str, content: bytes) -> None:
    memory.pipe_file(f"/data/{name}", content)
    records = list(open_input([f"memory://data/{name}"]).records())
    assert len(records) == 3
    assert not any(record.problem for record in records)


def test_parquet_is_read_from_a_store(memory: Any) -> None:
    arrow: Any = pytest.importorskip("pyarrow")
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    stream = io.BytesIO()
    parquet.write_table(arrow.table({"image": ["0.png", "1.png"], "text": ["a pear", "a cup"]}), stream)
    memory.pipe_file("/data/a.parquet", stream.getvalue())
    source = open_input(["memory://data/a.parquet"])
    assert (source.count(), [record.text for record in source.records()]) == (2, ["a pear", "a cup"])


def test_ranges_and_patterns(memory: Any) -> None:
    for number in range(12):
        memory.pipe_file(f"/data/{number:03}.csv", b"image,text\n%d.png,a pear\n" % number)
    by_range = [record.image_name for record in open_input(["memory://data/{000..011}.csv"]).records()]
    assert by_range == [f"{number}.png" for number in range(12)]
    assert [record.image_name for record in open_input(["memory://data/*.csv"]).records()] == by_range
    with pytest.raises(InputUnreadable, match="no file matches"):
        open_input(["memory://data/*.tar"])
    with pytest.raises(InputUnreadable, match=r"there is no memory://data/012\.csv"):
        open_input(["memory://data/{000..012}.csv"])


def test_relative_pictures_are_beside_the_list(memory: Any) -> None:
    memory.pipe_file("/data/a.csv", b"image,text\nphotos/0.png,a pear\n")
    memory.pipe_file("/data/photos/0.png", PICTURE)
    (record,) = open_input(["memory://data/a.csv"]).records()
    assert (record.image_name, record.image) == ("photos/0.png", "memory://data/photos/0.png")
    assert read_image(str(record.image)) == PICTURE


class TestAnUntrustedList:
    """What somebody else's list may name, and what not."""

    @staticmethod
    def problem(folder: Path, image: str, **more: Any) -> str:
        (folder / "a.jsonl").write_text(json.dumps({"image": image, "text": "a pear"}))
        (record,) = open_input([str(folder / "a.jsonl")], **more).records()
        return record.problem.message if record.problem else ""

    @pytest.mark.parametrize("image", ["s3://bucket/a.png", "memory://data/a.png", "local:///etc/passwd", "tar://a"])
    def test_no_store(self, tmp_path: Path, image: str) -> None:
        assert "is not read for" in self.problem(tmp_path, image)

    @pytest.mark.parametrize(
        ("image", "hint"), [("file:///x/a.png", "give a path"), ("s3://b/a.png", "--image-root s3://b/ allows it")]
    )
    def test_the_hint_is_what_helps(self, tmp_path: Path, image: str, hint: str) -> None:
        (tmp_path / "a.jsonl").write_text(json.dumps({"image": image, "text": "a pear"}))
        (record,) = open_input([str(tmp_path / "a.jsonl")]).records()
        assert record.problem is not None and record.problem.hint == hint

    def test_a_store_that_the_user_named(self, tmp_path: Path) -> None:
        root = {"image_root": Path("memory://data/")}
        assert self.problem(tmp_path, "memory://data/a.png", **root) == ""
        assert "is not read for" in self.problem(tmp_path, "memory://other/a.png", **root)

    @pytest.mark.parametrize("image", ["file:///etc/passwd", "FILE:///etc/passwd", "local:///etc/passwd", "data://x"])
    def test_no_file_of_this_machine_by_an_address(self, image: str) -> None:
        with pytest.raises(ImageUnreadable):
            read_image(image)

    @pytest.mark.parametrize("image", ["simplecache::file:///etc/passwd", "tar://x::file:///etc/passwd"])
    def test_no_chain(self, tmp_path: Path, image: str) -> None:
        with pytest.raises(ImageUnreadable):
            read_image(image)

    @pytest.mark.parametrize("image", ["/etc/passwd", "../secret.png", "a/../../secret.png", "~/secret.png"])
    @pytest.mark.parametrize("root", [None, Path("photos")])
    def test_a_remote_list_names_no_file_of_this_machine(
        self, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str, root: Path | None
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "photos").mkdir()
        memory.pipe_file("/data/a.jsonl", json.dumps({"image": image, "text": "a pear"}).encode())
        (record,) = open_input(["memory://data/a.jsonl"], image_root=root).records()
        assert record.problem is not None
        assert "leads out of the folder" in record.problem.message

    def test_the_path_inside_a_store_is_no_chain(self, memory: Any) -> None:
        with pytest.raises(ImageUnreadable, match="there is no"):
            read_image("memory://data/a.png::file:///etc/passwd")


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("file:///etc/a.csv", UsageError, "file:// is not read"),
        ("simplecache://a.csv", UsageError, "simplecache:// is not read"),
        ("nothing://a.csv", UsageError, "nothing:// is not read"),
        ("https://me:secret@example.org/a.csv", UsageError, "no password"),
    ],
)
def test_an_input_that_is_never_opened(name: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        open_input([name])
    assert "secret" not in str(caught.value)


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(scheme: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(MissingExtra, match="s3:// needs s3fs") as caught:
        open_input(["s3://bucket/a.csv"])
    assert (caught.value.exit_status, caught.value.hint) == (2, "pip install 'clipalign[remote]' s3fs")


def test_offline_means_no_address(memory: Any) -> None:
    with pytest.raises(UsageError, match="not read while offline"):
        open_input(["memory://data/a.csv"], offline=True)


# --- faults ---


def failing(times: int, read: Callable[..., bytes]) -> Callable[..., bytes]:
    """Fail every other call, ``times`` times."""
    calls = 0

    def faulty(*args: Any, **more: Any) -> bytes:
        nonlocal calls
        calls += 1
        if calls % 2 and calls <= 2 * times:
            raise OSError("503 Slow Down")
        return read(*args, **more)

    return faulty


def test_a_store_that_fails_now_and_then_loses_nothing(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MIN_BLOCK_BYTES", 4096)
    monkeypatch.setattr(remote, "MAX_BLOCK_BYTES", 4096)
    memory.pipe_file("/data/a.tar", tar_of(50))
    monkeypatch.setattr(type(memory), "cat_file", failing(1000, type(memory).cat_file))
    records = list(open_input(["memory://data/a.tar"]).records())
    assert [record.id for record in records] == [f"{number:04}" for number in range(50)]
    assert all(record.image == PICTURE for record in records)


def test_a_store_that_fails_for_good_ends_the_run_and_passes_no_half_for_the_whole(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe_file("/data/a.tar", tar_of(50))
    monkeypatch.setattr(remote, "MIN_BLOCK_BYTES", 4096)
    monkeypatch.setattr(remote, "MAX_BLOCK_BYTES", 4096)
    source = open_input(["memory://data/a.tar"])
    read, calls = type(memory).cat_file, []

    def faulty(*args: Any, **more: Any) -> bytes:
        calls.append(1)
        if len(calls) > 3:
            raise OSError("503 Slow Down")
        content: bytes = read(*args, **more)
        return content

    monkeypatch.setattr(type(memory), "cat_file", faulty)
    with pytest.raises(DownloadFailed, match="503 Slow Down, 6 times in a row"):
        list(source.records())


@pytest.mark.parametrize("ranges", [True, False])
def test_a_tar_behind_http(server: Server, ranges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MIN_BLOCK_BYTES", 4096)
    address = server.put("/x.tar", tar_of(20), ranges=ranges)
    server.next("/x.tar", cut(1000), lambda handler: handler.answer(503, b"busy"))
    records = list(open_input([address]).records())
    assert [record.id for record in records] == [f"{number:04}" for number in range(20)]


def test_a_file_that_changes_while_it_is_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MIN_BLOCK_BYTES", 4096)
    address = server.put("/x.tar", tar_of(20))
    stream = open_address(address)
    stream.read(1000)
    server.put("/x.tar", tar_of(20), etag='"v2"')
    with pytest.raises(InputUnreadable, match="changed while it was read"):
        stream.read()


def test_at_most_so_many_pictures_come_from_one_host_at_once(server: Server) -> None:
    import threading
    import time

    now, most, lock = 0, 0, threading.Lock()

    def slow(handler: Any) -> bool:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return False

    address = server.put("/a.png", PICTURE)
    server.always["/a.png"] = slow
    threads = [threading.Thread(target=read_image, args=(address,)) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 < most <= remote.CONNECTIONS_PER_HOST
    assert not remote._busy


@pytest.mark.parametrize(
    ("status", "kind"), [(404, "fetch_404"), (403, "fetch_403"), (503, "fetch_503"), (0, "fetch_no_connection")]
)
def test_the_kind_of_a_failure(server: Server, monkeypatch: pytest.MonkeyPatch, status: int, kind: str) -> None:
    monkeypatch.setattr("clipalign.data.remote.ATTEMPTS", 1)
    address = server.put("/a.png", PICTURE) if not status else f"{server.url}/a.png"
    server.always["/a.png"] = cut(10) if not status else lambda handler: handler.answer(status)
    with pytest.raises(ImageUnreadable) as caught:
        read_image(address)
    assert caught.value.type == kind
