"""Options that name columns, choose records, or read a file that another command wrote, each with something wrong."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.hardening.arena import TINY_LONG, Case, in_turn
from tests.hardening.earlier import Later, left_by
from tests.hardening.mutations import ODD_NAMES, ODD_VALUES, encoded, mutated, mutated_json, mutated_list
from tests.hardening.tables import MANY, MODEL, TEXTS, pictures

OUTPUTS: Final = ("found.jsonl", "found.csv", "found.parquet", "found.jsonl.gz", "found.tar", "found.html", "parts/")

CONDITION_PARTS: Final = (
    *("clip_score", "cosine", "misaligned", "words", "columns.label", "columns", "id", "label", "score", "no_such"),
    *("0.7", "-1", "1e999", "'a'", '"x', "[1, 'a']", "None", "9**9**9", "()", "len(words)", "len(text)", "len"),
    *("and", "or", "not", "in", "<", ">=", "==", "!=", "is", "+", "*", "/ 0", ".", "(", ")", "[0]", "if", ":=", ","),
    *("__import__('os').system('touch ran')", "().__class__", "lambda: 0", "f'{id}'", "words[0].text", "ä", "\0"),
)

COLUMN_PARTS: Final = (
    *("image=picture", "text=meta.caption", "text=captions.0", "id=label", "references=captions", "image=", "=a"),
    *("image", "text=text", "image=image", "picture=image", "text=captions.-1", "text=captions.99", "text=meta", ","),
    *("text=meta.caption.more", "text=..", "image=\x1b[31m", "text=" + "a." * 500, "image=a=b", "text='quoted, name'"),
)


ADDRESSES: Final = (
    *("file:///proc/self/cwd/{}", "file://localhost/proc/self/cwd/{}", "FILE:///proc/self/cwd/{}", "local://{}"),
    *("simplecache::file://{}", "simplecache::memory://{}", "zip://{}::memory://a.zip", "tar://{}", "dir://{}"),
    *("reference://{}", "memory://{}", "memory://../{}", "memory://", "git://{}", "github://a:b@main/{}", "ftp://a/{}"),
    *("s3://{}", "s3://user:word@bucket/{}", "gs://a/{}", "hf://a/b/{}", "hf://datasets/a/b@main/{}", "abc://{}"),
    *("http://", "http:///{}", "http://[::1/{}", "http://\x00/{}", "http://a b/{}", "http://127.0.0.1:99999/{}"),
    *("http://user:word@127.0.0.1:1/{}", "http://127.0.0.1:1/{}", "https://127.0.0.1:1/../{}", "http:/{}", "//a/{}"),
    *(
        "data:",
        "data:,",
        "data:image/png;base64,",
        "data:image/png;base64,AAAA",
        "data:text/plain,{}",
        "data:;base64,\xff",
    ),
)
"""Where files may be said to be; ``{}`` is the name of one that is there, beside the input."""


def cases(random: Random, number: int) -> Iterator[Case]:
    """``number`` cases, every kind in turn."""
    kinds: tuple[Callable[[Random], Case], ...] = (
        _columns_case,
        _condition_case,
        _output_case,
        _file_case,
        _file_case,
        _own_data_case,
        _own_data_case,
        _verify_case,
        _compare_case,
        _prepare_case,
        _kept_case,
        _state_case,
        _parquet_case,
        _address_case,
        _address_case,
        _mapper_case,
        _mapper_case,
        *((_engine_case,) if find_spec("openvino") else ()),
    )
    return in_turn(kinds, random, number)


def _rows() -> list[dict[str, Any]]:
    return [
        {
            "image": f"{index}.png",
            "picture": f"{index}.png",
            "text": text,
            "id": f"r{index}",
            "label": index,
            "captions": [text, "a dog"],
            "meta": {"caption": text, "tags": ["a"]},
        }
        for index, text in enumerate(TEXTS)
    ]


def _many(random: Random) -> tuple[str, list[str], dict[str, bytes]]:
    """A command over the rows, and its files."""
    command = random.choice(MANY)
    arguments = [*MODEL[command], "--input", "rows.jsonl"]
    files = {**pictures(), "rows.jsonl": encoded(_rows(), lines=True)}
    if command == "classify":
        files["labels.txt"] = b"dog\ncat\ncar\n"
        arguments += ["--labels", "labels.txt", "--method", "clip"]
    return command, arguments, files


def _typed(text: str) -> str:
    """``text`` as an argument of a program can be."""
    return text.replace("\0", "\x01").encode("utf-8", "replace").decode()


def _columns_case(random: Random) -> Case:
    command, arguments, files = _many(random)
    named = ",".join(random.sample(COLUMN_PARTS, random.choice((1, 2, 2, 4))))
    arguments += ["--columns", _typed(named)]
    if random.random() < 0.5:
        kept = random.choice(("all", "label", "label,meta", "meta.tags.0", "captions", "no_such", "", ",", "a" * 5000))
        arguments += ["--keep-columns", kept]
    if random.random() < 0.3:
        files["rows.jsonl"] = mutated_json(random, _rows(), lines=True)
    arguments += ["--format", random.choice(("jsonl", "json", "csv", "table", "html"))]
    return Case("columns", command, tuple(arguments), files, statuses=frozenset({0, 2, 3}))


def _condition_case(random: Random) -> Case:
    command, arguments, files = _many(random)
    if random.random() < 0.8:
        parts = [random.choice(CONDITION_PARTS) for _ in range(random.choice((1, 3, 3, 5, 9)))]
        if random.random() < 0.1:
            parts = random.choice((["("] * 3000, ["not"] * 900, ["1 +"] * 400, ["-"] * 950, ["[" * 99 + "]" * 99]))
        arguments += ["--where", _typed(" ".join(parts))]
    if random.random() < 0.4:
        share = random.choice(("0.5", "1", "0", "-1", "nan", "inf", "1e-9", "cosine=0.5", "no_such=0.5", "=", "a=b=1"))
        arguments += ["--top-share", share]
    if random.random() < 0.3:
        arguments += ["--limit", random.choice(("1", "0", "-1", "2", "99999999999999999999", "1.5"))]
    arguments += ["--format", random.choice(("jsonl", "csv", "table", "html"))]
    return Case(
        "conditions", command, tuple(arguments), files, statuses=frozenset({0, 2, 3}), check=_nothing_ran("ran")
    )


def _nothing_ran(name: str) -> Callable[[Any], Iterator[str]]:
    def check(outcome: Any) -> Iterator[str]:
        if (outcome.folder / name).exists():
            yield "a condition was run as code"

    return check


def _output_case(random: Random) -> Case:
    """An output where something stands already, that is not its own, or in a place that cannot be."""
    command, arguments, files = _many(random)
    output = random.choice(OUTPUTS)
    arguments += ["--output", output]
    begun = f"{output}{'part-00000.jsonl' if output.endswith('/') else ''}"
    change = random.randrange(6)
    if change == 0:
        files[begun] = random.choice((b"", b"mine", b"PAR1", b"\x1f\x8b", b"[]", bytes(600)))
    elif change == 1:
        files[f"{output.rstrip('/')}/kept"] = b"mine"
    elif change == 2:
        files[begun] = b"mine"
        arguments.append(random.choice(("--resume", "--overwrite")))
    elif change == 3:
        arguments[-1] = _typed(
            random.choice((*ODD_NAMES[1:], "rows.jsonl", "0.png", "no/such/found.jsonl", "s3://a/b"))
        )
    elif change == 4:
        arguments += ["--format", random.choice(("csv", "parquet", "tar", "jsonl.gz", "github", "json"))]
    arguments += ["--where", "cosine > 0"] if random.random() < 0.3 else []
    arguments += ["--shard", "1/2"] if random.random() < 0.2 else []

    def check(outcome: Any) -> Iterator[str]:
        kept = outcome.folder / output.rstrip("/") / "kept"
        if change == 1 and (not kept.is_file() or kept.read_bytes() != b"mine"):
            yield "a file in the folder of the output is gone"
        if (outcome.folder / "rows.jsonl").read_bytes() != files["rows.jsonl"]:
            yield "the input was written to"

    return Case("outputs", command, tuple(arguments), files, statuses=frozenset({0, 2, 3}), check=check)


def _file_case(random: Random) -> Case:
    """A calibration, a baseline, candidates or ignored words that are not what they should be."""
    what = random.choice(("calibration", "baseline", "candidates", "ignore-words", "update-baseline"))
    common = [*MODEL["detect"], "--format", random.choice(("json", "table", "html", "github"))]
    line = ["0.png", "a dog and two balloons", *common]
    if what == "candidates":
        files: Any = {**pictures(), "list.txt": mutated_list(random, b"dog, puppy\ncat\nred car\nballoon\n")}
        line += ["--suggest", random.choice(("1", "3", "0", "99999")), "--candidates", "list.txt"]
    elif what == "ignore-words":
        files = {**pictures(), "list.txt": mutated_list(random, b"dog\ntwo\nballoons\n")}
        line += ["--check", "--ignore-words", "list.txt"]
    else:
        make = _calibration if what == "calibration" else _baseline
        name = "file.json" if what == "calibration" else "file.jsonl"
        files = Later(random, lambda random: {**pictures(), name: _changed(random, make())})
        line += ["--calibration", name] if what == "calibration" else ["--check", "--baseline", name]
        if what == "update-baseline":
            files = Later(random, lambda random: {**_earlier_files(), name: _changed(random, make())})
            line = [*_earlier("again.jsonl"), *line[len(common) + 2 :], "--update-baseline"]
    return Case(what, "detect", tuple(line), files, statuses=frozenset({0, 1, 2, 3}))


def _changed(random: Random, content: bytes) -> bytes:
    """A file of JSON, or of JSON lines, with something wrong."""
    if random.random() < 0.3:
        return mutated(random, content)
    documents = [json.loads(line) for line in content.splitlines()] if b"\n{" in content else None
    return mutated_json(random, documents or json.loads(content), lines=documents is not None)


def _calibration() -> bytes:
    line = ("--dataset", "pictogram-foil", "--model", "pictogram", "--limit", "60", "--calibrate", "--save", "c.json")
    return left_by(Case("", "eval", (*line, "--false-alarms", "20%"), {}))["c.json"]


def _baseline() -> bytes:
    return left_by(Case("", "detect", _earlier("found.jsonl"), _earlier_files()))["found.jsonl"]


def _earlier(output: str) -> tuple[str, ...]:
    return (*MODEL["detect"], "--input", "rows.jsonl", "--output", output)


def _earlier_files() -> dict[str, bytes]:
    return {**pictures(), "rows.jsonl": encoded(_rows(), lines=True)}


def _own_data_case(random: Random) -> Case:
    """A set of one's own: a table, a description in TOML, or a folder a class."""
    rows = [
        {"image": f"{index}.png", "caption": text, "wrong": "dog" if "dog" in text else "", "label": index % 2}
        for index, text in enumerate(TEXTS)
    ]
    files = dict(pictures())
    what = random.choice(("rows", "description", "description", "folders"))
    arguments = ["--model", "pictogram", "--format", random.choice(("json", "table"))]
    arguments += ["--dry-run"] if random.random() < 0.2 else []
    if what == "rows":
        files["own.json"] = mutated_json(random, rows)
        arguments += ["--dataset", "own.json", "--columns", random.choice(("text=caption", "text=caption,label=label"))]
    elif what == "folders":
        files |= {f"own/{name}/{index}.png": pictures()["0.png"] for index, name in enumerate(("dog", "cat"))}
        odd = random.choice((".hidden", "ä", "x" * 200, "a\nb", "[1]", "…"))
        files[f"own/{odd}/{random.choice(('a.png', 'a.txt', 'b'))}"] = mutated(random, pictures()["1.png"])
        arguments += ["--dataset", "own"]
    else:
        files["own.json"] = encoded(rows)
        about = {"file": "own.json", "title": "a set", "columns.text": "caption", "columns.wrong_words": "wrong"}
        change = random.randrange(4)
        if change == 1:
            keys = (*about, "pictures", "license", "page", "columns.label", "columns", "published", "class")
            about[random.choice(keys)] = random.choice(ODD_VALUES)
        elif change == 2:
            about[random.choice(("file", "pictures"))] = random.choice(ODD_NAMES)
        content = "".join(f"{key} = {_toml(value)}\n" for key, value in about.items()).encode("utf-8", "surrogatepass")
        files["own.toml"] = mutated(random, content) if change == 0 else content
        arguments += ["--dataset", "own.toml"]
    return Case(f"own data, {what}", "eval", tuple(arguments), files, statuses=frozenset({0, 2, 3, 4}))


