"""What is killed: scenes, each with its inputs, its command line, and what must be true when it has come to its end.

The scenes of this file are runs over many records; downloads, evaluations and trainings have files of their own.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.hardening.process import ROOT

GOLDEN: Final = ROOT / "tests" / "golden"
TINY: Final = f"{GOLDEN / 'tiny-clip.json'}@{GOLDEN / 'tiny-clip.safetensors'}"
TINY_LONG: Final = str(GOLDEN / "tiny-longclip.safetensors")

ROUNDING: Final = 2e-6
"""Of scores in fp32: texts of other lengths beside it change a text's last digits."""

WORDS: Final = (
    "a", "red,", '"big"', "car;", "two", "dogs", "and", "the", "old", "house's", "garden:", "no;", "é", "一杯", "left",
    "of", "an", "anchor,", "under", "trees",
)  # fmt: skip

MISSING_EVERY: Final = 97
"""So many records apart, a picture is missing: errors are records too."""

Check = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Scene:
    """A run that may be killed and gone on with.

    Attributes:
        kind: what is killed, a row of the report.
        group: ``batch``, ``downloads``, ``eval`` or ``training``.
        commands: it runs.
        lay_out: writes the inputs into a fresh folder, in which the lines run.
        lines: command lines for a folder, one after the other; each is killed, gone on with, and done before the next.
        resume: what is added to a line that goes on with what is there.
        done: statuses of a run that has come to its end.
        look: what is wrong after a kill; sentences.
        compare: what differs from the folder of runs that nothing happened to; sentences.
        prepare: called in the process of each run, for a folder.
        progress: how much of a line's work is done, 0 to 1, as its files show it.
        stray: whether a file that runs without kills do not leave may stay; by its path within the folder.
        ends_itself: statuses that a signal which can be caught may lead to.
        serves: starts what the runs need, for a folder, and gives what ends it.
        together: whether a second run goes on beside the one that is killed, and must end well.
        cold: whether it can be run without :attr:`prepare`.
    """

    kind: str
    group: str
    commands: tuple[str, ...]
    lay_out: Callable[[Path], None]
    lines: Callable[[Path], Sequence[Sequence[str]]]
    compare: Callable[[Path, Path], list[str]]
    resume: tuple[str, ...] = ("--resume",)
    done: frozenset[int] = frozenset({0})
    look: Check = lambda folder: []
    prepare: Callable[[Path], Callable[[], None] | None] = lambda folder: None
    progress: Callable[[Path, int], float] = lambda folder, line: 0.0
    stray: Callable[[str], bool] = lambda name: False
    ends_itself: frozenset[int] = frozenset({130})
    serves: Callable[[Path], Callable[[], None]] | None = None
    together: bool = False
    cold: bool = True


# --- what is compared -------------------------------------------------------------------------------------------------


_NUMBERED = re.compile(r":(-?[0-9.]+(?:e-?[0-9]+)?)(?=; |$)")


def agree(one: object, other: object) -> bool:
    """Whether two documents are the same, numbers up to :data:`ROUNDING`."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(agree(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(agree(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= ROUNDING
    return one == other


def without_place(text: str, folder: Path) -> str:
    """``text`` with the folder's own path taken out of it."""
    return text.replace(str(folder), "FOLDER")


def read_records(path: Path, folder: Path) -> list[Any]:
    """The records of an output in any format, as far as they can be compared."""
    text = without_place(path.read_text(encoding="utf-8"), folder)
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    if path.suffix == ".json":
        return [json.loads(text)]
    if path.suffix == ".csv":
        return [[_cell(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline=""))]
    return _cards(text)


def _cards(page: str) -> list[str]:
    """The identifiers of a page's cards, sorted; their order is that of scores that rounding may swap."""
    return sorted(part.partition("<")[0] for part in page.split('class="id" dir="auto">')[1:])


