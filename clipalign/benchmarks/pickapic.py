"""Pictures and prompts of Pick-a-Pic that a benchmark needs, taken out of its Parquet shards once.

A row of a shard holds a prompt and two pictures, each with its uid. What is wanted of them becomes ``UID.jpg`` (or
``.png``, ``.webp``, as its bytes say) and ``UID.txt`` in a folder; what is there already is left alone, so that an
extraction that was cut short goes on. Shards are read a few rows at a time, and of a row group without anything wanted
only the uids.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from clipalign.errors import MissingDataset
from clipalign.extras import need
from clipalign.paths import is_file

SHARDS: Final = "test-*.parquet"
SIDES: Final = ("0", "1")
"""Of a row: two pictures compete."""

_ROWS: Final = 16
"""Read at a time; a picture has up to a megabyte."""


def extract(shards: Sequence[Path], wanted: set[str], folder: Path) -> int:
    """Put the wanted pictures and prompts that are not there yet into ``folder``; how many were found.

    Args:
        shards: Parquet files.
        wanted: uids.
        folder: made where it is missing.

    Raises:
        MissingExtra: pyarrow is not installed.
        MissingDataset: a shard cannot be read, or the folder cannot be written.
    """
    left = {uid for uid in wanted if not is_file(folder / f"{uid}.txt")}
    found = 0
    try:
        for shard in shards:
            if not left:
                break
            for uid, prompt, picture in _pictures(shard, left):
                folder.mkdir(parents=True, exist_ok=True)
                _write(folder / f"{uid}{_ending(picture)}", picture)
                _write(folder / f"{uid}.txt", prompt.encode("utf-8", "replace"))  # last: it says that both are there
                left.discard(uid)
                found += 1
    except OSError as error:
        raise MissingDataset(
            f"pictures cannot be taken out into {folder}: {error.strerror or error}",
            hint="make room there, or make it writable",
            input=str(folder),
        ) from error
    return found


def _pictures(shard: Path, wanted: set[str]) -> Iterator[tuple[str, str, bytes]]:
    """uid, prompt and picture of what is wanted in a shard."""
    file = _opened(shard)
    try:
        for group in range(file.num_row_groups):
            uids = file.read_row_group(group, columns=[f"image_{side}_uid" for side in SIDES]).to_pylist()
            if not any(uid in wanted for row in uids for uid in row.values()):
                continue
            columns = ["caption", *(f"{name}_{side}{end}" for side in SIDES for name, end in _COLUMNS)]
            for batch in file.iter_batches(_ROWS, row_groups=[group], columns=columns, use_threads=False):
                for row in batch.to_pylist():
                    for side in SIDES:
                        uid, content = row[f"image_{side}_uid"], row[f"jpg_{side}"]
                        if uid in wanted and content and row["caption"] is not None:
                            yield str(uid), str(row["caption"]), bytes(content)
    except (OSError, ValueError, KeyError, TypeError) as error:  # OSError: what pyarrow says of damage in the middle
        raise _unusable(shard, error) from error


_COLUMNS: Final = (("image", "_uid"), ("jpg", ""))


def _opened(shard: Path) -> Any:
    parquet = need("pyarrow.parquet", extra="parquet", what="reading Parquet")
    try:
        return parquet.ParquetFile(shard)
    except (OSError, ValueError) as error:
        raise _unusable(shard, error) from error


def _unusable(shard: Path, error: Exception) -> MissingDataset:
    why = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
    return MissingDataset(
        f"{shard} is no shard of Pick-a-Pic: {why}",
        hint="delete it and fetch it again: clipalign download richhf",
        input=str(shard),
    )


def _ending(picture: bytes) -> str:
    return ".png" if picture.startswith(b"\x89PNG") else ".webp" if picture.startswith(b"RIFF") else ".jpg"


def _write(place: Path, content: bytes) -> None:
    """Whole, or not at all."""
    beside = place.with_name(f".{place.name}.{os.getpid()}.part")  # several processes may be at it
    beside.write_bytes(content)
    beside.replace(place)
