"""Pictures named one by one, among them folders of pictures, as an input for commands that need no text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clipalign.inputs.files import STDIN
from clipalign.inputs.folders import Folder
from clipalign.inputs.records import InputRecord, Place

ARGUMENTS: Final = "the arguments"


@dataclass(frozen=True, slots=True)
class Pictures:
    """Paths, addresses, ``-`` and folders, as an :class:`clipalign.inputs.records.Input`.

    Attributes:
        names: as the user named them; see :meth:`check`.
    """

    names: Sequence[str]

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.names[0] if len(self.names) == 1 else ARGUMENTS

    def check(self) -> None:
        """Look into every folder.

        Raises:
            InputUnreadable: there is no picture in one, or it cannot be read.
        """
        for source in self._sources():
            if isinstance(source, Folder):
                source.check()

    def count(self) -> int:
        """All pictures; looks at every name in the folders."""
        return sum(source.count() if isinstance(source, Folder) else 1 for source in self._sources())

    def late(self) -> bool:
        """Never."""
        return False

    def records(self, share: slice | None = None) -> Iterator[InputRecord]:
        """The pictures in the order of the names, those of a folder sorted; or a contiguous share of them."""
        begin, end = (0, None) if share is None else (share.start or 0, share.stop)
        for number, record in enumerate(self._records()):
            if end is not None and number >= end:
                return
            if number >= begin:
                yield record

    def _records(self) -> Iterator[InputRecord]:
        number = 0
        for source in self._sources():
            if isinstance(source, str):
                yield InputRecord(source, source, source, "", (), Place(source, 0, number))
                number += 1
            else:
                for record in source.records(0, None, number):
                    yield record
                    number = record.place.number + 1

    def _sources(self) -> Iterator[Folder | str]:
        for name in self.names:
            is_folder = name != STDIN and Path(name).expanduser().is_dir()
            yield Folder(name, needs_text=False) if is_folder else name

    @property
    def single(self) -> bool:
        """Whether this is one picture, not a folder of them."""
        return len(self.names) == 1 and isinstance(next(self._sources()), str)
