"""Where weights are looked for, and what is said when they are not there or not right."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from clipalign.cache import cache_folder
from clipalign.errors import MissingWeights, VerificationFailed
from clipalign.models import weights
from clipalign.models.registry import ModelRow, WeightSource, find_model
from clipalign.models.weights import hash_file, locate, place_in_cache

CONTENT = b"some weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HUB = WeightSource("hub", repo="owner/name", file="model.safetensors")
URL = WeightSource("url", url="https://example.org/models/abc/clip.pt", sha256=SHA256)


pytestmark = pytest.mark.usefixtures("home")


def row(*sources: WeightSource) -> ModelRow:
    return replace(find_model("ViT-B-32"), weights=sources)


def write(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_own_cache_comes_first(home: Path, tmp_path: Path) -> None:
    path = write(place_in_cache(HUB, tmp_path / "own"))
    _hub_snapshot(home)
    found = locate(row(HUB), cache_dir=tmp_path / "own")
    assert (found.path, found.source, found.sha256) == (path, HUB, SHA256)


def _hub_snapshot(home: Path) -> Path:
    folder = home / "hub" / "models--owner--name"
    write(folder / "refs" / "main", b"0123abcd")
    return write(folder / "snapshots" / "0123abcd" / "model.safetensors")


def test_hugging_faces_cache_is_shared(home: Path) -> None:
    path = _hub_snapshot(home)
    assert locate(row(HUB)).path == path


def test_a_revision_is_respected(home: Path) -> None:
    path = _hub_snapshot(home)
    assert locate(row(replace(HUB, revision="0123abcd"))).path == path
    with pytest.raises(MissingWeights):
        locate(row(replace(HUB, revision="ffff")))


def test_openais_cache_is_shared(home: Path) -> None:
    path = write(home / ".cache" / "clip" / "clip.pt")
    assert locate(row(URL)).path == path


def test_sources_are_tried_in_order(home: Path) -> None:
    path = write(home / ".cache" / "clip" / "clip.pt")
    assert locate(row(HUB, URL)).path == path
    assert locate(row(HUB, URL)).source == URL


def test_another_file_of_that_name_is_refused(home: Path) -> None:
    path = write(home / ".cache" / "clip" / "clip.pt", b"half a file")
    with pytest.raises(VerificationFailed) as caught:
        locate(row(URL))
    assert str(path) in caught.value.message and SHA256[:12] in caught.value.message
    assert caught.value.hint == "delete it, then: clipalign download ViT-B-32"
    assert caught.value.exit_status == 4


def test_the_first_digits_of_a_hash_are_enough(home: Path) -> None:
    write(home / ".cache" / "clip" / "clip.pt")
    assert locate(row(replace(URL, sha256=SHA256[:8]))).sha256 == SHA256


def test_missing_weights_name_the_line_that_fetches_them() -> None:
    with pytest.raises(MissingWeights, match="the weights of ViT-B-32 are not on this machine") as caught:
        locate(find_model("ViT-B-32"))
    assert caught.value.exit_status == 4 and caught.value.hint == "clipalign download ViT-B-32"
    with pytest.raises(MissingWeights, match=r"offline \(or HF_HUB_OFFLINE\) forbids"):
        locate(find_model("ViT-B-32"), offline=True)


@pytest.mark.parametrize("refused", ["open", "is_file"])
def test_weights_that_may_not_be_read_say_so(home: Path, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    """The file's own rights, or those of its folder; superusers may read anything, so the refusal is played."""
    path = write(home / "closed.safetensors", refused.encode())

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, refused, refuse)
    with pytest.raises(MissingWeights, match=r"(?m)closed\.safetensors cannot be read: Permission denied$") as caught:
        locate(row(WeightSource("file", file=str(path))))
    assert caught.value.hint == "check its rights" and caught.value.input == "ViT-B-32"


def test_missing_embedded_weights_are_an_installation_that_is_broken() -> None:
    with pytest.raises(MissingWeights, match="missing from this installation"):
        locate(row(WeightSource("embedded", file="/nowhere/w.safetensors")))


def test_a_blob_of_hugging_faces_cache_must_have_the_hash_it_is_named_after(home: Path) -> None:
    path = _hub_snapshot(home)
    for name, right in ((SHA256, True), (SHA256[::-1], False), ("0123abcd" * 5, True)):  # the last is git's name
        blob = write(home / "hub" / "models--owner--name" / "blobs" / name)
        path.unlink()
        path.symlink_to(blob)
        if right:
            assert locate(row(HUB)).path == path
        else:
            with pytest.raises(VerificationFailed, match=f"not {SHA256[::-1][:12]}"):
                locate(row(HUB))


class TestHashes:
    @pytest.fixture(autouse=True)
    def remember_everything(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weights, "_REMEMBERED_FROM_BYTES", 0)

    def test_are_computed_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "w.pt")
        assert hash_file(path, tmp_path / "cache") == SHA256
        monkeypatch.setattr(weights, "sha256_of", lambda _: pytest.fail("hashed again"))
        assert hash_file(path, tmp_path / "cache") == SHA256

    def test_are_computed_again_when_the_file_changed(self, tmp_path: Path) -> None:
        path = write(tmp_path / "w.pt")
        hash_file(path, tmp_path / "cache")
        path.write_bytes(b"new weights!")
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        assert hash_file(path, tmp_path / "cache") == hashlib.sha256(b"new weights!").hexdigest()

    def test_survive_a_broken_record(self, tmp_path: Path) -> None:
        path = write(tmp_path / "w.pt")
        hash_file(path, tmp_path / "cache")
        for record in (tmp_path / "cache" / "hashes").iterdir():
            record.write_text("{")
        assert hash_file(path, tmp_path / "cache") == SHA256

    def test_need_no_writable_cache(self, tmp_path: Path) -> None:
        write(tmp_path / "cache", b"a file, not a folder")
        assert hash_file(write(tmp_path / "w.pt"), tmp_path / "cache") == SHA256


def test_without_a_home_the_cache_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", fail)
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == Path(tempfile.gettempdir()) / "clipalign"
    with pytest.raises(MissingWeights):
        locate(row(URL))


def test_a_file_is_read_once_while_it_stays_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(home / "small.safetensors")
    read: list[Path] = []
    whole = weights.sha256_of

    def sha256_of(path: Path) -> str:
        read.append(path)
        return whole(path)

    monkeypatch.setattr(weights, "sha256_of", sha256_of)
    assert hash_file(file, home) == hash_file(file, home) == SHA256
    assert len(read) == 1
    os.utime(write(file, b"other bytes!"), ns=(1, 1))
    assert hash_file(file, home) == hashlib.sha256(b"other bytes!").hexdigest()
    weights.forget_hash(file, home)
    hash_file(file, home)
    assert len(read) == 3
