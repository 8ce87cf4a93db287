"""A language model on this machine: OpenAI's chat completions, as each test wants them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.server import QuietServer

Reply = Callable[["Handler", str], None]


class Handler(BaseHTTPRequestHandler):
    """OpenAI's chat completions, as each test wants them."""

    server: ChatServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing to stderr."""

    def do_POST(self) -> None:
        """One question about one class."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        with self.server.lock:
            self.server.asked.append((self.path, dict(self.headers), body))
            reply = self.server.replies.pop(0) if self.server.replies else self.server.usual
        reply(self, prompt.split('"')[1])

    def do_GET(self) -> None:
        """What a redirect that is followed would do."""
        self.server.asked.append((self.path, dict(self.headers), {}))
        self.send(200, b"{}")

    def say(self, text: str) -> None:
        """An answer of the model."""
        self.send(200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode())

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def usual(handler: Handler, name: str) -> None:
    """Two sentences."""
    handler.say(json.dumps([f"A {name} is big.", f"A {name} is loud."]))


def status(number: int, **headers: str) -> Reply:
    """An answer without an answer."""
    return lambda handler, name: handler.send(number, b"no", **headers)


class ChatServer(QuietServer):
    """A server on a free port.

    Attributes:
        url: its address.
        asked: path, headers and body of every request.
        replies: what it says next; after them ``usual``.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.replies: list[Reply] = []
        self.usual: Reply = usual
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """A running server."""
    found = ChatServer()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()
