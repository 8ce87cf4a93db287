"""Inputs of many records, earlier outputs, settings and lists with something wrong in them, as commands meet them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from random import Random
from typing import Any, Final

from clipalign.commands import settings_tables
from tests.hardening.arena import TINY_LONG, Case, Outcome, in_turn
from tests.hardening.earlier import Later, left_by
from tests.hardening.mutations import ODD_NAMES, ODD_VALUES, encoded, mutated, mutated_json, mutated_list, mutated_table

FORMATS: Final = ("table", "json", "jsonl", "csv", "html", "github")
MANY: Final = ("detect", "classify", "score-long")
COMMANDS: Final = (*MANY, "eval", "train-specs", "download")

MODEL: Final[Mapping[str, tuple[str, ...]]] = {
    "detect": ("--model", "pictogram"),
    "classify": ("--model", "pictogram"),
    "score-long": ("--model", TINY_LONG),
}

KEYS: Final = tuple(dict.fromkeys(key for table in settings_tables().values() for key in table))
"""Every setting there is."""

GOOD: Final = ("auto", "fp32", "2", "0.5", "true", "a", "fail", "skip", "table", "json", "sentence", "paper", "cpu")
"""Values of which each is right for some setting, and wrong for most."""

TEXTS: Final = (
    "a dog and two balloons",
    "a red car, left of a tree. It rains.",
    'a "quoted" cup',
    "ein Hund — läuft\nweg",
)


def cases(random: Random, number: int) -> Iterator[Case]:
    """``number`` cases, every kind in turn; inputs, of which there are many kinds, come oftener."""
    kinds: tuple[Callable[[Random], Case], ...] = (
        *(_input_case,) * 5,
        *(_resumed_case,) * 2,
        _settings_case,
        _variable_case,
        *(_list_case,) * 2,
    )
    return in_turn(kinds, random, number)


@cache
def pictures() -> Mapping[str, bytes]:
    """Four small pictures."""
    from PIL import Image

    found = {}
    for index, color in enumerate(("red", "green", "blue", "white")):
        stream = io.BytesIO()
        Image.new("RGB", (24, 20), color).save(stream, "PNG")
        found[f"{index}.png"] = stream.getvalue()
    return found


def _rows() -> list[dict[str, Any]]:
    return [
        {"image": f"{index}.png", "text": text, "id": f"r{index}", "references": ["a dog", "a cup"]}
        for index, text in enumerate(TEXTS)
    ]


# --- inputs of many records -------------------------------------------------------------------------------------------


def _input_case(random: Random) -> Case:
    command = random.choice(MANY)
    ending = random.choice((".jsonl", ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".tar", "gz", "folder", "stdin"))
    files: dict[str, bytes] = dict(pictures())
    stdin = b""
    arguments = [*MODEL[command], "--input"]
    if ending == "stdin":
        arguments.append("-")
        stdin = mutated_json(random, _rows(), lines=True)
    elif ending == "folder":
        arguments.append("folder")
        files = _mutated_folder(random)
    elif ending == "gz":
        inner = random.choice((".jsonl", ".json", ".csv", ".tar"))
        arguments.append(f"rows{inner}.gz")
        files[arguments[-1]] = _mutated_gzip(random, inner)
    else:
        arguments.append(f"rows{ending}")
        files[arguments[-1]] = _mutated_input(random, ending)
    if command == "classify":
        files["labels.txt"] = b"dog\ncat\ncar\n"
        arguments += ["--labels", "labels.txt", "--method", "clip"]
    format = random.choice(FORMATS)
    arguments += ["--format", format]
    if random.random() < 0.2 and ending != "stdin":
        arguments += ["--shard", random.choice(("1/2", "2/2", "3/7"))]
        arguments[arguments.index(format)] = random.choice(("jsonl", "csv"))
    if random.random() < 0.1:
        arguments += ["--on-error", "fail"]
    return Case(f"input {ending.lstrip('.')}", command, tuple(arguments), files, stdin, frozenset({0, 2, 3}))


def _mutated_input(random: Random, ending: str) -> bytes:
    if ending == ".jsonl":
        return mutated_json(random, _rows(), lines=True)
    if ending == ".json":
        return mutated_json(random, _rows())
    if ending == ".parquet":
        return _mutated_parquet(random)
    if ending == ".tar":
        return _mutated_tar(random)
    cells = [["image", "text", "id", "references"]]
    cells += [[row["image"], row["text"], row["id"], json.dumps(row["references"])] for row in _rows()]
    return mutated_table(random, cells, "," if ending == ".csv" else "\t")


def _mutated_gzip(random: Random, inner: str) -> bytes:
    """Cut short, of another kind, with a lying checksum, or of a file that is itself wrong."""
    content = gzip.compress(_mutated_input(random, inner) if random.random() < 0.5 else _good_input(inner), mtime=0)
    change = random.randrange(5)
    if change == 0:
        return content[: random.randrange(len(content))]
    if change == 1:
        return content[:-8] + random.randbytes(8)
    if change == 2:
        return content + random.choice((b"more", content, bytes(64)))
    return mutated(random, content, text=False) if change == 3 else content


def _good_input(ending: str) -> bytes:
    if ending == ".tar":
        return _tar([(f"{index}.png", pictures()[f"{index}.png"]) for index in range(4)])
    if ending == ".csv":
        stream = io.StringIO()
        csv.writer(stream).writerows([["image", "text"], *([row["image"], row["text"]] for row in _rows())])
        return stream.getvalue().encode()
    return (
        b"".join(json.dumps(row).encode() + b"\n" for row in _rows())
        if ending == ".jsonl"
        else json.dumps(_rows()).encode()
    )


def _mutated_parquet(random: Random) -> bytes:
    import pyarrow
    from pyarrow import parquet

    rows: list[dict[str, Any]] = _rows()
    if random.random() < 0.6:
        name = random.choice(list(rows[0]))
        value = random.choice(
            (None, 1, 1.5, True, [], [1], b"\xff\x00", {"bytes": b"x"}, {"path": "0.png"}, "\0", "/dev/zero")
        )
        for row in rows[:: random.choice((1, 4))] if value is None else rows:
            row[name] = value
        if random.random() < 0.2:
            rows = []
    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
    content = stream.getvalue()
    return mutated(random, content, text=False) if random.random() < 0.5 else content


def _tar(members: list[tuple[str, bytes]], **kinds: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if name in kinds:
                member.type, member.linkname, member.size = kinds[name], "../../../etc/passwd", 0
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _mutated_tar(random: Random) -> bytes:
    members = []
    for index, text in enumerate(TEXTS):
        members += [(f"{index}.png", pictures()[f"{index}.png"]), (f"{index}.txt", text.encode())]
    change = random.randrange(6)
    place = random.randrange(len(members))
    if change == 0:
        members[place] = (random.choice(ODD_NAMES[1:]).replace("\0", "") or "x", members[place][1])
    elif change == 1:
        del members[place]
    elif change == 2:
        members[place] = (members[place][0], mutated(random, members[place][1]))
    elif change == 3:
        members.insert(place, (f"{place}.json", mutated_json(random, _rows()[0])))
    elif change == 4:
        kind = random.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE))
        return _tar(members, **{members[place][0]: kind})
    else:
        return mutated(random, _tar(members), text=False)
    return _tar([(name.encode("utf-8", "replace").decode(), content) for name, content in members])


def _mutated_folder(random: Random) -> dict[str, bytes]:
    """Pictures with captions beside them; a caption, a picture or a name is wrong."""
    files = {f"folder/{name}": content for name, content in pictures().items()}
    files |= {f"folder/{index}.txt": text.encode() for index, text in enumerate(TEXTS)}
    target = random.choice(list(files))
    change = random.randrange(4)
    if change == 0:
        del files[target]
    elif change == 1:
        files[f"folder/{random.choice(('a b', 'ä', '.hidden', 'x' * 200, '[1]', 'a.b.c', '-', '…'))}.png"] = b"none"
    elif change == 2:
        del files[target]
        files[f"{target}/"] = b""
    else:
        files[target] = mutated(random, files[target])
    return files


# --- earlier outputs --------------------------------------------------------------------------------------------------


def _resumed_case(random: Random) -> Case:
    """An earlier output, whole or cut as by a kill, then damaged and resumed."""
    command = random.choice(MANY)
    ending = random.choice(("jsonl", "jsonl", "csv", "html", "json"))
    given, arguments = _batch(command, f"found.{ending}")
    journal = ending in ("html", "json")
    name = f"found.{ending}.journal.jsonl" if journal else f"found.{ending}"

    def files(random: Random) -> dict[str, bytes]:
        earlier = "found.jsonl" if journal else name
        kept = left_by(Case("", command, _batch(command, earlier)[1], given))[earlier]
        if journal:
            entries = [{"record": json.loads(line), "file": "rows.jsonl", "line": 1} for line in kept.splitlines()]
            kept = encoded(entries, lines=True)
        if random.random() < 0.4:
            kept = kept[: random.randrange(len(kept))]
        whole = [json.loads(line) for line in kept.splitlines() if ending != "csv" and _is_json(line)]
        changed = mutated_json(random, whole, lines=True) if whole and random.random() < 0.5 else mutated(random, kept)
        return {**given, name: changed}

    return Case(
        f"resumed {'journal' if journal else ending}",
        command,
        (*arguments, "--resume"),
        Later(random, files),
        statuses=frozenset({0, 2, 3}),
        check=_whole_or_untouched(name, len(TEXTS), f"found.{ending}"),
    )


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _batch(command: str, output: str) -> tuple[dict[str, bytes], tuple[str, ...]]:
    rows = b"".join(json.dumps(row).encode() + b"\n" for row in _rows())
    files = {**pictures(), "rows.jsonl": rows, "labels.txt": b"dog\ncat\ncar\n"}
    extra = ("--labels", "labels.txt", "--method", "clip") if command == "classify" else ()
    return files, (*MODEL[command], "--input", "rows.jsonl", *extra, "--output", output)


def _whole_or_untouched(name: str, records: int, output: str) -> Callable[[Outcome], Iterable[str]]:
    """A run that ends well has every record once, looked for in JSON lines; one that refuses has changed nothing."""

    def check(outcome: Outcome) -> Iterable[str]:
        if outcome.status == 2 and (outcome.folder / name).read_bytes() != outcome.case.files[name]:
            yield f"{name} was refused, and changed all the same"
        if outcome.status == 0 and output.endswith(".jsonl"):
            ids = [json.loads(line).get("id") for line in (outcome.folder / output).read_bytes().splitlines()]
            if ids != [f"r{index}" for index in range(records)]:
                yield f"{output} holds {ids}"

    return check


# --- settings ---------------------------------------------------------------------------------------------------------


def _settings_case(random: Random) -> Case:
    command = random.choice(COMMANDS)
    name = random.choice(("clipalign.toml", "pyproject.toml"))
    table = "tool.clipalign" if name == "pyproject.toml" else ""
    keys = random.sample(KEYS, 3)
    lines = [f"[{table}]" if table else ""]
    lines += [f"{key} = {_toml(random.choice((*GOOD, *ODD_VALUES)))}" for key in keys]
    if random.random() < 0.5:
        lines += [f"[{table + '.' if table else ''}{command}]", f"{keys[0]} = {_toml(random.choice(ODD_VALUES))}"]
    if random.random() < 0.3:
        lines.append(
            random.choice(("modle = 1", "[", "a = ", "model = 'a'\nmodel = 'b'", "[detct]", "x.y.z = 1", "\ufeff"))
        )
    content = "\n".join(lines).encode("utf-8", "replace")
    if random.random() < 0.5:
        content = mutated(random, content)
    files = {**pictures(), name: content, "labels.txt": b"dog\ncat\n"}
    statuses = frozenset({0, 1, 2, 3, 4})
    return Case(f"settings file, {command}", command, _line(command), files, statuses=statuses)


def _variable_case(random: Random) -> Case:
    command = random.choice(COMMANDS)
    environment = {}
    for key in random.sample(KEYS, random.choice((1, 1, 3))):
        value = (
            str(random.choice((*ODD_NAMES, *ODD_VALUES, *GOOD)))
            .replace("\0", "\x01")
            .encode("utf-8", "replace")
            .decode()
        )
        environment[f"CLIPALIGN_{key.upper()}"] = value
    files = {**pictures(), "labels.txt": b"dog\ncat\n"}
    return Case(f"variables, {command}", command, _line(command), files, environment=environment)


def _line(command: str) -> tuple[str, ...]:
    """A line of the command that ends soon."""
    lines = {
        "detect": ("0.png", "a dog"),
        "classify": ("0.png", "--labels", "labels.txt"),
        "score-long": ("0.png", "a dog. a cup."),
        "eval": ("--dataset", "pictogram-foil", "--limit", "2"),
        "train-specs": ("--data", "pictogram:4", "--output", "run", "--init", TINY_LONG, "--batch-size", "99"),
        "download": ("--list",),
    }
    return (*MODEL.get(command, ("--model", "pictogram") if command == "eval" else ()), *lines[command])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps("" if value is None else str(value))


# --- lists and descriptions -------------------------------------------------------------------------------------------


def _list_case(random: Random) -> Case:
    """Labels, descriptions, templates, words and texts of one picture."""
    what = random.choice(("labels", "descriptions", "descriptions", "templates", "words", "text"))
    content = {
        "labels": b"dog\ncat\nred car\n",
        "templates": b"a photo of a {}.\na drawing of {}.\n",
        "words": b"lorem\nipsum\n",
    }
    files = {**pictures(), "labels.txt": content["labels"]}
    arguments: tuple[str, ...] = ("0.png", *MODEL["classify"])
    if what == "text":
        files["text.txt"] = mutated(random, " ".join(TEXTS).encode())
        line = (*MODEL["score-long"], "--text-file", "text.txt", "--format", random.choice(FORMATS))
        return Case("text file", "score-long", ("0.png", *line), files, statuses=frozenset({0, 2, 3}))
    if what == "descriptions":
        described = {"dog": ["a dog barks", "fur"], "cat": ["a cat"], "red car": ["wheels"]}
        document: Any = random.choice(
            (described, described, described, [{"name": "dog", "descriptions": ["fur"]}], {"dog": "fur"})
        )
        files["described.json"] = mutated_json(random, document)
        arguments += (
            "--descriptions",
            "described.json",
            "--method",
            random.choice(("wca", "clip-d", "cupl")),
            "--crops",
            "2",
        )
    else:
        files[f"{what}.txt"] = mutated_list(random, content[what])
        method = {"labels": "clip", "templates": "clip-e", "words": "waffle"}[what]
        arguments += ("--labels", "labels.txt", "--method", method)
        arguments += (f"--{what}", f"{what}.txt") if what != "labels" else ()
    arguments += ("--format", random.choice(FORMATS))
    return Case(what, "classify", arguments, files, statuses=frozenset({0, 2, 3}))
