"""Files at addresses: http(s) by this package's own requests, ``s3://`` and what else fsspec knows by fsspec.

They are read in blocks, each retried alone, so that a cut connection costs a block, not the file. Never opened are
local files (``file://``), protocols around others (``simplecache::``), and addresses with a password. Credentials and
endpoints come from the environment, as each library of fsspec reads them.
"""

from __future__ import annotations

import io
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar, cast

from clipalign.data.sources import ATTEMPTS, HTTP, NO_STORES, origin_of, scheme_of
from clipalign.download.web import RefusedError, RetryableError, RetryPolicy, TooLargeError, Web
from clipalign.errors import (
    DownloadFailed,
    ImageUnreadable,
    InputUnreadable,
    MissingExtra,
    UsageError,
    need,
)

T = TypeVar("T")

MIN_BLOCK_BYTES: Final = 1 << 18
MAX_BLOCK_BYTES: Final = 1 << 23
"""Sizes of what is read at once: the first of a place, doubled while reading goes straight on."""

CONNECTIONS_PER_HOST: Final = 8
"""Pictures fetched from one host at once; a browser opens six connections."""

POLICY: Final = RetryPolicy()


def check_address(address: str) -> None:
    """Raise ``UsageError`` for an address that is never opened, ``MissingExtra`` if its library is not installed."""
    scheme = scheme_of(address)
    user, at, _ = origin_of(address)[1].rpartition("@")
    if at and ":" in user:
        hint = "credentials come from the environment"
        raise UsageError("an address may hold no password", hint=hint, input=address.rpartition("@")[2])
    if scheme not in HTTP:
        _filesystem(address)


def open_address(address: str) -> BinaryIO:
    """Open a file for reading; a block of which no attempt is answered raises ``DownloadFailed``.

    Raises:
        InputUnreadable: it is missing or may not be read.
    """
    try:
        return _open_http(address) if scheme_of(address) in HTTP else _open_stored(Store.of(address))
    except RefusedError as error:
        raise InputUnreadable(error.message, hint=error.hint or "check the address", input=address) from error


def read_picture(address: str, most_bytes: int, *, timeout: float) -> bytes:
    """Return the bytes of a picture; ``timeout`` limits all attempts together, not the wait for a turn at its host.

    Raises:
        ImageUnreadable: its ``type`` says the kind of failure, as ``fetch_404`` or ``fetch_timeout``.
    """
    policy = RetryPolicy(ATTEMPTS, connect_seconds=timeout, stall_seconds=timeout, whole_seconds=timeout)
    try:
        if scheme_of(address) not in HTTP:
            store = Store.of(address)
            return store.retried(lambda: store.read(0, most_bytes + 1, timeout), policy)
        with _turn_at(origin_of(address)[1]):
            return _web(policy).get(address, most_bytes)
    except DownloadFailed as error:
        said = f"{address} cannot be fetched: {error.message}"
        failed = ImageUnreadable(said, hint=error.hint or "check the address", input=address)
        failed.type = f"fetch_{_kind(error)}"
        raise failed from error


def _kind(error: DownloadFailed) -> str:
    """Name a failure for the report: a status, or what else kept the picture from coming."""
    if isinstance(error, RefusedError):
        return str(error.status)
    if isinstance(error, TooLargeError):
        return "too_large"
    cause = error.__cause__
    return cause.kind if isinstance(cause, RetryableError) else "refused"


# --- http ---


class _PictureWeb(Web):
    def get(self, address: str, most_bytes: int) -> bytes:
        def ask() -> bytes:
            with self.ask("GET", address) as reply:
                return self.read(reply, most_bytes)

        return self.with_retries(ask)


_local = threading.local()


def _web(policy: RetryPolicy) -> _PictureWeb:
    """Return this thread's connections, which stay open from one picture to the next."""
    web: _PictureWeb | None = getattr(_local, "web", None)
    if web is None:
        web = _local.web = _PictureWeb()
    web.policy = policy
    return web


_turns = threading.Condition()
_busy: Counter[str] = Counter()


@contextmanager
def _turn_at(host: str) -> Iterator[None]:
    with _turns:
        _turns.wait_for(lambda: _busy[host] < CONNECTIONS_PER_HOST)
        _busy[host] += 1
    try:
        yield
    finally:
        with _turns:
            _busy[host] -= 1
            if not _busy[host]:
                del _busy[host]  # a list may name millions of hosts
            _turns.notify_all()


def _open_http(address: str) -> BinaryIO:
    """Open by ranges; a server without ranges gives the whole into a temporary file first."""
    web = Web(POLICY)
    version = ""

    def ask(start: int, end: int) -> tuple[bytes, int] | BinaryIO:
        nonlocal version
        headers = {"Range": f"bytes={start}-{end - 1}"} | ({"If-Range": version} if version else {})
        with web.ask("GET", address, headers=headers) as reply:
            total = reply.headers.get("Content-Range", "").rpartition("/")[2]
            if reply.status_code == 416:
                return b"", int(total) if total.isdecimal() else 0
            if reply.status_code == 206 and total.isdecimal():
                version = reply.headers.get("ETag") or reply.headers.get("Last-Modified") or ""
                content = web.read(reply, end - start)
                if len(content) < min(end, int(total)) - start:
                    raise RetryableError("the connection was cut")
                return content, int(total)
            if start or version:
                raise InputUnreadable(f"{address} changed while it was read", input=address)
            whole = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - it is returned
            for chunk in web.chunks(reply):
                whole.write(chunk)
            whole.seek(0)
            return whole

    def block(start: int, end: int) -> bytes:
        found = web.with_retries(lambda: ask(start, end))
        assert isinstance(found, tuple)
        return found[0]

    found = web.with_retries(lambda: ask(0, MIN_BLOCK_BYTES))
    if not isinstance(found, tuple):
        return found
    return _buffered(_Blocks(found[1], block, found[0]))


