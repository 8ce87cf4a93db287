"""A file that is fetched by processes that are killed, or by two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from clipalign.download.fetch import DownloadResult, drop_part, note_of, partial_path
from clipalign.download.web import Web
from tests.fetching import PATH, SHA256, bring, left_over, patient
from tests.server import Server, stall

FETCHING = """
import sys
from pathlib import Path
from clipalign.download.fetch import fetch
from clipalign.download.fetch import RemoteFile
from clipalign.download.web import RetryPolicy, Web
def tell(line):
    print(line, flush=True)
web = Web(RetryPolicy(stall_seconds=20), tell=tell)
found = fetch(RemoteFile(sys.argv[1], sha256=sys.argv[3]), Path(sys.argv[2]), web=web)
print("came", found.resumed_bytes, flush=True)
"""


def start(server: Server, target: Path) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", FETCHING, server.url + PATH, str(target), SHA256]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def until(true: Any) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)


def test_a_killed_process_leaves_a_part_that_the_next_one_uses(server: Server, tmp_path: Path, web: Web) -> None:
    server.next(PATH, stall(50_000, 30))
    process = start(server, tmp_path / "w.bin")
    until(
        lambda: partial_path(tmp_path / "w.bin").exists() and partial_path(tmp_path / "w.bin").stat().st_size == 50_000
    )
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert note_of(tmp_path / "w.bin").exists() and not (tmp_path / "w.bin").exists()
    found = bring(server, tmp_path / "w.bin", web, sha256=SHA256)
    assert found.resumed_bytes == 50_000 and found.verified
    assert server.seen("range") == [None, "bytes=50000-"]
    assert left_over(tmp_path) == ["w.bin"]


def test_of_two_at_once_the_second_waits_and_finds_it_there(server: Server, tmp_path: Path) -> None:
    server.next(PATH, stall(50_000, 30))
    first = start(server, tmp_path / "w.bin")
    until(lambda: partial_path(tmp_path / "w.bin").exists())
    web = patient()
    found: list[DownloadResult] = []
    second = threading.Thread(target=lambda: found.append(bring(server, tmp_path / "w.bin", web, sha256=SHA256)))
    second.start()
    until(lambda: web.told)  # type: ignore[attr-defined]
    assert "waiting for it" in web.told[0]  # type: ignore[attr-defined]
    server.released.set()  # the stalled connection breaks; the first asks again
    out, _ = first.communicate(timeout=30)
    second.join(30)
    assert "came 0" in out and found[0].verified
    assert len(server.asked) == 2  # the first's two; the second never asked
    assert left_over(tmp_path) == ["w.bin"]


def test_a_part_can_be_dropped(tmp_path: Path) -> None:
    partial_path(tmp_path / "w").write_bytes(b"123")
    note_of(tmp_path / "w").write_text("{}")
    assert drop_part(tmp_path / "w") == 3 and left_over(tmp_path) == []
    assert drop_part(tmp_path / "w") == 0
