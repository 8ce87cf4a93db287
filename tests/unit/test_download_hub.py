"""The Hub's dialect against one on this machine, and its cache as huggingface_hub and open_clip read it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipalign.download import hub
from clipalign.download.fetch import DownloadContext, in_bytes
from clipalign.download.models import described, fetch_model
from clipalign.download.web import RefusedError, RetryPolicy, Web
from clipalign.errors import DownloadFailed, UsageError, VerificationFailed
from clipalign.models.registry import ModelRow, WeightSource, find_model
from clipalign.models.weights import find_in_hub_cache, locate, place_in_cache, remembered_hash
from tests.server import Server, cut, redirect, status

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
REPO, FILE, COMMIT = "owner/name", "model.safetensors", "c" * 40
ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("home", "hub")


@pytest.fixture
def web() -> Web:
    return Web(RetryPolicy(attempts=2, connect_seconds=2, stall_seconds=2), sleep=lambda seconds: None)


@pytest.fixture
def context(web: Web) -> DownloadContext:
    lines: list[str] = []
    web.tell = lines.append
    made = DownloadContext(web=web)
    object.__setattr__(made, "lines", lines)
    return made


def row(*sources: WeightSource, name: str = "ViT-B-32") -> ModelRow:
    return replace(find_model("ViT-B-32"), name=name, weights=sources)


class TestLookingUp:
    def test_takes_size_hash_and_commit_from_the_headers(self, server: Server, web: Web) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        found = hub.look_up(web, REPO, FILE)
        assert (found.sha256, found.size_bytes, found.commit, found.etag) == (SHA256, len(CONTENT), COMMIT, SHA256)
        assert [asked.method for asked in server.asked] == ["HEAD"]

    def test_knows_a_small_file_by_gits_name(self, server: Server, web: Web) -> None:
        server.put_in_hub(REPO, "config.json", b"{}", large=False)
        found = hub.look_up(web, REPO, "config.json")
        assert (found.sha256, found.git_sha1, found.size_bytes) == ("", "9e26dfeeb6e641a33dae4961196235bdb965b21b", 2)

    def test_follows_a_renamed_repository(self, server: Server, web: Web) -> None:
        server.put_in_hub("new/name", FILE, CONTENT)
        server.next(f"/{REPO}/resolve/main/{FILE}", redirect(f"/new/name/resolve/main/{FILE}", 307))
        assert hub.look_up(web, REPO, FILE).sha256 == SHA256

    def test_sends_the_token_to_the_endpoint_alone(
        self, server: Server, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        server.put_in_hub(REPO, FILE, CONTENT)
        hub.fetch_into_cache(web, hub.look_up(web, REPO, FILE))
        sent = {asked.path: asked.headers.get("authorization") for asked in server.asked}
        assert sent == {f"/{REPO}/resolve/main/{FILE}": "Bearer hf_secret", f"/cdn/{SHA256}": None}

    @pytest.mark.parametrize("etag", ["../../../evil", "..", "a/b", ""])
    def test_does_not_let_the_server_choose_a_path(self, server: Server, web: Web, etag: str) -> None:
        server.put(f"/{REPO}/resolve/main/{FILE}", CONTENT, etag=f'"{etag}"', headers={"X-Repo-Commit": "../../x"})
        found = hub.look_up(web, REPO, FILE)
        assert (found.etag, found.commit) == ("", "")
        with pytest.raises(DownloadFailed, match="does not say which version"):
            hub.fetch_into_cache(web, found)

    @pytest.mark.parametrize("token", ["", "hf_secret"])
    def test_401_names_the_three_things_it_may_be(
        self, server: Server, web: Web, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", token)
        server.next("*", status(401))
        with pytest.raises(RefusedError, match=r"\(401\): it is private, gated or absent") as caught:
            hub.look_up(web, REPO, FILE)
        hint = caught.value.hint
        assert f"{server.url}/{REPO}" in hint and "the name is wrong" in hint and "conditions" in hint
        assert ("the token has no access" if token else "HF_TOKEN") in hint
        assert caught.value.exit_status == 4

    def test_a_gated_repository_is_called_that(self, server: Server, web: Web) -> None:
        server.next("*", status(401, X_Error_Code="GatedRepo"))
        with pytest.raises(RefusedError, match="is gated") as caught:
            hub.look_up(web, REPO, FILE)
        assert "accept its conditions" in caught.value.hint and "HF_TOKEN" in caught.value.hint

    def test_404_says_what_is_not_there(self, server: Server, web: Web) -> None:
        for code, what in (("RepoNotFound", "no repository"), ("RevisionNotFound", "no such revision"), ("", FILE)):
            server.next("*", status(404, X_Error_Code=code))
            with pytest.raises(RefusedError, match=what):
                hub.look_up(web, REPO, FILE)


class TestItsCache:
    def test_is_read_by_huggingface_hub(self, server: Server, web: Web) -> None:
        from huggingface_hub import try_to_load_from_cache

        server.put_in_hub(REPO, FILE, CONTENT)
        server.put_in_hub(REPO, "deep/config.json", b"{}", large=False)
        found = hub.fetch_into_cache(web, hub.look_up(web, REPO, FILE))
        hub.fetch_into_cache(web, hub.look_up(web, REPO, "deep/config.json"))
        cache = str(hub.hub_cache())
        assert try_to_load_from_cache(REPO, FILE, cache_dir=cache) == str(found.path)
        assert try_to_load_from_cache(REPO, FILE, cache_dir=cache, revision=COMMIT) == str(found.path)
        assert Path(str(try_to_load_from_cache(REPO, "deep/config.json", cache_dir=cache))).read_bytes() == b"{}"
        storage = hub.storage(REPO)
        assert (storage / "refs" / "main").read_text() == COMMIT
        assert sorted(path.name for path in (storage / "blobs").iterdir()) == sorted(
            [SHA256, "9e26dfeeb6e641a33dae4961196235bdb965b21b"]
        )
        assert found.path.is_symlink() and not found.path.readlink().is_absolute()

    def test_that_huggingface_hub_filled_needs_no_fetch(self, server: Server, web: Web) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        blob = hub.storage(REPO) / "blobs" / SHA256
        blob.parent.mkdir(parents=True)
        blob.write_bytes(CONTENT)
        found = hub.fetch_into_cache(web, hub.look_up(web, REPO, FILE))
        assert found.verified and [asked.method for asked in server.asked] == ["HEAD"]
        assert find_in_hub_cache(REPO, FILE) == found.path

    def test_keeps_a_part_that_the_next_run_goes_on_with(self, server: Server, web: Web) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        server.next(f"/cdn/{SHA256}", cut(1000), cut(0))
        with pytest.raises(DownloadFailed):
            hub.fetch_into_cache(web, hub.look_up(web, REPO, FILE))
        assert find_in_hub_cache(REPO, FILE) is None
        assert hub.fetch_into_cache(web, hub.look_up(web, REPO, FILE)).resumed_bytes == 1000

    def test_takes_no_file_that_is_not_what_the_hub_says(self, server: Server, web: Web) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        server.put(f"/cdn/{SHA256}", CONTENT[::-1])
        with pytest.raises(VerificationFailed, match=SHA256):
            hub.fetch_into_cache(web, hub.look_up(web, REPO, FILE))
        assert find_in_hub_cache(REPO, FILE) is None

    def test_takes_no_file_that_the_hub_says_is_another(self, server: Server, web: Web) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        with pytest.raises(VerificationFailed, match="the Hub says"):
            hub.fetch_into_cache(web, hub.look_up(web, REPO, FILE), sha256="0" * 64)
        assert f"/cdn/{SHA256}" not in [asked.path for asked in server.asked]


class TestAFolder:
    ENTRIES = (
        {"type": "directory", "path": "data"},
        {"type": "file", "path": "data/b.parquet", "size": 3, "lfs": {"oid": "a" * 64, "size": 300}},
        {"type": "file", "path": "data/a.json", "size": 2, "oid": "b" * 40},
    )

    def test_is_listed_with_sizes_and_hashes(self, server: Server, web: Web) -> None:
        path = f"/api/datasets/{REPO}/tree/main/data?recursive=true"
        first, second = json.dumps(self.ENTRIES[:2]).encode(), json.dumps(self.ENTRIES[2:]).encode()
        link = f'<{server.url}{path}&cursor=x>; rel="next"'
        server.next(path, status(200, first, Link=link))
        server.next(f"{path}&cursor=x", status(200, second))
        found = hub.list_folder(web, REPO, "data", dataset=True)
        assert [(one.path, one.size_bytes) for one in found] == [("data/a.json", 2), ("data/b.parquet", 300)]
        assert (found[1].sha256, found[0].git_sha1) == ("a" * 64, "b" * 40)
        assert found[0].url == f"{server.url}/datasets/{REPO}/resolve/main/data/a.json"

    @pytest.mark.parametrize("body", [b"<html>", b"{}", b"[" * 100_000, b"[" + b"9" * 5000 + b"]", b"\xff"])
    def test_that_is_no_list_is_an_error(self, server: Server, web: Web, body: bytes) -> None:
        server.next("*", status(200, body))
        with pytest.raises(DownloadFailed, match="no list of files"):
            hub.list_folder(web, REPO, "data")

    @pytest.mark.parametrize(
        "path", ["../evil", "/evil", "a/../../evil", "a//b", "c:evil", "a\\b", "nul\0", "\ud800", "x" * 5000, None, 7]
    )
    def test_with_a_file_that_leads_elsewhere_is_refused(self, server: Server, web: Web, path: object) -> None:
        server.next("*", status(200, json.dumps([{"type": "file", "path": path}]).encode()))
        with pytest.raises(DownloadFailed, match="an invalid file name"):
            hub.list_folder(web, REPO, "data")

    def test_with_two_files_of_one_name_is_refused(self, server: Server, web: Web) -> None:
        server.next("*", status(200, json.dumps([{"type": "file", "path": name} for name in ("a", "A")]).encode()))
        with pytest.raises(DownloadFailed, match="'A' twice"):
            hub.list_folder(web, REPO, "data")

    @pytest.mark.parametrize("size", ["9" * 5000, -3, 1e300, None, [], {}, "x", 10**30])
    def test_with_an_odd_size_has_none(self, server: Server, web: Web, size: object) -> None:
        for entry in ({"size": size}, {"lfs": {"size": size}}, {"lfs": size}):
            server.next("*", status(200, json.dumps([{"type": "file", "path": "a", **entry}]).encode()))
            assert hub.list_folder(web, REPO, "data")[0].size_bytes == 0

    def test_without_an_end_of_one_page_is_not_read(
        self, server: Server, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hub, "MAX_PAGE_BYTES", 1000)
        server.next("*", status(200, gzip.compress(bytes(10**7)), Content_Encoding="gzip"))
        with pytest.raises(DownloadFailed, match="larger than"):
            hub.list_folder(web, REPO, "data")

    @pytest.mark.parametrize("suffix", [".evil.example/x", "@127.0.0.2/x", "1/x"])
    def test_never_takes_the_token_to_another_server(
        self, server: Server, web: Web, suffix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        asked: list[Any] = []

        def once(action: Any) -> Any:
            asked.append(action)
            return action()

        monkeypatch.setattr(web, "with_retries", once)
        server.next("*", status(200, b"[]", Link=f'<{server.url}{suffix}>; rel="next"'))
        with pytest.raises(DownloadFailed, match="another server, which is not asked"):
            hub.list_folder(web, REPO, "data")
        assert len(asked) == 1

    @pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3"])
    def test_and_odd_lengths_of_a_file(self, server: Server, web: Web, length: str) -> None:
        headers = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{SHA256}"', "X-Linked-Size": length}
        server.put(f"/{REPO}/resolve/main/{FILE}", CONTENT, headers=headers)
        assert hub.look_up(web, REPO, FILE).size_bytes == 0


class TestAModel:
    HUB = WeightSource("hub", repo=REPO, file=FILE)

    def test_goes_into_the_hubs_cache(self, server: Server, context: DownloadContext, home: Path) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        (found,) = fetch_model(row(self.HUB), context)
        assert found.verified and found.fresh and found.sha256 == SHA256
        assert locate(row(self.HUB)).path == found.path == find_in_hub_cache(REPO, FILE)
        (line,) = context.lines  # type: ignore[attr-defined]
        assert line == f"fetching ViT-B-32: {FILE}, 10.2 kB, from {described(self.HUB)}"
        assert remembered_hash(found.path, home / ".cache" / "clipalign") == SHA256

    def test_that_is_here_is_left_alone(self, server: Server, context: DownloadContext) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        fetch_model(row(self.HUB), context)
        asked = len(server.asked)
        (found,) = fetch_model(row(self.HUB), context)
        assert not found.fresh and found.verified and len(server.asked) == asked

    def test_goes_into_the_cache_the_user_named(self, server: Server, web: Web, tmp_path: Path) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        (found,) = fetch_model(row(self.HUB), DownloadContext(web=web, cache_dir=tmp_path / "mine"))
        assert found.path == place_in_cache(self.HUB, tmp_path / "mine")
        assert locate(row(self.HUB), cache_dir=tmp_path / "mine").path == found.path
        assert not (tmp_path / "hub").exists()

    def test_from_an_address_goes_where_open_clip_looks(
        self, server: Server, context: DownloadContext, home: Path
    ) -> None:
        source = WeightSource("url", url=server.put("/models/abc/clip.pt", CONTENT), sha256=SHA256)
        (found,) = fetch_model(row(source), context)
        assert found.path == home / ".cache" / "clip" / "clip.pt" and found.verified
        assert locate(row(source)).path == found.path

    def test_has_its_first_digits_checked(self, server: Server, context: DownloadContext) -> None:
        url = server.put("/models/abc/clip.pt", CONTENT)
        assert fetch_model(row(WeightSource("url", url=url, sha256=SHA256[:8])), context)[0].verified
        with pytest.raises(VerificationFailed):
            fetch_model(row(WeightSource("url", url=server.put("/other.pt", CONTENT), sha256="01234567")), context)

    def test_may_have_a_second_source(self, server: Server, context: DownloadContext) -> None:
        server.put_in_hub("other/name", FILE, CONTENT)
        (found,) = fetch_model(row(self.HUB, replace(self.HUB, repo="other/name")), context)
        assert found.source.endswith("other/name")

    def test_that_nobody_has_is_said_for_the_first_source(self, context: DownloadContext) -> None:
        with pytest.raises(RefusedError, match=rf"no {FILE} in {REPO} \(404\); nor from another of its sources"):
            fetch_model(row(self.HUB, replace(self.HUB, repo="other/name")), context)

    def test_a_wrong_hash_is_no_reason_to_try_the_next(self, server: Server, context: DownloadContext) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        server.put_in_hub("other/name", FILE, CONTENT)
        with pytest.raises(VerificationFailed):
            fetch_model(row(replace(self.HUB, sha256="0" * 64), replace(self.HUB, repo="other/name")), context)

    def test_that_is_damaged_is_replaced_by_a_whole_one(self, server: Server, context: DownloadContext) -> None:
        server.put_in_hub(REPO, FILE, CONTENT)
        (found,) = fetch_model(row(self.HUB), context)
        found.path.resolve().write_bytes(CONTENT[:-1])
        with pytest.raises(VerificationFailed, match="damaged"):
            locate(row(self.HUB))
        (found,) = fetch_model(row(self.HUB), context)
        assert found.fresh and found.path.read_bytes() == CONTENT

    def test_that_is_damaged_and_cannot_be_had_is_left_as_it_is(
        self, server: Server, context: DownloadContext, home: Path
    ) -> None:
        path = home / ".cache" / "clip" / "clip.pt"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"mine")
        with pytest.raises(RefusedError):
            fetch_model(row(WeightSource("url", url=f"{server.url}/models/clip.pt", sha256=SHA256)), context)
        assert path.read_bytes() == b"mine"

    def test_of_the_users_own_is_not_fetched(self, context: DownloadContext, tmp_path: Path) -> None:
        (tmp_path / "w.pt").write_bytes(b"")
        with pytest.raises(UsageError, match="a file of yours"):
            fetch_model(find_model(f"ViT-B-32@{tmp_path / 'w.pt'}"), context)

    def test_of_the_users_own_is_brought_the_text_side_that_it_lacks(
        self, server: Server, context: DownloadContext, tmp_path: Path
    ) -> None:
        """The line that loading it names: ``CONFIG.json@FILE`` whose tokenizer is on the Hub."""
        config, weights = tmp_path / "mine.json", tmp_path / "w.pt"
        config.write_text('{"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"hf_tokenizer_name": "owner/words"}}')
        weights.write_bytes(b"")
        server.put_in_hub("owner/words", "tokenizer.json", b"{}", large=False)
        mine = find_model(f"{config}@{weights}")
        (found,) = fetch_model(mine, context)
        assert found.fresh and found.path == find_in_hub_cache("owner/words", "tokenizer.json")
        (found,) = fetch_model(mine, context)
        assert not found.fresh and found.path == weights

    def test_of_the_package_is_here(self, context: DownloadContext) -> None:
        (found,) = fetch_model(find_model("pictogram"), context)
        assert not found.fresh and found.verified


@pytest.fixture(scope="module")
def weights() -> bytes:
    """Of ViT-B-32's shapes would be 600 MB; these are a small architecture's, in open_clip's own format."""
    return (ROOT / "tests" / "golden" / "tiny-clip.safetensors").read_bytes()


