"""The same terminal, environment and thread count for every test, whoever runs them."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from clipalign.data import remote
from clipalign.download.web import RetryPolicy, Web
from clipalign.output import progress
from clipalign.output.console import notices
from tests.contract.warm import Warm
from tests.fetching import CONTENT, PATH, patient
from tests.server import Server, running

PINNED = {"COLUMNS": "80", "LINES": "24", "NO_COLOR": "1", "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
if importlib.util.find_spec("openvino"):
    PINNED["CLIPALIGN_ENGINE"] = "torch"  # tests of the other engine ask for it
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Two processes on two cores want no more; ``OMP_NUM_THREADS=2 python -m pytest`` runs the suite with two."""
DROPPED = ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE", "CI", "PYTHONDONTWRITEBYTECODE")
"""The last, as hundreds of programs would each compile the package anew."""
DROPPED_PREFIXES = ("CLIPALIGN_", "HF_", "_CLIPALIGN")

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    """Before torch is imported: its thread count is read from the environment."""
    for name in [*DROPPED, *(name for name in os.environ if name.startswith(DROPPED_PREFIXES))]:
        os.environ.pop(name, None)
    os.environ.update(THREADS | dict(os.environ) | PINNED)
    # How long an example takes says more about the machine than about the product.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("suite")
    # A shell starts background jobs deaf to Ctrl-C, and so would be the programs that tests start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of this run's own: weights on the developer's machine must not change what a test sees."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _no_line_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine a run of a test may take the half minute after which progress is told in lines."""
    monkeypatch.setattr(progress, "LINE_SECONDS", math.inf)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine, with the one file of :mod:`tests.fetching`, that no proxy stands before."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with running() as one:
        one.put(PATH, CONTENT)
        yield one


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """The waiting process that runs command lines in its forks."""
    with Warm(tmp_path_factory.mktemp("warm")) as warm:
        yield warm


@pytest.fixture
def program(request: pytest.FixtureRequest) -> list[str]:
    """What starts clipalign as a program, quickly where there are forks; signals and limits want the real one."""
    if not hasattr(os, "fork"):
        return [sys.executable, "-m", "clipalign"]
    warm: Warm = request.getfixturevalue("warm")
    return [str(warm.bin / "clipalign")]


@pytest.fixture
def web() -> Web:
    """The network, without waiting, and with the waits on record."""
    return patient()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: no token, and no caches but those in it."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("CLIPALIGN_CACHE", "XDG_CACHE_HOME", "HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def hub(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The Hub: ``server``, with an empty cache, and no token."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    return server


@pytest.fixture(scope="module")
def few_draws() -> Iterator[None]:
    """Intervals from 60 bootstrap draws instead of a thousand, for tests of something else that they slow down."""
    modules = [importlib.import_module(f"clipalign.evaluation.{name}") for name in ("metrics", "compare")]
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setattr(module, "BOOTSTRAP_DRAWS", 60)
        yield


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A filesystem of fsspec in memory, and no pauses between attempts."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setattr(remote, "POLICY", RetryPolicy(first_pause_seconds=0.0))
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()


@pytest.fixture
def fresh_notices() -> Iterator[None]:
    """Notices as a run finds them, and nothing left in them."""
    notices.quiet, notices.json, notices.kept = False, False, ""
    yield
    notices.kept = ""