def _cell(cell: str) -> object:
    """A cell as JSON, or its ``word:number`` in pieces, the numbers as numbers."""
    try:
        return json.loads(cell)
    except ValueError:
        pieces: list[object] = [*_NUMBERED.split(cell)]
        pieces[1::2] = map(float, _NUMBERED.findall(cell))
        return pieces


def tree(folder: Path) -> dict[str, Path]:
    """Every file below a folder by its name there; links are files."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


def strays(folder: Path, whole: Path, allowed: Callable[[str], bool] = lambda name: False) -> list[str]:
    """Files that only one of two folders has, as sentences."""
    ours, theirs = tree(folder), tree(whole)
    left = [name for name in ours if name not in theirs and not allowed(name)]
    gone = [name for name in theirs if name not in ours and not allowed(name)]
    return [f"{names[0]} {what}{f', and {len(names) - 1} more' if names[1:] else ''}"
            for names, what in ((left, "was left behind"), (gone, "is missing")) if names]  # fmt: skip


def is_cache_part(name: str) -> bool:
    """Whether it is an unfinished file of the cache, which the next write an hour later deletes."""
    return Path(name).name.startswith(".clipalign-") and name.endswith(".part")


# --- many records -----------------------------------------------------------------------------------------------------


def write_pairs(path: Path, count: int, *, seed: int = 0, long: bool = False) -> None:
    """An input whose captions hold quotes, commas and other scripts, and whose pictures are the golden ones."""
    rng = random.Random(seed)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            text = " ".join(rng.choices(WORDS, k=rng.randint(2, 12)))
            if long:
                text = ". ".join(" ".join(rng.choices(WORDS, k=rng.randint(3, 8))).capitalize() for _ in range(3))
            image = "missing.png" if number % MISSING_EVERY == 50 else f"{number // 4 % 3}.png"
            stream.write(json.dumps({"id": f"pair-{number}", "image": image, "text": text}) + "\n")


def _pairs(count: int, long: bool) -> Callable[[Path], None]:
    return lambda folder: write_pairs(folder / "pairs.jsonl", count, long=long)


def _batch_lines(arguments: tuple[str, ...], outputs: tuple[str, ...], shards: bool) -> Any:
    def lines(folder: Path) -> list[list[str]]:
        found = []
        for number, output in enumerate(outputs, 1):
            line = [*arguments, "--input", "pairs.jsonl", "--image-root", str(GOLDEN / "images"), "-q"]
            line += ["--output", output, *(["--shard", f"{number}/{len(outputs)}"] if shards else [])]
            found.append(line)
        return found

    return lines


def _kept(output: str) -> str:
    return output if output.endswith(".jsonl") else f"{output}.journal.jsonl"


def _batch_look(outputs: tuple[str, ...]) -> Check:
    """After a kill every line but the last is whole, and a document is there as a whole or not at all."""

    def look(folder: Path) -> list[str]:
        found = []
        for output in outputs:
            kept = folder / _kept(output)
            data = kept.read_bytes() if kept.exists() else b""
            whole = data[: data.rfind(b"\n") + 1].decode("utf-8")
            try:
                for line in whole.splitlines():
                    json.loads(line)
            except ValueError as error:
                found.append(f"{kept.name} has a torn record that is not its last: {error}")
            path = folder / output
            if path.name != kept.name and path.suffix != ".csv" and path.exists():
                text = path.read_text(encoding="utf-8")
                if not text.rstrip().endswith("</html>" if output.endswith(".html") else ("}", "unreadable", ")")):
                    found.append(f"{output} is not whole")
        return found

    return look


def _batch_progress(outputs: tuple[str, ...], count: int) -> Callable[[Path, int], float]:
    def progress(folder: Path, line: int) -> float:
        kept = folder / _kept(outputs[line])
        written = kept.read_bytes().count(b"\n") if kept.exists() else 0
        return min(1.0, written / (count / len(outputs)))

    return progress


def _batch_compare(outputs: tuple[str, ...], count: int) -> Callable[[Path, Path], list[str]]:
    wanted = [f"pair-{number}" for number in range(count)]

    def compare(folder: Path, whole: Path) -> list[str]:
        found = []
        for output in outputs:
            if not (folder / output).exists():
                return [f"there is no {output}"]
            ours, theirs = read_records(folder / output, folder), read_records(whole / output, whole)
            if not agree(ours, theirs):
                found.append(f"{output} is not what an unbroken run writes")
        said = list(identifiers([folder / output for output in outputs]))
        if len(outputs) > 1:  # of which each has every N-th record
            said.sort(key=wanted.index)
        if said != wanted:
            lost, doubled = set(wanted) - set(said), len(said) - len(set(said))
            found.append(f"{len(lost)} records are lost, {doubled} doubled, or their order is another")
        return found

    return compare


def identifiers(outputs: Sequence[Path]) -> Iterator[str]:
    """The ids of all records of outputs in one format."""
    if outputs[0].suffix == ".csv":
        joined = "".join(path.read_text(encoding="utf-8") for path in outputs)  # the header stands in the first
        yield from (row["id"] for row in csv.DictReader(io.StringIO(joined, newline="")))
        return
    for path in outputs:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            yield from (record["id"] for record in json.loads(text)["results"])
        elif path.suffix == ".jsonl":
            yield from (json.loads(line)["id"] for line in text.splitlines())
        else:
            yield from sorted(_cards(text), key=lambda name: int(name.removeprefix("pair-")))


def _batch(
    kind: str,
    *arguments: str,
    outputs: tuple[str, ...],
    count: int,
    long: bool = False,
    shards: bool = False,
    lay_out: Callable[[Path], None] | None = None,
) -> Scene:
    return Scene(
        kind=kind,
        group="batch",
        commands=(arguments[0],),
        lay_out=lay_out or _pairs(count, long),
        lines=_batch_lines(arguments, outputs, shards),
        compare=_batch_compare(outputs, count),
        done=frozenset({3} if count > MISSING_EVERY and not shards else {0, 3}),  # some pictures are missing
        look=_batch_look(outputs),
        stray=is_cache_part,
        progress=_batch_progress(outputs, count),
    )


CLASSES: Final = {
    "cat": ["A cat with fur.", "It has whiskers."],
    "dog, big": ["A dog that barks.", 'A "good" one.'],
    "anchor": ["An anchor of iron."],
}


def _pictures(count: int) -> Callable[[Path], None]:
    def lay_out(folder: Path) -> None:
        write_pairs(folder / "pairs.jsonl", count)
        (folder / "classes.json").write_text(json.dumps(CLASSES))

    return lay_out


def batch_scenes(scale: float = 1.0) -> list[Scene]:
    """Runs over many records, of a second or two each at a scale of 1."""
    many, some, few = (max(20, int(count * scale)) for count in (1000, 400, 150))
    found = [
        _batch(f"detect, {form}", "detect", "--model", TINY, outputs=(f"out.{form}",), count=some)
        for form in ("json", "html")
    ]
    found += [
        _batch(f"detect, {form}", "detect", "--model", TINY, outputs=(f"out.{form}",), count=many)
        for form in ("jsonl", "csv")
    ]
    found.append(
        _batch("detect, two shards", "detect", "--model", TINY, outputs=("1.csv", "2.csv"), count=some, shards=True)
    )
    for form in ("jsonl", "csv", "json", "html"):
        scored = ("score-long", "--model", TINY_LONG, "--by", "phrase")
        found.append(_batch(f"score-long, {form}", *scored, outputs=(f"out.{form}",), count=few, long=True))
        classified = ("classify", "--model", TINY, "--descriptions", "classes.json", "--crops", "4")
        found.append(
            _batch(f"classify, {form}", *classified, outputs=(f"out.{form}",), count=some, lay_out=_pictures(some))
        )
    return found


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
