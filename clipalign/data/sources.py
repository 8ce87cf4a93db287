"""The bytes of a picture, from wherever it is: a file, an address, standard input.

What is missing, empty, too large or out of reach is an ``ImageUnreadable`` that names it. Nothing is decoded here.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

from clipalign.errors import ImageUnreadable, UsageError
from clipalign.files import open_plain

STDIN: Final = "-"

MAX_DOWNLOAD_BYTES: Final = 100_000_000

MAX_DATA_CHARACTERS: Final = 2 * MAX_DOWNLOAD_BYTES

TIMEOUT_SECONDS: Final = 30.0
"""Limit for a picture at an address, from the first attempt to the last byte."""

ATTEMPTS: Final = 3

MAX_FILE_BYTES: Final = 100_000_000
"""Largest picture file from any source: up to 16 are held at once before they are decoded."""

DATA: Final = "data:"

PICTURES: Final = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpx", ".ico", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".qoi"),
    )
)

_ENDINGS: Final = (".jpg", ".png", ".jpeg", ".webp")
"""Endings tried for a name without one."""

_NUMBERED: Final = ("", "COCO_val2014_", "COCO_train2014_", "COCO_test2014_")
"""COCO's prefix of the twelve digits of a picture's number."""

_DIGITS: Final = 12

HTTP: Final = ("http", "https")

NO_STORES: Final = frozenset(
    (
        *("file", "local", "data", "dir", "generic", "reference", "async_wrapper", "git", "dask", "jlab", "jupyter"),
        *("blockcache", "cached", "filecache", "simplecache", "tar", "zip", "libarchive", "pyscript", "ftp"),
    )
)
"""What fsspec opens beside stores: files of this machine, protocols that wrap others, and FTP, which has no secrets."""

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]+)://|data:", re.IGNORECASE)


def read_image(
    source: str | bytes | Path,
    *,
    offline: bool = False,
    timeout: float | None = None,
    name: str | None = None,
    folders: Sequence[Path] = (Path(),),
) -> bytes:
    """Return the bytes of a picture, for ``open_image`` to decode.

    Args:
        source: a path, an address, ``-`` for stdin, or bytes, which are returned as they are.
        timeout: seconds for an address, all attempts together; None for :data:`TIMEOUT_SECONDS`.
        name: for errors; None for its own name.
        folders: where a relative path is looked for, in this order.

    Raises:
        ImageUnreadable: it is missing, empty, too large, or may not be downloaded.
    """
    name = name or name_of(source)
    content = _read(source, name, offline=offline, timeout=timeout or TIMEOUT_SECONDS, folders=folders)
    if not content:
        raise ImageUnreadable(f"{name} is empty", hint="is the file complete?", input=name)
    return content


def scheme_of(source: str) -> str:
    """Return ``s3`` for ``s3://bucket/a.jpg``, ``data`` for a data: address; empty for a file name."""
    found = _SCHEME.match(source)
    return (found[1] or "data").lower() if found else ""


def origin_of(source: str) -> tuple[str, str]:
    """Return scheme and host, or bucket, of an address; both empty for a file name."""
    return scheme_of(source), re.split(r"[/?#]", source.partition("://")[2], maxsplit=1)[0]


def is_file_name(source: str) -> bool:
    """Return whether ``source`` names a file: no address and not ``-`` for stdin."""
    return source != STDIN and not scheme_of(source)


def _is_data(source: str) -> bool:
    return scheme_of(source) == "data"


def short_name(source: str) -> str:
    """Return ``source``, or for a data: address its kind and the hash of the rest."""
    if not _is_data(source):
        return source
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{source.partition(',')[0][:60]} (sha256 {digest})"


def name_of(source: str | bytes | Path) -> str:
    """Return the name in errors of a picture without one."""
    if isinstance(source, bytes):
        return "the image"
    return "standard input" if str(source) == STDIN else short_name(str(source))