def _toml(value: Any) -> str:
    """A value as JSON writes it, which TOML reads but for mappings, null and, as here, letters outside ASCII."""
    return json.dumps(value if not isinstance(value, dict | type(None)) else str(value), ensure_ascii=False)


def _verify_case(random: Random) -> Case:
    def files(random: Random) -> dict[str, bytes]:
        return {**_earlier_files(), "found.jsonl": _changed(random, _baseline())}

    line = ("--verify", "found.jsonl", "--model", "pictogram", "--format", random.choice(("json", "table")))
    return Case("verify", "eval", line, Later(random, files), statuses=frozenset({0, 1, 2, 3}))


def _compare_case(random: Random) -> Case:
    def files(random: Random) -> dict[str, bytes]:
        good = _baseline()
        return {"a.jsonl": good, "b.jsonl": _changed(random, good)}

    line: tuple[str, ...] = ("--compare", "a.jsonl", "b.jsonl", "--format", random.choice(("json", "table")))
    line += ("--check",) if random.random() < 0.5 else ()
    return Case("compare", "eval", line, Later(random, files), statuses=frozenset({0, 1, 2, 3}))


def _prepare_case(random: Random) -> Case:
    rows = [{"image": f"{index}.png", "text": f"{text} A dog runs. It is red."} for index, text in enumerate(TEXTS)]
    files = dict(pictures())
    ending = random.choice((".jsonl", ".csv", ".parquet"))
    if ending == ".jsonl":
        files["raw.jsonl"] = mutated_json(random, rows, lines=True)
    elif ending == ".csv":
        lines = ["image,text", *(f'{row["image"]},"{row["text"]}"' for row in rows)]
        files["raw.csv"] = mutated(random, "\n".join(lines).encode())
    else:
        import pyarrow
        from pyarrow import parquet

        stream = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
        files["raw.parquet"] = mutated(random, stream.getvalue(), text=False)
    line: tuple[str, ...] = (
        "--prepare",
        f"raw{ending}",
        "--image-root",
        ".",
        "--data",
        "made",
        "--workers",
        "1",
        "--init",
        TINY_LONG,
    )
    line += ("--held-out", random.choice(("0", "1", "9")))
    return Case("prepare", "train-specs", line, files, statuses=frozenset({0, 2, 3}))


