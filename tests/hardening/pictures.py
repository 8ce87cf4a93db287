"""Broken pictures through every way a picture comes in."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Final

from tests.hardening.arena import TINY, TINY_LONG, Case, Outcome
from tests.hardening.picture_files import (
    broken,
    metadata_bombs,
    no_pictures,
    originals,
    pixel_bombs,
    resized,
    spliced,
)
from tests.hardening.process import GOLDEN

SUFFIXES: Final = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}
SUFFIXES_OF_OTHERS: Final = (".png", ".jpg", ".avif", ".jp2", ".ico")

BOMBS_IN_100: Final = 1
"""Share of cases with bombs: each takes a second."""

_READ: Final = frozenset({0, 3})
_UNREADABLE: Final = frozenset({3})

_LABELS: Final = b"cat\ndog\nhouse\n"
_DESCRIPTIONS: Final = json.dumps({"cat": ["a cat", "whiskers"], "dog": ["a dog", "a tail"]}).encode()


def cases(random: Random, number: int) -> Iterator[Case]:
    """Mutated pictures of all formats, sizes that lie, bombs, and what is no picture."""
    formats = [name for name, variants in originals().items() for _ in range(max(2, len(variants) // 2))]
    strangers = list(no_pictures())
    for _ in range(number):
        chance = random.random()
        if chance < 0.7:
            format = random.choice(formats)
            content = broken(random, format, random.choice(list(originals()[format].values())))
            yield _case(random, f"mutated {format}", content, SUFFIXES.get(format))
        elif chance < 0.82:
            format = random.choice(formats)
            content = resized(random, random.choice(list(originals()[format].values())))
            yield _case(random, "sizes that lie", content, SUFFIXES.get(format))
        elif chance < 0.92:
            yield _case(random, "spliced formats", spliced(random))
        elif chance < 0.92 + BOMBS_IN_100 / 100:
            name, content = random.choice(_bombs())
            if random.random() < 0.1:
                yield _several_bombs(random, f"bombs of {name}")
            else:
                yield _case(random, f"bombs of {name}", content, ".png")
        elif chance < 0.97:
            _, content = random.choice(strangers)
            yield _case(random, "no pictures", content, random.choice((".png", ".jpg", ".webp")), right=_UNREADABLE)
        else:
            format = random.choice(formats)
            content = random.choice(list(originals()[format].values()))
            right = _READ if format == "EPS" else frozenset({0})  # PostScript is a program, and refused
            yield _case(random, "whole pictures", content, SUFFIXES.get(format), right=right)


@cache
def _bombs() -> tuple[tuple[str, bytes], ...]:
    pixels = tuple(("pixels", content) for _, content in pixel_bombs())
    return (*pixels, *(("metadata", content) for _, content in metadata_bombs()))


def _several_bombs(random: Random, kind: str) -> Case:
    """A folder of them, to be decoded side by side."""
    chosen = [random.choice(_bombs())[1] for _ in range(3)]
    files = {f"in/{number}.png": content for number, content in enumerate(chosen)}
    files |= {f"in/{number}.txt": b"a cat" for number in range(len(chosen))}
    return Case(kind, "detect", ("--input", "in", *_model(random), "--format", "jsonl"), files, statuses=_READ)


def _case(
    random: Random, kind: str, content: bytes, suffix: str | None = None, *, right: frozenset[int] = _READ
) -> Case:
    suffix = suffix or random.choice(SUFFIXES_OF_OTHERS)
    return random.choice(_WAYS)(random, kind, content, suffix, right)


def _model(random: Random) -> tuple[str, str]:
    return "--model", random.choice((*(TINY,) * 7, "pictogram"))


def _format(random: Random, *formats: str) -> tuple[str, str]:
    return "--format", random.choice(formats or ("json", "json", "json", "table", "csv", "html", "github", "jsonl"))


def _detect(random: Random, kind: str, content: bytes, suffix: str, right: frozenset[int]) -> Case:
    arguments = (f"a{suffix}", "a red cat on a table", *_model(random), *_format(random, "json", "table", "html"))
    return Case(kind, "detect", arguments, {f"a{suffix}": content}, statuses=right)


def _detect_stdin(random: Random, kind: str, content: bytes, suffix: str, right: frozenset[int]) -> Case:
    return Case(kind, "detect", ("-", "a cat", *_model(random), *_format(random, "json")), {}, content, right)


def _detect_skip(random: Random, kind: str, content: bytes, suffix: str, right: frozenset[int]) -> Case:
    arguments = (f"a{suffix}", "a red cat", *_model(random), "--on-error", "skip", *_format(random))
    return Case(kind, "detect", arguments, {f"a{suffix}": content}, statuses=right)


def _classify(random: Random, kind: str, content: bytes, suffix: str, right: frozenset[int]) -> Case:
    how: tuple[str, ...] = ("--labels", "labels.txt")
    if random.random() < 0.4:
        how = ("--descriptions", "described.json", "--crops", "3", "--explain")
    files = {f"a{suffix}": content, "labels.txt": _LABELS, "described.json": _DESCRIPTIONS}
    arguments = (f"a{suffix}", *how, *_model(random), *_format(random, "json", "json", "table", "html"))
    return Case(kind, "classify", arguments, files, statuses=right)


def _score_long(random: Random, kind: str, content: bytes, suffix: str, right: frozenset[int]) -> Case:
    model = random.choice((TINY_LONG, TINY_LONG, "pictogram-long"))
    arguments = (f"a{suffix}", "A cat. A dog on a sofa.", "--model", model, *_format(random, "json", "table", "html"))
    return Case(kind, "score-long", arguments, {f"a{suffix}": content}, statuses=right)


def _folder(random: Random, kind: str, content: bytes, suffix: str, right: frozenset[int]) -> Case:
    """A folder in which the picture has a good neighbor."""
    files = {f"in/a{suffix}": content, "in/a.txt": b"a cat", "in/good.png": _good(), "in/good.txt": b"a good dog"}
    command = random.choice(("detect", "classify", "score-long"))
    if command == "classify":
        files |= {"labels.txt": _LABELS}
        arguments: tuple[str, ...] = ("in", "--labels", "labels.txt", *_model(random), *_format(random))
    else:
        arguments = ("--input", "in", *_model(random), *_format(random))
    return Case(kind, command, arguments, files, statuses=right, check=_good_is_scored)


def _tar(random: Random, kind: str, content: bytes, suffix: str, right: frozenset[int]) -> Case:
    """A WebDataset shard, likewise."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in ((f"a{suffix}", content), ("a.txt", b"a cat"), ("good.png", _good()), ("good.txt", b"a dog")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    arguments = ("--input", "in.tar", *_model(random), *_format(random, "jsonl", "csv", "html", "json"))
    command = random.choice(("detect", "score-long"))
    return Case(kind, command, arguments, {"in.tar": stream.getvalue()}, statuses=right, check=_good_is_scored)


