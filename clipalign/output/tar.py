"""Pairs as a WebDataset shard: of each record its picture as it was, its text, and the record itself as JSON."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

from clipalign.data.sources import PICTURES
from clipalign.output.formats import Fields, Writer
from clipalign.output.json import line_of
from clipalign.output.records import RecordFormatter, RecordStore

_KINDS: Final = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"RIFF", ".webp"))


class TarWriter(Writer):
    """Write ``000000000.jpg``, ``.txt`` and ``.json`` a pair; the record's own id and names are in its JSON."""

    def document(
        self, formatter: RecordFormatter, store: RecordStore, *, summary: Fields, provenance: Fields
    ) -> Iterator[bytes]:
        for number, (_, entry) in enumerate(store.read()):
            name = PurePath(str(entry.record["image"])).suffix.lower()
            named = name if name in PICTURES else ".jpg"
            ending = next((kind for begin, kind in _KINDS if entry.content.startswith(begin)), named)
            yield from _member(f"{number:09}{ending}", entry.content)
            if text := entry.record.get("text"):
                yield from _member(f"{number:09}.txt", str(text).encode())
            yield from _member(f"{number:09}.json", line_of(entry.record))
        yield bytes(2 * tarfile.BLOCKSIZE)


def _member(name: str, content: bytes) -> Iterator[bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    yield member.tobuf(tarfile.USTAR_FORMAT)
    yield content
    yield bytes(-len(content) % tarfile.BLOCKSIZE)