def _kept_case(random: Random) -> Case:
    """Vectors that an earlier run kept, one of them damaged, exchanged or of somebody else's making."""
    line = (*_earlier("found.jsonl"), "--keep-vectors", "1", "--cache-dir", "cache")

    def files(random: Random) -> dict[str, bytes]:
        left = dict(left_by(Case("", "detect", line, _earlier_files())))
        del left["found.jsonl"]
        kept = sorted(name for name in left if name.endswith(".safetensors"))
        one, other = random.sample(kept, 2)
        change = random.randrange(3)
        if change == 0:
            left[one] = left[other]
        else:
            left[one] = mutated(random, left[one], text=False) if change == 1 else random.choice((b"", bytes(99_999)))
        return left

    return Case("kept vectors", "detect", line, Later(random, files), statuses=frozenset({0}), check=_same_cosines)


def _same_cosines(outcome: Any) -> Iterator[str]:
    if outcome.status:
        return
    found = [json.loads(line)["cosine"] for line in (outcome.folder / "found.jsonl").read_bytes().splitlines()]
    right = [json.loads(line)["cosine"] for line in _baseline().splitlines()]
    if any(abs(one - other) > 1e-5 for one, other in zip(found, right, strict=True)):
        yield "a cosine is not that of the picture"


def _state_case(random: Random) -> Case:
    """A run in parts whose state is damaged, and which is gone on with."""
    line = _earlier("parts")

    def files(random: Random) -> dict[str, bytes]:
        left = dict(left_by(Case("", "detect", line, _earlier_files() | {"parts/": b""})))
        left["parts/_state.json"] = _changed(random, left["parts/_state.json"])
        return left

    return Case("state of parts", "detect", (*line, "--resume"), Later(random, files), statuses=frozenset({0, 2}))


