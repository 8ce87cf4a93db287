"""From a request to a device, a precision and a reason; batches that shrink."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable

import pytest
import torch

from clipalign import device as device_module
from clipalign.device import DeviceChoice, available_devices, choose_device, to_device, torch_dtype, with_oom_retry
from clipalign.errors import DeviceUnavailable, UsageError


@pytest.fixture(autouse=True)
def _nothing_is_known() -> None:
    """What fitted in another test."""
    choose_device("cpu")


Machine = Callable[..., None]
"""Takes the names of devices."""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Pretend that the machine has these devices."""

    def pretend(*devices: str) -> None:
        monkeypatch.setattr(device_module, "available_devices", lambda: list(devices))

    return pretend


def test_the_cpu_is_always_there() -> None:
    assert available_devices()[-1] == "cpu"


def test_auto_takes_the_first_gpu_then_mps_then_the_cpu(machine: Machine) -> None:
    machine("cuda:0", "cuda:1", "cpu")
    assert choose_device().device == "cuda:0"
    machine("mps", "cpu")
    assert choose_device().device == "mps"
    machine("cpu")
    assert choose_device() == DeviceChoice("cpu", "fp32", "cpu is the only device; fp32 is the reference precision")


@pytest.mark.parametrize(("rank", "chosen"), [("0", "cuda:0"), ("1", "cuda:1"), ("3", "cuda:1"), ("x", "cuda:0")])
def test_under_torchrun_auto_takes_the_gpu_of_the_process(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, rank: str, chosen: str
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    machine("cuda:0", "cuda:1", "cpu")
    assert choose_device("auto").device == chosen
    assert choose_device("cpu").device == "cpu"
    machine("cpu")
    assert choose_device("auto").device == "cpu"


def test_auto_precision_is_the_reference_on_gpus_too(machine: Machine) -> None:
    machine("cuda:0", "cpu")
    assert choose_device("cuda").precision == "fp32"


def test_a_gpu_can_be_named(machine: Machine) -> None:
    machine("cuda:0", "cuda:1", "cpu")
    assert choose_device("cuda:1").device == "cuda:1"
    assert choose_device("CUDA").device == "cuda:0"
    assert choose_device(torch.device("cuda", 1)).device == "cuda:1"  # type: ignore[arg-type]


@pytest.mark.parametrize("request_", ["gpu", "cuda:x", "cpu:1", "cuda:", "mps:0", "", "cuda:-1"])
def test_an_unknown_device_is_one_line_that_lists_what_is_there(request_: str, machine: Machine) -> None:
    machine("cuda:0", "cpu")
    with pytest.raises(DeviceUnavailable) as caught:
        choose_device(request_)
    assert "unknown device" in caught.value.message and "cuda:0, cpu" in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


def test_a_device_that_is_not_there_is_refused(machine: Machine) -> None:
    machine("cuda:0", "cpu")
    with pytest.raises(DeviceUnavailable, match="no device cuda:3"):
        choose_device("cuda:3")
    with pytest.raises(DeviceUnavailable, match="no device mps"):
        choose_device("mps")


def test_fp16_on_a_cpu_becomes_fp32_with_the_reason() -> None:
    choice = choose_device("cpu", "fp16")
    assert choice.precision == "fp32" and "fp32 instead of fp16" in choice.reason


def test_bf16_on_a_cpu_depends_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "_cpu_has_bf16", lambda: True)
    assert choose_device("cpu", "bf16").precision == "bf16"
    monkeypatch.setattr(device_module, "_cpu_has_bf16", lambda: False)
    choice = choose_device("cpu", "bf16")
    assert choice.precision == "fp32" and "no bf16" in choice.reason


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(DeviceUnavailable, match="unknown precision 'int4'"):
        choose_device("cpu", "int4")


def test_threads_are_at_least_one() -> None:
    assert choose_device("cpu", threads=2).threads == 2
    with pytest.raises(UsageError, match="threads must be at least 1, not 0"):
        choose_device("cpu", threads=0)


def test_precisions_have_torch_types() -> None:
    choices = [DeviceChoice("cpu", precision, "") for precision in ("fp32", "bf16", "fp16")]
    assert [torch_dtype(choice) for choice in choices] == [torch.float32, torch.bfloat16, torch.float16]


