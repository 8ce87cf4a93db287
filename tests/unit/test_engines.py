"""Image towers in OpenVINO: as exact as stated, exported once, and refused or left to torch where they fail."""

from __future__ import annotations

import copy
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from clipalign.cache import ENGINES_FOLDER
from clipalign.data.images import open_image
from clipalign.data.transforms import to_tensor
from clipalign.device import DeviceChoice, choose_device
from clipalign.errors import DeviceUnavailable
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.models import engines
from clipalign.models.encode import encode_images
from clipalign.models.engines import attach_engine, generated_pictures
from clipalign.models.load import load_model
from clipalign.models.model import LoadedModel
from tests.cli.run import TINY, run_here
from tests.tiny import GOLDEN, load_random

pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'clipalign[openvino]'")

pytestmark = pytest.mark.skipif(
    "ONEDNN_MAX_CPU_ISA" in os.environ, reason="OpenVINO fails where oneDNN may not use what the CPU has"
)
needs_int8 = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="this CPU has no products of bytes (VNNI)")

MODELS = (TINY, "pictogram")
AWAY = {"fp32": 1e-6, "bf16": 2e-2, "int8": 3e-2}


def load(model: str, folder: Path, precision: str = "fp32", engine: str = "openvino") -> LoadedModel:
    return load_model(model, choice=choose_device("cpu", precision, engine=engine, many=True), cache_dir=folder)


def exports(folder: Path) -> list[Path]:
    return sorted((folder / ENGINES_FOLDER).iterdir())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "bf16", pytest.param("int8", marks=needs_int8)])
def test_vectors_are_as_near_to_those_of_torch_as_stated(model: str, precision: str, cache: Path) -> None:
    loaded = load(model, cache, precision)
    if loaded.choice.precision != precision:
        pytest.skip(f"no {precision} here: {loaded.choice.reason}")
    assert loaded.choice.engine == "openvino"
    exact = load_model(model, choice=choose_device("cpu"))
    files = sorted((GOLDEN / "images").glob("*.png"))[:5]
    pictures = torch.stack([to_tensor(open_image(file), exact) for file in files])
    for batch in (pictures[:1], pictures[2:], pictures):
        assert (encode_images(loaded, batch) - encode_images(exact, batch)).abs().max() <= AWAY[precision]