def _parquet_case(random: Random) -> Case:
    """Columns of any kind, kept in a Parquet file."""
    rows = [{"image": f"{index}.png", "text": text, "kept": index, "more": [index]} for index, text in enumerate(TEXTS)]
    for row in random.sample(rows, random.randrange(1, 4)):
        row[random.choice(("kept", "more"))] = random.choice(ODD_VALUES)
    files = {**pictures(), "rows.jsonl": encoded(rows, lines=True)}
    line = (*_earlier("found.parquet"), "--keep-columns", random.choice(("kept,more", "more", "kept", "all")))

    def check(outcome: Any) -> Iterator[str]:
        from pyarrow import parquet

        file = outcome.folder / "found.parquet"
        if outcome.status != 2 and (not file.is_file() or parquet.read_metadata(file).num_rows != len(rows)):
            yield "not a row a record"

    return Case("Parquet out", "detect", line, files, statuses=frozenset({0, 2, 3}), check=check)


def _address_case(random: Random) -> Case:
    """Pictures, inputs and outputs at addresses that are damaged, are no store, or lead to files of this machine."""
    command, arguments, files = _many(random)
    arguments += ["--timeout", "1", "--format", "json"]
    address = random.choice(ADDRESSES).format("0.png" if (what := random.randrange(4)) != 1 else "rows.jsonl")
    if what == 0:
        rows = _rows()
        rows[0]["image"] = address
        files["rows.jsonl"] = encoded(rows, lines=True)
    elif what == 1:
        arguments[arguments.index("rows.jsonl")] = _typed(address)
    else:
        arguments += [("--image-root", "--output")[what - 2], _typed(address)]

    def check(outcome: Any) -> Iterator[str]:
        if not outcome.stdout:
            return
        local = address.lower().startswith(
            ("file:", "local:", "simplecache::file", "dir:", "tar:", "zip:", "reference:")
        )
        if what == 0 and local and "error" not in json.loads(outcome.stdout)["results"][0]:
            yield "a file of this machine was read at an address"
        if what == 1 and local and outcome.status == 0:
            yield "an input was read at an address of this machine"

    return Case("addresses", command, tuple(arguments), files, statuses=frozenset({0, 2, 3, 4}), check=check)


