"""From a specification to a model in memory, and everything that must not load quietly."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from clipalign.device import DeviceChoice
from clipalign.errors import MissingWeights, ModelMismatch, UnknownModel, UsageError
from clipalign.models import load as model_module
from clipalign.models.architecture import read_text_tower
from clipalign.models.load import import_open_clip, load_model
from clipalign.models.model import LoadedModel
from clipalign.models.registry import OPENAI_MEAN, ROWS, WeightSource, find_model
from clipalign.models.weights import place_in_cache
from tests.checkpoints import VOCABULARY, config, long_state_dict, save_torchscript, state_dict

CPU = DeviceChoice("cpu", "fp32", "")
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def nothing_from_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPALIGN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def write_config(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(config(**changes)))
    return path


def write_weights(tmp_path: Path, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_file({name: value.contiguous() for name, value in (tensors or state_dict()).items()}, path)
    return path


def loads(loaded: LoadedModel, tensors: dict[str, torch.Tensor]) -> bool:
    found = loaded.network.state_dict()
    return found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)


class TestFiles:
    def test_a_config_and_its_weights(self, tmp_path: Path) -> None:
        spec = f"{write_config(tmp_path)}@{write_weights(tmp_path)}"
        loaded = load_model(spec, choice=CPU)
        assert loads(loaded, state_dict())
        assert (loaded.row.name, loaded.architecture) == (spec, str(tmp_path / "tiny.json"))
        assert (loaded.quick_gelu, loaded.context_tokens, loaded.image_size) == (True, 77, 8)
        assert loaded.mean == OPENAI_MEAN and loaded.resize_mode == "shortest" and not loaded.notes
        assert loaded.weights_sha256 == hashlib.sha256((tmp_path / "tiny.safetensors").read_bytes()).hexdigest()

    def test_the_network_is_for_asking_only(self, tmp_path: Path) -> None:
        network = load_model(f"{write_config(tmp_path)}@{write_weights(tmp_path)}", choice=CPU).network
        assert not any(module.training for module in network.modules())
        assert not any(parameter.requires_grad for parameter in network.parameters())

    def test_loading_draws_no_random_numbers_and_sets_no_logging(self, tmp_path: Path) -> None:
        spec = f"{write_config(tmp_path)}@{write_weights(tmp_path)}"
        before, handlers = torch.get_rng_state(), list(logging.root.handlers)
        load_model(spec, choice=CPU)
        assert torch.equal(torch.get_rng_state(), before)
        assert logging.root.handlers == handlers

    def test_it_computes_what_open_clips_own_loading_computes(self, tmp_path: Path) -> None:
        loaded = load_model(f"{write_config(tmp_path)}@{write_weights(tmp_path)}", choice=CPU)
        theirs = import_open_clip().model.CLIP(**config()).eval().requires_grad_(False)
        theirs.load_state_dict(state_dict())
        pictures, ids = torch.rand(2, 3, 8, 8), torch.randint(1, VOCABULARY, (2, 77))
        with torch.no_grad():
            assert torch.equal(loaded.network.encode_image(pictures), theirs.encode_image(pictures))
            assert torch.equal(loaded.network.encode_text(ids), theirs.encode_text(ids))

    def test_a_resnet(self, tmp_path: Path) -> None:
        vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 64, "patch_size": None}
        tensors = state_dict(vision_cfg=vision)
        loaded = load_model(str(write_weights(tmp_path, tensors)), choice=CPU)
        assert loads(loaded, tensors) and loaded.image_size == 64
        pictures = torch.rand(1, 3, 64, 64)
        theirs = import_open_clip().model.CLIP(**config(vision_cfg=vision)).eval().requires_grad_(False)
        theirs.load_state_dict(tensors)
        with torch.no_grad():
            assert torch.equal(loaded.network.encode_image(pictures), theirs.encode_image(pictures))

    def test_the_hubs_config_with_its_preprocessing(self, tmp_path: Path) -> None:
        numbers = {"mean": [0.5, 0.4, 0.3], "std": 0.25, "interpolation": "bilinear", "resize_mode": "squash"}
        path = tmp_path / "open_clip_config.json"
        path.write_text(json.dumps({"model_cfg": config(), "preprocess_cfg": numbers}))
        loaded = load_model(f"{path}@{write_weights(tmp_path)}", choice=CPU)
        assert loaded.mean == (0.5, 0.4, 0.3) and loaded.std == (0.25, 0.25, 0.25)
        assert (loaded.interpolation, loaded.resize_mode) == ("bilinear", "squash")

    def test_bf16_and_threads(self, tmp_path: Path) -> None:
        threads = torch.get_num_threads()
        spec = f"{write_config(tmp_path)}@{write_weights(tmp_path)}"
        loaded = load_model(spec, choice=DeviceChoice("cpu", "bf16", "", threads=1))
        assert {parameter.dtype for parameter in loaded.network.parameters()} == {torch.bfloat16}
        assert torch.get_num_threads() == 1
        torch.set_num_threads(threads)

    def test_custom_text_towers_take_plain_weights(self, tmp_path: Path) -> None:
        path = write_config(tmp_path, custom_text=True)
        loaded = load_model(f"{path}@{write_weights(tmp_path)}", choice=CPU)
        assert torch.equal(loaded.network.text.positional_embedding, state_dict()["positional_embedding"])


class TestLoneCheckpoints:
    def test_long_clip(self, tmp_path: Path) -> None:
        loaded = load_model(str(write_weights(tmp_path, long_state_dict())), choice=CPU)
        assert (loaded.quick_gelu, loaded.context_tokens, loaded.image_size, loaded.notes) == (True, 248, 8, ())
        assert loaded.tokenizer.context_length == 248
        assert "text of 3 layers of width 64, 248 tokens" in loaded.architecture
        assert loaded.network.positional_embedding.shape == (248, 64)

    def test_openais_format(self, tmp_path: Path) -> None:
        tensors = {**state_dict(), "input_resolution": torch.tensor(8)}
        loaded = load_model(str(write_weights(tmp_path, tensors)), choice=CPU)
        assert loads(loaded, state_dict()) and loaded.quick_gelu is True and not loaded.notes

    def test_what_is_assumed_is_said(self, tmp_path: Path) -> None:
        loaded = load_model(str(write_weights(tmp_path)), choice=CPU)
        assert loaded.quick_gelu is True and "QuickGELU" in loaded.notes[0]

    def test_widths_that_are_no_multiple_of_64(self, tmp_path: Path) -> None:
        weights = write_weights(tmp_path, state_dict(text_cfg={"width": 96, "heads": 2}))
        with pytest.raises(ModelMismatch, match="width 96 is not a multiple of 64") as caught:
            load_model(str(weights), choice=CPU)
        assert "CONFIG.json@FILE" in caught.value.hint

    @pytest.mark.parametrize("lost", ["visual.conv1.weight", "text_projection", "positional_embedding"])
    def test_other_formats_name_what_they_lack(self, tmp_path: Path, lost: str) -> None:
        tensors = state_dict()
        del tensors[lost]
        with pytest.raises(ModelMismatch, match=f"not in OpenAI's or Long-CLIP's format: there is no '{lost}'"):
            load_model(str(write_weights(tmp_path, tensors)), choice=CPU)


class TestMismatches:
    def fail(self, tmp_path: Path, tensors: dict[str, torch.Tensor], **changes: Any) -> ModelMismatch:
        with pytest.raises(ModelMismatch) as caught:
            load_model(f"{write_config(tmp_path, **changes)}@{write_weights(tmp_path, tensors)}", choice=CPU)
        return caught.value

    def test_keys_that_are_missing_or_too_many(self, tmp_path: Path) -> None:
        tensors = state_dict()
        del tensors["ln_final.weight"]
        message = self.fail(tmp_path, {**tensors, "extra.bias": torch.zeros(1)}).message
        assert "missing: ln_final.weight" in message and "not expected: extra.bias" in message

    def test_many_are_counted(self, tmp_path: Path) -> None:
        message = self.fail(tmp_path, state_dict(), text_cfg={"layers": 4}).message
        assert "missing: transformer.resblocks.3." in message and "and 9 more" in message

    def test_shapes(self, tmp_path: Path) -> None:
        message = self.fail(tmp_path, state_dict(), text_cfg={"context_length": 40}).message
        assert "of another shape: positional_embedding (77, 64) for (40, 64)" in message

    @pytest.mark.parametrize("type", [torch.int64, torch.bool, torch.complex64])
    def test_types(self, tmp_path: Path, type: torch.dtype) -> None:
        tensors = state_dict()
        tensors["visual.proj"] = tensors["visual.proj"].to(type)
        name = str(type).removeprefix("torch.")
        assert f"of another type: visual.proj {name}" in self.fail(tmp_path, tensors).message

    def test_nothing_is_stretched_or_cut_in_silence(self, tmp_path: Path) -> None:
        assert "(5, 64) for (17, 64)" in self.fail(tmp_path, state_dict(), vision_cfg={"image_size": 16}).message

    @pytest.mark.parametrize("tensors", [long_state_dict, lambda: {**state_dict(), "vocab_size": torch.tensor(64)}])
    def test_a_config_with_gelu_for_weights_known_to_use_quickgelu(self, tmp_path: Path, tensors: Any) -> None:
        error = self.fail(tmp_path, tensors(), quick_gelu=False)
        assert "uses GELU, but these weights were trained with QuickGELU" in error.message
        assert error.hint == 'set "quick_gelu": true in the config'

    def test_values_that_are_not_finite(self, tmp_path: Path) -> None:
        tensors = state_dict()
        tensors["visual.proj"][0, 0] = torch.nan
        assert "not finite: visual.proj" in self.fail(tmp_path, tensors).message

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            ("{", "not readable as JSON"),
            ("[]", "lacks embed_dim"),
            ('{"embed_dim": 1}', "lacks vision_cfg, text_cfg"),
            ('{"embed_dim": 1, "vision_cfg": 3, "text_cfg": {}}', "its vision_cfg is not an object but 3"),
            ('{"embed_dim": 1, "vision_cfg": {}, "text_cfg": []}', "its text_cfg is not an object"),
        ],
    )
    def test_configs_that_are_none(self, tmp_path: Path, content: str, why: str) -> None:
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ModelMismatch, match=why):
            load_model(f"{tmp_path / 'bad.json'}@{write_weights(tmp_path)}", choice=CPU)

    @pytest.mark.parametrize(
        "changes",
        [
            {"text_cfg": {"hf_model_name": 3}},
            {"text_cfg": {"hf_tokenizer_name": ["a"]}},
            {"vision_cfg": {"timm_model_name": 3}},
            {"vision_cfg": {"patch_size": 0}},
            {"vision_cfg": {"layers": "two"}},
            {"vision_cfg": {"layers": 10**6}},
            {"preprocess": 3},
            {"preprocess": {"mean": "grey"}},
            {"preprocess": {"fill_color": "white"}},
            {"preprocess": {"fill_color": [0, 0, 0]}},
            {"preprocess": {"fill_color": 256}},
            {"text_cfg": {"tokenizer_kwargs": {"speed": 3}}},
            {"text_cfg": {"tokenizer_kwargs": "fast"}},
        ],
    )
    def test_configs_with_values_of_other_types(self, tmp_path: Path, changes: dict[str, Any]) -> None:
        assert self.fail(tmp_path, state_dict(), **changes).message

    def test_configs_that_open_clip_does_not_understand(self, tmp_path: Path) -> None:
        error = self.fail(tmp_path, state_dict(), text_cfg={"depth": 3})
        assert "has a field 'text_cfg.depth' that clipalign does not pass on" in error.message


@pytest.fixture
def tiny_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip with two more architectures, and tags for them."""
    open_clip = import_open_clip()
    plain = config(quick_gelu=False)
    for name, made in (("tiny", plain), ("tiny-quickgelu", config())):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, made)
    numbers = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bicubic", "resize_mode": "squash"}
    quick = {"url": "https://example.org/a/quick.pt", "hf_hub": "", "quick_gelu": True, **numbers}
    hub = {"url": "", "hf_hub": "owner/tiny/", **numbers}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"openai": quick, "laion": hub})
    names = ("tiny", "tiny-quickgelu", "ViT-B-32")
    monkeypatch.setattr("clipalign.models.registry.architecture_names", lambda: names)


