"""Turns raw long captions into growing beginnings, each with a wrong detail, in a folder that training reads.

Two passes. The first cuts every caption into phrases, in parallel, a part of the source at a time; a part that is
written is done, so that a run which was stopped goes on with the next one. The second gives each beginning a wrong
detail: the phrase at its place (or the last) of another picture drawn at random; over the first 90 % of the data with
its words shuffled, as published. Everything follows from the seed, whatever the number of processes.

Beginnings end where they, or one of them with its wrong detail, would not fit the context any more.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import shutil
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Final, NamedTuple

from clipalign.data.sentences import Cut, split_text
from clipalign.errors import UsageError
from clipalign.files import exclusive
from clipalign.models.registry import LONG_CONTEXT_TOKENS
from clipalign.training.data import DATA_FILE, DATA_FORMAT, OFFSETS_FILE, SAMPLES_FILE, RawCaption, RawSource, Skipped

PART_RECORDS: Final = 2000
PARTS_FOLDER: Final = "parts"
PLAN_FILE: Final = "prepare.json"
LOCK_FILE: Final = ".lock"
SHUFFLED_SHARE: Final = 0.9
"""Of the samples, the first ones: their wrong details have their words shuffled."""
FEWEST_PHRASES: Final = 2
ATTEMPTS: Final = 20
"""How often another picture is drawn until its phrase fits."""


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """What decides the samples.

    Attributes:
        seed: of the wrong details.
        by: what captions are cut into.
        context_tokens: what a text may have at most, start and end token included.
    """

    seed: int = 0
    by: str = Cut.PHRASE.value
    context_tokens: int = LONG_CONTEXT_TOKENS


class Prepared(NamedTuple):
    """What came of it: samples written, records left out by reason, and examples of what no phrases were cut from.

    ``finished_before`` says that an earlier run had come to its end already; its examples are not kept.
    """

    folder: Path
    samples: int
    skipped: dict[str, int]
    examples: dict[str, str]
    finished_before: bool = False


def prepare(
    source: RawSource,
    folder: Path,
    settings: PrepareSettings,
    *,
    image_root: Path | None = None,
    workers: int = 1,
    told: Callable[[int], None] = lambda records: None,
) -> Prepared:
    """Write the samples of ``source`` into ``folder``, or go on where an earlier run stopped, also at its very end.

    Args:
        source: raw captions.
        folder: of the samples; made if it is not there.
        settings: must be those of the earlier run.
        image_root: of relative pictures, where it is not the source's own.
        workers: processes that cut captions, at least 1.
        told: called with the number of raw records of each part that is done.

    Raises:
        UsageError: the folder holds other data or data of other settings, what an earlier run left in it is damaged,
            or the source gives no sample.
        InputUnreadable: the source breaks off.
        Busy: another process prepares the same folder.
    """
    root = (image_root or source.image_root).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / LOCK_FILE, remove=True):
        _plan(folder, {"source": source.identity(), "image_root": str(root), **asdict(settings)})
        if (folder / DATA_FILE).exists():  # whole; an earlier run may have been killed while it took its parts away
            about = _read_back(folder / DATA_FILE, "samples", "skipped")
            if (folder / PARTS_FOLDER).exists():
                shutil.rmtree(folder / PARTS_FOLDER)
            return Prepared(folder, about["samples"], about["skipped"], {}, finished_before=True)
        parts = _first_pass(source, folder, settings, root=root, workers=workers, told=told)
        skipped: Counter[str] = Counter()
        examples: dict[str, str] = {}
        for part in parts:
            counts = _read_back(part.with_suffix(".counts.json"), "skipped", "examples")
            skipped.update(counts["skipped"])
            examples = counts["examples"] | examples
        samples = _second_pass(parts, folder, settings, root, skipped)
        if not samples:
            _forget(folder)
            why = ", ".join(f"{count} {reason}" for reason, count in skipped.most_common()) or "it is empty"
            raise UsageError(f"{source.path} gives no sample: {why}", hint="see --image-root", input="--prepare")
        shutil.rmtree(folder / PARTS_FOLDER)
    return Prepared(folder, samples, dict(skipped), examples)


def _read_back(path: Path, *keys: str) -> dict[str, Any]:
    """What was written down here by an earlier run, with at least these keys.

    Raises:
        UsageError: it is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or any(key not in found for key in keys):
        raise UsageError(f"{path} is damaged", hint="delete its folder and prepare again", input=str(path))
    return found


