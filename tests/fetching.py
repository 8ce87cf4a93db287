"""What the tests of fetching share: a file, a patient network, and what is left in a folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random
from typing import Any

from clipalign.download.fetch import DownloadResult, RemoteFile, fetch
from clipalign.download.web import RetryPolicy, Web
from tests.server import Server

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[::-1]
PATH = "/files/weights.bin"


def patient(**policy: Any) -> Web:
    """A network that never waits, and keeps on record what it told and how long it would have slept."""
    told: list[str] = []
    slept: list[float] = []
    quick = {"attempts": 4, "connect_seconds": 2.0, "stall_seconds": 2.0} | policy
    made = Web(RetryPolicy(**quick), sleep=slept.append, random=Random(0), tell=told.append)
    made.told, made.slept = told, slept  # type: ignore[attr-defined]
    return made


def bring(server: Server, target: Path, web: Web, **known: Any) -> DownloadResult:
    """The file at :data:`PATH`."""
    return fetch(RemoteFile(server.url + PATH, **known), target, web=web)


def left_over(folder: Path) -> list[str]:
    """The names in ``folder``."""
    return sorted(path.name for path in folder.iterdir())
