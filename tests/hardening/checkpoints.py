"""Weights that do not fit, are damaged, lie about themselves, or would run a program when they are opened."""

from __future__ import annotations

import copy
import io
import json
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any, Final

import torch
from torch import Tensor

from tests.checkpoints import VOCABULARY, config, state_dict, torchscript_bytes
from tests.hardening.arena import Case, Outcome
from tests.hardening.mutations import mutated, mutated_json
from tests.hardening.process import GOLDEN

MARKER: Final = "marker"
"""What code in a checkpoint would leave behind; cases look for it in their folder."""

_CONFIG: Final = config(text_cfg={"vocab_size": 49408})

_USUAL: Final = frozenset({2, 4})
_MAYBE: Final = frozenset({0, 2, 4})

_NUMBERS: Final[tuple[object, ...]] = (
    0,
    1,
    -1,
    2,
    3,
    7,
    48,
    10**6,
    2**31,
    2**63,
    1.5,
    float("nan"),
    "16",
    None,
    True,
    [],
    [1, 1],
    {},
)

Make = Callable[[Random], tuple[dict[str, bytes], str]]
"""Files of a case, and what ``--model`` is given."""


def cases(random: Random, number: int) -> Iterator[Case]:
    """Broken checkpoints and configurations through every command that loads a model."""
    for _ in range(number):
        kind, statuses, make = random.choice(_KINDS)
        files, model = make(random)
        command, arguments, more = random.choice(_WAYS)(random, model)
        yield Case(kind, command, arguments, files | more, statuses=statuses, check=_nothing_ran)


def _nothing_ran(outcome: Outcome) -> Iterator[str]:
    for folder in (outcome.folder, outcome.folder.parent):
        if (folder / MARKER).exists():
            (folder / MARKER).unlink()
            yield "code in the checkpoint ran"


# --- ways in ----------------------------------------------------------------------------------------------------------


@cache
def _picture() -> bytes:
    return (GOLDEN / "images" / "0.png").read_bytes()


Way = tuple[str, tuple[str, ...], dict[str, bytes]]


def _detect(random: Random, model: str) -> Way:
    format = random.choice(("json", "table", "html"))
    return "detect", ("a.png", "a cat", "--model", model, "--format", format), {"a.png": _picture()}


def _detect_many(random: Random, model: str) -> Way:
    files = {"a.png": _picture(), "in.jsonl": b'{"image": "a.png", "text": "a cat"}\n'}
    return "detect", ("--input", "in.jsonl", "--model", model, "--format", random.choice(("jsonl", "json"))), files


def _classify(random: Random, model: str) -> Way:
    return (
        "classify",
        ("a.png", "--labels", "l.txt", "--model", model, "--format", "json"),
        {
            "a.png": _picture(),
            "l.txt": b"cat\ndog\n",
        },
    )


def _score_long(random: Random, model: str) -> Way:
    return "score-long", ("a.png", "A cat. A dog.", "--model", model, "--format", "json"), {"a.png": _picture()}


def _eval(random: Random, model: str) -> Way:
    arguments = ("--dataset", "pictogram-foil", "--limit", "2", "--model", model, "--format", "json")
    return "eval", (*arguments, *(("--output", "run") if random.random() < 0.5 else ())), {}


def _train(random: Random, model: str) -> Way:
    arguments = ("--data", "pictogram:4", "--held-out", "1", "--epochs", "1", "--batch-size", "2", "--accumulate", "1")
    return "train-specs", (*arguments, "--workers", "1", "--init", model, "--output", "run", "--format", "json"), {}


_WAYS: Final = (_detect, _detect, _detect_many, _classify, _score_long, _eval, _train)


# --- what is written --------------------------------------------------------------------------------------------------


@cache
def _weights() -> dict[str, Tensor]:
    """Of a tiny CLIP; its vocabulary in the compact form of the embedded model, or files would be of 12 MB each."""
    torch.set_num_threads(1)
    tensors = state_dict()
    rows = torch.cat([torch.arange(300), torch.tensor([320, 537, 1929, 2368, 49406, 49407])])
    tensors["token_embedding.rows"] = rows
    tensors["token_embedding.values"] = tensors.pop("token_embedding.weight")[rows % VOCABULARY]
    return tensors