def _plan(folder: Path, plan: dict[str, Any]) -> None:
    """Write down what is prepared here, or see that it is the same."""
    path = folder / PLAN_FILE
    if path.exists():
        old = _read_back(path)
        verb = "prepared" if (folder / DATA_FILE).exists() else "begun"
        for name, value in plan.items():
            if old.get(name) != value:
                raise UsageError(
                    f"{folder} was {verb} with {name} {old.get(name)!r}, now it is {value!r}",
                    hint="go on with the same settings, or name another folder; this one can be deleted",
                    input="--data",
                )
        return
    if any(file.name not in (LOCK_FILE, f"{PLAN_FILE}.part") for file in folder.iterdir()):  # the latter by a kill
        raise UsageError(f"{folder} holds other files", hint="name a new folder", input="--data")
    write_whole(path, json.dumps(plan, indent=2).encode())


def _forget(folder: Path) -> None:
    """Take away what was made of a source without a sample: tried again, its pictures may be there."""
    shutil.rmtree(folder / PARTS_FOLDER)
    for name in (f"{SAMPLES_FILE}.part", PLAN_FILE):
        (folder / name).unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


# --- first pass: phrases ----------------------------------------------------------------------------------------------


def _first_pass(
    source: RawSource,
    folder: Path,
    settings: PrepareSettings,
    *,
    root: Path,
    workers: int,
    told: Callable[[int], None],
) -> list[Path]:
    """Write the parts that are not there yet; returns all of them in order."""
    (folder / PARTS_FOLDER).mkdir(exist_ok=True)
    paths: list[Path] = []
    waiting: list[tuple[Future[None], int]] = []

    def finish(down_to: int) -> None:
        while len(waiting) > down_to:
            future, records = waiting.pop(0)
            future.result()
            told(records)

    pool = (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)
        if workers > 1
        else None
    )
    try:
        for number, records in enumerate(_parts(source.records())):
            path = folder / PARTS_FOLDER / f"{number:06}.jsonl"
            paths.append(path)
            if path.exists():
                told(len(records))
            elif pool is None:
                write_part(path, records, settings, root)
                told(len(records))
            else:
                waiting.append((pool.submit(write_part, path, records, settings, root), len(records)))
                finish(2 * workers)
        finish(0)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return paths


def _end_with_parent() -> None:
    """Have this process end when the one that started it does, even by a kill, which tells nobody."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _parts(records: Iterator[RawCaption | Skipped]) -> Iterator[list[RawCaption | Skipped]]:
    while part := list(islice(records, PART_RECORDS)):
        yield part


def write_part(path: Path, records: Sequence[RawCaption | Skipped], settings: PrepareSettings, root: Path) -> None:
    """Cut the captions of one part and write them, a line a caption, and beside it what was left out."""
    skipped: Counter[str] = Counter()
    examples: dict[str, str] = {}
    lines = []
    for record in records:
        outcome = record if isinstance(record, Skipped) else _cut(record, settings, root)
        if isinstance(outcome, Skipped):
            skipped[outcome.reason] += 1
            examples.setdefault(outcome.reason, outcome.place)
        else:
            lines.append(json.dumps(outcome, ensure_ascii=False).encode() + b"\n")
    counts = {"skipped": skipped, "examples": examples}
    write_whole(path.with_suffix(".counts.json"), json.dumps(counts).encode())
    write_whole(path, b"".join(lines))


def _cut(record: RawCaption, settings: PrepareSettings, root: Path) -> dict[str, Any] | Skipped:
    """A caption as phrases with their tokens counted; start and end token are not among them."""
    try:
        missing = not (root / record.image).is_file()
    except OSError:  # a name that no file can have
        missing = True
    if missing:
        return Skipped("missing picture", record.image)
    pieces = split_text(record.text, Cut(settings.by))
    if len(pieces) < FEWEST_PHRASES:
        return Skipped(f"single {settings.by}", record.image)
    text = record.text[: pieces[-1].end]
    counts = [_count_tokens(text[begin.start : begin.end]) for begin in pieces]
    return {"image": record.image, "text": text, "spans": [piece[1:] for piece in pieces], "tokens": counts}


def _count_tokens(text: str) -> int:
    return len(_encoder()(text))


@cache
def _encoder() -> Callable[[str], list[int]]:
    from clipalign.pictogram.export import clip_encoder

    return clip_encoder()


# --- second pass: wrong details ---------------------------------------------------------------------------------------


class _Phrases:
    """The captions of all parts by number, read where they lie."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._maps: list[mmap.mmap] = []
        self._parts = array("I")
        self._offsets = array("Q")
        for number, part in enumerate(parts):
            if not part.stat().st_size:
                self._maps.append(mmap.mmap(-1, 1))
                continue
            with part.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps.append(content)
            while content.tell() < len(content):
                self._parts.append(number)
                self._offsets.append(content.tell())
                content.readline()

    def __len__(self) -> int:
        return len(self._offsets)

    def read(self, number: int) -> dict[str, Any]:
        content = self._maps[self._parts[number]]
        content.seek(self._offsets[number])
        caption: dict[str, Any] = json.loads(content.readline())
        return caption

    def have_several_pictures(self) -> bool:
        """Whether a caption's wrong details can be another picture's."""
        pictures = (self.read(number)["image"] for number in range(len(self)))
        first = next(pictures, None)
        return any(picture != first for picture in pictures)

    def close(self) -> None:
        for content in self._maps:
            content.close()