def _lines(random: Random, kind: str, content: bytes, suffix: str, right: frozenset[int]) -> Case:
    """JSON lines on standard input, the picture named several times."""
    rows = [{"image": name, "text": "a cat"} for name in (f"a{suffix}", "good.png", f"a{suffix}")]
    stdin = "".join(json.dumps(row) + "\n" for row in rows).encode()
    arguments = ("--input", "-", *_model(random), *_format(random, "jsonl", "csv", "table", "github", "html"))
    files = {f"a{suffix}": content, "good.png": _good()}
    return Case(kind, "detect", arguments, files, stdin, right, check=_good_is_scored)


_WAYS: Final[tuple[Callable[[Random, str, bytes, str, frozenset[int]], Case], ...]] = (
    *(_detect, _detect, _detect_stdin, _detect_skip, _classify, _classify, _score_long),
    *(_folder, _folder, _tar, _lines),
)


@cache
def _good() -> bytes:
    return (GOLDEN / "images" / "0.png").read_bytes()


def _good_is_scored(outcome: Outcome) -> Iterator[str]:
    """The good picture beside the broken one has a record without an error."""
    arguments = outcome.case.arguments
    format = arguments[arguments.index("--format") + 1]
    if format not in ("json", "jsonl"):
        if b"good" not in outcome.stdout and format in ("csv", "html"):
            yield "the good picture is missing"
        return
    records = [json.loads(line) for line in outcome.stdout.splitlines()] if format == "jsonl" else []
    if format == "json":
        document = json.loads(outcome.stdout or b"{}")
        records = document.get("results", [document])
    scored = [record for record in records if "good" in str(record.get("id")) + str(record.get("image"))]
    if len(scored) != 1 or scored[0].get("error"):
        yield f"the good picture is not scored: {str(scored)[:200]}"
