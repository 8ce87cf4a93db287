"""Image towers in OpenVINO, which runs them on CPUs faster than torch does, in fp32, bf16 and int8.

The tower is exported once, for batches of any size, and kept on disk; before every use it is compared with torch on
generated pictures. In int8 the inputs and weights of matrix products and convolutions are rounded to 8 bits: inputs by
ranges found on the generated pictures and balanced against the weights channel by channel (SmoothQuant, Xiao et al.,
ICML 2023, arXiv 2211.10438, equation 4), weights by output channel. The text tower, whose gradients ``detect`` needs,
stays in torch, in int8 as bf16 where the CPU has it.

A kept export is an entry of :mod:`clipalign.models.vector_store`, named by a hash of weights, config and versions. A
cache that cannot be written costs time only.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.cache import ENGINES_FOLDER, cache_folder, write_kept
from clipalign.device import TORCH, openvino_missing
from clipalign.errors import Busy, DeviceUnavailable
from clipalign.files import exclusive
from clipalign.models.image_encoder import encode_pictures
from clipalign.models.model import LoadedModel
from clipalign.models.vector_store import (
    DamagedEntry,
    entry_bytes,
    entry_name,
    forget_oldest,
    picture_key,
    read_entry,
)

FORMAT: Final = 2  # of a kept export; raised whenever another one would be made

CACHE_BYTES: Final = 10_000_000_000  # of the folder; the least recently used exports are removed first

LIMITS: Final = {"fp32": 1e-6, "bf16": 1e-2, "int8": 3e-2}
"""How far an entry of a unit vector may be from torch's in fp32."""

CALIBRATION_PICTURES: Final = 32
_COMPARED: Final = 8
_LEAVES: Final = 400
_WAIT_SECONDS: Final = 600.0
_PRODUCTS: Final = ("MatMul", "Convolution")

_Array = npt.NDArray[Any]

logger = logging.getLogger(__name__)


class Engine:
    """An image tower that OpenVINO has compiled."""

    def __init__(self, model: Any, precision: str, weights: object = None) -> None:
        import openvino

        said = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # several processes would be pinned to the same cores
        }
        self._request = openvino.Core().compile_model(model, "CPU", said).create_infer_request()
        self._weights = weights  # the model's constants lie in it
        self._lock, self._process = threading.Lock(), os.getpid()

    def encode(self, pictures: Tensor) -> Tensor:
        """Image vectors of any length: (B, 3, S, S) to (B, E), fp32."""
        if os.getpid() != self._process:  # its threads are not in the child, which would wait for them forever
            raise DeviceUnavailable(
                "OpenVINO does not work in a forked process", hint="start processes by spawn, or --engine torch"
            )
        with self._lock:
            return torch.from_numpy(self._request.infer({0: pictures.float().contiguous().numpy()})[0].copy())


@dataclass(frozen=True)
class _Export:
    """An exported tower: OpenVINO's two files and how many times as fast as torch it was where it was exported."""

    arrays: dict[str, _Array]

    @property
    def speed(self) -> float:
        return float(self.arrays["speed"])

    def compiled(self, precision: str) -> Engine:
        import openvino

        weights = openvino.Tensor(self.arrays["weights"], shared_memory=True)
        model = openvino.Core().read_model(self.arrays["graph"].tobytes(), weights)
        return Engine(model, precision, weights)


def attach_engine(loaded: LoadedModel, *, cache_dir: str | Path | None = None) -> None:
    """Let OpenVINO encode the pictures of a model whose choice says ``openvino``, or ``auto`` where that is faster.

    The network must be in fp32 still. Raises ``DeviceUnavailable`` where OpenVINO is missing, cannot run this tower or
    disagrees with torch; with ``auto`` torch is taken, with a warning.
    """
    choice = loaded.choice
    if choice.engine == TORCH:
        return
    try:
        loaded.engine = _open(loaded, cache_folder(cache_dir) / ENGINES_FOLDER)
    except DeviceUnavailable as error:
        if choice.engine != "auto":
            raise
        precision = "fp32" if choice.precision == "int8" else choice.precision
        logger.warning("pictures are encoded by torch in %s: %s", precision, error.message)
        loaded.choice = replace(choice, engine=TORCH, precision=precision)
        return
    taken = "openvino" if loaded.engine else TORCH
    reason = f"{choice.reason}; pictures by OpenVINO {version('openvino')}" if loaded.engine else choice.reason
    loaded.choice = replace(choice, engine=taken, reason=reason)


