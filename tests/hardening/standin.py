"""A program that does wrong what its first argument says: what the arena has to notice."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

WRITES: Final = {
    "wrong status": (4, "", "error: this is no status for that\n"),
    "internal error": (70, "", "error: unexpected KeyError: 'a'\nhint: this is a defect; --debug shows where\n"),
    "no word": (2, "", ""),
    "not JSON": (0, '{"cosine": NaN}\n', ""),
    "JSON and more": (0, '{"cosine": 1}\nloading the model\n', ""),
    "torn lines": (0, '{"id": 1}\n{"id"', ""),
    "torn table": (0, 'id,text\n1,"a\n', ""),
    "markup": (0, "<!DOCTYPE html><title>a</title><img src=x onerror=alert(1)>", ""),
    "colors": (0, "\x1b[31ma dog\x1b[0m\n", ""),
    "colors in an error": (3, "", "error: there is no file \x1b]0;title\x07.png\n"),
    "another's words": (0, '{"text": "a cat"}\n', ""),
    "nothing wrong": (0, "{}\n", ""),
    "a usage error": (2, "", "error: there is no option --more\nhint: see clipalign detect --help\n"),
}
"""Exit status, standard output and standard error."""


def run() -> int:
    """Misbehave as ``sys.argv`` says."""
    deed = sys.argv[2]
    if deed in DOES:
        DOES[deed]()
    status, out, err = WRITES.get(deed, (0, "{}\n", ""))
    sys.stdout.write(out)
    sys.stderr.write(err)
    return status


def _raise() -> None:
    raise ValueError("nobody caught this")


def _hang_with_a_child() -> None:
    os.fork()
    time.sleep(60)


def _take_memory() -> None:
    block = bytearray(300_000_000)
    block[::4096] = b"x" * len(block[::4096])


DOES: Final[dict[str, Callable[[], object]]] = {
    "traceback": _raise,
    "hang": lambda: time.sleep(60),
    "hang with a child": _hang_with_a_child,
    "memory": _take_memory,
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "runs code": Path("marker").touch,
}
