"""A web server on this machine that behaves badly on demand, and remembers what it was asked."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behavior = Callable[["Handler"], bool]
"""Answers a request, or returns False to let it be answered as usual."""


@dataclass
class Served:
    """A file of the server.

    Attributes:
        content: its bytes.
        etag: with its quotes; empty for none.
        headers: besides the usual.
        ranges: whether parts of it can be had.
        length: whether its length is told.
    """

    content: bytes
    etag: str = '"v1"'
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    length: bool = True


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]


class Handler(BaseHTTPRequestHandler):
    """Files as they are registered, unless the next behavior says otherwise."""

    server: Any
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing to stderr."""

    def do_GET(self) -> None:
        """One request."""
        owner: Server = self.server.owner
        owner.asked.append(Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        behaviors = owner.behaviors.get(self.path) or owner.behaviors.get("*") or []
        if behaviors and behaviors.pop(0)(self):
            return
        if self.path in owner.always and owner.always[self.path](self):
            return
        served = owner.files.get(self.path)
        if served is None:
            self.answer(404, b"nothing here")
        else:
            self.serve(served)

    do_HEAD = do_GET  # noqa: N815

    def answer(self, status: int, body: bytes = b"", **headers: str) -> bool:
        """A whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return True

    def serve(self, served: Served, *, cut_after: int = -1, say_bytes: int | None = None, wait: float = 0.0) -> bool:
        """A file, or the range of it that was asked for; perhaps only its first ``cut_after`` bytes."""
        content, status, start, end = served.content, 200, 0, len(served.content)
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        valid = self.headers.get("If-Range", served.etag) in (served.etag, served.headers.get("Last-Modified"))
        if found and served.ranges and valid:
            start, end = int(found[1]), min(int(found[2] or end) + 1, end)
            if start >= len(content):
                return self.answer(416, Content_Range=f"bytes */{len(content)}")
            status = 206
        self.send_response(status)
        if served.etag:
            self.send_header("ETag", served.etag)
        for name, value in served.headers.items():
            self.send_header(name, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        body = content[start:end]
        if served.length:
            self.send_header("Content-Length", str(len(body) if say_bytes is None else say_bytes))
        else:
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return True
        if cut_after >= 0:
            body = body[:cut_after]
            self.close_connection = True
        self.wfile.write(body)
        self.wfile.flush()
        if wait:
            self.server.owner.released.wait(wait)
            self.close_connection = True
        return True


class QuietServer(ThreadingHTTPServer):
    """Prints nothing about clients that go away, which tests of other things would find on stderr."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing."""


class Server:
    """The server, its files and its moods."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.behaviors: dict[str, list[Behavior]] = {}
        self.always: dict[str, Behavior] = {}
        self.asked: list[Asked] = []
        self.released = threading.Event()
        self._http = QuietServer(("127.0.0.1", 0), Handler)
        self._http.owner = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.other_url = f"http://localhost:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def put(self, path: str, content: bytes, **more: Any) -> str:
        """Register a file; its address."""
        self.files[path] = Served(content, **more)
        return self.url + path

    def next(self, path: str, *behaviors: Behavior) -> None:
        """What the next requests for ``path`` (``*``: any) meet, one each."""
        self.behaviors.setdefault(path, []).extend(behaviors)

    def put_in_hub(
        self,
        repo: str,
        file: str,
        content: bytes,
        *,
        commit: str = "c" * 40,
        large: bool = True,
        revision: str = "main",
    ) -> str:
        """Register a file as the Hub serves it: a large one elsewhere, a small one itself. Its address."""
        path = f"/{repo}/resolve/{revision}/{file}"
        if not large:
            name = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self.put(path, content, etag=f'"{name}"', headers={"X-Repo-Commit": commit})
        sha256 = hashlib.sha256(content).hexdigest()
        self.put(f"/cdn/{sha256}", content, etag=f'"cdn-{sha256[:8]}"')
        self.always[path] = redirect(
            f"{self.other_url}/cdn/{sha256}",
            X_Repo_Commit=commit,
            X_Linked_Etag=f'"{sha256}"',
            X_Linked_Size=str(len(content)),
        )
        return self.url + path

    def seen(self, header: str, path: str = "") -> list[str | None]:
        """That header of every request so far."""
        return [asked.headers.get(header.lower()) for asked in self.asked if not path or asked.path == path]

    def close(self) -> None:
        """Stop."""
        self.released.set()
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def running() -> Iterator[Server]:
    """A server for the block."""
    server = Server()
    try:
        yield server
    finally:
        server.close()


def cut(after: int) -> Behavior:
    """The connection breaks after so many bytes of the body."""
    return lambda handler: handler.serve(_served(handler), cut_after=after)


def status(code: int, body: bytes = b"no", **headers: str) -> Behavior:
    """That status."""
    return lambda handler: handler.answer(code, body, **headers)


def redirect(location: str, code: int = 302, **headers: str) -> Behavior:
    """To another address."""
    return status(code, b"", Location=location, **headers)


def says(length: int) -> Behavior:
    """A length that is not the file's; the connection ends with the file."""

    def lie(handler: Handler) -> bool:
        handler.close_connection = True
        served = _served(handler)
        return handler.serve(served, say_bytes=length, cut_after=min(length, len(served.content)))

    return lie


def stall(after: int, seconds: float = 5.0) -> Behavior:
    """So many bytes, and then nothing, with the connection open."""
    return lambda handler: handler.serve(_served(handler), cut_after=after, wait=seconds)


def silence(seconds: float = 5.0) -> Behavior:
    """Not even an answer."""

    def say_nothing(handler: Handler) -> bool:
        handler.server.owner.released.wait(seconds)
        handler.close_connection = True
        return True

    return say_nothing


def trickle(pause: float, pieces: int) -> Behavior:
    """A byte at a time."""

    def slowly(handler: Handler) -> bool:
        served = _served(handler)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(served.content)))
        handler.end_headers()
        handler.close_connection = True
        for place in range(pieces):
            handler.wfile.write(served.content[place : place + 1])
            time.sleep(pause)
        return True

    return slowly


def drip(pause: float, *, head: bytes = b"HTTP/1.1 200 OK\r\nX-Long: ", drop: bytes = b"x") -> Behavior:
    """A start of an answer, and then something of it from time to time, without end."""

    def without_end(handler: Handler) -> bool:
        handler.close_connection = True
        handler.wfile.write(head)
        while not handler.server.owner.released.wait(pause):
            handler.wfile.write(drop)
        return True

    return without_end


def _served(handler: Handler) -> Served:
    served = handler.server.owner.files[handler.path]
    assert isinstance(served, Served)
    return served
