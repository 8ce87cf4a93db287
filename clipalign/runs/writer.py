"""Where the records of a run go: one by one to stdout or a file, so that whatever ends the run loses none of them.

``jsonl`` and ``csv`` are appended to. What can only be shown as a whole (``json``, ``html``; ``table`` and ``github``
in a file) is kept beside the output in ``OUTPUT.journal.jsonl``, for stdout in a file without a name, and rendered at
the end, in one step. A later run walks old records and the input in step: ids, images, texts and the provenance must
agree. One run at a time works on an output.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from clipalign.errors import EXIT_DONE, EXIT_FOUND, EXIT_INPUTS, ClipalignError, OutputError, UsageError
from clipalign.files import exclusive, open_special, output_error, replace_file
from clipalign.output import DATA_FORMATS
from clipalign.output import documents as many
from clipalign.output.console import notices, shown_on_terminal, write_output
from clipalign.output.html.parts import data_address
from clipalign.output.json import plain, plain_text
from clipalign.output.progress import Progress
from clipalign.output.records import Entry, RecordView, Tally, counted, error_record, is_error, summary_lines
from clipalign.runs.log import (
    AppendedFile,
    CsvLines,
    JournalLines,
    JsonLines,
    Syntax,
    first_difference,
    record_difference,
    write_all,
)
from clipalign.runs.output import APPENDED, Destination, find_destination

if TYPE_CHECKING:
    from clipalign.config.values import Settings
    from clipalign.data.records import InputRecord
    from clipalign.results import Provenance
    from clipalign.runs.batch import Finished

__all__ = ["APPENDED", "THUMBNAIL_PX", "Sink", "open_sink"]

THUMBNAIL_PX: Final = 192
"""Longer side of the pictures on a page."""

TOLD: Final = 10
"""How many records that cannot be read are told of, a line each; the summary counts all."""


def open_sink(settings: Settings, view: RecordView, *, output: Path | None = None, first_share: bool = True) -> Sink:
    """The place for the records of a run; to be entered before anything heavy is loaded.

    Args:
        settings: ``output``, ``format``, ``resume``, ``overwrite``, ``input``.
        view: of the command.
        output: instead of ``settings.output``: the part of one process among several.
        first_share: whether a CSV file gets its header.

    Raises:
        UsageError: an output that may not be written; here, or when the sink is entered.
    """
    return Sink(view, find_destination(settings, output), first_share=first_share)


class Sink:
    """Takes records, one by one, while its block runs; renders, counts and tells when the block ends well.

    Attributes:
        tally: counts of all records, those of an earlier run included.
        thumbnail_px: longer side of the thumbnails it wants; None for none.
    """

    def __init__(self, view: RecordView, destination: Destination, *, first_share: bool = True) -> None:
        self._view = view
        self._to = destination
        self._first_share = first_share
        self._stack = ExitStack()
        self._file: AppendedFile | None = None
        self._device: BinaryIO | None = None
        self._progress: Progress | None = None
        self._provenance: dict[str, Any] = {}
        self._old = self._new = self._told = 0
        self._hint = ""  # of the first record that could not be used
        self._reader_left = False
        self._ended_well = False
        self.tally = Tally(view)
        self.thumbnail_px = THUMBNAIL_PX if destination.format == "html" else None

    def __enter__(self) -> Sink:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _open(self) -> None:
        to = self._to
        if to.kept_in is not None:
            self._file = self._kept_file(to, to.kept_in)
        elif to.format not in many.STREAMED:
            nameless = cast(BinaryIO, tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  (closed with the others)
            self._file = self._keep(nameless, JournalLines(), "the temporary folder")
        if to.path is not None and not to.is_file:
            self._device = self._stack.enter_context(open_special(to.path, to.name))

    def _keep(self, stream: BinaryIO, syntax: Syntax, name: str) -> AppendedFile:
        kept = AppendedFile(stream, syntax, name=name)
        self._stack.callback(kept.close)
        return kept

    def _kept_file(self, to: Destination, path: Path) -> AppendedFile:
        """The file of records, locked, and settled whether it may be written."""
        name = to.name if to.appended else str(path)
        was_there = path.exists()
        try:
            self._stack.enter_context(exclusive(path, hint="wait until it has ended, or give another --output"))
            stream = path.open("r+b", buffering=0)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"--output {to.name} cannot be written: {reason}", input=to.name) from error
        syntax: Syntax = JournalLines()
        if to.appended:
            syntax = JsonLines() if to.format == "jsonl" else CsvLines(self._view, self._first_share)
        kept = self._keep(cast(BinaryIO, stream), syntax, name)
        if not was_there:
            self._stack.callback(self._remove_if_empty, path)
        self._check_old(to, path)
        return kept

    def _check_old(self, to: Destination, path: Path) -> None:
        begun = path.stat().st_size > 0
        finished = not to.appended and to.path is not None and to.path.exists()
        if to.overwrite or not (begun or finished):
            return
        if to.resume:
            if finished and not begun:
                hint = "--overwrite makes it anew; only jsonl and csv can grow"
                raise UsageError(f"{to.name} is finished, there is nothing to resume", hint=hint, input=to.name)
            return
        what = "exists" if to.appended or not begun else "was begun by another run"
        raise UsageError(
            f"--output {to.name} {what} already",
            hint="--resume goes on with it, --overwrite begins anew" if begun else "--overwrite makes it anew",
            input=to.name,
        )

    def begin(self, provenance: Provenance, *, total: int | None = None) -> None:
        """The model is loaded: from here on old records are gone with ``--overwrite``.

        Args:
            provenance: what every result of the run carries.
            total: records of the input, for the progress; None where that is not known.
        """
        self._provenance = plain(asdict(provenance))
        if self._file is not None and self._to.overwrite:
            self._file.clear()
        streamed = self._to.path is None and self._to.format in many.STREAMED
        self._progress = self._stack.enter_context(Progress(self._view.noun, total=total, results_on_stdout=streamed))

    def unfinished(self, records: Iterable[InputRecord]) -> Iterator[InputRecord]:
        """The records that are still to do: all, or with ``--resume`` those behind the old ones.

        Raises:
            UsageError: the old records are of another run, of another input, or damaged.
            OutputError: the file cannot be written.
        """
        left = iter(records)
        if self._file is None:
            if self._to.format == "csv" and self._first_share:
                self._emit(many.beginning("csv", self._view))
            return left
        for _, entry in self._file.read():
            self._compare(entry, next(left, None))
            self._old += 1
            self.tally.add(entry.record)
            if self._progress is not None:
                self._progress.skip(unreadable=is_error(entry.record))
        try:
            torn = self._file.cut()
        except OutputError as error:
            raise self._with_hint(error) from error
        if torn:
            notices.warn(f"{self._to.kept_in} ended in a torn line; {torn} bytes were cut off")
        return left

    def _compare(self, entry: Entry, asked: InputRecord | None) -> None:
        number, said = self._old + 1, ""
        hint = "give the same --input, another --output, or --overwrite to begin anew"
        if asked is None:
            said = f"the input ends before record {number}"
        elif difference := record_difference(entry.record, asked):
            said = f"of record {number} {difference}"
        elif isinstance(there := entry.record.get("provenance"), dict) and (
            difference := first_difference(there, self._provenance)
        ):
            said, hint = difference, "give the settings it was begun with, another --output, or --overwrite"
        if said:
            raise UsageError(f"{self._to.name} is of another run: {said}", hint=hint, input=self._to.name)

    def write(self, finished: Finished[Any]) -> bool:
        """Take a record.

        Returns:
            False when nobody reads any more: the run may stop.

        Raises:
            OutputError: it cannot be written; all earlier ones are whole.
        """
        asked, outcome = finished.record, finished.outcome
        failed = isinstance(outcome, ClipalignError)
        if isinstance(outcome, ClipalignError):
            if self._to.path is not None or self._to.format not in ("table", "github"):  # those tell it themselves
                self._tell(asked, outcome)
            self._hint = self._hint or outcome.hint or ""
            record = plain(error_record(asked, outcome))
        else:
            record = plain(self._view.record(outcome))
        entry = Entry(record, plain_name(asked), asked.place.line, data_address(finished.thumbnail))
        if self._file is not None:
            try:
                self._file.append(entry)
                self._new += 1
            except OutputError as error:
                raise self._with_hint(error) from error
        elif not self._emit(many.piece(self._to.format, self._view, entry, to_file=self._device is not None)):
            return False
        self.tally.add(record)
        if self._progress is not None:
            self._progress.advance(unreadable=failed)
        return True

    def _tell(self, asked: InputRecord, error: ClipalignError) -> None:
        self._told += 1
        if self._told <= TOLD:
            notices.warn(f"{asked.place}: {error.message}")
            if notices.debug and error.__cause__ is not None:
                notices.tell("".join(traceback.format_exception(error.__cause__)))
        elif self._told == TOLD + 1:
            notices.warn(f"further {self._view.noun[1]} that cannot be read are only counted")

    def _emit(self, data: bytes) -> bool:
        """To stdout, or to what the output names that is no file."""
        if self._reader_left:
            return False
        if self._device is None:
            self._reader_left = bool(data) and not write_output(data, is_data=self._to.format in DATA_FORMATS)
            return not self._reader_left
        try:
            write_all(self._device, shown_on_terminal(data).encode() if self._device.isatty() else data)
        except BrokenPipeError:
            self._reader_left = True
        except OSError as error:
            raise output_error(self._to.name, error) from error
        return not self._reader_left

    def _remove_if_empty(self, path: Path) -> None:
        """A file that only the lock made; an output without records stays where the run ended well."""
        with suppress(OSError):
            if not (self._ended_well and self._to.appended) and not path.stat().st_size:
                path.unlink()

    def exit_status(self, *, check: bool) -> int:
        """0, 1 where ``check`` found something, or 3 where records could not be read."""
        if self.tally.unreadable:
            return EXIT_INPUTS
        return EXIT_FOUND if check and self.tally.found else EXIT_DONE

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        try:
            if error is None:
                self._finish()
                self._ended_well = True
            elif not isinstance(error, OutputError):
                self._say_what_is_kept(interrupted=isinstance(error, KeyboardInterrupt))
        finally:
            self._stack.close()

    def _finish(self) -> None:
        summary = self.tally.summary()
        kept = self._to.kept_in
        if self._file is not None:
            try:
                self._file.sync()
                if not self._to.appended:
                    self._render(self._file, summary)
            except OutputError as error:
                raise self._with_hint(error) from error
        elif not self._emit(many.ending(self._to.format, self._view, summary, to_file=self._device is not None)):
            return
        if kept is not None and not self._to.appended:
            _remove(kept) if sys.platform != "win32" else self._stack.callback(_remove, kept)
        on_stdout = self._to.path is None and self._to.format not in (*APPENDED, "github")
        if not on_stdout and not self._reader_left:
            for line in summary_lines(self._view, summary):
                notices.tell(line)
        if self._hint and self.tally.unreadable == self.tally.records:  # one mistake for all, such as no --image-root
            notices.tell(f"hint: {self._hint}")

    def _render(self, book: AppendedFile, summary: Mapping[str, Any]) -> None:
        """The whole document, to stdout or in one step in the place of the output."""
        parts = many.whole(self._to.format, self._view, book, summary=summary, provenance=self._provenance)
        if self._to.path is None or not self._to.is_file:
            for part in parts:
                if not self._emit(part):
                    return
            return
        replace_file(self._to.path, parts, name=self._to.name)

    def _safe(self) -> str:
        """How many records are kept, where, and how to go on; empty where none are."""
        kept = self._to.kept_in
        if kept is None or self._file is None or not self._file.records:
            return ""
        where = self._to.name if self._to.appended else str(kept)
        many_records = counted(self._file.records, self._view.noun)
        verb = "is" if self._file.records == 1 else "are"
        return f"{many_records} {verb} safe in {where}; --resume goes on from there"

    def _with_hint(self, error: OutputError) -> OutputError:
        safe = self._safe()
        if not safe:
            return error
        room = "make room; " if "make room" in error.hint else ""
        return type(error)(error.message, hint=room + safe, input=error.input)

    def _say_what_is_kept(self, *, interrupted: bool) -> None:
        if interrupted:
            notices.kept = self._safe()
        elif self._new and (safe := self._safe()):
            notices.warn(safe)


def plain_name(asked: InputRecord) -> str:
    """The input file of a record, as the journal keeps it."""
    return plain_text(asked.place.file)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