def _read(source: str | bytes | Path, name: str, *, offline: bool, timeout: float, folders: Sequence[Path]) -> bytes:
    if isinstance(source, bytes):
        return _limited(source, name)
    if str(source) == STDIN:
        return _limited(sys.stdin.buffer.read(MAX_FILE_BYTES + 1), name)
    if isinstance(source, str) and not is_file_name(source):
        return _limited(_decoded(source, name) if _is_data(source) else _fetch(source, name, offline, timeout), name)
    if not str(source).strip():
        raise ImageUnreadable("the image name is empty", hint="give a path or an address")
    try:
        path = _found(Path(source), folders)
        with open_plain(path) as stream:
            return _limited(stream.read(MAX_FILE_BYTES + 1), name)
    except FileNotFoundError as error:
        hint = _where([folder / Path(source).expanduser() for folder in folders])
        raise ImageUnreadable(f"there is no file {name}", hint=hint, input=name) from error
    except IsADirectoryError as error:
        raise ImageUnreadable(f"{name} is a folder, not a picture", hint="name a file in it", input=name) from error
    except PermissionError as error:
        folder = path.is_dir()  # how some systems put it
        why = "is a folder, not a picture" if folder else "may not be read"
        raise ImageUnreadable(
            f"{name} {why}", hint="name a file in it" if folder else "check its rights", input=name
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ImageUnreadable(f"{name!r} cannot be read: {why}", hint="check the path", input=name) from error


def _found(source: Path, folders: Sequence[Path]) -> Path:
    """Return the first existing file among a picture's possible names, or its own name, which opening will refuse."""
    written = source.expanduser()
    for name in _names_of(written):
        for folder in folders:
            with suppress(PermissionError):
                if (folder / name).exists():
                    return folder / name
    return folders[0] / written


def _names_of(path: Path) -> Iterator[Path]:
    """Yield ``path``, with é in one character or two, and if it lacks a picture's ending, with one, as COCO has it."""
    yield path
    if not str(path).isascii():
        yield from (Path(normalize(form, str(path))) for form in ("NFC", "NFD"))
    if path.suffix.lower() in PICTURES or not path.name:
        return
    yield from (path.with_name(f"{path.name}{ending}") for ending in _ENDINGS)
    if path.name.isdecimal() and len(path.name) <= _DIGITS:
        yield from (path.with_name(f"{before}{path.name:0>{_DIGITS}}.jpg") for before in _NUMBERED)


def _limited(content: bytes, name: str) -> bytes:
    if len(content) > MAX_FILE_BYTES:
        raise ImageUnreadable(
            f"{name} is too large; at most {MAX_FILE_BYTES // 1_000_000} MB are read",
            hint="make it smaller first",
            input=name,
        )
    return content


def _where(paths: Sequence[Path]) -> str:
    there = [str(path.parent.absolute()) for path in paths if path.parent.is_dir()]
    other = "; --image-root DIR names another" if len(paths) > 1 else ""  # of a list
    return (f"looked in {' and '.join(there)}" if there else f"there is no folder {paths[0].parent}") + other


def _fetch(address: str, name: str, offline: bool, timeout: float) -> bytes:
    if offline:
        hint = "leave out --offline and HF_HUB_OFFLINE"
        raise ImageUnreadable(f"{address} is not fetched while offline", hint=hint, input=address)
    from clipalign.data.remote import read_picture

    try:
        return read_picture(address, MAX_DOWNLOAD_BYTES, timeout=timeout)
    except UsageError as error:  # a scheme that is never opened
        raise ImageUnreadable(f"{name} cannot be read: {error.message}", hint=error.hint, input=name) from error


def _decoded(address: str, name: str) -> bytes:
    kind, comma, held = address[len(DATA) :].partition(",")
    try:
        if not comma or len(held) > MAX_DATA_CHARACTERS:
            raise ValueError("it has no comma" if not comma else f"it has over {MAX_DATA_CHARACTERS:,} characters")
        content = unquote_to_bytes(held)
        if kind.strip().lower().endswith(";base64"):
            content = b"".join(content.split()).rstrip(b"=")
            content = base64.b64decode(content + b"=" * (-len(content) % 4), validate=True)
        return content
    except ValueError as error:  # binascii.Error, and of surrogates, too
        raise ImageUnreadable(
            f"{name} cannot be read: {error}", hint="data:image/png;base64, and the picture in base64", input=name
        ) from error
