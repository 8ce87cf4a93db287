"""From what the user named to the records: which kind of input each name is, and one after another as one input."""

from __future__ import annotations

import glob
import math
import os
import re
import stat
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from clipalign.data.columns import RowReader
from clipalign.data.documents import JsonDocument, is_json_lines
from clipalign.data.folders import Folder
from clipalign.data.lines import LiveLines
from clipalign.data.parquet import ParquetFile
from clipalign.data.records import Input, InputRecord, Listed, Place, Source, never_late
from clipalign.data.sources import HTTP, PICTURES, STDIN, is_file_name, scheme_of
from clipalign.data.tables import DELIMITERS, JsonLines, TextTable
from clipalign.data.tars import TarShard
from clipalign.errors import InputUnreadable, UsageError
from clipalign.files import address_in, is_file, is_folder

KINDS: Final = ".jsonl, .json, .csv, .tsv (all of them also as .gz), .parquet, .tar, a folder, or -"

MAX_RANGE: Final = 100_000

CHECKED_AT_ONCE: Final = 16

_RANGE: Final = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
_JSON_LINES: Final = (".jsonl", ".ndjson")
_TARS: Final = (".tar", ".tar.gz", ".tgz")


def open_input(
    names: Sequence[str],
    *,
    image_root: Path | None = None,
    needs_text: bool = True,
    columns: Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
    limit: int | None = None,
    offline: bool = False,
) -> Input:
    """Return the records of one input after another.

    Args:
        names: files, folders, addresses of files, patterns of them, or ``-`` for JSON lines on standard input.
        image_root: folder of relative image names in tables; None for the input's and the working directory.
        columns: those of ``image``, ``text``, ``id`` and ``references`` that have another name.
        keep: other columns that records include; ``all`` for all.
        limit: maximum number of records; None for all.

    Raises:
        UsageError: no name, an unsupported kind of file, no folder ``image_root``, an unusable standard input, or an
            address while ``offline``.
        InputUnreadable: an input that is missing, is of another kind than its name says, or lacks a column.
        MissingExtra: a kind of file whose library is not installed.
    """
    if not names:
        raise UsageError("there is no input", hint=f"give {KINDS}", input="--input")
    if image_root is not None and not address_in(image_root) and not image_root.is_dir():
        raise UsageError(f"there is no folder {image_root}", hint="images are looked for in it", input="--image-root")
    _refuse_addresses([*names, *([address_in(image_root)] if image_root is not None else ())], offline=offline)
    found = [name for given in names for one in _in_range(given) for name in _matching(one)]
    if found.count(STDIN) > 1:
        raise UsageError("standard input can be read once", hint="give --input - once", input=STDIN)
    reader = RowReader(image_root, needs_text, columns or {}, tuple(keep))
    sources = [_source(name, reader) for name in found]
    for source in sources:
        if not scheme_of(source.name):
            source.check()
    _check_addresses([source for source in sources if scheme_of(source.name)])
    first = "standard input" if found[0] == STDIN else found[0]
    if len(sources) > 1:
        return Input(sources, f"{first} and {len(sources) - 1} more", limit=limit)
    # Behind other inputs, standard input is read like a file.
    live = sources[0].live if isinstance(sources[0], JsonLines) else None
    return Input(sources, first, live.late if live else never_late, limit)


def open_pictures(names: Sequence[str], *, limit: int | None = None) -> Input:
    """Return pictures without texts; ``names`` are paths, addresses, ``-`` and folders, read in sorted order.

    Raises:
        InputUnreadable: a folder without pictures or that cannot be read.
    """
    sources: list[Source | Listed] = []
    for name in names:
        if name != STDIN and Path(name).expanduser().is_dir():
            folder = Folder(name, RowReader(needs_text=False))
            folder.check()
            sources.append(folder)
        else:
            sources.append(Listed([InputRecord(name, name, name, "", (), Place(name, 0, 0))]))
    return Input(sources, names[0] if len(names) == 1 else "the arguments", limit=limit)


def _refuse_addresses(names: Sequence[str], *, offline: bool) -> None:
    for address in filter(scheme_of, names):
        from clipalign.data.remote import check_address

        check_address(address)
        if offline:
            hint = "leave out --offline and HF_HUB_OFFLINE"
            raise UsageError(f"{address} is not read while offline", hint=hint, input=address)


