"""``clipalign`` for shell scripts, many times over, with torch imported once.

A process imports what all commands import and waits at a socket. The program ``clipalign`` that :class:`Warm` puts into
a folder hands its arguments, folder, environment and three streams over to it, and a fork of that process runs the
command line as ``python -m clipalign`` would. Scripts with pipes and statuses run as they stand, a tenth of a second
each instead of four.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import NoReturn

ROOT = Path(__file__).parents[2]
TERMINAL = {
    "COLUMNS": "80",
    "LINES": "24",
    "LC_ALL": "C.UTF-8",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "CLIPALIGN_DEVICE": "cpu",
    "OMP_NUM_THREADS": "1",
}
PYTHON = "warm-python"
"""The other program: runs the Python that is its one argument."""
NOT_TAKEN_OVER = ("CLIPALIGN_", "HF_", "XDG_", "FORCE_COLOR", "GITHUB_", "CI")

CLIENT = """\
#!{python} -ISE
import array, json, os, socket, sys
caller = socket.socket(socket.AF_UNIX)
caller.connect({address!r})
words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
asked = json.dumps([words, os.getcwd(), dict(os.environ)]).encode("utf-8", "surrogateescape")
streams = array.array("i", [0, 1, 2])
caller.sendmsg([len(asked).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
caller.sendall(asked)
sys.exit(int(caller.recv(8) or b"70"))
"""


class Warm:
    """The waiting process, while the block runs.

    Args:
        folder: where the program ``clipalign`` is put, in ``bin``, for ``PATH``, and a home that is nobody's.
        checkout: the folder that holds the package.

    Attributes:
        environment: of a terminal of 80 columns without colors; what libraries read of it when they are imported, such
            as ``HOME``, is the same for every command line.
    """

    def __init__(self, folder: Path, *, checkout: Path = ROOT) -> None:
        self.bin = folder / "bin"
        self._address = str(folder / "warm.socket")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_TAKEN_OVER)}
        self.environment = kept | TERMINAL | {"HOME": str(folder / "home"), "PYTHONPATH": f"{checkout}:{ROOT}"}
        self._checkout = checkout

    def __enter__(self) -> Warm:
        if not hasattr(os, "fork"):
            import pytest

            pytest.skip("runs each command in a fork")
        self.bin.mkdir(parents=True)
        for name in ("clipalign", PYTHON):
            program = self.bin / name
            program.write_text(CLIENT.format(python=sys.executable, address=self._address), encoding="utf-8")
            program.chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.warm", self._address], cwd=self._checkout, env=self.environment
        )
        while not Path(self._address).exists():
            if self._process.poll() is not None:
                raise RuntimeError("the waiting process ended")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()


def wait_for_callers(address: str) -> NoReturn:
    """Serve until killed."""
    import clipalign
    from clipalign.errors import MissingExtra
    from clipalign.models.load import import_open_clip
    from clipalign.output import progress

    import_open_clip()
    progress.LINE_SECONDS = math.inf  # type: ignore[misc]  # lines that a slow machine alone would print
    for module in pkgutil.walk_packages(clipalign.__path__, "clipalign."):
        with contextlib.suppress(MissingExtra):
            importlib.import_module(module.name)

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + ".new")
    listener.listen()
    Path(address + ".new").rename(address)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks: their callers are told the status
    while True:
        caller, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _answer(caller)
        caller.close()


def _answer(caller: socket.socket) -> NoReturn:
    """Be the program that the caller stands for."""
    status = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        length, streams, _, _ = socket.recv_fds(caller, 4, 3)
        asked = b""
        while len(asked) < int.from_bytes(length, "big"):
            asked += caller.recv(1 << 16)
        (name, *arguments), folder, environment = json.loads(asked.decode("utf-8", "surrogateescape"))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [name, *arguments]
        sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in enumerate("rww"))  # noqa: PTH123, SIM115

        if name == PYTHON:
            exec(compile(arguments[0], "a page", "exec"), {"__name__": "__main__"})
            status = 0
        else:
            from clipalign.__main__ import run

            status = run()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        caller.sendall(str(status).encode())
        os._exit(0)


if __name__ == "__main__":
    wait_for_callers(sys.argv[1])
