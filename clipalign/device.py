"""Which device, engine and precision a model runs on, and why; batches that shrink when memory runs out.

A request ("auto", "cuda:1", "bf16") becomes a ``DeviceChoice`` with its reason, for the provenance of results. fp32 is
the reference everywhere: attributions are near 1e-4 and half precision changes them. Nothing here seeds or changes
torch's settings, and torch is imported only when needed.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from clipalign.errors import DeviceUnavailable, UsageError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

PRECISIONS: Final = ("fp32", "bf16", "fp16", "int8")
TORCH: Final = "torch"
ENGINES: Final = ("auto", TORCH, "openvino")
DEVICE_KINDS: Final = ("cpu", "cuda", "mps")

_OUT_OF_MEMORY_SIGNS: Final = ("out of memory", "can't allocate memory", "not enough memory", "can't start new thread")

_fitting: Final[dict[str, int]] = {}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """Where a model runs.

    Attributes:
        device: ``cpu``, ``cuda:N`` or ``mps``.
        precision: of weights and activations: ``fp32``, ``bf16``, ``fp16`` or ``int8``, with which texts are in bf16
            where the CPU has it, else in fp32.
        reason: one line, for provenance and ``-v``.
        threads: CPU threads of torch; None for its own default.
        engine: of image towers: ``torch`` or ``openvino``; ``auto`` before the model is loaded, for OpenVINO where it
            works and torch elsewhere.
    """

    device: str
    precision: str
    reason: str
    threads: int | None = None
    engine: str = TORCH


def choose_device(
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    *,
    engine: str = "auto",
    many: bool = False,
) -> DeviceChoice:
    """Resolve a request for a device, a precision and an engine.

    Args:
        device: ``auto`` (the first CUDA device, under ``torchrun`` that of the process, else MPS, else the CPU),
            ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: ``auto`` (fp32), ``fp32``, ``bf16``, ``fp16`` or ``int8``. One that the device cannot compute in
            falls back to fp32, and the reason says so.
        threads: at least 1, or None.
        engine: ``torch``, ``openvino`` (on CPUs), or ``auto``: OpenVINO where it is installed, for ``many`` pictures
            or int8, else torch, as compiling a tower takes longer than a few pictures.

    Raises:
        DeviceUnavailable: an unknown name, or a device or an engine that is not there.
        UsageError: ``threads`` below 1, or int8 by torch.
    """
    if precision not in ("auto", *PRECISIONS):
        raise DeviceUnavailable(
            f"unknown precision {precision!r}", hint=f"one of auto, {', '.join(PRECISIONS)}", input="--precision"
        )
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}", input="--threads")
    _fitting.clear()
    name, device_reason = _find_device(str(device).strip().lower())  # a torch.device too
    found = _find_engine(name, engine, wanted=many or precision == "int8")
    if precision == "int8" and engine == TORCH:
        raise UsageError("torch has no int8", hint="--engine openvino, or --precision bf16", input="--precision")
    chosen, precision_reason = _find_precision(name, precision, found)
    return DeviceChoice(name, chosen, f"{device_reason}; {precision_reason}", threads, found)


def _find_engine(device: str, request: str, *, wanted: bool) -> str:
    if request not in ENGINES:
        raise DeviceUnavailable(f"unknown engine {request!r}", hint=f"one of {', '.join(ENGINES)}", input="--engine")
    installed = importlib.util.find_spec("openvino") is not None
    if request != "openvino":
        return "auto" if request == "auto" and wanted and installed and device == "cpu" else TORCH
    if device != "cpu":
        hint = "--device cpu, or --engine torch"
        raise DeviceUnavailable(f"OpenVINO runs on the CPU here, not on {device}", hint=hint, input="--engine")
    if not installed:
        raise openvino_missing()
    return request


def torch_dtype(choice: DeviceChoice) -> torch.dtype:
    """Return that of the network; int8 is of OpenVINO's image tower, with texts in the lowest that torch has."""
    import torch

    precision = choice.precision if choice.precision != "int8" else _text_precision()
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def to_device(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """Copy to a device; to a GPU from pinned memory, so that the copy runs beside what the CPU does next."""
    if device.startswith("cuda") and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def available_devices() -> list[str]:
    """Return the devices of this machine, best first: ``cuda:0``, …, ``mps``, ``cpu``."""
    import torch

    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def _find_device(request: str) -> tuple[str, str]:
    kind, _, index = request.partition(":")
    well_formed = request == "auto" or (
        kind in DEVICE_KINDS
        and request in (kind, f"{kind}:{index}")
        and (not index or (kind == "cuda" and index.isdecimal()))
    )
    there = available_devices()
    if not well_formed or request.endswith(":"):
        raise DeviceUnavailable(
            f"unknown device {request!r}",
            hint=f"auto, cpu, cuda, cuda:N or mps; this machine has {', '.join(there)}",
            input="--device",
        )
    if request == "auto":
        return _best(there)
    wanted = f"cuda:{int(index or 0)}" if kind == "cuda" else kind
    if wanted not in there:
        raise DeviceUnavailable(
            f"there is no device {request}",
            hint=f"this machine has {', '.join(there)}; try --device auto",
            input="--device",
        )
    return wanted, f"{wanted} as asked"


def _best(there: list[str]) -> tuple[str, str]:
    rank = os.environ.get("LOCAL_RANK", "")
    gpus = [name for name in there if name.startswith("cuda")]
    if rank.isdecimal() and gpus:
        own = gpus[int(rank) % len(gpus)]
        return own, f"{own} is that of local rank {rank}"
    return there[0], f"{there[0]} is the first of {', '.join(there)}" if len(there) > 1 else "cpu is the only device"


def openvino_missing() -> DeviceUnavailable:
    hint = "pip install 'clipalign[openvino]'"
    return DeviceUnavailable("the package openvino is not installed", hint=hint, input="--engine")


def _find_precision(device: str, request: str, engine: str) -> tuple[str, str]:
    if request == "auto":
        return "fp32", "fp32 is the reference precision"
    obstacle = "" if request == "fp32" else _obstacle(device, request, engine)
    if obstacle:
        return "fp32", f"fp32 instead of {request}: {obstacle}"
    return request, f"{request} as asked" + (f", texts in {_text_precision()}" if request == "int8" else "")


def _text_precision() -> str:
    """Return that of texts with int8."""
    return "bf16" if _cpu_has_bf16() else "fp32"


def _obstacle(device: str, precision: str, engine: str) -> str:
    import torch

    if precision == "int8":
        return "" if engine != TORCH else openvino_missing().message if device == "cpu" else "int8 is for CPUs"
    if device == "cpu":
        if precision == "fp16":
            return "CPUs emulate fp16, slower than fp32 and with less range than bf16"
        return "" if _cpu_has_bf16() else "this CPU has no bf16 arithmetic"
    if device == "mps":
        modern = precision == "fp16" or torch.backends.mps.is_macos_or_newer(14, 0)
        return "" if modern else "bf16 on MPS needs macOS 14"
    if precision == "bf16" and torch.cuda.get_device_capability(device) < (8, 0):
        return "this GPU has no bf16 arithmetic"
    return ""


def _cpu_has_bf16() -> bool:
    """Return whether bf16 is not emulated: AVX512-BF16 or AMX on x86, the bf16 extension on ARM."""
    import torch

    if platform.machine().lower() in ("arm64", "aarch64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def with_oom_retry(batch_size: int, run: Callable[[int], T]) -> T:
    """Return ``run(batch_size)``; when memory runs out, retry with half the batch, down to 1, and warn once.

    The size that fitted is remembered by the place of ``run`` in the code until a device is chosen again. Raises
    ``DeviceUnavailable`` if not even a batch of one fits.
    """
    # Closures are new objects at every call: only where they are written says that two of them do the same work.
    place = f"{getattr(run, '__module__', '')}.{getattr(run, '__qualname__', '')}"
    size = asked = min(batch_size, _fitting.get(place, batch_size))
    while True:
        try:
            result = run(size)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise DeviceUnavailable(
                    "the device has too little memory for this model, even for one item at a time",
                    hint="try --device cpu, or a smaller model",
                    input="--device",
                ) from error
        else:
            if size < asked:
                if not _fitting:
                    logger.warning("memory ran out; went on with a batch size of %d instead of %d", size, batch_size)
                _fitting[place] = size
            return result
        size //= 2
        _release_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out: Python has a type for it, torch on some devices only a message."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY_SIGNS)


def _release_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
