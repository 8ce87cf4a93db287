"""Annotation files of every benchmark with something wrong in them, as ``eval`` meets them.

Each benchmark has a small data root in its real layout. A case is that root with one file mutated: its bytes, or what
its format is made of. Whether files are there at all, and are files, is in :mod:`tests.hardening.folders`.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.classified import MAKERS, picture
from tests.hardening.arena import Case, Check, Outcome
from tests.hardening.mutations import ODD_NAMES, ODD_VALUES, mutated, mutated_json, mutated_list
from tests.unit.test_class_sets import FROM_NUMBERS, GROUND_TRUTH, devkit
from tests.unit.test_increments import save_sdci
from tests.unit.test_retrieval import CAPTIONS, save_coco, save_docci, save_flickr30k, save_iiw, save_urban1k
from tests.word_datasets import (
    hat_rows,
    nocaps_rows,
    richhf_prompts,
    write_foil,
    write_hat,
    write_nocaps,
    write_richhf,
    write_seetrue,
)

STATUSES: Final = frozenset({0, 2, 3, 4})
LIMIT: Final = "4"
MARKER: Final = "executed"
"""File that a pickle or an archive would make if it had its way."""

_DEVKIT: Final = "ILSVRC2012_devkit_t12"


@dataclass(frozen=True)
class Root:
    """A data set as it lies on a disk.

    Attributes:
        dataset: name of the benchmark.
        files: content by path, below the data root.
        annotations: the files that say something about others; all of them where there are pictures alone.
    """

    dataset: str
    files: Mapping[str, bytes]
    annotations: tuple[str, ...]


def cases(random: Random, number: int) -> Iterator[Case]:
    """``number`` cases, the benchmarks in turn."""
    every = roots()
    for index in range(number):
        root = every[index % len(every)]
        target = random.choice(root.annotations)
        content = _mutated(random, target, root.files[target])
        yield eval_case(
            f"annotations of {root.dataset}",
            root,
            {**root.files, target: content},
            check=checks(no_marker, named(target)),
        )


def eval_case(kind: str, root: Root, files: Mapping[str, bytes], *, check: Check | None = None) -> Case:
    """A run of the benchmark on these files."""
    arguments: tuple[str, ...] = ("--dataset", root.dataset, "--data-root", "data", "--model", "pictogram")
    arguments += ("--limit", LIMIT)
    if root.dataset.startswith("imagenet"):
        arguments += ("--method", "clip")  # 80 sentences about each of 1,000 classes take minutes
    placed = {f"data/{name}": content for name, content in files.items()}
    return Case(
        kind, "eval", (*arguments, "--format", "json"), placed or {"data/": b""}, statuses=STATUSES, check=check
    )


@cache
def roots() -> tuple[Root, ...]:
    """The data root of every benchmark that has one, some in two layouts."""
    makers: dict[str, Callable[[Path], object]] = {
        "foil": write_foil,
        "nocaps-foil": lambda folder: write_nocaps(folder, nocaps_rows(4)),
        "hat": lambda folder: write_hat(folder, hat_rows(6)),
        "richhf": lambda folder: write_richhf(folder, dict(list(richhf_prompts().items())[:6])),
        "seetrue": lambda folder: write_seetrue(folder, 4),
        "sdci": _make_sdci,
        "urban1k": save_urban1k,
        "coco2017": save_coco,
        "flickr30k": save_flickr30k,
        "docci": save_docci,
        "iiw-400": save_iiw,
        "human-judgement": _make_ratings,
        **{name: maker for name, maker in MAKERS.items() if name != "imagenet"},
        "imagenet": _make_imagenet_archives,
    }
    found = [_root(name, maker) for name, maker in makers.items()]
    return (*found, _root("cifar10", _make_cifar_binary), _root("imagenet", _make_imagenet_flat))


def _root(dataset: str, maker: Callable[[Path], object]) -> Root:
    with tempfile.TemporaryDirectory() as name:
        maker(Path(name))
        files = {
            path.relative_to(name).as_posix(): path.read_bytes()
            for path in sorted(Path(name).rglob("*"))
            if path.is_file()
        }
    pictures = (".jpg", ".jpeg", ".png")
    annotations = tuple(place for place in files if not place.lower().endswith(pictures))
    return Root(dataset, files, annotations or tuple(files))


def _make_sdci(folder: Path) -> None:
    stream = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (40, 30), "red").save(stream, "PNG")
    texts = ["A red square.", "A red square on a table.", "A red square on a table. It rains.", "A red. It is late."]
    row = {"image": {"bytes": stream.getvalue(), "path": None}, "captions": texts, "neg_captions": texts[::-1]}
    save_sdci(folder, [{**row, "caption": "A red square."}] * 4)


def _make_ratings(folder: Path) -> None:
    rows = []
    for number, text in enumerate(CAPTIONS):
        picture(folder / f"{number}.jpg", "red")
        rows.append({"image": f"{number}.jpg", "text": text, "human": number / 4})
    (folder / "human-judgement.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _make_imagenet_flat(folder: Path) -> None:
    data = folder / _DEVKIT / "data"
    data.mkdir(parents=True)
    (data / "meta.mat").write_bytes(devkit(folder))
    (data / "ILSVRC2012_validation_ground_truth.txt").write_bytes(GROUND_TRUTH)
    for name in FROM_NUMBERS:
        picture(folder / "val" / name)


def _make_imagenet_archives(folder: Path) -> None:
    stream = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (40, 30)).save(stream, "JPEG")
    _write_tar(folder / "ILSVRC2012_img_val.tar", dict.fromkeys(FROM_NUMBERS, stream.getvalue()), "w")
    inside = {"meta.mat": devkit(folder), "ILSVRC2012_validation_ground_truth.txt": GROUND_TRUTH}
    named_inside = {f"{_DEVKIT}/data/{name}": content for name, content in inside.items()}
    _write_tar(folder / f"{_DEVKIT}.tar.gz", named_inside, "w:gz")


def _write_tar(place: Path, members: Mapping[str, bytes], mode: Any) -> None:
    with tarfile.open(place, mode) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _make_cifar_binary(folder: Path) -> None:
    top = folder / "cifar-10-batches-bin"
    top.mkdir()
    (top / "batches.meta.txt").write_text("airplane\nautomobile\n")
    (top / "test_batch.bin").write_bytes((bytes([1]) + bytes(3072)) * 3)


# --- what a file's format can get wrong -------------------------------------------------------------------------------


def _mutated(random: Random, name: str, content: bytes) -> bytes:
    if name.endswith(".json"):
        return mutated_json(random, json.loads(content))
    if name.endswith((".jsonl", ".jsonlines")):
        return mutated_json(random, [json.loads(line) for line in content.splitlines()], lines=True)
    if name.endswith(".txt"):
        return mutated_list(random, content)
    if name.endswith(".tfrecord") and random.random() < 0.7:
        return _mutated_records(random, content)
    if name.endswith(".parquet") and random.random() < 0.5:
        return _mutated_rows(random)
    if _is_pickle(content) and random.random() < 0.6:
        return _mutated_pickle(random, content)
    return mutated(random, content, text=False)


def _mutated_records(random: Random, content: bytes) -> bytes:
    """A TFRecord file with a lying length, a wrong checksum, or another message in a record."""
    records = []
    place = 0
    while place < len(content):
        (size,) = struct.unpack_from("<Q", content, place)
        records.append(
            [content[place : place + 12], content[place + 12 : place + 12 + size], content[place + 12 + size :][:4]]
        )
        place += 16 + size
    one = random.choice(records)
    change = random.randrange(6)
    if change == 0:
        lie = random.choice((0, 1, len(one[1]) - 1, len(one[1]) + 1, 2**31, 2**40, 2**63, 2**64 - 1))
        one[0] = struct.pack("<Q", lie) + one[0][8:]
    elif change == 1:
        one[0] = one[0][:8] + random.randbytes(4)
    elif change == 2:
        one[2] = random.randbytes(4)
    elif change == 3:
        records.remove(one)
    else:
        one[1] = _other_features(random) if change == 4 else mutated(random, one[1], text=False)
        one[0] = struct.pack("<Q", len(one[1])) + one[0][8:]
    return b"".join(part for record in records for part in record)


def _other_features(random: Random) -> bytes:
    """A record with features of other kinds, without values, or with names that lead elsewhere."""
    from tfrecord import example_pb2

    name = random.choice(ODD_NAMES).encode("utf-8", "surrogatepass")
    example = example_pb2.Example()
    for key in ("filename", "prompt_misalignment_label", "misalignment_score"):
        feature = example.features.feature[key]
        kind = random.randrange(4)
        if kind == 0:
            feature.bytes_list.value.append(random.choice((name, b"test/uid-0000.png", b"\xff\xfe", b"1 0 1", b"")))
        elif kind == 1:
            feature.float_list.value.append(random.choice((0.5, float("nan"), float("inf"), -1e38)))
        elif kind == 2:
            feature.int64_list.value.append(random.choice((0, -1, 2**62)))
    return bytes(example.SerializeToString())


def _mutated_rows(random: Random) -> bytes:
    """A Parquet file with a column of another type, without it, without rows, or with nothing in some cells."""
    import pyarrow
    from pyarrow import parquet

    names = ["image", "image_caption", "caption_misalignment", "dataset_source", "id_in_source_dataset"]
    row: dict[str, Any] = dict.fromkeys(names, "a dog") | {"id_in_source_dataset": 1}
    row["image"] = {"bytes": b"\x89PNG", "path": random.choice(("x.jpg", "../x.jpg", ""))}
    name = random.choice(names)
    if random.random() < 0.3:
        del row[name]
    else:
        row[name] = random.choice((None, 1.5, [], [1], True, b"\xff", {"a": 1}, {"bytes": None}, float("nan"), "\0"))
    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([row] * random.choice((1, 3))), stream)
    return stream.getvalue()


class Harmful:
    """Would make a file if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (MARKER, "w")


