"""Write the records of a run one by one to stdout or into a file, so that whatever ends the run loses none of them.

``jsonl`` is appended to. For other formats the records are kept in ``OUTPUT.journal.jsonl`` beside a file, or in a
temporary file for a document on stdout, and rendered at the end in one step. ``--resume`` compares each old record with
the input: ids, images, texts and provenance must agree. One run at a time works on an output.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, cast

from clipalign.errors import EXIT_DONE, EXIT_FOUND, EXIT_INPUTS, ClipalignError, OutputError, UsageError
from clipalign.files import exclusive, open_special, remove_leftovers, write_all, write_failed, write_whole, writing
from clipalign.output.console import notices, shown_on_terminal, write_output
from clipalign.output.csv import provenance_path
from clipalign.output.formats import FORMATS, writer_of
from clipalign.output.html import THUMBNAIL_PX, data_url
from clipalign.output.json import encode, line_of
from clipalign.output.progress import Progress
from clipalign.output.records import Entry, RecordFormatter, count_text, is_error, summary_lines
from clipalign.plain import plain, plain_text
from clipalign.results import KEPT_NOTE
from clipalign.runs.destination import Destination, find_destination
from clipalign.runs.distributed import Shard, sum_of_processes
from clipalign.runs.log import ENTRIES, Difference, Log, LogFormat, first_difference, json_object
from clipalign.runs.parts import Parts
from clipalign.runs.selection import Selection

if TYPE_CHECKING:
    from clipalign.config.groups import RecordSettings
    from clipalign.data.records import InputRecord
    from clipalign.results import Provenance
    from clipalign.runs.batch import RecordOutcome

MOST_WARNINGS: Final = 10
"""Unreadable records with a warning of their own; the summary counts all."""


Pictures = Callable[[], Iterator[Callable[[], bytes]]]
"""The pictures of all records once more, each read if called."""

_LINES: Final = LogFormat(lambda entry: line_of(entry.record), lambda line: Entry(json_object(line)))


def open_writer(settings: RecordSettings, formatter: RecordFormatter, *, shard: Shard | None = None) -> ResultWriter:
    """Return the writer for the records of a run, to be entered before anything heavy is loaded.

    ``shard`` is the part of one process among several; only the first has a header. Raises ``UsageError``, here or when
    entered, for an output that may not be written.
    """
    name, share = settings.top_share or ("", None)
    selection = Selection(settings.where, name or formatter.first_score, share)
    to = find_destination(settings)
    if shard is not None and shard.launched and to.path is not None and not to.in_parts:
        to = find_destination(settings, shard.output(to.path))
    return ResultWriter(formatter, to, shard=shard, selection=selection)


class ResultWriter:
    """Take records one by one while its block runs; render, count and report when the block succeeds.

    ``tally`` counts all records, those of an earlier run included. ``finished`` says that ``--resume`` found a whole
    document, whose records are no longer known: there is nothing to do, and nothing is written.
    """

    def __init__(
        self,
        formatter: RecordFormatter,
        destination: Destination,
        *,
        shard: Shard | None = None,
        selection: Selection | None = None,
    ) -> None:
        has_header = shard is None or shard.index == 1
        self._selection = selection or Selection()
        self._pictures: Pictures | None = None
        self._formatter = formatter
        self._to = destination
        self._format = FORMATS[destination.format]
        self._writer = writer_of(destination.format)
        self._writer.has_header = has_header
        self._stack = ExitStack()
        self._log: Log[Entry] | None = None
        self._parts: Parts | None = None
        if destination.in_parts and destination.path is not None:
            label = "" if shard is None else shard.label
            self._parts = Parts(destination.path, destination.format, formatter, label=label, has_header=has_header)
        self._originals: Iterator[Callable[[], bytes]] | None = None
        self._device: BinaryIO | None = None
        self._progress: Progress | None = None
        self._provenance: dict[str, Any] = {}
        self._new = self._warned = self._written = 0
        self._hint = ""  # of the first record that could not be used
        self._checked = False  # whether the fields that were named are those of a record
        self._reader_left = False
        self._ended_well = False
        self.finished = False
        self.tally = formatter.tally()
        self.thumbnail_px = THUMBNAIL_PX if self._format.has_pictures else None

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    @property
    def name(self) -> str:
        """The output as the user named it."""
        return self._to.name

    def _open(self) -> None:
        to = self._to
        if self._parts is not None:
            self._stack.enter_context(self._parts)
            self._parts.check_old(resume=to.resume, overwrite=to.overwrite)
            return
        if to.log_path is not None:
            self._log = self._locked_log(to, to.log_path)
        elif not self._format.streamed or self._selection.share is not None:
            nameless = cast(BinaryIO, tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  (closed with the others)
            self._log = Log(nameless, ENTRIES, name="the temporary folder")
            self._stack.callback(self._log.close)
        if to.path is not None and not to.is_file:
            self._device = self._stack.enter_context(open_special(to.path, to.name))

    def _locked_log(self, to: Destination, path: Path) -> Log[Entry]:
        was_there = path.exists()
        try:
            self._stack.enter_context(exclusive(path, hint="wait until it has ended, or give another --output"))
            stream = cast(BinaryIO, path.open("r+b", buffering=0))
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"--output {to.name} cannot be written: {reason}", input=to.name) from error
        log = Log(
            stream, _LINES if to.appended else ENTRIES, name=to.name if to.appended else str(path), kept=self._kept
        )
        self._stack.callback(log.close)
        if not was_there:
            self._stack.callback(self._remove_if_empty, path)
        if to.path is not None:
            remove_leftovers(to.path.parent, to.path.name)
        self._check_old(to, path)
        return log

    def _check_old(self, to: Destination, path: Path) -> None:
        begun = path.stat().st_size > 0
        finished = not to.appended and to.path is not None and to.path.exists()
        if to.overwrite or not (begun or finished):
            return
        if to.resume:
            self.finished = finished and not begun
            return
        what = "exists" if to.appended or not begun else "was begun by another run"
        hint = "--resume goes on with it, --overwrite begins anew" if begun else "--overwrite makes it anew"
        raise UsageError(f"--output {to.name} {what} already", hint=hint, input=to.name)

    def begin(
        self,
        provenance: Provenance,
        *,
        total: int | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        """Start after the model is loaded; ``--overwrite`` deletes the old records here.

        Args:
            total: records of the input, for the progress; None if unknown.
            pictures: reads those of all records once more, each if called, for a format that shows them.
        """
        self._provenance = plain(asdict(provenance))
        self._pictures = pictures if self._format.has_originals else None
        if self._parts is not None:
            self._parts.begin(self._provenance, overwrite=self._to.overwrite)
            self._originals = self._pictures() if self._pictures is not None else None
        if self._log is not None and self._to.overwrite:
            self._log.keep(0, 0)
        streamed = self._to.path is None and self._format.streamed
        self._progress = self._stack.enter_context(
            Progress(self._formatter.noun, total=total, results_on_stdout=streamed)
        )

    def remaining(self, records: Iterable[InputRecord]) -> Iterator[InputRecord]:
        """Yield the records still to do: all, or with ``--resume`` those after the old ones.

        Raises ``UsageError`` if the old records are of another run, of another input, or damaged.
        """
        left = iter(records)
        if self._parts is not None:
            left = self._parts.remaining(left, self.tally)
            if self._originals is not None:
                deque(islice(self._originals, self._parts.records), maxlen=0)
            return left
        if self._log is None:
            if self._format.streamed:
                self._emit(self._writer.header(self._formatter))
            return left
        for _, entry in self._log.read():
            self._compare(entry, next(left, None))
            try:
                self.tally.add(entry.record)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                said = f"record {self.tally.records} of {self._to.name} is damaged"
                raise UsageError(said, hint="--overwrite begins anew", input=self._to.name) from error
            if self._progress is not None:
                self._progress.skip(unreadable=is_error(entry.record))
        if torn := self._log.repair():
            notices.warn(f"{self._to.log_path} ended in a torn line; {torn} bytes were cut off")
        return left

    def _compare(self, entry: Entry, asked: InputRecord | None) -> None:
        number, said = self.tally.records + 1, ""
        hint = "give the same --input, another --output, or --overwrite to begin anew"
        if asked is None:
            said = f"the input ends before record {number}"
        elif difference := _record_difference(entry.record, asked):
            said = f"in record {number} {difference}"
        elif isinstance(before := entry.record.get("provenance"), dict) and (
            difference := first_difference(_without_kept(before), self._provenance)
        ):
            said, hint = str(difference), "give the settings it was begun with, another --output, or --overwrite"
        if said:
            raise UsageError(f"{self._to.name} is of another run: {said}", hint=hint, input=self._to.name)

    def write(self, outcome: RecordOutcome[Any]) -> bool:
        """Take a record; return False when the reader is gone. On ``OutputError`` all earlier records are complete."""
        asked, result = outcome.record, outcome.result
        failed = isinstance(result, ClipalignError)
        if isinstance(result, ClipalignError):
            if self._to.path is not None or not self._format.shows_errors:
                self._warn(asked, result)
            self._hint = self._hint or result.hint or ""
        record = outcome.answer.to_dict()
        if asked.columns:
            origin = {name: record.pop(name) for name in ("provenance",) if name in record}
            record |= {"columns": plain(asked.columns), **origin}
        entry = Entry(record, plain_text(asked.place.file), asked.place.line, data_url(outcome.thumbnail))
        if not failed and not self._checked:
            self._selection.check(record, self._formatter.columns)
            self._checked = True
        if self._parts is not None:
            self._add(self._parts, asked, entry)
            return True
        if self._log is not None:
            self._log.append(entry)
            self._new += 1
        elif self._selection.admits(record):
            self._written += 1
            if not self._emit(self._writer.entry(self._formatter, entry, to_file=self._device is not None)):
                return False
        self.tally.add(record)
        if self._progress is not None:
            self._progress.advance(unreadable=failed)
        return True

    def _add(self, parts: Parts, asked: InputRecord, entry: Entry) -> None:
        keeps = self._selection.admits(entry.record)
        self.tally.add(entry.record)
        if self._originals is not None:
            picture = next(self._originals)
            keeps = keeps and not is_error(entry.record)
            if keeps and (content := _read_again(picture)) is not None:
                entry = entry._replace(content=content)
            else:
                keeps = False
        self._written += keeps
        parts.add(asked, entry if keeps else None, self.tally)
        if self._progress is not None:
            self._progress.advance(unreadable=is_error(entry.record))

    def _warn(self, asked: InputRecord, error: ClipalignError) -> None:
        self._warned += 1
        if self._warned <= MOST_WARNINGS:
            notices.warn(f"{asked.place}: {error.message}")
            if notices.debug and error.__cause__ is not None:
                notices.tell("".join(traceback.format_exception(error.__cause__)))
        elif self._warned == MOST_WARNINGS + 1:
            notices.warn(f"further {self._formatter.noun[1]} that cannot be read are only counted")

    def _emit(self, data: bytes) -> bool:
        if self._reader_left:
            return False
        if self._device is None:
            self._reader_left = bool(data) and not write_output(data, is_data=self._format.verbatim)
            return not self._reader_left
        try:
            write_all(self._device, shown_on_terminal(data).encode() if self._device.isatty() else data)
        except BrokenPipeError:
            self._reader_left = True
        except OSError as error:
            raise write_failed(self._to.name, error) from error
        return not self._reader_left

    def _remove_if_empty(self, path: Path) -> None:
        """Remove a file that only the lock made; an output without records stays after a successful run."""
        with suppress(OSError):
            if not (self._ended_well and self._to.appended) and not path.stat().st_size:
                path.unlink()

    def exit_status(self, *, check: bool) -> int:
        """Return 0, 1 if ``check`` found something, or 3 for unreadable records."""
        if self.tally.unreadable:
            return EXIT_INPUTS
        return EXIT_FOUND if check and self.tally.fails else EXIT_DONE

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        try:
            if error is None and not self.finished:
                self._finish()
                self._ended_well = True
            elif self._parts is not None and not isinstance(error, OutputError):
                self._parts.flush(self.tally)
                if isinstance(error, KeyboardInterrupt):
                    notices.kept = self._kept()
                elif kept := self._kept():
                    notices.warn(kept)
            elif isinstance(error, KeyboardInterrupt):
                notices.kept = self._kept()
            elif self._new and not isinstance(error, OutputError) and (kept := self._kept()):
                notices.warn(kept)
        finally:
            self._stack.close()

    def _finish(self) -> None:
        summary = self.tally.summary()
        path = self._to.log_path
        if self._parts is not None:
            self._parts.flush(self.tally)
        elif self._log is not None:
            self._log.sync()
            if not self._to.appended:
                self._render(self._log, summary)
        elif not self._emit(self._writer.footer(self._formatter, summary, to_file=self._device is not None)):
            return
        if path is not None and not self._to.appended:
            _remove(path) if sys.platform != "win32" else self._stack.callback(_remove, path)
        if self._selection:
            least = self._selection.least
            said = "" if least is None else f", those of {self._selection.field} >= {least!r}"
            notices.tell(f"kept {self._written:,} of {count_text(self.tally.records, self._formatter.noun)}{said}")
        on_stdout = self._to.path is None and self._format.has_summary
        if not on_stdout and not self._reader_left:
            for line in summary_lines(self._formatter, summary):
                notices.tell(line)
        if self._hint and self.tally.unreadable == self.tally.records:  # one mistake for all, such as no --image-root
            notices.tell(f"hint: {self._hint}")

    def _render(self, log: Log[Entry], summary: Mapping[str, Any]) -> None:
        self._selection.settle((entry.record for _, entry in log.read()), sum_of_processes)
        store = _Kept(log, self._selection, self._pictures)
        parts = self._writer.document(self._formatter, store, summary=summary, provenance=self._provenance)
        if self._to.path is None or not self._to.is_file:
            for part in parts:
                if not self._emit(part):
                    break
            self._written = store.count
            return
        with writing(self._to.name, kept=self._kept):
            write_whole(self._to.path, parts)
            self._written = store.count
            if self._format.provenance_beside:
                write_whole(provenance_path(self._to.path), encode(self._provenance, indent=True))

    def _kept(self) -> str:
        path = self._to.log_path
        records = self._parts.records if self._parts is not None else self._log.records if self._log is not None else 0
        if not records or (path is None and self._parts is None):
            return ""
        where = self._to.name if self._to.appended or path is None else str(path)
        verb = "is" if records == 1 else "are"
        return f"{count_text(records, self._formatter.noun)} {verb} safe in {where}; --resume goes on from there"


@dataclass(slots=True)
class _Kept:
    log: Log[Entry]
    selection: Selection
    pictures: Pictures | None
    count: int = 0

    def read(self) -> Iterator[tuple[int, Entry]]:
        self.count = 0
        pictures = self.pictures() if self.pictures is not None else None
        for key, entry in self.log.read():
            picture = None if pictures is None else next(pictures)
            if picture is not None and is_error(entry.record):
                continue
            if not self.selection.admits(entry.record):
                continue
            if (content := b"" if picture is None else _read_again(picture)) is None:
                continue
            self.count += 1
            yield key, entry._replace(content=content)

    def at(self, key: int) -> Entry:
        return self.log.at(key)


def _read_again(picture: Callable[[], bytes]) -> bytes | None:
    try:
        return picture()
    except ClipalignError as error:
        notices.warn(f"{error.message}, when it was read once more")
        return None


def _without_kept(provenance: Mapping[str, Any]) -> dict[str, Any]:
    notes = provenance.get("notes")
    if not isinstance(notes, list):
        return dict(provenance)
    return {**provenance, "notes": [note for note in notes if note != KEPT_NOTE]}


def _record_difference(before: Mapping[str, Any], asked: InputRecord) -> Difference | None:
    given = {"id": asked.id, "image": asked.image_name, "text": asked.text}
    now = {name: plain_text(value) for name, value in given.items() if name in before}
    return first_difference({name: before[name] for name in now}, now)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
