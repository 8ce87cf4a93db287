"""Many records through one model, in the order of the input, in memory that does not grow with it.

Records are scored in windows. A picture that neighboring records share, within a window or across two, is decoded and
encoded once. An unreadable picture costs its own records only.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from clipalign.data.records import InputRecord, Place
from clipalign.data.sources import is_file_name, read_image
from clipalign.errors import ClipalignError, ImageUnreadable, record_failed
from clipalign.files import is_special
from clipalign.methods.scores import ScoreItem, Scorer
from clipalign.models.encode import EncodedPicture
from clipalign.models.vector_store import VectorStore
from clipalign.results import KEPT_NOTE, Failure
from clipalign.runs.prefetch import READERS, Prefetcher, workers_for_this_machine

A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class RecordOutcome(Generic[R]):
    """A record (without its image if that was bytes), its result or error, and a JPEG thumbnail, if requested."""

    record: InputRecord
    result: R | ClipalignError
    thumbnail: bytes | None = None

    @property
    def answer(self) -> R | Failure:
        if isinstance(self.result, ClipalignError):
            return Failure(self.record.id, self.record.image_name, self.record.text, self.result)
        return self.result


def run_batch(
    records: Iterable[InputRecord],
    scorer: Scorer[R],
    *,
    offline: bool = False,
    timeout: float | None = None,
    workers: int | None = None,
    on_error: str = "skip",
    thumbnail_px: int | None = None,
    store: VectorStore | None = None,
    late: Callable[[], bool] = lambda: False,
) -> Generator[RecordOutcome[R], None, None]:
    """Score every record; yield results in the order of the input.

    Args:
        records: read as they are needed.
        timeout: seconds for a picture at an address; None for 30.
        workers: pictures decoded at once, at least 1; None chooses by the machine.
        on_error: ``skip``: a bad record yields its error; ``fail``: the first error is raised after earlier records.
        thumbnail_px: longer side of the thumbnails in pixels; None for none.
        store: of the scorer's ``picture_key``; a picture whose vector it keeps is neither decoded nor encoded.
        late: whether the next record is not there yet; those read are then scored without waiting.

    Raises:
        ClipalignError: of the first bad record with ``fail``; an error of ``scorer`` that ends the run.
    """
    workers, store = workers or workers_for_this_machine(), store or VectorStore()
    with Prefetcher[_Prepared](max(workers, min(READERS, scorer.pictures_ahead))) as threads:
        prepare = _Preparation(scorer, store, threading.Semaphore(workers), offline, timeout, thumbnail_px)
        run = _Run(iter(records), scorer, threads, prepare, late)
        while window := run.window():
            for outcome in run.scored(window):
                if on_error == "fail" and isinstance(outcome.result, ClipalignError):
                    raise outcome.result
                yield outcome


class _Prepared(NamedTuple):
    """A picture for the scorer to encode, or an ``EncodedPicture`` that was kept."""

    picture: Any
    identity: str = ""
    thumbnail: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Preparation:
    """Read a picture in a thread, then decode and prepare it as soon as a CPU is free."""

    scorer: Scorer[Any]
    store: VectorStore
    decoding: threading.Semaphore
    offline: bool
    timeout: float | None
    thumbnail_px: int | None

    def __call__(self, record: InputRecord) -> _Prepared:
        from PIL.Image import Image

        from clipalign.data.images import open_image, thumbnail_of
        from clipalign.data.in_memory import Prepared

        source, name = record.image, record.image_name
        prepare: Callable[[Any], Any] = self.scorer.prepare
        if isinstance(source, Prepared):
            return _Prepared(prepare(source))
        if isinstance(source, Image):
            with self.decoding:
                picture = open_image(source, exif=False)
                identity = self.store.identity(picture, exif=False)
                kept = self.store.get(identity)
                return _Prepared(kept or prepare(picture), identity)
        if isinstance(source, str | Path) and is_file_name(str(source)) and is_special(Path(source)):
            raise ImageUnreadable(f"{name} is a device, a pipe or a socket, not a file", input=name)
        content = read_image(source, offline=self.offline, timeout=self.timeout, name=name, folders=record.folders)
        with self.decoding:
            identity = self.store.identity(content, exif=True)
            kept = self.store.get(identity)
            if kept is not None and self.thumbnail_px is None:
                return _Prepared(kept, identity)
            picture = open_image(content, name=name, shorter_px=self.scorer.shorter_px)
            del content
            thumbnail = None if self.thumbnail_px is None else thumbnail_of(picture, self.thumbnail_px)
            return _Prepared(kept or prepare(picture), identity, thumbnail)


class _Picture:
    """A picture being prepared by a thread, then its features or an error; records that show it share it."""

    __slots__ = ("encoded", "error", "future", "held", "identity", "thumbnail")

    def __init__(self, future: Future[_Prepared], image: object) -> None:
        # A picture of the caller's is known by its identity, which another may have once it is gone.
        self.held = None if isinstance(image, str | Path | bytes) else weakref.ref(image)
        self.future: Future[_Prepared] | None = future
        self.encoded: Any = None
        self.identity = ""
        self.error: ClipalignError | None = None
        self.thumbnail: bytes | None = None


WINDOW_CHARACTERS: Final = 1_000_000
"""Limit for the texts of a window, and for those read ahead: a result may take a hundred bytes a character."""

_Waiting = tuple[InputRecord, _Picture | None]


class _Run(Generic[R]):
    def __init__(
        self,
        records: Iterator[InputRecord],
        scorer: Scorer[R],
        threads: Prefetcher[_Prepared],
        prepare: _Preparation,
        late: Callable[[], bool],
    ) -> None:
        self.late = late
        self.waits = False  # the next record was late when this window was gathered
        self.records = records
        self.scorer = scorer
        self.with_note = replace(scorer.provenance, notes=(*scorer.provenance.notes, KEPT_NOTE))
        self.threads = threads
        self.prepare = prepare
        self.ended = False
        self.number = 0  # of records read
        self.ahead: deque[_Waiting] = deque()
        self.recent: OrderedDict[str | int, _Picture] = OrderedDict()
        self.characters = 0  # of texts ahead
        self.held = 0  # pictures prepared or being prepared, not yet encoded

    def window(self) -> list[_Waiting]:
        """Return the next records, their pictures encoded; empty at the end of the input."""
        window: list[_Waiting] = []
        group: list[tuple[_Picture, Any]] = []
        together = max(1, self.scorer.pictures_ahead // 2)
        self.waits = False
        left = WINDOW_CHARACTERS
        while len(window) < self.scorer.window_records and left > 0:
            self._read_ahead(wait=not window)
            if not self.ahead:
                break
            record, picture = self.ahead.popleft()
            left -= len(record.text)
            self.characters -= len(record.text)
            if picture is not None and picture.future is not None:
                self._await(picture, record, group)
                if len(group) == together:
                    self._encode(group)
            window.append((record, picture))
        if group:
            self._top_up(group, together)
            self._encode(group)
        return window

    def _top_up(self, group: list[tuple[_Picture, Any]], together: int) -> None:
        """Add pictures prepared for the next window, as large batches are faster."""
        self._read_ahead()
        for record, picture in self.ahead:
            if len(group) == together:
                return
            if picture is not None and picture.future is not None and picture.future.done():
                self._await(picture, record, group)

    def scored(self, window: list[_Waiting]) -> Iterator[RecordOutcome[R]]:
        items = [
            ScoreItem(record, picture.encoded)
            for record, picture in window
            if picture is not None and picture.encoded is not None
        ]
        outcomes = iter(each_alone(self.scorer.score, items, "the text") if items else ())
        for record, picture in window:
            outcome: R | ClipalignError | None = record.problem or (picture.error if picture is not None else None)
            thumbnail = picture.thumbnail if picture is not None else None
            if outcome is None:
                outcome = next(outcomes)
                kept = picture is not None and isinstance(picture.encoded, EncodedPicture) and picture.encoded.is_kept
                if kept and not isinstance(outcome, ClipalignError):
                    outcome = replace(outcome, provenance=self.with_note)  # type: ignore[type-var]
            yield RecordOutcome(record, outcome, thumbnail)

    def _read_ahead(self, *, wait: bool = False) -> None:
        """Read records and submit their pictures up to the limits; ``wait`` for one if there is none."""
        while not self.ended and len(self.ahead) < self.scorer.window_records:
            if self.ahead and (self.held >= self.scorer.pictures_ahead or self.characters > WINDOW_CHARACTERS):
                return
            if not (wait and not self.ahead):
                self.waits = self.waits or self.late()
                if self.waits:
                    return
            record = self._next()
            if record is None:
                self.ended = True
                return
            self.characters += len(record.text)
            if record.problem is not None:
                self.ahead.append((_without_bytes(record), None))
                continue
            key = _key(record)
            picture = self.recent.get(key)
            if picture is None or (picture.held is not None and picture.held() is not record.image):
                picture = self.recent[key] = _Picture(self.threads.submit(partial(self.prepare, record)), record.image)
                self.held += 1
                if len(self.recent) > self.scorer.window_records:
                    self.recent.popitem(last=False)
            self.recent.move_to_end(key)
            self.ahead.append((_without_bytes(record), picture))

    def _next(self) -> InputRecord | None:
        """Return the next record; a failing input ends with its error as a record."""
        try:
            record = next(self.records, None)
        except (ClipalignError, MemoryError):
            raise
        except Exception as error:
            self.records = iter(())
            problem = record_failed(error, "the next record")
            problem.hint = f"nothing behind it was read; {problem.hint}"
            return InputRecord(str(self.number + 1), "", "", "", (), Place("the input", 0, self.number), problem)
        self.number += record is not None
        return record

    def _await(self, picture: _Picture, record: InputRecord, group: list[tuple[_Picture, Any]]) -> None:
        assert picture.future is not None
        future, picture.future = picture.future, None
        prepared = self.threads.outcome(future, record.image_name)
        if isinstance(prepared, ClipalignError):
            picture.error = prepared
            self.held -= 1
            return
        found, picture.identity, picture.thumbnail = prepared
        if isinstance(found, EncodedPicture):
            picture.encoded = found
            self.held -= 1
        else:
            group.append((picture, found))

    def _encode(self, group: list[tuple[_Picture, Any]]) -> None:
        pictures = [picture for picture, _ in group]
        tensors = [tensor for _, tensor in group]
        group.clear()
        self._read_ahead()
        for picture, found in zip(pictures, each_alone(self.scorer.encode, tensors, "the picture"), strict=True):
            if isinstance(found, ClipalignError):
                picture.error = found
            else:
                picture.encoded = self.prepare.store.keep(picture.identity, found)
        self.held -= len(pictures)


def each_alone(
    run: Callable[[list[A]], Iterable[B | ClipalignError]], items: list[A], name: str
) -> list[B | ClipalignError]:
    """Return ``run(items)``; after an unexpected error run each item alone, so that it costs its own item only.

    ``ClipalignError`` and ``MemoryError``, which concern all items, are raised.
    """
    try:
        return list(run(items))
    except (ClipalignError, MemoryError):
        raise
    except Exception as error:
        if len(items) == 1:
            return [record_failed(error, name)]
        return [outcome for item in items for outcome in each_alone(run, [item], name)]


def _without_bytes(record: InputRecord) -> InputRecord:
    return record if isinstance(record.image, str | Path) else replace(record, image=b"")


def _key(record: InputRecord) -> str | int:
    image: object = record.image
    if isinstance(image, bytes):
        return hashlib.blake2b(image).hexdigest()
    if not isinstance(image, str | Path):
        return id(image)
    return str(image) if Path(image).is_absolute() else f"{image}\0{record.folders}"