def _engine_case(random: Random) -> Case:
    """An exported image tower that an earlier run kept, and that is damaged."""
    line = (*_earlier("found.jsonl"), "--engine", "openvino", "--cache-dir", "cache")

    def files(random: Random) -> dict[str, bytes]:
        left = dict(left_by(Case("", "detect", line, _earlier_files())))
        del left["found.jsonl"]
        (kept,) = (name for name in left if name.endswith(".safetensors"))
        change = random.randrange(3)
        left[kept] = mutated(random, left[kept], text=False) if change else random.choice((b"", bytes(99_999)))
        return left

    return Case("engines", "detect", line, Later(random, files), statuses=frozenset({0}), check=_same_cosines)


def run_mapper() -> int:
    """Map the batch in ``batch.json`` by the method in ``sys.argv`` with the settings behind it, as JSON."""
    import clipalign

    try:
        found = clipalign.mapper(sys.argv[1], **json.loads(sys.argv[2]))(json.loads(Path("batch.json").read_bytes()))  # type: ignore[arg-type]
    except clipalign.ClipalignError as error:
        print(f"error: {error.message!a}", file=sys.stderr)
        return error.exit_status
    print(json.dumps(found))
    return 0


def _mapper_case(random: Random) -> Case:
    """Batches whose columns or settings are not what they should be, as a data framework hands them over."""
    method = random.choice(MANY)
    batch: dict[str, Any] = {
        "image": [f"{index}.png" for index in range(len(TEXTS))],
        "text": [*TEXTS],
        "references": [["a dog"], None, [], ["a cup", "a car"]],
    }
    settings: dict[str, Any] = {"model": TINY_LONG if method == "score-long" else "pictogram", "offline": True}
    settings |= {"labels": ["dog", "cat"], "method": "clip"} if method == "classify" else {}
    change, column = random.randrange(4), random.choice([*batch])
    if change == 0:
        batch[column] = random.choice(([], batch[column][:2], [random.choice(ODD_VALUES)] * len(TEXTS)))
    elif change == 1:
        del batch[column]
    elif change == 2:
        batch[column][random.randrange(len(TEXTS))] = random.choice((*ODD_VALUES, *ODD_NAMES))
    else:
        names = ("model", "columns", "on_error", "epsilon", "template", "labels", "device", "no_such", "mode")
        settings[random.choice(names)] = random.choice((*ODD_VALUES, {"text": "image"}, {"image": "no"}))

    def check(outcome: Any) -> Iterator[str]:
        if outcome.status:
            return
        found = json.loads(outcome.stdout)
        if len({len(values) for values in found.values()}) != 1:
            yield "columns of different lengths"

    line = (json.dumps(settings), "--format", "json")
    files = {**pictures(), "batch.json": encoded(batch)}
    statuses = frozenset({0, 2, 3, 4})
    return Case("mapper", method, line, files, statuses=statuses, check=check, program=run_mapper)