def _check_addresses(sources: Sequence[Source]) -> None:
    """Check many at once, as each waits for a server."""
    with ThreadPoolExecutor(CHECKED_AT_ONCE) as threads:
        for _ in threads.map(lambda source: source.check(), sources):
            pass


def _in_range(name: str) -> list[str]:
    """Expand ``a{00..99}.tar`` as a shell does without quotes; a file of that name wins."""
    found = _RANGE.search(name)
    if found is None or is_file(Path(name).expanduser()):
        return [name]
    count = math.prod(int(last) - int(first) + 1 for first, last in _RANGE.findall(name))
    if not 0 < count <= MAX_RANGE:
        raise UsageError(f"{name} stands for {max(count, 0):,} files", hint=f"at most {MAX_RANGE:,}", input=name)
    numbers = (f"{number:0{len(found[1])}}" for number in range(int(found[1]), int(found[2]) + 1))
    return [one for number in numbers for one in _in_range(name[: found.start()] + number + name[found.end() :])]


def _matching(name: str) -> list[str]:
    """Expand a pattern; any other name is returned as it is."""
    if not name.strip():
        raise UsageError("an input's name is empty", hint=f"give {KINDS}", input="--input")
    if scheme_of(name):
        return _at_address(name)
    path = Path(name).expanduser()
    if not glob.has_magic(name) or is_file(path) or is_folder(path):
        return [name]
    there = next(
        (str(folder) for folder in path.parents if is_folder(folder)), ""
    )  # in[1] is no pattern if it is there
    pattern = os.path.join(glob.escape(there), *path.parts[len(Path(there).parts) :])  # noqa: PTH118
    found = sorted(str(Path(one)) for one in glob.glob(pattern, recursive=True))  # noqa: PTH207 - perhaps absolute
    if not found:
        raise InputUnreadable(f"no file matches {name}", hint="check the pattern", input=name)
    return found


def _at_address(name: str) -> list[str]:
    """Expand a pattern; servers of http list nothing, and a question mark is no pattern there."""
    if scheme_of(name) in HTTP or not glob.has_magic(name):
        return [name]
    from clipalign.data.remote import Store

    if not (found := Store.of(name).matching()):
        raise InputUnreadable(f"no file matches {name}", hint="check the pattern", input=name)
    return found


def _source(name: str, reader: RowReader) -> Source:
    if name == STDIN:
        _check_stdin()
        return JsonLines(STDIN, reader, LiveLines(sys.stdin.buffer))
    if not is_file_name(name):
        return _source_of_kind(name, re.split(r"[?#]", name, maxsplit=1)[0].lower(), reader)
    path = Path(name).expanduser()
    if path.is_dir():
        return Folder(name, RowReader(needs_text=reader.needs_text))
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise InputUnreadable(f"there is no input {name}", hint="check the path", input=name) from error
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise UsageError(f"{name} is a device, not a file of records", hint=f"give {KINDS}", input=name)
    if not stat.S_ISREG(mode):  # a pipe of the shell, <(…); other kinds are looked into before they are read
        return JsonLines(name, reader)
    return _source_of_kind(name, path.name.lower(), reader)


def _source_of_kind(name: str, lowered: str, reader: RowReader) -> Source:
    plain = Path(lowered.removesuffix(".gz")).suffix
    if lowered.endswith(_TARS):
        return TarShard(name, reader)
    if plain == ".parquet" and not lowered.endswith(".gz"):
        return ParquetFile(name, reader)
    if plain in _JSON_LINES:
        return JsonLines(name, reader)
    if plain == ".json":
        return JsonLines(name, reader) if is_json_lines(name) else JsonDocument(name, reader)
    if plain in DELIMITERS:
        return TextTable(name, reader, delimiter=DELIMITERS[plain])
    picture = plain in PICTURES
    raise UsageError(
        f"{name} is a picture, not a list of records" if picture else f"{name} is an unsupported file type",
        hint="give it as IMAGE, without --input" if picture else f"give {KINDS}",
        input=name,
    )


def _check_stdin() -> None:
    if sys.stdin is None or sys.stdin.isatty():
        state = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"the input is - but standard input is {state}", hint="pipe JSON lines in", input=STDIN)
