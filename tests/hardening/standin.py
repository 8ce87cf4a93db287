"""A program that does wrong what its first argument says: what the arena has to notice."""

from __future__ import annotations

import os
import signal
import sys
import time


def run() -> int:
    """Misbehave as ``sys.argv`` says."""
    deed = sys.argv[2]
    if deed == "traceback":
        raise ValueError("nobody caught this")
    if deed == "hang":
        time.sleep(60)
    elif deed == "hang with a child":
        os.fork()
        time.sleep(60)
    elif deed == "memory":
        block = bytearray(300_000_000)
        block[::4096] = b"x" * len(block[::4096])
    elif deed == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif deed == "wrong status":
        sys.stderr.write("error: this is no status for that\n")
        return 4
    elif deed == "internal error":
        sys.stderr.write("error: unexpected KeyError: 'a'\nhint: this is a defect; --debug shows where it happened\n")
        return 70
    elif deed == "no word":
        return 2
    elif deed == "not JSON":
        sys.stdout.write('{"cosine": NaN}\n')
    elif deed == "JSON and more":
        sys.stdout.write('{"cosine": 1}\nloading the model\n')
    elif deed == "torn lines":
        sys.stdout.write('{"id": 1}\n{"id"')
    elif deed == "torn table":
        sys.stdout.write('id,text\n1,"a\n')
    elif deed == "markup":
        sys.stdout.write("<!DOCTYPE html><title>a</title><img src=x onerror=alert(1)>")
    elif deed == "colours":
        sys.stdout.write("\x1b[31ma dog\x1b[0m\n")
    elif deed == "colours in an error":
        sys.stderr.write("error: there is no file \x1b]0;title\x07.png\n")
        return 3
    elif deed == "runs code":
        with open("marker", "w"):  # noqa: PTH123
            pass
        sys.stdout.write("{}\n")
    elif deed == "another's words":
        sys.stdout.write('{"text": "a cat"}\n')
    elif deed == "nothing wrong":
        sys.stdout.write("{}\n")
    elif deed == "a usage error":
        sys.stderr.write("error: there is no option --more\nhint: see clipalign detect --help\n")
        return 2
    return 0
