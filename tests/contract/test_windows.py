"""The tests can be collected on Windows: what they need of Unix is imported where it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import importlib, pkgutil, os, signal, sys
import hypothesis, pexpect, pytest, torch, yaml
import clipalign, tests
from clipalign.errors import MissingExtra
from clipalign.models.load import import_open_clip

import_open_clip()
for module in pkgutil.walk_packages(clipalign.__path__, "clipalign."):
    try:
        importlib.import_module(module.name)  # the product's own imports for each system are tested elsewhere
    except MissingExtra:
        pass
for name in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for module, names in {
    os: "fork forkpty getuid geteuid getpgid killpg mkfifo openpty sched_getaffinity setsid sysconf wait4 WNOHANG",
    signal: "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGXFSZ pthread_sigmask setitimer",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
del pexpect.spawn

failed = []
for path in sys.argv[1:]:
    try:
        importlib.import_module(path)
    except (pytest.skip.Exception, MissingExtra):
        pass
    except BaseException as error:
        failed.append(f"{path}: {error!r}")
print("\\n".join(failed))
"""


def test_every_module_is_imported_without_what_windows_lacks() -> None:
    recipes = ROOT / "tests" / "recipes"  # programs for clusters, with libraries of their own
    paths = sorted(path for path in (ROOT / "tests").rglob("*.py") if recipes not in path.parents)
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *modules], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
