"""Turn raw long captions into growing prefixes, each with a wrong detail, in a folder that training reads.

Two passes. The first cuts every caption into phrases, in parallel, and appends them to a log, from which an interrupted
run resumes. The second gives each prefix but the last a wrong detail, as published: the phrase at its place (or the
last) of another random picture, over the first part of the data with its words shuffled; the prefixes end where one, or
the one before it with its wrong detail, would be too long. The seed determines everything, whatever the number of
processes.
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
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import fields
from functools import cache, partial
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import orjson

from clipalign.data.sentences import Cut, split_text
from clipalign.errors import UsageError
from clipalign.eval_results import PreparationResult
from clipalign.files import exclusive, remove_leftovers, replacing, write_whole
from clipalign.runs.log import first_difference, open_log
from clipalign.training.data import DATA_FILE, DATA_FORMAT, OFFSETS_FILE, SAMPLES_FILE
from clipalign.training.raw import RawCaption, RawSource, Skipped
from clipalign.training.settings import PrepareSettings

A = TypeVar("A")
B = TypeVar("B")

PART_RECORDS: Final = 2000  # cut by one process, and appended together
PHRASES_FILE: Final = "phrases.jsonl"  # of an unfinished preparation
PLAN_FILE: Final = "prepare.json"
LOCK_FILE: Final = ".lock"
PICTURES_FOLDER: Final = "pictures"  # those of tars and of Parquet
DAMAGED_HINT: Final = "delete its folder and prepare again"

FEWEST_PHRASES: Final = 2
ATTEMPTS: Final = 1000  # draws of a caption until it is another picture's


def prepare(
    source: RawSource,
    folder: Path,
    settings: PrepareSettings,
    *,
    image_root: Path | None = None,
    workers: int = 1,
    on_progress: Callable[[int], None] = lambda records: None,
) -> PreparationResult:
    """Write the samples of ``source`` into ``folder``, or resume an earlier run, even one that had finished.

    Args:
        image_root: of relative pictures; None for the source's own.
        workers: processes that cut captions, at least 1.
        on_progress: called with the number of raw records that were just cut.

    Raises:
        UsageError: the folder holds other data, data of other settings, or damaged files; or the source gives no
            sample.
        InputUnreadable: the source is truncated.
        Busy: another process prepares the same folder.
    """
    root = (image_root or source.image_root or folder).resolve()
    settings = PrepareSettings(**_values(settings))  # a command's have more, which other processes need not import
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / LOCK_FILE, remove=True):
        remove_leftovers(folder)
        _check_plan(folder, {"source": source.identity(), "image_root": str(root), **_values(settings)})
        if (folder / DATA_FILE).exists():  # an earlier run may have been killed before it removed its phrases
            about = _read_back(folder / DATA_FILE, "samples", "skipped")
            (folder / PHRASES_FILE).unlink(missing_ok=True)
            return PreparationResult(folder, about["samples"], about["skipped"], {}, finished_before=True)
        records = source.records(partial(_store, folder=folder.resolve(), root=root))
        _cut_all(records, folder / PHRASES_FILE, settings, root=root, workers=workers, on_progress=on_progress)
        with _Phrases(folder / PHRASES_FILE) as phrases:
            share = source.shuffled if settings.shuffled is None else settings.shuffled
            samples = _write_samples(phrases, folder, settings, root, shuffled=share)
        if not samples:
            for name in (PHRASES_FILE, PLAN_FILE):  # tried again, its pictures may be there
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder / PICTURES_FOLDER, ignore_errors=True)
            why = ", ".join(f"{count} {reason}" for reason, count in phrases.skipped.most_common()) or "it is empty"
            raise UsageError(f"{source.path} gives no sample: {why}", hint="see --image-root", input="--prepare")
        (folder / PHRASES_FILE).unlink()
    return PreparationResult(folder, samples, dict(phrases.skipped), phrases.examples)


def _values(settings: PrepareSettings) -> dict[str, Any]:
    return {field.name: getattr(settings, field.name) for field in fields(PrepareSettings)}


def _read_back(path: Path, *keys: str) -> dict[str, Any]:
    """What an earlier run wrote here, with at least these keys; UsageError if it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or any(key not in found for key in keys):
        raise UsageError(f"{path} is damaged", hint=DAMAGED_HINT, input=str(path))
    return found