def _second_pass(
    parts: Sequence[Path], folder: Path, settings: PrepareSettings, root: Path, skipped: Counter[str]
) -> int:
    """Write the samples; returns how many. What falls out here is added to ``skipped``."""
    phrases = _Phrases(parts)
    offsets = array("Q", [0])
    digest = hashlib.sha256()
    try:
        with (folder / f"{SAMPLES_FILE}.part").open("wb") as file:
            for sample in _samples(phrases, settings, skipped):
                line = json.dumps(sample, ensure_ascii=False).encode() + b"\n"
                digest.update(line)
                file.write(line)
                offsets.append(offsets[-1] + len(line))
            file.flush()
            os.fsync(file.fileno())
    finally:
        phrases.close()
    samples = len(offsets) - 1
    if samples:
        (folder / f"{SAMPLES_FILE}.part").replace(folder / SAMPLES_FILE)
        write_whole(folder / OFFSETS_FILE, offsets.tobytes())
        about = {
            "format": DATA_FORMAT,
            "samples": samples,
            "bytes": offsets[-1],
            "fingerprint": digest.hexdigest(),
            "image_root": str(root),
            "skipped": dict(skipped),
            **asdict(settings),
        }
        write_whole(folder / DATA_FILE, json.dumps(about, indent=2).encode())
    return samples


def _samples(phrases: _Phrases, settings: PrepareSettings, skipped: Counter[str]) -> Iterator[dict[str, Any]]:
    count = len(phrases)
    too_few = "first phrases too long" if phrases.have_several_pictures() else "only picture"
    for number in range(count):
        rng = random.Random(f"specs-prepare:{settings.seed}:{number}")
        caption = phrases.read(number)
        shuffled = number < SHUFFLED_SHARE * count
        captions, negatives = _grow(caption, phrases, rng, settings.context_tokens - 2, shuffled=shuffled)
        if len(captions) < FEWEST_PHRASES:
            skipped[too_few] += 1
            continue
        yield {
            "image": caption["image"],
            "caption": caption["text"],
            "captions": captions,
            "neg_captions": negatives,
        }


def _grow(
    caption: dict[str, Any], phrases: _Phrases, rng: random.Random, room: int, *, shuffled: bool
) -> tuple[list[str], list[str]]:
    """Beginnings, and each with a wrong detail, of ``room`` tokens at most."""
    captions: list[str] = []
    negatives: list[str] = []
    used = 0
    for place, ((_, end), tokens) in enumerate(zip(caption["spans"], caption["tokens"], strict=True)):
        used += tokens
        if used > room:
            break
        beginning = caption["text"][:end]
        wrong = _wrong_detail(caption, phrases, place, rng, room - used)
        if wrong is None:
            break
        if shuffled:
            words = wrong.split()
            rng.shuffle(words)
            wrong = " ".join(words)
        captions.append(beginning)
        negatives.append(f"{beginning} {wrong}")
    return captions, negatives


def _wrong_detail(caption: dict[str, Any], phrases: _Phrases, place: int, rng: random.Random, room: int) -> str | None:
    """The phrase at ``place``, or the last, of another picture; None where none was found that fits."""
    for _ in range(ATTEMPTS):
        other = phrases.read(rng.randrange(len(phrases)))
        if other["image"] == caption["image"]:
            continue
        index = min(place, len(other["spans"]) - 1)
        begin, end = other["spans"][index]
        if other["tokens"][index] <= room:
            return str(other["text"][begin:end])
    return None
