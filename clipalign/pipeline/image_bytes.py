"""The bytes of a picture, from wherever it is: a file, an http(s) address, standard input.

What is missing, empty, too large or out of reach is an ``ImageUnreadable`` that names it. Nothing is decoded here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO, Final

from clipalign.errors import ImageUnreadable

STDIN: Final = "-"

MAX_DOWNLOAD_BYTES: Final = 100_000_000
"""Largest file fetched from an address."""

TIMEOUT_SECONDS: Final = 20.0
"""To connect to an address, and between two pieces from it."""

MAX_FILE_BYTES: Final = 1_000_000_000
"""Most that is read of a file, a pipe or stdin, some of which never end."""

_PIECE_BYTES: Final = 1 << 16

_OTHER_ADDRESSES: Final = ("ftp://", "ftps://", "sftp://", "file://", "s3://", "gs://")


def read_image(source: str | bytes | Path, *, offline: bool = False, name: str | None = None) -> bytes:
    """The bytes of a picture, for ``open_image`` to decode.

    Args:
        source: a path, an http(s) address, ``-`` for stdin, or bytes, which are returned as they are.
        offline: whether addresses are refused.
        name: what errors call it; None for its own name.

    Raises:
        ImageUnreadable: it is not there, empty, too large, or may not be fetched.
    """
    name = name or name_of(source)
    content = _read(source, name, offline=offline)
    if not content:
        raise ImageUnreadable(f"{name} is empty", hint="is the file complete?", input=name)
    return content


def is_file_name(source: str) -> bool:
    """Whether ``source`` names a file: it is no http(s) address and not ``-`` for stdin."""
    return source != STDIN and not source.lower().startswith(("http://", "https://"))


def name_of(source: str | bytes | Path) -> str:
    """What errors call a picture that was given no name."""
    if isinstance(source, bytes):
        return "the image"
    return "standard input" if str(source) == STDIN else str(source)


def _read(source: str | bytes | Path, name: str, *, offline: bool) -> bytes:
    if isinstance(source, bytes):
        return source
    if str(source) == STDIN:
        return _limited(sys.stdin.buffer, name)
    if isinstance(source, str) and not is_file_name(source):
        return _fetch(source, offline=offline)
    if not str(source).strip():
        raise ImageUnreadable("the image name is empty", hint="give a path or an http(s) address")
    if isinstance(source, str) and source.lower().startswith(_OTHER_ADDRESSES):
        raise ImageUnreadable(f"only http(s) addresses are fetched, not {source}", hint="give a path", input=name)
    path = Path(source)
    try:
        with path.expanduser().open("rb") as stream:
            return _limited(stream, name)
    except FileNotFoundError as error:
        raise ImageUnreadable(f"there is no file {name}", hint=_where(path), input=name) from error
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


def _limited(stream: BinaryIO, name: str) -> bytes:
    content = stream.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ImageUnreadable(
            f"{name} is too large; at most {MAX_FILE_BYTES // 1_000_000} MB are read",
            hint="make it smaller first",
            input=name,
        )
    return content


def _where(path: Path) -> str:
    parent = path.parent
    return f"looked in {parent.absolute()}" if parent.is_dir() else f"there is no folder {parent}"


def _fetch(address: str, *, offline: bool) -> bytes:
    """The bytes at an http(s) address, within the limits of size and time."""
    if offline:
        raise ImageUnreadable(
            f"{address} is not fetched while offline", hint="leave out --offline and HF_HUB_OFFLINE", input=address
        )
    import requests

    from clipalign.version import __version__

    try:
        with requests.get(
            address, stream=True, timeout=TIMEOUT_SECONDS, headers={"User-Agent": f"clipalign/{__version__}"}
        ) as reply:
            if not reply.ok:
                raise ImageUnreadable(
                    f"{address} answered {reply.status_code} {reply.reason}", hint="check the address", input=address
                )
            pieces: list[bytes] = []
            size = 0
            for piece in reply.iter_content(_PIECE_BYTES):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_DOWNLOAD_BYTES:
                    raise ImageUnreadable(
                        f"{address} is larger than {MAX_DOWNLOAD_BYTES // 1_000_000} MB", input=address
                    )
            return b"".join(pieces)
    except requests.Timeout as error:
        raise ImageUnreadable(
            f"{address} did not answer within {TIMEOUT_SECONDS:.0f} seconds", hint="try again later", input=address
        ) from error
    except requests.RequestException as error:
        said = "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__
        raise ImageUnreadable(
            f"{address} cannot be fetched: {said}",
            hint="check the address and the network",
            input=address,
        ) from error
