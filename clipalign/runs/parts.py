"""Output in parts: files in a folder, here or at an address, which ``cat`` or a reader of folders joins.

A part appears whole or not at all. After it a small file says how many records of the input are done, with a digest of
them: a run that was killed anywhere goes on behind its last part, and writes anew what it had not said. So no record is
lost or doubled, and nothing that was written is read again.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, cast

import orjson

from clipalign.data.records import InputRecord
from clipalign.data.sources import HTTP, scheme_of
from clipalign.errors import DownloadFailed, OutputError, UsageError
from clipalign.files import address_in, exclusive, write_failed, write_whole, writing
from clipalign.output.formats import FORMATS, writer_of
from clipalign.output.records import Entry, RecordFormatter, Tally
from clipalign.runs.log import ENTRIES, Log, first_difference, json_object

PART_RECORDS: Final = 10_000
PART_BYTES: Final = 1_000_000_000
PART_SECONDS: Final = 600.0
"""A part ends at whichever comes first: a kill costs no more than that."""


class Folder(Protocol):
    """Where parts lie."""

    def names(self) -> list[str]: ...

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, content: Iterable[bytes]) -> None:
        """Write a file, which appears as a whole; raise ``OutputError`` if that fails."""
        ...

    def remove(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class LocalFolder:
    path: Path

    def names(self) -> list[str]:
        return sorted(one.name for one in self.path.iterdir())

    def read(self, name: str) -> bytes | None:
        path = self.path / name
        return path.read_bytes() if path.exists() else None

    def write(self, name: str, content: Iterable[bytes]) -> None:
        with writing(self.path / name, kept=lambda: "--resume goes on behind the last part"):
            write_whole(self.path / name, content)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    store: Any  # a ``clipalign.data.remote.Store``

    def names(self) -> list[str]:
        return self.store.names()  # type: ignore[no-any-return]

    def read(self, name: str) -> bytes | None:
        return self.store.at(name).content()  # type: ignore[no-any-return]

    def write(self, name: str, content: Iterable[bytes]) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="clipalign-") as folder:
                file = Path(folder) / "part"
                with file.open("wb") as stream:
                    stream.writelines(content)
                self.store.at(name).put(file)
        except OSError as error:
            raise write_failed("the temporary folder", error) from error
        except DownloadFailed as error:
            raise OutputError(error.message, hint="--resume goes on behind the last part", input=error.input) from error

    def remove(self, name: str) -> None:
        self.store.at(name).remove()


def open_folder(path: Path) -> Folder:
    """Return the folder at a path or an address; raise ``UsageError`` for an address that cannot be written to."""
    if not (address := address_in(path)):
        return LocalFolder(path)
    from clipalign.data.remote import Store, check_address

    check_address(address)
    if scheme_of(address) in HTTP:
        raise UsageError(f"{address} cannot be written to", hint="give a path, s3://, gs:// or hf://", input=address)
    return RemoteFolder(Store.of(address))


class _Done(NamedTuple):
    """Records of the input taken, their digest, and how many entries of them, and bytes, the next part holds."""

    records: int = 0
    digest: str = ""
    entries: int = 0
    end: int = 0


class Parts:
    """The parts of one run, or of one shard of it, in order; opened as a context.

    Args:
        label: of a shard, as ``00001-of-00004``; empty for the whole.
        has_header: whether the first part begins with a header.
    """

    def __init__(
        self, path: Path, format: str, formatter: RecordFormatter, *, label: str = "", has_header: bool = True
    ) -> None:
        self._format, self._formatter = format, formatter
        self._name = address_in(path) or str(path)
        self.folder = open_folder(path)
        self._prefix = f"part-{label}-" if label else "part-"
        self._state_name = f"_state-{label}.json" if label else "_state.json"
        self._has_header = has_header
        self._stack = ExitStack()
        self.parts = 0
        self._done = self._written = _Done()
        self._begun = time.monotonic()
        self._provenance: Mapping[str, Any] = {}

    @property
    def records(self) -> int:
        """Records of the input taken so far."""
        return self._done.records

    @property
    def _digest(self) -> str:
        return self._done.digest

    def __enter__(self) -> Parts:
        if isinstance(self.folder, LocalFolder):
            lock = self.folder.path / f".{self._state_name}.lock"
            self._stack.enter_context(exclusive(lock, remove=True, hint="wait until it has ended"))
        nameless = cast(BinaryIO, tempfile.TemporaryFile(buffering=0))
        self._log = self._stack.enter_context(closing(Log(nameless, ENTRIES, name="the temporary folder")))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def check_old(self, *, resume: bool, overwrite: bool) -> None:
        """Raise ``UsageError`` for parts of an earlier run that are neither resumed nor overwritten."""
        names = self.folder.names()
        foreign = [name for name in names if not name.startswith(("part-", "_state", "."))]
        if foreign:
            raise UsageError(
                f"{self._name} holds other files: {foreign[0]}", hint="name a new folder", input="--output"
            )
        if self._own(names) and not resume and not overwrite:
            hint = "--resume goes on with them, --overwrite begins anew"
            raise UsageError(f"{self._name} holds parts of an earlier run", hint=hint, input="--output")

    def _own(self, names: Iterable[str]) -> list[str]:
        whole = self._prefix == "part-"
        parts = [name for name in names if name.startswith(self._prefix) and (whole != ("-of-" in name))]
        return [*parts, *(name for name in names if name == self._state_name)]

    def begin(self, provenance: Mapping[str, Any], *, overwrite: bool) -> None:
        self._provenance = provenance
        if overwrite:
            for name in self._own(self.folder.names()):
                self.folder.remove(name)

    def remaining(self, records: Iterator[InputRecord], tally: Tally) -> Iterator[InputRecord]:
        """Yield the records behind the last part; raise ``UsageError`` if those before it are of another run."""
        if (content := self.folder.read(self._state_name)) is not None:
            try:
                self._go_on(json_object(content), records, tally)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                hint = "give another --output, or --overwrite to begin anew"
                message = f"{self._name}/{self._state_name} is damaged"
                raise UsageError(message, hint=hint, input="--output") from error
        return records

    def _go_on(self, state: Mapping[str, Any], records: Iterator[InputRecord], tally: Tally) -> None:
        hint = "give the same --input and settings, another --output, or --overwrite to begin anew"
        if difference := first_difference(state["provenance"], orjson.loads(orjson.dumps(self._provenance))):
            raise UsageError(f"{self._name} is of another run: {difference}", hint=hint, input="--output")
        for _, record in zip(range(state["records"]), records, strict=False):
            self._take(record)
        self._written = self._done
        if self._done[:2] != (state["records"], state["digest"]):
            raise UsageError(f"{self._name} is of another run: other records", hint=hint, input="--output")
        self.parts = int(state["parts"])
        tally.restore(state["tally"])

    def _take(self, record: InputRecord) -> None:
        said = "\0".join((self._digest, record.id, record.image_name, record.text))
        digest = hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
        # All at once: Ctrl-C may come between any two steps.
        self._done = _Done(self.records + 1, digest, self._log.records, self._log.end)

    def add(self, record: InputRecord, entry: Entry | None, tally: Tally) -> None:
        """Take a record of the input, and its entry if it is kept."""
        if entry is not None:
            self._log.append(entry)
        self._take(record)
        full = self._log.records >= PART_RECORDS or self._log.end >= PART_BYTES
        if full or time.monotonic() - self._begun >= PART_SECONDS:
            self.flush(tally)

    def flush(self, tally: Tally) -> None:
        """Write a part of the records taken since the last one, and how far the run has come."""
        self._begun = time.monotonic()
        if self._done == self._written:
            return
        self._log.keep(self._done.entries, self._done.end)
        if self._done.entries:
            ending = FORMATS[self._format].endings[0]
            self.folder.write(f"{self._prefix}{self.parts:05}{ending}", self._rendered())
            self.parts += 1
        state = {
            "records": self.records,
            "parts": self.parts,
            "digest": self._digest,
            "tally": tally.state(),
            "provenance": self._provenance,
        }
        self.folder.write(self._state_name, [orjson.dumps(state)])
        self._log.keep(0, 0)
        self._done = self._written = _Done(self.records, self._digest)

    def _rendered(self) -> Iterator[bytes]:
        writer = writer_of(self._format)
        writer.has_header = self._has_header and self.parts == 0
        if not FORMATS[self._format].streamed:
            yield from writer.document(self._formatter, self._log, summary={}, provenance=self._provenance)
            return
        yield writer.header(self._formatter)
        for _, entry in self._log.read():
            yield writer.entry(self._formatter, entry, to_file=True)