def test_cosines_of_detect_agree_to_a_millionth(cache: Path) -> None:
    pairs = [Pair(GOLDEN / "images" / "0.png", text) for text in ("two apples and a pear", "a red car")]
    ours = detect_pairs(load("pictogram", cache), pairs)
    theirs = detect_pairs(load_model("pictogram", choice=choose_device("cpu")), pairs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.cosine == pytest.approx(other.cosine, abs=1e-6)
        assert one.misaligned == other.misaligned
    assert ours[0].provenance.engine == "openvino" and "openvino" in ours[0].provenance.versions
    assert theirs[0].provenance.engine == "torch" and "openvino" not in theirs[0].provenance.versions


@needs_int8
def test_a_tower_is_exported_once_for_fp32_and_bf16_and_once_for_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(TINY, tmp_path)
    before = exports(tmp_path)
    assert [file.suffix for file in before] == [".safetensors"]  # no lock, no part is left
    load(TINY, tmp_path, "int8")
    assert len(exports(tmp_path)) == 2
    monkeypatch.setattr(engines, "_export", None)
    for precision in ("fp32", "bf16", "int8"):
        load(TINY, tmp_path, precision)


def test_other_weights_configs_and_sizes_have_another_export(cache: Path) -> None:
    loaded = load(TINY, cache)
    keys = [
        engines._key(one)
        for one in (
            loaded,
            replace(loaded, weights_sha256="other"),
            replace(loaded, config={**loaded.config, "vision_cfg": {"heads": 2}}),
            replace(loaded, image_size=96),
        )
    ]
    assert all(one != other for place, one in enumerate(keys) for other in keys[:place])
    assert engines._key(replace(loaded, choice=replace(loaded.choice, precision="bf16"))) == keys[0]


def test_a_damaged_export_is_made_again_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(TINY, tmp_path)
    (file,) = exports(tmp_path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert load(TINY, tmp_path).engine is not None
    assert [record.message for record in caplog.records] == [
        f"the exported image tower in {file} is damaged and is made again"
    ]
    assert file.read_bytes() != bytes(content)


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ENGINES_FOLDER).write_text("no folder")
    assert load(TINY, tmp_path).engine is not None
    monkeypatch.setattr(engines._Export, "speed", 9.0)  # which the next process might measure otherwise
    assert load(TINY, tmp_path, engine="auto").engine is None


@needs_int8
def test_what_disagrees_is_refused_by_name_and_left_to_torch_by_auto(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engines, "LIMITS", {"int8": -1.0})
    with pytest.raises(DeviceUnavailable, match="away from torch"):
        load(TINY, cache, "int8")
    with caplog.at_level(logging.WARNING):
        loaded = load(TINY, cache, "int8", engine="auto")
    assert (loaded.engine, loaded.choice.engine, loaded.choice.precision) == (None, "torch", "fp32")
    assert len(caplog.records) == 1 and "encoded by torch in fp32" in caplog.text


def test_a_tower_that_cannot_be_exported_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such operator\nand a long trace")

    monkeypatch.setattr(engines, "_traced", fails)
    loaded = replace(load_random("clip"), choice=DeviceChoice("cpu", "fp32", "", engine="openvino"))
    with pytest.raises(DeviceUnavailable, match=r"cannot run the image tower of .*: no such operator\n"):
        attach_engine(loaded, cache_dir=cache)


def test_auto_leaves_to_torch_what_torch_does_as_fast(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines._Export, "speed", 0.9)
    loaded = load(TINY, cache, engine="auto")
    assert (loaded.engine, loaded.choice.engine) == (None, "torch")
    assert load(TINY, cache, engine="openvino").engine is not None


def test_it_has_as_many_threads_as_torch_and_refuses_to_work_in_a_forked_process(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load(TINY, cache).engine
    assert engine is not None
    compiled = engine._request.get_compiled_model()
    assert compiled.get_property("INFERENCE_NUM_THREADS") == torch.get_num_threads()
    assert not compiled.get_property("ENABLE_CPU_PINNING")
    monkeypatch.setattr(os, "getpid", lambda: 0)
    with pytest.raises(DeviceUnavailable, match="forked"):
        engine.encode(torch.zeros(1, 3, 32, 32))


@needs_int8
def test_smoothed_rounding_survives_channels_far_above_the_others(tmp_path: Path) -> None:
    """As in trained ViTs: a few channels of a norm are 60 times as large, and the next weights as much smaller."""
    loaded = replace(load_random("clip"), network=copy.deepcopy(load_random("clip").network))
    exact = F.normalize(_vectors(loaded), dim=-1)
    for block in loaded.network.visual.transformer.resblocks:
        for norm, weight in ((block.ln_1, block.attn.in_proj_weight), (block.ln_2, block.mlp.c_fc.weight)):
            scale = torch.ones(norm.weight.shape)
            scale[:2] = 60
            norm.weight.data *= scale
            norm.bias.data *= scale
            weight.data /= scale
    loaded = replace(loaded, choice=DeviceChoice("cpu", "int8", "", engine="openvino"))
    attach_engine(loaded, cache_dir=tmp_path)
    assert loaded.engine is not None
    rounded = F.normalize(loaded.engine.encode(generated_pictures(loaded, 3)), dim=-1)
    assert (rounded - exact).abs().max() < AWAY["int8"]


@torch.no_grad()
def _vectors(loaded: LoadedModel) -> torch.Tensor:
    found: torch.Tensor = loaded.network.encode_image(generated_pictures(loaded, 3))
    return found


def test_results_of_another_engine_are_not_mixed_and_stdout_holds_records_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "pairs.jsonl"
    table.write_text(f'{{"image": "{(GOLDEN / "images" / "0.png").as_posix()}", "text": "an apple"}}\n' * 2)
    line = ("detect", "--input", str(table), "--model", TINY, "--cache-dir", str(tmp_path), "--output")
    out = tmp_path / "found.jsonl"
    assert run_here(capsys, *line, str(out), "--engine", "openvino").status == 0
    assert out.read_bytes().count(b'"engine":"openvino"') == 2
    done = run_here(capsys, *line, str(out), "--engine", "torch", "--resume")
    assert done.status == 2 and "engine" in done.err