def _is_pickle(content: bytes) -> bool:
    return content.startswith(b"\x80\x02")


def _mutated_pickle(random: Random, content: bytes) -> bytes:
    """A pickle that would run something, or holds other things than it should."""
    if random.random() < 0.3:
        harmful = random.choice(
            (Harmful(), {b"data": Harmful()}, {b"label_names": [Harmful()], b"labels": [Harmful()]})
        )
        return pickle.dumps(harmful, protocol=random.choice((0, 2, 4)))
    document = pickle.loads(content, encoding="bytes")
    key = random.choice(list(document))
    if random.random() < 0.3:
        del document[key]
    elif isinstance(document[key], list) and document[key] and random.random() < 0.5:
        document[key][0] = random.choice((*ODD_VALUES, b"\xff\xfe", -1, 10**6))
    else:
        document[key] = random.choice((*ODD_VALUES, b"x"))
    return pickle.dumps(document, protocol=2)


# --- what is looked at afterwards -------------------------------------------------------------------------------------


def checks(*every: Check) -> Check:
    """All of them."""
    return lambda outcome: [said for check in every for said in check(outcome)]


def no_marker(outcome: Outcome) -> Iterable[str]:
    """Nothing was run."""
    if any(outcome.folder.rglob(MARKER)):
        yield "a pickle was executed"


def named(target: str) -> Check:
    """Where a run fails, the damaged file, the folder it lies in, or the data root is named."""

    def check(outcome: Outcome) -> Iterable[str]:
        said = outcome.stderr.decode("utf-8", "replace")
        if outcome.status in (3, 4, 2) and not outcome.stdout and "missing_extra" not in said:
            path = Path("data") / target
            words = [re.escape(path.name), re.escape(path.parent.name), "data(?! sets?)"]
            if not any(re.search(rf"(?<!\w){word}(?!\w)", said) for word in words):
                yield f"{path.name} is not named: {said[:150]!r}"

    return check
