"""Weights files of every kind, and what is refused."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from clipalign.errors import ModelMismatch, name_some
from clipalign.models.checkpoints import CLIP_VOCABULARY, read_checkpoint
from clipalign.models.torchscript import read_torchscript
from tests.checkpoints import save_torchscript, state_dict

TENSORS = {"visual.proj": torch.arange(6.0).reshape(2, 3), "logit_scale": torch.tensor(1.5)}


def _tensor(size_and_stride: bytes) -> bytes:
    """A pickled tensor over the two floats of ``data/0``."""
    storage = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI2\ntQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"I0\n" + size_and_stride + b"tR."


def _nested_modules() -> bytes:
    """Modules that each hold the one before twice: a thousand bytes that name 2 to the 40 of them."""
    program = b"c__torch__\nM\np0\n)\x81p1\n"
    for _ in range(40):
        program += b"g0\n)\x81(dS'a'\ng1\nsS'b'\ng1\nsbp1\n"
    return program + b"."


def same(found: dict[str, Tensor], wanted: dict[str, Tensor] = TENSORS) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_of_tensors(tmp_path: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(path)
    assert same(checkpoint.tensors) and checkpoint.quick_gelu is None


def test_safetensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "weights.safetensors")
    assert same(read_checkpoint(tmp_path / "weights.safetensors").tensors)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"state_dict": TENSORS, "epoch": 3},
        {"state_dict": {f"module.{name}": tensor for name, tensor in TENSORS.items()}},
        {"model": {f"module._orig_mod.{name}": tensor for name, tensor in TENSORS.items()}},
        {"model_state_dict": TENSORS},
        {"module": {f"model.clip.module.{name}": tensor for name, tensor in TENSORS.items()}},
        {"state_dict": {f"_orig_mod.model.module._orig_mod.{name}": tensor for name, tensor in TENSORS.items()}},
    ],
    ids=["state_dict", "data parallel", "compiled", "model_state_dict", "nested", "nested otherwise"],
)
def test_wrappings_come_off(tmp_path: Path, wrapped: Any) -> None:
    torch.save(wrapped, tmp_path / "weights.pt")
    assert same(read_checkpoint(tmp_path / "weights.pt").tensors)


AVERAGE = {name: tensor + 1 for name, tensor in TENSORS.items()}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"state_dict": TENSORS, "state_dict_ema": AVERAGE}, "state_dict_ema"),
        ({"model": TENSORS, "model_ema": {f"module.{name}": value for name, value in AVERAGE.items()}}, "model_ema"),
        (
            {f"model.{name}": value for name, value in TENSORS.items()}
            | {f"ema_model.{name}": value for name, value in AVERAGE.items()},
            "ema_model",
        ),
    ],
    ids=["timm", "two dicts", "two beginnings of names"],
)
def test_averaged_weights_are_taken_where_they_are_chosen_alone(tmp_path: Path, content: Any, name: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    usual, chosen = read_checkpoint(tmp_path / "w.pt"), read_checkpoint(tmp_path / "w.pt", name)
    assert same(usual.tensors) and usual.averages == (name,)
    assert same(chosen.tensors, AVERAGE) and chosen.averages == ()


def test_averaged_weights_alone_must_be_chosen(tmp_path: Path) -> None:
    torch.save({"ema": AVERAGE, "decay": 0.9}, tmp_path / "w.pt")
    with pytest.raises(ModelMismatch, match=r"no weights but moving averages \(EMA\): ema") as caught:
        read_checkpoint(tmp_path / "w.pt")
    assert caught.value.hint.endswith("w.pt#ema'")
    assert same(read_checkpoint(tmp_path / "w.pt", "ema").tensors, AVERAGE)
    with pytest.raises(ModelMismatch, match="no set of weights called 'student'"):
        read_checkpoint(tmp_path / "w.pt", "student")


class TestSeveralFiles:
    def test_an_index_and_its_files(self, tmp_path: Path) -> None:
        for number, (name, tensor) in enumerate(TENSORS.items()):
            save_file({name: tensor}, tmp_path / f"part-{number}.safetensors")
        places = {name: f"part-{number}.safetensors" for number, name in enumerate(TENSORS)}
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
        assert same(read_checkpoint(index).tensors)

    @pytest.mark.parametrize(
        "content",
        [
            *("[]", "{", '{"weight_map": {}}', '{"weight_map": []}', '{"weight_map": {"a": 3}}'),
            *('{"weight_map": {"a": "../b.safetensors"}}', '{"weight_map": {"a": "b.py"}}'),
        ],
    )
    def test_an_index_that_is_none(self, tmp_path: Path, content: str) -> None:
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(content)
        with pytest.raises(ModelMismatch):
            read_checkpoint(index)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_tensors_become_fp32_and_others_stay(tmp_path: Path, kind: torch.dtype) -> None:
    save_file({"a": torch.tensor([0.5, 2.0], dtype=kind), "n": torch.tensor([3])}, tmp_path / "w.safetensors")
    tensors = read_checkpoint(tmp_path / "w.safetensors").tensors
    assert tensors["a"].dtype == torch.float32 and tensors["a"].tolist() == [0.5, 2.0]
    assert tensors["n"].dtype == torch.int64


def test_openais_numbers_tell_quickgelu(tmp_path: Path) -> None:
    torch.save({**TENSORS, "input_resolution": torch.tensor(224)}, tmp_path / "w.pt")
    checkpoint = read_checkpoint(tmp_path / "w.pt")
    assert same(checkpoint.tensors) and checkpoint.quick_gelu is True


def test_long_clips_two_tables_become_one_and_tell_quickgelu(tmp_path: Path) -> None:
    first, second = torch.zeros(248, 4), torch.ones(248, 4)
    save_file({"positional_embedding": first, "positional_embedding_res": second}, tmp_path / "w.safetensors")
    checkpoint = read_checkpoint(tmp_path / "w.safetensors")
    assert checkpoint.quick_gelu is True and list(checkpoint.tensors) == ["positional_embedding"]
    assert checkpoint.tensors["positional_embedding"][:, 0].tolist() == [0.0] * 20 + [1.0] * 228


class TestTorchScript:
    """OpenAI's archives are read; nothing in them runs."""

    def test_its_weights_are_those_that_running_it_would_give(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tensors = {**state_dict(), "blocks.0.transposed": torch.arange(6.0).reshape(2, 3).T, "empty": torch.zeros(0)}
        save_torchscript(tensors, tmp_path / "clip.pt")
        expected = torch.jit.load(tmp_path / "clip.pt").state_dict()
        monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was run"))
        found = read_torchscript(tmp_path / "clip.pt")
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert read_checkpoint(tmp_path / "clip.pt").quick_gelu is True

    @pytest.mark.parametrize(
        ("instructions", "why"),
        [
            (b"cos\nmkdir\n(S'PLACE'\ntR.", "it asks for os.mkdir"),
            (b"ctorch\nload\n(S'PLACE'\ntR.", "it asks for torch.load"),
            (b"ctorch.hub\nload\n(S'PLACE'\ntR.", "it asks for torch.hub.load"),
            (b"\x80\x02]r\xff\xff\xff\x7f.", "LONG_BINPUT"),
            (b"\x80\x05\x96" + (2**40).to_bytes(8, "little"), ""),
            (_tensor(b"(I4000000000\nt(I0\nt"), "a tensor beyond its data"),
            (_tensor(b"(I3\nt(I1\nt"), "a tensor beyond its data"),
            (_tensor(b"(I2\nt(I-1\nt"), "an invalid tensor"),
            (_tensor(b"(I2\nt(I1\nt")[:-1] + b"(NI0\n(tI9\ntb.", "it sets the state of a Tensor"),
            (b"ctorch._utils\n_rebuild_tensor_v2\n(N(dtb.", "it sets the state of a function"),
            (_nested_modules(), "its modules hold one another"),
        ],
    )
    def test_what_would_run_or_unfold_is_refused(self, tmp_path: Path, instructions: bytes, why: str) -> None:
        place = tmp_path / "sprung"
        with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
            archive.writestr("evil/data.pkl", instructions.replace(b"PLACE", str(place).encode()))
            archive.writestr("evil/constants.pkl", b"N.")
            archive.writestr("evil/data/0", bytes(8))
        with pytest.raises(ModelMismatch, match=f"not a TorchScript archive of weights.*{why}"):
            read_checkpoint(tmp_path / "evil.pt")
        assert not place.exists()

    def test_compressed_members_are_refused_before_they_are_read(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb/constants.pkl", b"N.")
            archive.writestr("bomb/data.pkl", bytes(10_000_000))
        with pytest.raises(ModelMismatch, match="its members claim more bytes than the file has"):
            read_checkpoint(tmp_path / "bomb.pt")


class _Block(torch.nn.Module):
    """With everything that TorchScript keeps beside weights."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)
        self.tied = torch.nn.Linear(3, 4)
        self.tied.weight = self.linear.weight
        self.inner = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.BatchNorm1d(4))
        self.table: Tensor
        self.register_buffer("table", torch.arange(6).reshape(2, 3).T)
        self.mask = torch.ones(2)
        self.sizes = [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        found = self.inner(self.linear(x) + self.tied(x)) * self.mask.sum()
        return torch.add(found, self.table.sum() + self.sizes[0])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_of_a_torchscript_archive_parameters_and_buffers_are_weights(
    tmp_path: Path, kind: torch.dtype, how: str
) -> None:
    block: Any = _Block().eval().to(kind)
    jit: Any = torch.jit
    archive = jit.script(block) if how == "script" else jit.trace(block, torch.rand(2, 3, dtype=kind))
    archive.save(str(tmp_path / "w.pt"))
    found, wanted = read_torchscript(tmp_path / "w.pt"), archive.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) and found[name].dtype == wanted[name].dtype for name in wanted)


def test_much_packed_code_beside_few_weights_is_no_bomb(tmp_path: Path) -> None:
    save_torchscript(TENSORS, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/code/__torch__/large.py", "# as OpenAI's, far larger unpacked\n" * 10_000)
    assert same(read_checkpoint(tmp_path / "w.pt").tensors)


def test_a_pickle_packed_to_unfold_to_any_size_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(10**6))
    with pytest.raises(ModelMismatch, match="its members claim more bytes than the file has"):
        read_checkpoint(tmp_path / "w.pt")


def test_many_tensors_of_the_same_values(tmp_path: Path) -> None:
    values = torch.zeros(10**5)
    torch.save({f"w{number}": values for number in range(9)}, tmp_path / "w.pt")
    with pytest.raises(ModelMismatch, match="the same values in many tensors"):
        read_checkpoint(tmp_path / "w.pt")


class _Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("by", ["torch", "pickle"])
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, by: str) -> None:
    trap, path = tmp_path / "sprung", tmp_path / "evil.pt"
    content = {**TENSORS, "trap": _Trap(trap)}
    if by == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"trap": _Trap(trap)}, protocol=2))
    with pytest.raises(ModelMismatch, match=r"refused: it holds more than tensors \(\w+\.mkdir\)") as caught:
        read_checkpoint(path)
    assert not trap.exists() and "safetensors" in caught.value.hint


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!doctype html><html></html>", "web page"),
        (b"# hello there, these are no weights at all\n" * 3, "not a readable weights file"),
        (b"PK\x03\x04 cut short", "not a readable weights file"),
    ],
    ids=["empty", "lfs", "html", "text", "cut"],
)
def test_files_that_are_no_weights(tmp_path: Path, suffix: str, content: bytes, why: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelMismatch) as caught:
        read_checkpoint(path)
    assert why in caught.value.message and str(path) in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_cut_short(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(ModelMismatch, match="not a readable weights file"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([torch.zeros(1)], "not hold a state dict but list"),
        ({}, "not hold a state dict but nothing"),
        ({"a": torch.zeros(1), "epoch": 3, "name": "x"}, "not weights: epoch, name"),
        ({"base_model.model.visual.proj.lora_A.weight": torch.zeros(1)}, "a LoRA adapter, not a model"),
        ({"visual.proj.lora_up": torch.zeros(1)}, "a LoRA adapter, not a model"),
    ],
    ids=["list", "nothing", "strangers", "peft", "another adapter"],
)
def test_pickles_of_something_else(tmp_path: Path, content: Any, why: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelMismatch, match=why):
        read_checkpoint(tmp_path / "w.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    save_file({"good": torch.zeros(3), "bad.weight": torch.tensor([0.0, value, 1.0])}, tmp_path / "w.safetensors")
    with pytest.raises(ModelMismatch, match=r"not finite: bad\.weight"):
        read_checkpoint(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(2).to_sparse(), torch.zeros(2, device="meta"), torch.zeros(1).expand(10**10)],
    ids=["sparse", "described alone", "ten billion times the same"],
)
def test_tensors_without_values_of_their_own(tmp_path: Path, tensor: Tensor) -> None:
    torch.save({"a": tensor}, tmp_path / "w.pt")
    with pytest.raises(ModelMismatch, match="tensors without values of their own: a"):
        read_checkpoint(tmp_path / "w.pt")


class TestCompactVocabulary:
    def test_rows_go_where_they_belong_and_the_rest_is_zero(self, tmp_path: Path) -> None:
        rows, values = torch.tensor([7, 49407]), torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float16)
        save_file({"token_embedding.rows": rows, "token_embedding.values": values}, tmp_path / "w.safetensors")
        weight = read_checkpoint(tmp_path / "w.safetensors").tensors["token_embedding.weight"]
        assert weight.shape == (CLIP_VOCABULARY, 2) and weight.dtype == torch.float32
        assert weight[7].tolist() == [1.0, 2.0] and weight[49407].tolist() == [3.0, 4.0]
        assert weight.count_nonzero() == 4

    @pytest.mark.parametrize(
        ("rows", "values"),
        [
            ([1, 2], torch.zeros(3, 2)),
            ([], torch.zeros(0, 10**7)),
            ([49408], torch.zeros(1, 2)),
            ([-1], torch.zeros(1, 2)),
            ([1], torch.zeros(1)),
        ],
    )
    def test_rows_and_values_must_belong_together(self, tmp_path: Path, rows: list[int], values: Tensor) -> None:
        content = {"token_embedding.rows": torch.tensor(rows, dtype=torch.int64), "token_embedding.values": values}
        save_file(content, tmp_path / "w.safetensors")
        with pytest.raises(ModelMismatch, match="do not belong together"):
            read_checkpoint(tmp_path / "w.safetensors")

    @pytest.mark.parametrize("type", [torch.uint8, torch.bool, torch.complex64])
    def test_rows_are_whole_numbers_and_values_are_not(self, tmp_path: Path, type: torch.dtype) -> None:
        for types in ((type, torch.float32), (torch.int64, type)):
            content = {"token_embedding.rows": torch.tensor([1]).to(types[0])}
            content["token_embedding.values"] = torch.ones(1, 2).to(types[1])
            save_file(content, tmp_path / "w.safetensors")
            with pytest.raises(ModelMismatch, match="do not belong together"):
                read_checkpoint(tmp_path / "w.safetensors")


def test_names_are_shortened_with_their_count() -> None:
    assert name_some(["a", "b"], most=3) == "a, b"
    assert name_some(list("abcde"), most=3) == "a, b, c and 2 more"