@pytest.mark.usefixtures("tiny_architecture")
class TestNames:
    def test_an_architecture_and_a_file(self, tmp_path: Path) -> None:
        loaded = load_model(f"tiny@{write_weights(tmp_path)}", choice=CPU)
        assert (loaded.architecture, loaded.quick_gelu) == ("tiny", False)

    def test_a_name_is_corrected_where_the_weights_say_quickgelu(self, tmp_path: Path) -> None:
        tensors = {**state_dict(), "vocab_size": torch.tensor(64)}
        loaded = load_model(f"tiny@{write_weights(tmp_path, tensors)}", choice=CPU)
        assert (loaded.architecture, loaded.quick_gelu) == ("tiny-quickgelu", True)

    def test_a_name_with_quickgelu_for_weights_known_not_to_use_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model_module, "row_of_weights", lambda _: ROWS["ViT-H-14"])
        with pytest.raises(ModelMismatch, match="uses QuickGELU, but these weights were trained with GELU"):
            load_model(f"tiny-quickgelu@{write_weights(tmp_path)}", choice=CPU)

    def test_a_lone_file_known_by_its_hash_is_what_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(model_module, "row_of_weights", lambda _: replace(ROWS["ViT-H-14"], architecture="tiny"))
        loaded = load_model(str(write_weights(tmp_path)), choice=CPU)
        assert (loaded.architecture, loaded.quick_gelu, loaded.notes) == ("tiny", False, ())

    def test_a_tag_brings_its_activation_and_its_preprocessing(self, tmp_path: Path) -> None:
        (tmp_path / ".cache" / "clip").mkdir(parents=True)
        torch.save(state_dict(), tmp_path / ".cache" / "clip" / "quick.pt")
        loaded = load_model("tiny@openai", choice=CPU)
        assert (loaded.architecture, loaded.quick_gelu) == ("tiny-quickgelu", True)
        assert (loaded.mean, loaded.resize_mode) == ((0.1, 0.2, 0.3), "squash")

    @pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
    def test_a_tag_on_the_hub(self, tmp_path: Path, file: str) -> None:
        path = place_in_cache(WeightSource("hub", repo="owner/tiny", file=file), tmp_path / "cache")
        path.parent.mkdir(parents=True)
        (save_file if file.endswith("s") else torch.save)(state_dict(), path)
        loaded = load_model("tiny@laion", choice=CPU)
        assert (loaded.architecture, loaded.quick_gelu) == ("tiny", False) and loads(loaded, state_dict())

    def test_an_unknown_tag_is_corrected(self) -> None:
        with pytest.raises(UnknownModel, match="no weights called 'lion' for tiny") as caught:
            load_model("tiny@lion", choice=CPU)
        assert caught.value.hint == "did you mean laion?"

    def test_a_known_tag_that_is_not_here(self) -> None:
        with pytest.raises(MissingWeights) as caught:
            load_model("tiny@laion", choice=CPU)
        assert caught.value.hint == "clipalign download tiny@laion"

    def test_a_guessed_activation_is_said(self, tmp_path: Path) -> None:
        weights = write_weights(tmp_path)
        notes = load_model(f"tiny@{weights}", choice=CPU).notes
        assert notes[0].startswith("GELU assumed") and notes[0].endswith(": --quick-gelu")
        assert not [note for note in load_model(f"tiny-quickgelu@{weights}", choice=CPU).notes if "GELU" in note]

    @pytest.mark.parametrize(("said", "label"), [(True, "tiny-quickgelu"), (False, "tiny")])
    def test_the_user_decides_an_activation_that_nothing_says(self, tmp_path: Path, said: bool, label: str) -> None:
        row = replace(find_model(f"tiny@{write_weights(tmp_path)}"), quick_gelu=said)
        loaded = load_model(row, choice=CPU)
        assert (loaded.quick_gelu, loaded.architecture) == (said, label)
        assert not [note for note in loaded.notes if "GELU" in note]

    def test_the_user_does_not_decide_against_the_weights(self, tmp_path: Path) -> None:
        tensors = {**state_dict(), "vocab_size": torch.tensor(64)}
        row = replace(find_model(f"tiny@{write_weights(tmp_path, tensors)}"), quick_gelu=False)
        with pytest.raises(ModelMismatch, match="trained with QuickGELU, but what was asked for is GELU"):
            load_model(row, choice=CPU)

    def test_preprocessing_is_that_of_all_tags_or_openais(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = f"tiny@{write_weights(tmp_path)}"
        loaded = load_model(spec, choice=CPU)
        assert (loaded.mean, loaded.resize_mode) == ((0.1, 0.2, 0.3), "squash")
        assert loaded.notes[-1].startswith("preprocessing of open_clip's own weights of tiny assumed: mean (0.1,")
        tags = import_open_clip().pretrained._PRETRAINED["tiny"]
        monkeypatch.setitem(tags, "laion", tags["laion"] | {"resize_mode": "shortest"})
        loaded = load_model(spec, choice=CPU)
        assert loaded.mean == OPENAI_MEAN and "open_clip's weights of tiny differ in it" in loaded.notes[-1]
        assert (
            "open_clip has no weights of tiny-quickgelu"
            in load_model(f"tiny-quickgelu@{spec[5:]}", choice=CPU).notes[0]
        )

    def test_towers_that_do_not_meet_are_said(self, tmp_path: Path) -> None:
        spec = f"{write_config(tmp_path, text_cfg={'proj_type': 'none'})}@"
        tensors = {name: value for name, value in state_dict().items() if name != "text_projection"}
        with pytest.raises(ModelMismatch, match=r"a picture into numbers of shape \(1, 16\) and a text into \(1, 64\)"):
            load_model(spec + str(write_weights(tmp_path, tensors)), choice=CPU)

    def test_openais_archive_is_opened_without_running_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive = tmp_path / "ViT.pt"
        save_torchscript(state_dict(), archive)
        monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was run"))
        loaded = load_model(f"tiny@{archive}", choice=CPU)
        assert loaded.quick_gelu is True
        assert torch.equal(loaded.network.visual.proj, state_dict()["visual.proj"].half().float())


def test_text_towers_from_the_hub_need_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = f"{write_config(tmp_path, text_cfg={'hf_tokenizer_name': 'owner/words'})}@{write_weights(tmp_path)}"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs the package transformers"):
        load_model(spec, choice=CPU)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    with pytest.raises(MissingWeights, match="needs files of owner/words"):
        load_model(spec, choice=CPU)


def in_hub(tmp_path: Path, repo: str, **files: str) -> None:
    """A repository in the Hub's cache of this machine."""
    folder = tmp_path / "hub" / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    (folder / "snapshots" / ("a" * 40)).mkdir(parents=True)
    for name, content in files.items():
        (folder / "snapshots" / ("a" * 40) / name.replace("__", ".")).write_text(content)


AUTO_MAP = '{"tokenizer_class": "Own", "auto_m\\u0061p": {"AutoTokenizer": ["own.Own", null], "AutoConfig": "own.Own"}}'


@pytest.mark.parametrize("field", ["hf_tokenizer_name", "hf_model_name"])
def test_code_of_a_repository_is_neither_run_nor_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    code = f"open({str(tmp_path / 'sprung')!r}, 'w')"
    in_hub(tmp_path, "owner/own", config__json=AUTO_MAP, tokenizer_config__json=AUTO_MAP, own__py=code)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    if importlib.util.find_spec("transformers") is None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    with pytest.raises(ModelMismatch):
        load_model(f"{write_config(tmp_path, text_cfg={field: 'owner/own'})}@{write_weights(tmp_path)}", choice=CPU)
    assert not (tmp_path / "sprung").exists()


def test_a_tokenizer_is_made_without_trust_and_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    told: dict[str, Any] = {}
    monkeypatch.setattr(
        import_open_clip().tokenizer,
        "HFTokenizer",
        lambda _, **options: told.update(options, offline=constants.HF_HUB_OFFLINE),
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    in_hub(tmp_path, "owner/words", tokenizer__json="{}")
    spec = f"{write_config(tmp_path, text_cfg={'hf_tokenizer_name': 'owner/words'})}@{write_weights(tmp_path)}"
    load_model(spec, choice=CPU)
    assert told["trust_remote_code"] is False and told["offline"] and not constants.HF_HUB_OFFLINE


def test_of_a_text_repository_known_fields_alone_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "bert", "hidden_size": 64, "auto_map": {}, "attn_implementation": "owner/kernel"}'
    )
    assert read_text_tower(tmp_path / "config.json") == {"model_type": "bert", "hidden_size": 64}
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 1000000}')
    with pytest.raises(ModelMismatch, match="hidden_size must be a whole number from 1 to 16,384"):
        read_text_tower(tmp_path / "config.json")


