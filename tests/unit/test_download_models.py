"""Repositories of the Hub that somebody names: what they need is fetched, verified and resumed, and then loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from clipalign.device import DeviceChoice
from clipalign.download.fetch import DownloadContext
from clipalign.download.models import fetch_model
from clipalign.download.web import RetryPolicy, Web
from clipalign.errors import DownloadFailed, MissingWeights, ModelMismatch, VerificationFailed
from clipalign.models.load import load_model
from clipalign.models.registry import find_model
from tests.checkpoints import config, state_dict
from tests.server import Server, cut

REPO, COMMIT = "owner/clip", "c" * 40
CPU = DeviceChoice("cpu", "fp32", "")
NUMBERS = {"mean": [0.5, 0.4, 0.3], "std": [0.25] * 3}
CONFIG = json.dumps({"model_cfg": config(), "preprocess_cfg": NUMBERS}).encode()
OTHERS = {"README.md": b"a model", "onnx/model.onnx": bytes(9), "training_args.bin": bytes(9)}


pytestmark = pytest.mark.usefixtures("home", "hub")


@pytest.fixture
def context() -> DownloadContext:
    policy = RetryPolicy(attempts=3, connect_seconds=2, stall_seconds=2)
    return DownloadContext(web=Web(policy, sleep=lambda seconds: None))


def shards() -> dict[str, bytes]:
    """The weights in two files with an index."""
    tensors = {name: value.contiguous() for name, value in state_dict().items()}
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    places = {name: names[number % 2] for number, name in enumerate(tensors)}
    files = {file: save({name: tensors[name] for name in tensors if places[name] == file}) for file in names}
    return files | {"model.safetensors.index.json": json.dumps({"weight_map": places}).encode()}


def put(server: Server, files: dict[str, bytes], revision: str = "main") -> None:
    """A repository with a list of its files; weights are kept as the Hub keeps large files."""
    listed = []
    for name, content in files.items():
        large = name.endswith((".safetensors", ".bin", ".onnx"))
        for wanted in (revision, COMMIT):
            server.put_in_hub(REPO, name, content, large=large, revision=wanted)
        listed.append({"type": "file", "path": name, "size": len(content)})
    server.put(f"/api/models/{REPO}/tree/{revision}?recursive=true", json.dumps(listed).encode())


def whole(server: Server) -> None:
    put(server, {"open_clip_config.json": CONFIG, "open_clip_model.safetensors": save(dict(state_dict())), **OTHERS})


class TestARepository:
    def test_is_fetched_and_loads(self, server: Server, context: DownloadContext) -> None:
        whole(server)
        with pytest.raises(MissingWeights) as caught:
            load_model(REPO, choice=CPU)
        assert caught.value.hint == f"clipalign download {REPO}" and caught.value.exit_status == 4
        fetched = fetch_model(find_model(REPO), context)
        assert [one.path.name for one in fetched] == ["open_clip_config.json", "open_clip_model.safetensors"]
        assert all(one.fresh and one.verified for one in fetched)
        loaded = load_model(REPO, choice=CPU)
        assert torch.equal(loaded.network.visual.proj, state_dict()["visual.proj"])
        assert (loaded.mean, loaded.notes) == ((0.5, 0.4, 0.3), ())

    def test_in_several_files_is_resumed_where_it_was_cut(self, server: Server, context: DownloadContext) -> None:
        files = shards()
        put(server, {"config.json": CONFIG, **files, **OTHERS})
        (first, *_) = files
        large = next(path for path, held in server.files.items() if held.content == files[first])
        server.next(large, cut(1000))
        fetched = fetch_model(find_model(f"hf-hub:{REPO}"), context)
        assert {one.path.name for one in fetched} == {"config.json", *files}
        assert server.seen("Range", large) == [None, "bytes=1000-"]
        assert torch.equal(load_model(REPO, choice=CPU).network.visual.proj, state_dict()["visual.proj"])

    def test_with_a_shard_missing_is_not_here(self, server: Server, context: DownloadContext) -> None:
        put(server, {"config.json": CONFIG, **shards()})
        fetched = fetch_model(find_model(REPO), context)
        fetched[-1].path.unlink()
        with pytest.raises(MissingWeights, match=f"the weights of {REPO} are not on this machine"):
            load_model(REPO, choice=CPU)

    def test_with_a_damaged_shard_is_said(self, server: Server, context: DownloadContext) -> None:
        put(server, {"config.json": CONFIG, **shards()})
        shard = fetch_model(find_model(REPO), context)[-1].path.resolve()
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)
        with pytest.raises(VerificationFailed, match="damaged or another file"):
            load_model(REPO, choice=CPU)

    def test_at_a_revision_and_in_a_folder_of_the_users(
        self, server: Server, context: DownloadContext, tmp_path: Path
    ) -> None:
        put(server, {"config.json": CONFIG, **shards()}, revision="v1")
        mine = DownloadContext(web=context.web, cache_dir=tmp_path / "mine")
        fetched = fetch_model(find_model(f"{REPO}@v1"), mine)
        assert {one.path.parent for one in fetched} == {tmp_path / "mine" / "weights" / "owner--clip" / "v1"}
        assert load_model(f"{REPO}@v1", choice=CPU, cache_dir=tmp_path / "mine").mean == (0.5, 0.4, 0.3)
        with pytest.raises(MissingWeights):
            load_model(REPO, choice=CPU, cache_dir=tmp_path / "mine")

    def test_that_is_here_needs_no_network(self, server: Server, context: DownloadContext) -> None:
        whole(server)
        first = fetch_model(find_model(REPO), context)
        asked = len(server.asked)
        again = fetch_model(find_model(REPO), context)
        assert [one.path for one in again] == [one.path for one in first] and not any(one.fresh for one in again)
        assert {one.method for one in server.asked[asked + 1 :]} == {"HEAD"}
        server.files.clear()
        server.always.clear()
        (alone,) = fetch_model(find_model(REPO), context)
        assert alone.path.name == "open_clip_model.safetensors" and alone.verified and not alone.fresh

    @pytest.mark.parametrize(
        ("files", "why"),
        [
            ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"}, "holds a LoRA adapter, not a model"),
            ({"config.json": b"{}", **OTHERS}, f"{REPO} has no weights under a name"),
            ({"model.safetensors": b"x"}, f"{REPO} has no config under a name"),
            ({"config.json": b'{"model_type": "bert"}', "model.safetensors": b"x"}, "'bert', which is not served"),
        ],
    )
    def test_without_a_model_is_refused_before_weights_are_fetched(
        self, server: Server, context: DownloadContext, files: dict[str, bytes], why: str
    ) -> None:
        put(server, files)
        with pytest.raises(ModelMismatch, match=why):
            fetch_model(find_model(REPO), context)
        assert not [one for one in server.asked if one.path.startswith("/cdn")]

    def test_that_is_not_there_is_said(self, context: DownloadContext) -> None:
        with pytest.raises(DownloadFailed, match=r"\(404\)"):
            fetch_model(find_model(REPO), context)


def test_files_of_a_tokenizer_and_of_preprocessing_come_along(server: Server, context: DownloadContext) -> None:
    beside = {"preprocessor_config.json": b"{}", "tokenizer.json": b"{}", "vocab.json": b"{}", "merges.txt": b""}
    put(server, {"config.json": CONFIG, "model.safetensors": save(dict(state_dict())), **beside, **OTHERS})
    names = {one.path.name for one in fetch_model(find_model(REPO), context)}
    assert names == {"config.json", "model.safetensors", *beside}
