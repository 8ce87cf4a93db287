"""What follows ``--model``, and what it stands for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from clipalign.errors import ModelMismatch, UnknownModel
from clipalign.models.folders import WEIGHTS
from clipalign.models.registry import DEFAULT_MODEL, ROWS, WeightSource, find_model, model_names, row_of_weights


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "my.safetensors"
    path.write_bytes(b"weights")
    return path


def test_every_name_finds_its_row() -> None:
    for name in model_names():
        assert find_model(name).name == name
    assert DEFAULT_MODEL in model_names()


@pytest.mark.parametrize(
    "name",
    [
        *("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336"),
        *("longclip-B", "longclip-B-32", "longclip-L", "specs", "specs-base"),
    ],
)
def test_everything_grown_from_openai_uses_quickgelu(name: str) -> None:
    assert ROWS[name].quick_gelu is True
    assert ROWS[name].architecture.endswith("-quickgelu")


def test_the_openai_tag_means_the_registry_row() -> None:
    assert find_model("ViT-B-32@openai") is ROWS["ViT-B-32"]


def test_another_tag_means_open_clips_architecture() -> None:
    row = find_model("ViT-B-32@laion2b-e16")
    assert (row.name, row.architecture, row.quick_gelu) == ("ViT-B-32@laion2b-e16", "ViT-B-32", None)
    assert [(source.kind, source.tag) for source in row.weights] == [("open_clip", "laion2b_e16")]


def test_an_architecture_takes_a_local_checkpoint(checkpoint: Path) -> None:
    row = find_model(f"RN50@{checkpoint}")
    assert row.architecture == "RN50"
    assert [(source.kind, source.file) for source in row.weights] == [("file", str(checkpoint))]


def test_a_registry_model_takes_a_local_checkpoint(checkpoint: Path) -> None:
    row = find_model(f"longclip-B@{checkpoint}")
    assert row.context_tokens == 248 and row.quick_gelu is True and row.weights[0].file == str(checkpoint)


def test_a_config_takes_a_local_checkpoint(checkpoint: Path) -> None:
    config = checkpoint.with_name("tiny@home.json")
    config.write_text("{}")
    row = find_model(f"{config}@{checkpoint}")
    assert row.architecture == str(config) and row.weights[0].file == str(checkpoint)


def test_a_file_of_that_very_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ViT-B-32@336px.pt").write_bytes(b"weights")
    row = find_model("ViT-B-32@336px.pt")
    assert row.architecture == "" and row.weights[0].file == "ViT-B-32@336px.pt"


def test_a_registry_name_wins_over_a_file_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pictogram").write_bytes(b"weights")
    assert find_model("pictogram") is ROWS["pictogram"]


def test_home_is_understood(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    monkeypatch.setenv("USERPROFILE", str(checkpoint.parent))
    assert find_model(f"RN50@~/{checkpoint.name}").weights[0].file == str(checkpoint)


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("ViT-B32", "unknown model", "did you mean ViT-B-32?"),
        ("vit-b/32", "unknown model", "did you mean ViT-B-32?"),
        ("picotgram", "unknown model", "did you mean pictogram?"),
        ("VIT-B-32@openai", "unknown model", "did you mean ViT-B-32@openai?"),
        ("gpt", "unknown model", "clipalign download lists all there are"),
        ("RN101", "architecture without weights", "RN101@TAG or RN101@FILE"),
        ("ViT-B-32@", "nothing follows the @", "ViT-B-32@TAG"),
        ("ViT-B-32@missing.safetensors", "no checkpoint file missing.safetensors", "looked in"),
        ("ViT-B-32@/nowhere/w.pt", "no checkpoint file /nowhere/w.pt", "no folder /nowhere"),
        ("pictogram@openai", "pictogram has no weights called 'openai'", "pictogram@FILE"),
        ("/nowhere/clip.pt", "no model file", "no folder /nowhere"),
        ("", "no name", "clipalign download lists all there are"),
    ],
)
def test_what_is_unknown_is_said_with_a_way_out(spec: str, message: str, hint: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        find_model(spec)
    assert message in caught.value.message and hint in caught.value.hint
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("spec", ["x" * 5000, "a/" * 3000, "ViT-B-32@" + "a/" * 3000, f"{'x' * 5000}.json@w.pt"])
def test_a_name_too_long_for_the_system_is_unknown(spec: str) -> None:
    with pytest.raises(UnknownModel):
        find_model(spec)


def test_a_config_alone_and_a_folder_are_explained(tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text("{}")
    with pytest.raises(UnknownModel, match="config without weights"):
        find_model(str(tmp_path / "tiny.json"))
    with pytest.raises(UnknownModel, match="has no weights called 'openai'"):
        find_model(f"{tmp_path / 'tiny.json'}@openai")
    with pytest.raises(ModelMismatch, match="has no config under a name") as caught:
        find_model(str(tmp_path))
    assert "open_clip_config.json" in caught.value.hint


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        *(("ViT-L/14@336px", "ViT-L-14-336"), ("ViT-B/32", "ViT-B-32"), ("ViT-B/32@openai", "ViT-B-32")),
        *(("ViT-B-32:openai", "ViT-B-32"), ("ViT-B-32,openai", "ViT-B-32"), ("ViT-L-14@336px", "ViT-L-14-336")),
    ],
)
def test_openais_and_open_clips_spellings_mean_the_registry_row(spec: str, name: str) -> None:
    assert find_model(spec) is ROWS[name]


@pytest.mark.parametrize("spec", ["ViT-B/32@laion2b_e16", "ViT-B-32:laion2b-e16", "ViT-B/32,laion2b_e16"])
def test_open_clips_spellings_of_tags(spec: str) -> None:
    row = find_model(spec)
    assert (row.name, row.architecture, row.weights[0].tag) == (spec, "ViT-B-32", "laion2b_e16")


@pytest.mark.parametrize(
    ("spec", "repo", "revision"),
    [
        ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32", ""),
        ("hf-hub:openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32", ""),
        ("owner/name@refs/pr/1", "owner/name", "refs/pr/1"),
        ("hf-hub:owner/odd.json@v1.0", "owner/odd.json", "v1.0"),
    ],
)
def test_a_repository_of_the_hub(spec: str, repo: str, revision: str) -> None:
    row = find_model(spec)
    assert (row.name, row.architecture) == (spec, "")
    assert {(source.kind, source.repo, source.revision) for source in row.weights} == {("hub", repo, revision)}
    assert [source.file for source in row.weights] == list(WEIGHTS)


@pytest.mark.parametrize("spec", ["owner/../name", "owner/name@../up", "a/b/c", "owner/name@", "hf-hub:name", "/a/b"])
def test_what_is_no_repository(spec: str) -> None:
    with pytest.raises(UnknownModel):
        find_model(spec if spec != "owner/name@" else "owner/ name")


@pytest.mark.parametrize("spelling", ["{}", "local-dir:{}", "{}/"])
def test_a_folder(tmp_path: Path, spelling: str) -> None:
    for name in ("config.json", "open_clip_config.json", "model.safetensors", "open_clip_pytorch_model.bin"):
        (tmp_path / name).write_text("{}")
    row = find_model(spelling.format(tmp_path))
    assert row.architecture == str(tmp_path / "open_clip_config.json")
    assert [source.file for source in row.weights] == [str(tmp_path / "open_clip_pytorch_model.bin")]


def test_a_folder_wins_over_a_repository_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("owner/name").mkdir(parents=True)
    for name in ("config.json", "best.safetensors", "last.safetensors"):
        Path("owner/name", name).write_text("{}")
    assert [source.kind for source in find_model("owner/name").weights] == ["file"]
    assert find_model("owner/name").weights[0].file.endswith("best.safetensors")
    assert find_model("hf-hub:owner/name").weights[0].kind == "hub"


@pytest.mark.parametrize(
    ("files", "why", "hint"),
    [
        (["config.json"], "has no weights", "model.safetensors.index.json"),
        (["model.safetensors"], "has no config", "open_clip_config.json"),
        (["adapter_config.json", "adapter_model.safetensors"], "a LoRA adapter, not a model", "merge first"),
    ],
)
def test_a_folder_without_a_model(tmp_path: Path, files: list[str], why: str, hint: str) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ModelMismatch, match=why) as caught:
        find_model(str(tmp_path))
    assert hint in caught.value.hint


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="there is no folder"):
        find_model(f"local-dir:{tmp_path / 'nowhere'}")


def test_a_set_of_weights_in_a_file(checkpoint: Path) -> None:
    source = find_model(f"RN50@{checkpoint}#model_ema").weights[0]
    assert (source.file, source.set) == (str(checkpoint), "model_ema")
    odd = checkpoint.with_name("odd#name.pt")
    odd.write_bytes(b"weights")
    assert find_model(str(odd)).weights[0] == WeightSource("file", file=str(odd))


def test_weights_are_known_by_their_hash() -> None:
    row = ROWS["longclip-L"]
    assert row_of_weights(row.weights[0].sha256) is row
    assert row_of_weights("") is None
    assert row_of_weights("0" * 64) is None
    assert replace(row) == row


def test_looking_up_names_loads_neither_torch_nor_open_clip() -> None:
    program = (
        "import sys; from clipalign.models.registry import find_model, architecture_names;"
        "find_model('ViT-B-32@laion2b_e16'); assert 'RN50' in architecture_names();"
        "print([name for name in ('torch', 'open_clip') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, env=os.environ, check=True
    )
    assert run.stdout.strip() == "[]"


def test_only_the_weights_of_specs_have_its_published_score() -> None:
    assert [row.name for row in ROWS.values() if row.is_specs] == ["specs"]