@cache
def _plain_weights() -> dict[str, Tensor]:
    """The same with a vocabulary of 64 tokens, which the tokenizer's are too many for."""
    return state_dict()


@cache
def _safetensors() -> bytes:
    from safetensors.torch import save

    return save({name: tensor.contiguous() for name, tensor in _weights().items()})


@cache
def _zipped() -> bytes:
    return _torch_saved(_weights())


@cache
def _scripted() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torchscript_bytes(_plain_weights())


def _torch_saved(what: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(what, stream, **options)
    return stream.getvalue()


@cache
def _config() -> bytes:
    return json.dumps(_CONFIG).encode()


def _named(random: Random, content: bytes, suffix: str) -> tuple[dict[str, bytes], str]:
    """As a file alone, whose architecture follows from its shapes, or beside a configuration."""
    file = f"weights{suffix}"
    if random.random() < 0.5:
        return {file: content}, file
    return {file: content, "tiny.json": _config()}, f"tiny.json@{file}"


def _written(random: Random, tensors: dict[str, Tensor]) -> tuple[dict[str, bytes], str]:
    """In one of the formats that are read."""
    from safetensors.torch import save

    if random.random() < 0.5:
        return _named(random, save({name: one.contiguous() for name, one in tensors.items()}), ".safetensors")
    wrapped: Any = random.choice(
        (tensors, {"state_dict": tensors}, {"model": {f"module.{k}": v for k, v in tensors.items()}})
    )
    return _named(
        random,
        _torch_saved(wrapped, _use_new_zipfile_serialization=random.random() < 0.7),
        random.choice((".pt", ".bin", "")),
    )


# --- kinds ------------------------------------------------------------------------------------------------------------


def _shapes(random: Random) -> tuple[dict[str, bytes], str]:
    tensors = dict(_weights())
    # logit_scale may have one dimension or none; rows and values of the vocabulary are another kind's.
    names = sorted(name for name in tensors if name != "logit_scale" and "token_embedding" not in name)
    for name in random.sample(names, random.choice((1, 1, 2, 5))):
        shape = list(tensors[name].shape)
        change = random.randrange(5)
        if change == 0 and shape:
            shape[random.randrange(len(shape))] += random.choice((-1, 1, 8))
        elif change == 1:
            shape = [*shape, 1]
        elif change == 2:
            shape = shape[::-1]
        elif change == 3:
            shape = [0] * max(1, len(shape))
        if shape == list(tensors[name].shape):
            shape = shape[1:]
        tensors[name] = torch.zeros([max(0, side) for side in shape])
    return _written(random, tensors)


def _keys(random: Random) -> tuple[dict[str, bytes], str]:
    tensors = dict(_weights())
    names = sorted(tensors)
    change = random.randrange(6)
    if change == 0:
        for name in random.sample(names, random.choice((1, 1, 5, len(names) - 1))):
            del tensors[name]
    elif change == 1:
        tensors[
            random.choice(
                ("more", "visual.more", "x" * 3000, "a\n\x1b[31mb", "", "text_model.x", "positional_embedding_res")
            )
        ] = torch.zeros(3)
    elif change == 2:
        for name in names:
            tensors[random.choice(("module.", "visual.", "", "\u202e")) + name] = tensors.pop(name)
    elif change == 3:
        first, second = random.sample(names, 2)
        tensors[first], tensors[second] = tensors[second], tensors[first]
    elif change == 4:
        tensors = {name: one for name, one in tensors.items() if name.startswith("visual") == (random.random() < 0.9)}
    elif random.random() < 0.5:
        tensors["token_embedding.rows"] = torch.tensor(random.choice(([0], [-1], [10**6], [[1]])))
        tensors["token_embedding.values"] = torch.zeros(random.choice(((1, 64), (2, 64), (1, 1), (1, 64, 1))))
    else:
        tensors = dict(_plain_weights())
    return _written(random, tensors or {"a": torch.zeros(1)})


def _values(random: Random) -> tuple[dict[str, bytes], str]:
    tensors = dict(_weights())
    for name in random.sample(sorted(tensors), random.choice((1, 3, 20))):
        changed = tensors[name].clone().float()
        if changed.numel():
            changed.view(-1)[random.randrange(changed.numel())] = float(random.choice(("nan", "inf", "-inf")))
        tensors[name] = changed
    return _written(random, tensors)


def _sizes(random: Random) -> tuple[dict[str, bytes], str]:
    """Finite, but so large or small that nothing finite comes out."""
    factor = random.choice((0.0, 1e-38, 1e10, 1e30, -1e38))
    return _written(random, {n: t * factor if t.is_floating_point() else t for n, t in _weights().items()})


def _types(random: Random) -> tuple[dict[str, bytes], str]:
    kinds = (
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.int8,
        torch.int64,
        torch.bool,
        torch.complex64,
        torch.uint8,
    )
    kind = random.choice(kinds)
    chosen = random.sample(sorted(_weights()), random.choice((1, 5, len(_weights()))))
    return _written(random, {n: t.to(kind) if n in chosen else t for n, t in _weights().items()})


def _damaged_safetensors(random: Random) -> tuple[dict[str, bytes], str]:
    content = _safetensors()
    head = 8 + struct.unpack("<Q", content[:8])[0]
    if random.random() < 0.5:  # where it hurts: the header
        content = mutated(random, content[:head], text=False) + content[head:]
    else:
        content = mutated(random, content, text=False)
    return _named(random, content, ".safetensors")


def _lying_safetensors(random: Random) -> tuple[dict[str, bytes], str]:
    content = _safetensors()
    (size,) = struct.unpack("<Q", content[:8])
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    name = random.choice(sorted(set(header) - {"__metadata__"}))
    change = random.randrange(9)
    length = None
    if change == 0:
        length = random.choice((0, 1, size - 1, size + 1, 10**8, 2**40, 2**63, 2**64 - 1))
    elif change == 1:
        header[name]["data_offsets"] = random.choice(
            ([0, 4], [10**9, 10**9 + 4], [8, 4], [-4, 0], [0, 2**63], ["0", "4"], [])
        )
    elif change == 2:
        other = random.choice(sorted(set(header) - {"__metadata__", name}))
        header[name]["data_offsets"] = header[other]["data_offsets"]
    elif change == 3:
        header[name]["shape"] = random.choice(([], [0], [2**40, 2**40], [-1], ["a"], None, [1.5], [2**63, 2]))
    elif change == 4:
        header[name]["dtype"] = random.choice(("F32", "F64", "F8_E4M3", "I4", "X", "", None, 3, "BOOL", "U64", "C64"))
    elif change == 5:
        header["__metadata__"] = random.choice(({"a": 1}, [], None, {"a": "b" * 10**6}, {"\x1b": "\x1b"}))
    elif change == 6:
        header = random.choice(([], {}, None, {"__metadata__": {}}, {name: {}}, {name: None}))
    elif change == 7:
        body = random.choice((b"", body[:-4], body + b"more", body * 2))
    text = json.dumps(header).encode()
    if change == 8:
        text = mutated_json(random, header)
    return _named(random, struct.pack("<Q", len(text) if length is None else length) + text + body, ".safetensors")


class _Runs:
    """Unpickled, it calls something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _programs(random: Random) -> tuple[dict[str, bytes], str]:
    import os
    import subprocess

    runs = random.choice(
        (
            _Runs(os.system, f"touch {MARKER}"),
            _Runs(eval, f"open('{MARKER}', 'w')"),
            _Runs(exec, f"import pathlib; pathlib.Path('{MARKER}').touch()"),
            _Runs(subprocess.Popen, ["touch", MARKER]),
            _Runs(open, MARKER, "w"),
            _Runs(getattr, _Runs(__import__, "os"), "system"),
            _Runs(torch.load, "weights.pt"),
            _Runs(torch.hub.load, "a", "b"),
        )
    )
    tensors = dict(_weights())
    what: Any = random.choice(
        ({**tensors, "more": runs}, {"state_dict": runs}, [runs], runs, {"state_dict": tensors, "optimizer": runs})
    )
    way = random.randrange(6)
    if way == 0:
        content = pickle.dumps(what if isinstance(what, list | _Runs) else {"a": runs}, protocol=random.randrange(6))
    elif way == 1:
        content = _torch_saved(what, _use_new_zipfile_serialization=False)
    elif way == 2:
        content = _torch_saved(what, pickle_protocol=random.choice((2, 3, 4)))
    elif way == 3:
        content = _zip_of(
            {"archive/data.pkl": pickle.dumps(runs), "archive/version": b"3\n", "archive/byteorder": b"little"}
        )
    elif way == 4:
        content = _tar_of({"pickle": pickle.dumps(runs), "storages": pickle.dumps(runs), "tensors": pickle.dumps(1)})
    else:
        text = f"cos\nsystem\n(S'touch {MARKER}'\ntR."
        content = random.choice((text.encode(), b"\x80\x04" + text.encode(), pickle.dumps(1) + text.encode()))
    return _named(random, content, random.choice((".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".pkl", "")))


def _damaged_pickles(random: Random) -> tuple[dict[str, bytes], str]:
    legacy = random.random() < 0.3
    content = _torch_saved(_weights(), _use_new_zipfile_serialization=False) if legacy else _zipped()
    if legacy:
        content = mutated(random, content[:3000], text=False) + content[3000:]
    elif random.random() < 0.4:
        content = mutated(random, content, text=False)
    else:
        files = _unzipped(content)
        name = random.choice(sorted(files))
        change = random.randrange(4)
        if change == 0:
            files[name] = mutated(random, files[name], text=False)
        elif change == 1:
            del files[name]
        elif change == 2:
            files[
                random.choice(("../marker", "/tmp/marker", "archive/../../marker", "a\n\x1b[0m", "archive/data.pkl"))
            ] = b"x"
        else:
            files = {f"{random.choice(('..', 'x' * 300, '/', 'ä'))}/{part}": data for part, data in files.items()}
        content = _zip_of(files)
    return _named(random, content, random.choice((".pt", ".bin", "")))


def _scripts(random: Random) -> tuple[dict[str, bytes], str]:
    content = _scripted()
    change = random.randrange(4)
    if change == 0:
        content = mutated(random, content, text=False)
    elif change == 1:
        files = _unzipped(content)
        files[random.choice(sorted(files))] = random.choice((b"", pickle.dumps(_Runs(open, MARKER, "w"))))
        content = _zip_of(files)
    elif change == 2:
        files = _unzipped(content)
        content = _zip_of({name: data for name, data in files.items() if "constants" not in name})
    return _named(random, content, random.choice((".pt", ".safetensors", "")))


def _strangers(random: Random) -> tuple[dict[str, bytes], str]:
    """What is no state dict, and what is no file."""
    tensors = _weights()
    what: Any = random.choice(
        (
            None, 1, "text", [], {}, [tensors], {1: torch.zeros(1)}, {"a": 1}, {"a": None}, {None: torch.zeros(1)},
            torch.zeros(3), OrderedDict(), {"state_dict": {}}, {"state_dict": []}, {"model": {"state_dict": 1}},
            {"a": torch.zeros(2).to_sparse()}, {"a": [torch.zeros(2)]}, {"": torch.ones(1)},
            {"a": torch.zeros(1).expand(10**9)}, {**tensors, "epoch": 3}, {n: t.to("meta") for n, t in tensors.items()},
            {n: torch.nn.Parameter(t) if t.is_floating_point() else t for n, t in tensors.items()},
            {n: t[..., :1].expand(t.shape) if t.ndim else t for n, t in tensors.items()},
        )
    )  # fmt: skip
    return _named(random, _torch_saved(what), random.choice((".pt", ".bin", "")))


def _no_weights(random: Random) -> tuple[dict[str, bytes], str]:
    suffix = random.choice((".pt", ".safetensors", ".bin", "", ".json", "@x.pt"))
    content = random.choice(
        (
            b"", b"\0", b"{}", bytes(8), b"\xff" * 8, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            b"<html>404</html>", b"PK\x05\x06" + bytes(18), b"PK\x03\x04", b"\x80", b"\x80\x02.", b"\x80\x04N.",
            random.randbytes(999), _picture(), b"\x1f\x8b" + bytes(20), _zip_of({}), _zip_of({"a": b""}), _tar_of({}),
            b"\x93NUMPY\x01\0", b"GGUF" + bytes(60),
        )
    )  # fmt: skip
    if random.random() < 0.15:
        return {"weights.safetensors/": b""}, random.choice(("weights.safetensors", "tiny@weights.safetensors", "."))
    return _named(random, content, suffix)


def _configs(random: Random) -> tuple[dict[str, bytes], str]:
    changed = copy.deepcopy(_CONFIG)
    if random.random() < 0.4:
        content = mutated_json(random, changed)
    else:
        for _ in range(random.choice((1, 1, 2))):
            place: Any = random.choice((changed, changed["vision_cfg"], changed["text_cfg"]))
            if not isinstance(place, dict):
                break
            key = random.choice(
                (*sorted(place), "more", "timm_model_name", "hf_model_name", "hf_tokenizer_name", "layers")
            )
            place[key] = random.choice((*_NUMBERS, "../../etc/passwd", "resnet50", "bert-base-uncased"))
            if not (isinstance(changed["vision_cfg"], dict) and isinstance(changed["text_cfg"], dict)):
                break
        content = json.dumps(changed).encode()
    return {"tiny.json": content, "weights.safetensors": _safetensors()}, "tiny.json@weights.safetensors"


def _names(random: Random) -> tuple[dict[str, bytes], str]:
    """What stands behind ``--model`` itself."""
    text = random.choice(
        (
            "", " ", "@", "@@", "ViT-B-32@", "@weights.safetensors", "nothing.pt", "../../../etc/passwd", "/dev/zero",
            "/dev/null", "/dev/stdin", "-", "ViT-B-32@/dev/zero", "tiny.json", "tiny.json@", "tiny.json@nothing",
            "x" * 5000, "a/" * 3000, "ViT-B-32@laion", "hf-hub:a/b", "http://127.0.0.1:1/a.pt", "a\nb", "\x1b[31mred",
            "\udcff", "ViT-B-32@\udcff", "pictogram@x", "weights.safetensors@weights.safetensors", "~", "~/a.pt",
            "RN50-quickgelu@weights.safetensors", "pictogram\u200b", "file://a",
        )
    )  # fmt: skip
    return {"tiny.json": _config(), "weights.safetensors": _safetensors()}, text


def _whole(random: Random) -> tuple[dict[str, bytes], str]:
    """Good ones, so that the others are known to be refused for what is wrong with them."""
    return _written(random, dict(_weights()))


_KINDS: Final[tuple[tuple[str, frozenset[int], Make], ...]] = (
    ("tensors of other shapes", _USUAL, _shapes),
    ("missing, more and other keys", _MAYBE, _keys),
    ("values that are not finite", _USUAL, _values),
    ("values far too large or small", _MAYBE | {3}, _sizes),
    ("other types", _MAYBE | {3}, _types),
    ("damaged safetensors", _MAYBE, _damaged_safetensors),
    ("safetensors that lie", _MAYBE, _lying_safetensors),
    ("safetensors that lie", _MAYBE, _lying_safetensors),
    ("pickles that would execute", _USUAL, _programs),
    ("pickles that would execute", _USUAL, _programs),
    ("damaged and renamed archives", _MAYBE, _damaged_pickles),
    ("TorchScript", _USUAL, _scripts),
    ("pickles of something else", _MAYBE, _strangers),
    ("no weights at all", _USUAL, _no_weights),
    ("broken configurations", _MAYBE | {3}, _configs),
    ("odd names of models", _USUAL, _names),
    ("whole checkpoints", frozenset({0}), _whole),
)


# --- archives ---------------------------------------------------------------------------------------------------------


def _unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()


def _tar_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()