IN_OPEN_CLIP = """
import json, sys, warnings
warnings.simplefilter("ignore")
from clipalign.models.load import import_open_clip
open_clip = import_open_clip()
open_clip.add_model_config(sys.argv[1])
from open_clip import pretrained
pretrained._PRETRAINED["tiny-clip"] = {"tiny": pretrained._pcfg(hf_hub="owner/name/")}
model = open_clip.create_model("tiny-clip", pretrained="tiny")
print("loaded", sum(p.numel() for p in model.parameters()))
"""


def test_open_clip_itself_loads_what_was_fetched_without_a_network(
    server: Server, web: Web, weights: bytes, tmp_path: Path
) -> None:
    """For real: a process with ``HF_HUB_OFFLINE`` and the cache that was filled here."""
    config = ROOT / "tests" / "golden" / "tiny-clip.json"
    server.put_in_hub(REPO, "open_clip_model.safetensors", weights)
    hub.fetch_into_cache(web, hub.look_up(web, REPO, "open_clip_model.safetensors"))
    done = subprocess.run(
        [sys.executable, "-c", IN_OPEN_CLIP, str(config)],
        cwd=ROOT,
        env=os.environ
        | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://0.0.0.0:1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.startswith("loaded "), done.stderr


def test_a_tag_of_open_clip_is_fetched_and_found(server: Server, context: DownloadContext) -> None:
    """The file of the tag's own repository, into the cache where open_clip looks."""
    repo = "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"
    server.put_in_hub(repo, "open_clip_model.safetensors", CONTENT)
    spec = "ViT-L-14@datacomp_xl_s13b_b90k"
    (found,) = fetch_model(find_model(spec), context)
    assert found.path == find_in_hub_cache(repo, "open_clip_model.safetensors")
    from clipalign.models.load import resolve_tag

    assert locate(resolve_tag(find_model(spec))).path == found.path


def test_a_tag_with_a_tokenizer_of_its_own_brings_that_too(server: Server, context: DownloadContext) -> None:
    server.put_in_hub("laion/CLIP-ViT-B-32-roberta-base-laion2B-s12B-b32k", "open_clip_pytorch_model.bin", CONTENT)
    for file in ("config.json", "tokenizer.json", "vocab.json"):
        server.put_in_hub("roberta-base", file, b"{}", large=False)
    brought = fetch_model(find_model("roberta-ViT-B-32@laion2b_s12b_b32k"), context)
    assert [one.path.name for one in brought] == [
        "open_clip_pytorch_model.bin", "config.json", "tokenizer.json", "vocab.json",
    ]  # fmt: skip
    assert find_in_hub_cache("roberta-base", "config.json")


def test_a_mirror_that_names_no_versions_is_not_called_a_defect(server: Server, context: DownloadContext) -> None:
    server.put_in_hub("laion/CLIP-ViT-B-32-roberta-base-laion2B-s12B-b32k", "open_clip_pytorch_model.bin", CONTENT)
    server.put("/roberta-base/resolve/main/config.json", b"{}", etag="")
    with pytest.raises(DownloadFailed, match=r"does not say which version of config.json of roberta-base") as caught:
        fetch_model(find_model("roberta-ViT-B-32@laion2b_s12b_b32k"), context)
    assert "HF_ENDPOINT" in caught.value.hint


def test_sizes_are_told_in_decimal_units() -> None:
    assert [in_bytes(n) for n in (7, 1500, 605_000_000, 1_710_000_000)] == ["7 bytes", "1.5 kB", "605 MB", "1.71 GB"]