def _check_plan(folder: Path, plan: dict[str, Any]) -> None:
    path = folder / PLAN_FILE
    if path.exists():
        if difference := first_difference(_read_back(path), plan):
            verb = "prepared" if (folder / DATA_FILE).exists() else "begun"
            raise UsageError(
                f"{folder} was {verb} with other settings: {difference}",
                hint="go on with the same settings, or name another folder; this one can be deleted",
                input="--data",
            )
        return
    if any(file.name != LOCK_FILE for file in folder.iterdir()):
        raise UsageError(f"{folder} holds other files", hint="name a new folder", input="--data")
    write_whole(path, json.dumps(plan, indent=2).encode())


def _store(content: bytes, *, folder: Path, root: Path) -> str:
    """Write a picture below ``folder`` under its hash, so that no archive chooses a name, and return its path.

    A picture that several captions have is one file; one that a killed run left torn is written again.
    """
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    path = folder / PICTURES_FOLDER / digest[:2] / digest
    if not path.is_file() or path.stat().st_size != len(content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(path.relative_to(root) if root == folder else path)


# --- first pass: phrases ----------------------------------------------------------------------------------------------


def _cut_all(
    records: Iterator[RawCaption | Skipped],
    path: Path,
    settings: PrepareSettings,
    *,
    root: Path,
    workers: int,
    on_progress: Callable[[int], None],
) -> None:
    """Append the phrases of every record to the log at ``path``, after those of an earlier run."""
    log = open_log(path, kept="run the same line again: it goes on from there", hint=DAMAGED_HINT)
    with closing(log):
        for _ in log.read():
            pass
        log.repair()
        if log.records:
            on_progress(log.records)
        left = islice(records, log.records, settings.limit)
        parts = iter(lambda: list(islice(left, PART_RECORDS)), [])
        cut = partial(cut_part, settings=settings, root=root)
        for lines in map(cut, parts) if workers == 1 else _in_processes(cut, parts, workers):
            log.append(*lines)
            on_progress(len(lines))


def _in_processes(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        waiting: deque[Future[B]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this process with its parent, even if that is killed, which tells nobody."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def cut_part(records: Sequence[RawCaption | Skipped], *, settings: PrepareSettings, root: Path) -> list[dict[str, Any]]:
    """A line for each record: its phrases, or why it is left out."""
    outcomes = (record if isinstance(record, Skipped) else _cut(record, settings, root) for record in records)
    return [outcome._asdict() if isinstance(outcome, Skipped) else outcome for outcome in outcomes]


def _cut(record: RawCaption, settings: PrepareSettings, root: Path) -> dict[str, Any] | Skipped:
    """A caption as phrases with their tokens counted, without start and end token."""
    try:
        missing = not (root / record.image).is_file()
    except OSError:  # a name that no file can have
        missing = True
    if missing:
        return Skipped("missing picture", record.image)
    pieces = [piece.text for piece in split_text(record.text, Cut(settings.by))]
    pieces = [piece for piece in pieces if len(piece.split()) >= settings.min_words]
    if len(pieces) < FEWEST_PHRASES:
        return Skipped(f"single {settings.by}", record.image)
    return {"image": record.image, "text": record.text, "pieces": pieces, "tokens": [*map(_count_tokens, pieces)]}


def _count_tokens(text: str) -> int:
    return len(_encoder()(text))


@cache
def _encoder() -> Callable[[str], list[int]]:
    from clipalign.pictogram.export import clip_encoder

    return clip_encoder()


# --- second pass: wrong details ---------------------------------------------------------------------------------------


class _Phrases:
    """Captions of a log by number, read on access; ``examples`` are the first place of each reason in ``skipped``."""

    def __init__(self, path: Path) -> None:
        self.skipped: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._offsets = array("Q")
        with closing(open_log(path, hint=DAMAGED_HINT)) as log:
            for offset, record in log.read():
                if reason := record.get("reason"):
                    self.skipped[reason] += 1
                    self.examples.setdefault(reason, record["place"])
                else:
                    self._offsets.append(offset)
        with path.open("rb") as file:
            size = path.stat().st_size
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else mmap.mmap(-1, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._content.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def read(self, number: int) -> dict[str, Any]:
        self._content.seek(self._offsets[number])
        caption: dict[str, Any] = orjson.loads(self._content.readline())
        return caption

    def have_several_pictures(self) -> bool:
        pictures = (self.read(number)["image"] for number in range(len(self)))
        first = next(pictures, None)
        return any(picture != first for picture in pictures)


def _write_samples(phrases: _Phrases, folder: Path, settings: PrepareSettings, root: Path, *, shuffled: float) -> int:
    """Write the samples and return how many; those left out here are counted in ``phrases`` too."""
    offsets = array("Q", [0])
    digest = hashlib.sha256()
    with replacing(folder / SAMPLES_FILE) as part, part.open("wb") as file:
        for sample in _samples(phrases, settings, int(shuffled * len(phrases))):
            line = json.dumps(sample, ensure_ascii=False).encode() + b"\n"
            digest.update(line)
            file.write(line)
            offsets.append(offsets[-1] + len(line))
    samples = len(offsets) - 1
    if not samples:
        (folder / SAMPLES_FILE).unlink()
        return 0
    write_whole(folder / OFFSETS_FILE, offsets.tobytes())
    about = {
        "format": DATA_FORMAT,
        "samples": samples,
        "bytes": offsets[-1],
        "fingerprint": digest.hexdigest(),
        "image_root": "." if root == folder.resolve() else str(root),
        "skipped": dict(phrases.skipped),
        **_values(settings),
    }
    write_whole(folder / DATA_FILE, json.dumps(about, indent=2).encode())
    return samples


def _samples(phrases: _Phrases, settings: PrepareSettings, shuffled: int) -> Iterator[dict[str, Any]]:
    """Samples of all captions; wrong details of the first ``shuffled`` have their words shuffled."""
    too_few = "first phrases too long" if phrases.have_several_pictures() else "only picture"
    for number in range(len(phrases)):
        rng = random.Random(f"specs-prepare:{settings.seed}:{number}")
        caption = phrases.read(number)
        wrong = _wrong_details(caption, phrases, rng, shuffled=number < shuffled)
        captions, negatives = _grow(caption, wrong, settings.caption_tokens - 2)
        if negatives:
            sample = {"image": caption["image"], "caption": caption["text"]}
            yield sample | {"captions": captions, "neg_captions": negatives}
        else:
            phrases.skipped[too_few] += 1


def _wrong_details(
    caption: dict[str, Any], phrases: _Phrases, rng: random.Random, *, shuffled: bool
) -> Iterator[tuple[str, int]]:
    """For each place the phrase there, or the last, of another picture, and its tokens."""
    for number in range(len(caption["pieces"]) - 1):
        drawn = (phrases.read(rng.randrange(len(phrases))) for _ in range(ATTEMPTS))
        other = next((one for one in drawn if one["image"] != caption["image"]), None)
        if other is None:
            return
        index = min(number, len(other["pieces"]) - 1)
        words = other["pieces"][index].split()
        if shuffled:
            rng.shuffle(words)
        yield " ".join(words), other["tokens"][index]


def _grow(
    caption: dict[str, Any], wrong_details: Iterable[tuple[str, int]], budget: int
) -> tuple[list[str], list[str]]:
    """Prefixes, and each but the last with a wrong detail, of ``budget`` tokens at most."""
    pieces, counts = caption["pieces"], caption["tokens"]
    captions, negatives, used = [pieces[0]], list[str](), counts[0]
    for piece, count, (wrong, wrong_count) in zip(pieces[1:], counts[1:], wrong_details, strict=False):
        if used + max(count, wrong_count) > budget:
            break
        negatives.append(f"{captions[-1]} {wrong}")
        captions.append(f"{captions[-1]} {piece}")
        used += count
    return captions, negatives