def _open(loaded: LoadedModel, folder: Path) -> Engine | None:
    """The tower in OpenVINO; None where ``auto`` finds torch to be as fast."""
    try:
        import openvino  # noqa: F401
    except (ImportError, OSError) as error:
        raise openvino_missing() from error
    choice = loaded.choice
    try:
        export, is_kept = _kept_export(loaded, folder)
        # Where nothing is kept every process would measure anew, and a resumed run might take another engine.
        if choice.engine == "auto" and choice.precision == "fp32" and (export.speed <= 1 or not is_kept):
            logger.info("torch is as fast as OpenVINO with this model, or the export could not be kept")
            return None
        engine = export.compiled(choice.precision)
        away = _difference(loaded, engine, generated_pictures(loaded, 2, seed=1))
    except Exception as error:  # nearly anything, of a tower that cannot be traced or read
        why = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise DeviceUnavailable(
            f"OpenVINO cannot run the image tower of {loaded.row.name}: {why}", hint="--engine torch", input="--engine"
        ) from error
    if not away <= LIMITS[choice.precision]:
        raise DeviceUnavailable(
            f"OpenVINO in {choice.precision} is {away:.1e} away from torch with {loaded.row.name}, more than "
            f"{LIMITS[choice.precision]:.0e}",
            hint="--engine torch, or another --precision",
            input="--engine",
        )
    return engine


@torch.no_grad()
def _difference(loaded: LoadedModel, engine: Engine, pictures: Tensor) -> float:
    """The largest difference between entries of unit vectors of both engines."""
    ours, theirs = engine.encode(pictures), encode_pictures(loaded.network, pictures)
    return float((F.normalize(ours, dim=-1) - F.normalize(theirs, dim=-1)).abs().max())