# --- fsspec ---


def _open_stored(store: Store) -> BinaryIO:
    size = store.retried(lambda: store.fs.info(store.path)["size"])
    if size is None:
        raise InputUnreadable(f"{store.name} does not say its size", input=store.name)
    return _buffered(_Blocks(size, lambda start, end: store.retried(lambda: store.read(start, end))))


@dataclass(frozen=True, slots=True)
class Store:
    """A place in a filesystem of fsspec: a file, or a folder."""

    fs: Any
    path: str
    name: str

    @classmethod
    def of(cls, address: str) -> Store:
        return cls(*_filesystem(address), address)

    def read(self, start: int, end: int, timeout: float | None = None) -> bytes:
        limit = {"timeout": timeout} if timeout is not None and self.fs.async_impl else {}
        content: bytes = self.fs.cat_file(self.path, start=start, end=end, **limit)
        return content

    def at(self, name: str) -> Store:
        return Store(self.fs, f"{self.path.rstrip('/')}/{name}", f"{self.name.rstrip('/')}/{name}")

    def matching(self) -> list[str]:
        found = self.retried(lambda: sorted(self.fs.glob(self.path)))
        return [self.fs.unstrip_protocol(one) for one in found]

    def content(self) -> bytes | None:
        """Return the whole of a small file; None if there is none."""
        return self.retried(lambda: self.fs.cat_file(self.path) if self.fs.exists(self.path) else None)

    def names(self) -> list[str]:
        """Return the names of what lies in a folder, which stores make with the first file in it."""
        try:
            there = self.retried(lambda: self.fs.ls(self.path, detail=False, refresh=True))
        except RefusedError as error:
            if error.status != 404:
                raise
            return []
        return sorted(one.rstrip("/").rpartition("/")[2] for one in there if one.strip("/") != self.path.strip("/"))

    def remove(self) -> None:
        self.retried(lambda: self.fs.rm_file(self.path), doing="removed")

    def put(self, file: Path) -> None:
        """Write a file of this machine, which appears there as a whole."""
        self.retried(lambda: self.fs.put_file(str(file), self.path), doing="written")

    def retried(self, action: Callable[[], T], policy: RetryPolicy | None = None, *, doing: str = "read") -> T:
        """Call ``action`` until it succeeds, as for requests.

        Raises:
            RefusedError: what a further attempt will not change; DownloadFailed when all failed.
        """

        def attempt() -> T:
            try:
                return action()
            except FileNotFoundError as error:
                raise RefusedError(f"there is no {self.name}", status=404, headers={}, input=self.name) from error
            except Exception as error:  # each library has its own
                said = f"{self.name} cannot be {doing}: {' '.join(str(error).split())[:200] or type(error).__name__}"
                if isinstance(error, PermissionError | ValueError) or "credential" in type(error).__name__.lower():
                    hint = "credentials come from the environment"
                    raise RefusedError(said, status=403, headers={}, hint=hint, input=self.name) from error
                kind = "timeout" if isinstance(error, TimeoutError) else "no_connection"
                raise RetryableError(said, kind=kind) from error

        try:
            return Web(policy or POLICY).with_retries(attempt)
        except DownloadFailed as error:
            error.input = self.name
            raise


def _filesystem(address: str) -> tuple[Any, str]:
    """Return the filesystem of an address and the path in it; nothing in the address chains to another."""
    scheme = scheme_of(address)
    fsspec = need("fsspec", extra="remote", what=f"{scheme}://")
    known = need("fsspec.registry", extra="remote", what=f"{scheme}://")
    if scheme in NO_STORES or (scheme not in known.known_implementations and scheme not in known.registry):
        raise UsageError(f"{scheme}:// is not read", hint="give a path, s3://, gs://, hf:// or https://", input=address)
    try:
        kind = fsspec.get_filesystem_class(scheme)
        return fsspec.filesystem(scheme, **kind._get_kwargs_from_urls(address)), kind._strip_protocol(address)
    except ImportError as error:
        module = str(known.known_implementations[scheme]["class"]).partition(".")[0]
        library = module if module != "fsspec" else (error.name or "").partition(".")[0]
        hint = f"pip install 'clipalign[remote]' {library}"
        raise MissingExtra(f"{scheme}:// needs {library or 'a library'}", hint=hint, input=address) from error
    except Exception as error:  # of libraries that ask for credentials at once
        raise UsageError(f"{scheme}:// cannot be opened: {error}", input=address) from error


# --- blocks ---


class _Blocks(io.RawIOBase):
    """A file of ``size`` bytes whose block from ``start`` to ``end`` is what ``read`` returns."""

    def __init__(self, size: int, read: Callable[[int, int], bytes], first: bytes = b"") -> None:
        super().__init__()
        self._size, self._read = size, read
        self._held, self._start = first, 0
        self._place = 0
        self._ahead = MIN_BLOCK_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._place = max(0, offset + (0, self._place, self._size)[whence])
        return self._place

    def readinto(self, buffer: Any, /) -> int:
        end = self._start + len(self._held)
        if not self._start <= self._place < end:
            if self._place >= self._size:
                return 0
            self._ahead = min(2 * self._ahead, MAX_BLOCK_BYTES) if self._place == end else MIN_BLOCK_BYTES
            stop = min(self._size, self._place + max(self._ahead, len(buffer)))
            self._held, self._start = self._read(self._place, stop), self._place
            if len(self._held) != stop - self._place:
                raise EOFError("it is shorter than it was")
        offset = self._place - self._start
        piece = self._held[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)


def _buffered(blocks: _Blocks) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(blocks))