def test_a_network_far_larger_than_its_weights_is_not_built(tmp_path: Path) -> None:
    config = write_config(tmp_path, text_cfg={"width": 16_384, "heads": 1, "layers": 1000})
    with pytest.raises(ModelMismatch, match="far larger than its weights"):
        load_model(f"{config}@{write_weights(tmp_path)}", choice=CPU)


def test_the_embedded_model_brings_its_own_numbers_and_vocabulary(tmp_path: Path) -> None:
    tensors = state_dict(text_cfg={"vocab_size": 49408})
    weight = tensors.pop("token_embedding.weight")
    compact = {"token_embedding.rows": torch.tensor([5, 7]), "token_embedding.values": weight[[5, 7]]}
    path = write_config(tmp_path, text_cfg={"vocab_size": 49408}, preprocess={"mean": [0.5] * 3, "std": [0.25] * 3})
    source = WeightSource("embedded", file=str(write_weights(tmp_path, {**tensors, **compact})))
    (tmp_path / "vocabulary.txt").write_text("red\ncar\n")
    loaded = load_model(replace(ROWS["pictogram"], architecture=str(path), weights=(source,)), choice=CPU)
    assert loaded.architecture == "tiny.json"
    assert (
        loaded.vocabulary == frozenset({"red", "car"})
        and loaded.mean == (0.5, 0.5, 0.5)
        and loaded.std == (0.25, 0.25, 0.25)
    )
    assert torch.equal(loaded.network.token_embedding.weight[7], weight[7])


def test_open_clip_imports_without_a_word(tmp_path: Path) -> None:
    program = (
        "import logging; from clipalign.models.load import import_open_clip as get;"
        "assert get() is get(); assert not logging.root.handlers"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