def generated_pictures(loaded: LoadedModel, count: int, *, seed: int = 0) -> Tensor:
    """Dead leaves, whose statistics are near those of photographs (Lee, Mumford and Huang, IJCV 2001): (N, 3, S, S).

    Rectangles of any color cover each other, their sides s drawn with a density of 1 / s^3; the same ones for a seed.
    """
    side, random = loaded.image_size, np.random.default_rng(seed)
    values = np.empty((count, side, side, 3), dtype=np.float32)
    for picture in values:
        picture[:] = random.random(3)
        sides = np.minimum(side, 2 / np.sqrt(random.uniform(2e-5, 0.2, (_LEAVES, 2)))).astype(int)
        for (height, width), (top, left) in zip(sides, random.integers(-side // 4, side, (_LEAVES, 2)), strict=True):
            picture[max(0, top) : top + height, max(0, left) : left + width] = random.random(3)
    normal = (values - np.array(loaded.mean, np.float32)) / np.array(loaded.std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(0, 3, 1, 2), dtype=np.float32))


# --- exports that are kept ---


def _kept_export(loaded: LoadedModel, folder: Path) -> tuple[_Export, bool]:
    """Return the export, and whether it is kept for later processes."""
    key = _key(loaded)
    if key is None:
        return _export(loaded), False
    name = entry_name(key)
    file, found = folder / f"{name}.safetensors", None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(file.with_suffix(".lock"), wait_seconds=_WAIT_SECONDS, remove=True):
            found = _read(file, name)
            if found is None:
                found = _export(loaded)
                write_kept(file, entry_bytes(name, found.arrays))
                forget_oldest(folder, CACHE_BYTES)
        return found, True
    except (OSError, Busy) as error:
        logger.info("the exported image tower could not be kept in %s: %s", folder, error)
    return found or _export(loaded), False


def _key(loaded: LoadedModel) -> dict[str, object] | None:
    """What an export depends on; the same one serves fp32 and bf16."""
    rounded = "int8" if loaded.choice.precision == "int8" else "fp32"
    choice = replace(loaded.choice, engine="openvino", precision=rounded)
    key = picture_key(replace(loaded, choice=choice))
    return None if key is None else {**key, "export": FORMAT, "timm": version("timm")}


def _read(file: Path, name: str) -> _Export | None:
    try:
        arrays = read_entry(file, name, limit_bytes=CACHE_BYTES)
        return None if arrays is None else _Export(arrays)
    except DamagedEntry:
        logger.warning("the exported image tower in %s is damaged and is made again", file)
        return None


# --- the export ---


def _export(loaded: LoadedModel) -> _Export:
    model, pictures = _traced(loaded), generated_pictures(loaded, CALIBRATION_PICTURES)
    if loaded.choice.precision == "int8":
        _round(model, pictures)
    export = _Export(_serialized(model))
    if loaded.choice.precision == "int8":
        return export
    engine, few = export.compiled("fp32"), pictures[:_COMPARED]
    ours = _fastest(lambda: engine.encode(few))
    with torch.no_grad():
        theirs = _fastest(lambda: encode_pictures(loaded.network, few))
    return _Export(export.arrays | {"speed": np.array(theirs / ours)})


def _fastest(run: Callable[[], object]) -> float:
    """Seconds of the fastest of three calls after one to warm up."""
    seconds = []
    for _ in range(4):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


class _Tower(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        return encode_pictures(self.network, pictures)


def _traced(loaded: LoadedModel) -> Any:
    """The tower as OpenVINO's graph, with a batch of any size.

    Not by ``openvino.convert_model``, which reports to its makers that it was called.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    side = loaded.image_size
    example = torch.zeros(2, 3, side, side)
    with _plain_attention(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every shape that it takes for fixed
        traced = torch.jit.trace(_Tower(loaded.network).eval(), example, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced, example_input=example)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
    model.reshape({0: [-1, 3, side, side]})
    return model


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as single operators, not as torch's one for all, which nobody else knows."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _serialized(model: Any) -> dict[str, _Array]:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        graph, weights = Path(folder, "graph.xml"), Path(folder, "weights.bin")
        openvino.serialize(model, graph, weights)
        return {file.stem: np.fromfile(file, dtype=np.uint8) for file in (graph, weights)}


# --- int8 ---


def _round(model: Any, pictures: Tensor) -> None:
    """Put roundings to 8 bits before every product of ``model`` that has constant weights."""
    from openvino import opset13 as ops

    products = [node for node in model.get_ordered_ops() if _has_weights(node)]
    for node, reach, signed in zip(products, *_reaches(model, products, pictures), strict=True):
        weights = np.array(node.input_value(1).get_node().data, dtype=np.float32)
        scale = _balance(node, weights, reach)  # of input channels, (C) or ()
        top = np.float32((reach / scale).max())
        low = -top * np.float32(128 / 127) if signed else np.float32(0)
        source = node.input_value(0)
        balanced = ops.multiply(source, 1 / scale).output(0) if scale.ndim else source
        rounded = ops.fake_quantize(balanced, low, top, low, top, 256)
        node.input(0).replace_source_output(rounded.output(0))
        weights = weights * _along_inputs(node, scale)
        step = np.maximum(np.abs(weights).max(axis=_input_axes(node), keepdims=True), np.float32(1e-12)) / 127
        bytes = ops.convert(ops.constant(np.rint(weights / step).astype(np.int8)), "f32")
        node.input(1).replace_source_output(ops.multiply(bytes, ops.constant(step)).output(0))
    model.validate_nodes_and_infer_types()


def _has_weights(node: Any) -> bool:
    if node.get_type_name() not in _PRODUCTS or node.input_value(1).get_node().get_type_name() != "Constant":
        return False
    return node.get_type_name() == "Convolution" or not node.get_attributes()["transpose_a"]


def _reaches(model: Any, products: list[Any], pictures: Tensor) -> tuple[list[_Array], list[bool]]:
    """How far from 0 the inputs of products go, by channel where they are matrices, and whether below 0."""
    import openvino
    from openvino import opset13 as ops

    found = []
    for node in products:
        source = node.input_value(0)
        rank = source.get_partial_shape().rank.get_length()
        axes = np.arange(rank - (node.get_type_name() == "MatMul"))
        found.append(ops.result(ops.reduce_max(ops.abs(source), axes)))
        found.append(ops.result(ops.reduce_min(source, np.arange(rank))))
    probe = openvino.Core().compile_model(
        openvino.Model(found, model.get_parameters(), "ranges"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    seen = [probe(one.numpy()) for one in pictures.split(_COMPARED)]
    reaches = [np.maximum.reduce([one[place] for one in seen]) for place in range(0, len(found), 2)]
    lows = [min(float(one[place].min()) for one in seen) for place in range(1, len(found), 2)]
    return reaches, [low < 0 for low in lows]


def _balance(node: Any, weights: _Array, reach: _Array) -> _Array:
    """What each input channel is divided by: the square root of its reach over that of its weights."""
    if not reach.ndim:  # of a convolution
        return np.ones_like(reach)
    axis = weights.ndim - 1 if node.get_attributes()["transpose_b"] else weights.ndim - 2
    most = np.abs(weights).max(axis=tuple(other for other in range(weights.ndim) if other != axis))
    scale = np.sqrt(np.maximum(reach, 1e-6) / np.maximum(most, 1e-6))
    return np.asarray(scale, dtype=np.float32)


def _along_inputs(node: Any, scale: _Array) -> _Array:
    if not scale.ndim or node.get_attributes()["transpose_b"]:
        return scale
    return scale[:, None]


def _input_axes(node: Any) -> tuple[int, ...]:
    if node.get_type_name() == "Convolution":
        return (1, 2, 3)
    rank = node.input_value(1).get_partial_shape().rank.get_length()
    return (rank - 1,) if node.get_attributes()["transpose_b"] else (rank - 2,)
