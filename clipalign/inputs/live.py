"""Standard input that is written while it is read: whether the next line is there, so that nobody waits for company.

A program that writes one record and waits for the answer would wait for ever if records were collected first. Where a
platform cannot say whether a pipe holds anything, nothing is known to be late.
"""

from __future__ import annotations

import select
from typing import BinaryIO, Final

GRACE_SECONDS: Final = 0.05
"""How long a line may take before what is there is scored without it."""

_PIECE_BYTES: Final = 1 << 16


class LiveLines:
    """The bytes of a pipe, read as they come.

    Attributes:
        stream: read with ``read1`` where it has that, which leaves nothing in a buffer that ``select`` does not see;
            what has no file number, as in tests, is never late.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._held = bytearray()
        self._ended = False

    def late(self) -> bool:
        """Whether :meth:`readline` would have to wait for the next line that is not blank."""
        while not self._ended and not self._holds_line():
            if not self._ready():
                return True
            self._read()
        return False

    def readline(self, size: int) -> bytes:
        """The next line with its end, at most ``size`` bytes of it; empty at the end."""
        searched = 0
        while not self._ended and len(self._held) < size:
            if self._held.find(b"\n", searched) >= 0:
                break
            searched = len(self._held)
            self._read()
        end = self._held.find(b"\n", 0, size)
        line = bytes(self._held[: size if end < 0 else end + 1])
        del self._held[: len(line)]
        return line

    def _holds_line(self) -> bool:
        end = self._held.rfind(b"\n")
        return end >= 0 and bool(self._held[:end].strip())

    def _ready(self) -> bool:
        try:
            return bool(select.select([self.stream], [], [], GRACE_SECONDS)[0])
        except (OSError, ValueError):  # no file number; Windows waits for sockets alone
            return True

    def _read(self) -> None:
        read = getattr(self.stream, "read1", self.stream.read)
        piece = read(_PIECE_BYTES)
        self._ended = not piece
        self._held += piece