class TestHalving:
    def run(self, fits: int, error: BaseException) -> tuple[list[int], Callable[[int], int]]:
        tried: list[int] = []

        def work(batch_size: int) -> int:
            tried.append(batch_size)
            if batch_size > fits:
                raise error
            return batch_size

        return tried, work

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory."),
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            RuntimeError("MPS backend out of memory"),
            MemoryError(),
        ],
    )
    def test_goes_on_with_half_and_says_so_once(self, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
        tried, work = self.run(8, error)
        with caplog.at_level(logging.WARNING):
            assert with_oom_retry(32, work) == 8
        assert tried == [32, 16, 8]
        assert [record.getMessage() for record in caplog.records] == [
            "memory ran out; went on with a batch size of 8 instead of 32"
        ]

    def test_is_said_once_and_found_out_once_in_a_run_of_many_batches(self, caplog: pytest.LogCaptureFixture) -> None:
        tried, work = self.run(8, MemoryError())
        with caplog.at_level(logging.WARNING):
            assert [with_oom_retry(32, work) for _ in range(5)] == [8] * 5
        assert tried == [32, 16, 8, 8, 8, 8, 8] and len(caplog.records) == 1
        assert with_oom_retry(4, work) == 4
        choose_device("cpu")
        tried.clear()
        assert with_oom_retry(32, work) == 8 and tried == [32, 16, 8]

    def test_is_silent_when_it_fits(self, caplog: pytest.LogCaptureFixture) -> None:
        assert with_oom_retry(32, self.run(32, MemoryError())[1]) == 32
        assert not caplog.records

    def test_gives_up_at_one(self) -> None:
        with pytest.raises(DeviceUnavailable, match="too little memory"):
            with_oom_retry(2, self.run(0, MemoryError())[1])

    def test_leaves_other_errors_alone(self) -> None:
        with pytest.raises(RuntimeError, match="shapes"):
            with_oom_retry(2, self.run(0, RuntimeError("shapes do not fit"))[1])


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Pretend that OpenVINO is there, or is not."""

    def pretend(there: bool) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if there else None)

    return pretend


def test_auto_takes_openvino_for_many_pictures_and_for_int8_on_a_cpu_alone(
    machine: Machine, installed: Callable[[bool], None]
) -> None:
    installed(True)
    machine("cuda:0", "cpu")
    assert choose_device("cpu").engine == "torch"
    assert choose_device("cpu", many=True).engine == "auto"
    assert choose_device("cpu", precision="int8").engine == "auto"
    assert choose_device("cuda", many=True).engine == "torch"
    assert choose_device("cpu", engine="openvino").engine == "openvino"
    installed(False)
    assert choose_device("cpu", many=True).engine == "torch"


def test_int8_falls_back_to_fp32_where_nothing_can_compute_in_it(
    machine: Machine, installed: Callable[[bool], None]
) -> None:
    installed(False)
    machine("cuda:0", "cpu")
    for device, reason in {"cpu": "openvino is not installed", "cuda": "int8 is for CPUs"}.items():
        choice = choose_device(device, "int8")
        assert choice.precision == "fp32" and reason in choice.reason


@pytest.mark.parametrize(("has_bf16", "texts"), [(True, torch.bfloat16), (False, torch.float32)])
def test_texts_are_in_bf16_with_int8_where_the_cpu_has_it(
    has_bf16: bool, texts: torch.dtype, installed: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(True)
    monkeypatch.setattr(device_module, "_cpu_has_bf16", lambda: has_bf16)
    choice = choose_device("cpu", "int8")
    assert torch_dtype(choice) == texts
    assert choice.reason.endswith(f"int8 as asked, texts in {'bf16' if has_bf16 else 'fp32'}")


def test_an_engine_asked_for_by_name_is_there_or_an_error(machine: Machine, installed: Callable[[bool], None]) -> None:
    installed(False)
    machine("cuda:0", "cpu")
    with pytest.raises(DeviceUnavailable, match="not installed"):
        choose_device("cpu", engine="openvino")
    with pytest.raises(DeviceUnavailable, match="runs on the CPU here, not on cuda:0"):
        choose_device("cuda", engine="openvino")
    with pytest.raises(DeviceUnavailable, match="unknown engine 'onnx'"):
        choose_device("cpu", engine="onnx")
    with pytest.raises(UsageError, match="torch has no int8"):
        choose_device("cpu", "int8", engine="torch")


class Spy:
    """Stands in for a tensor of the CPU, since this machine may have no GPU."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.told: list[object] = []

    def pin_memory(self) -> Spy:
        self.told.append("pinned")
        return self

    def to(self, device: str, **how: bool) -> Spy:
        self.told.append((device, how))
        return self


@pytest.mark.parametrize(
    ("device", "told"), [("cuda:1", ["pinned", ("cuda:1", {"non_blocking": True})]), ("mps", [("mps", {})])]
)
def test_copies_to_a_gpu_start_from_pinned_memory(device: str, told: list[object]) -> None:
    spy = Spy()
    to_device(spy, device)  # type: ignore[arg-type]
    assert spy.told == told
