"""Fetching one file from servers that cut, lie, stall, refuse and change their mind."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clipalign.downloads import fetch as room
from clipalign.downloads.fetch import drop_part, fetch, note_of, part_of, tidy
from clipalign.downloads.wanted import Fetched, Wanted
from clipalign.downloads.web import Patience, RefusedError, Web, retry_after
from clipalign.errors import DISK_FULL, DownloadFailed, OutputError, VerificationFailed
from clipalign.locks import exclusive
from tests.server import Server, cut, redirect, running, says, silence, stall, status, trickle

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[::-1]
PATH = "/files/weights.bin"


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as one:
        one.put(PATH, CONTENT)
        yield one


@pytest.fixture
def web() -> Web:
    """Without waiting, and with the waits on record."""
    return patient()


def patient(**patience: Any) -> Web:
    told: list[str] = []
    slept: list[float] = []
    quick = {"attempts": 4, "connect_seconds": 2.0, "stall_seconds": 2.0} | patience
    made = Web(Patience(**quick), sleep=slept.append, random=Random(0), tell=told.append)
    made.told, made.slept = told, slept  # type: ignore[attr-defined]
    return made


@pytest.fixture(autouse=True)
def _fields_for_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)


def bring(server: Server, target: Path, web: Web, **known: Any) -> Fetched:
    return fetch(Wanted(server.url + PATH, **known), target, web=web)


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestAWholeFile:
    def test_comes_with_its_hash_and_leaves_nothing_else(self, server: Server, tmp_path: Path, web: Web):
        found = bring(server, tmp_path / "deep" / "w.bin", web, sha256=SHA256, size_bytes=len(CONTENT))
        assert (found.sha256, found.size_bytes, found.verified) == (SHA256, len(CONTENT), True)
        assert found.path.read_bytes() == CONTENT
        assert left_over(tmp_path / "deep") == ["w.bin"]

    def test_has_its_hash_also_where_nobody_knew_it(self, server: Server, tmp_path: Path, web: Web):
        found = bring(server, tmp_path / "w.bin", web)
        assert found.sha256 == SHA256 and not found.verified

    def test_may_be_known_by_md5_or_by_gits_name(self, server: Server, tmp_path: Path, web: Web):
        md5 = hashlib.md5(CONTENT).hexdigest()
        name = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
        assert bring(server, tmp_path / "a", web, md5=md5).verified
        assert bring(server, tmp_path / "b", web, git_sha1=name).verified
        with pytest.raises(VerificationFailed, match="MD5"):
            bring(server, tmp_path / "c", web, md5=md5[::-1])
        with pytest.raises(VerificationFailed, match="git hash"):
            bring(server, tmp_path / "d", web, git_sha1=name[::-1])

    def test_that_is_there_is_not_fetched_again(self, server: Server, tmp_path: Path, web: Web):
        bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        asked = len(server.asked)
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified
        assert len(server.asked) == asked

    def test_that_is_there_does_not_keep_what_a_killed_run_left(self, server: Server, tmp_path: Path, web: Web):
        wanted = Wanted(server.put("/a", CONTENT), sha256=SHA256)
        fetch(wanted, tmp_path / "a", web=web)
        for name in ("a.lock", "a.part", "a.part.json"):
            (tmp_path / name).write_bytes(b"{}")
        fetch(wanted, tmp_path / "a", web=web)
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_that_is_there_is_tidied_without_fetching_and_a_part_of_another_is_left(self, tmp_path: Path):
        (tmp_path / "a").write_bytes(CONTENT)
        for name in ("a.lock", "a.part.json"):
            (tmp_path / name).write_bytes(b"{}")
        tidy(tmp_path / "a")
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
        for name in ("a.lock", "a.part", "a.part.json"):
            (tmp_path / name).write_bytes(b"{}")
        with exclusive(tmp_path / "a.lock"):
            tidy(tmp_path / "a")
        assert len([*tmp_path.iterdir()]) == 4

    def test_that_is_there_and_damaged_is_replaced(self, server: Server, tmp_path: Path, web: Web):
        (tmp_path / "w.bin").write_bytes(OTHER)
        bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        assert (tmp_path / "w.bin").read_bytes() == CONTENT

    def test_may_be_empty(self, server: Server, tmp_path: Path, web: Web):
        server.put(PATH, b"")
        assert bring(server, tmp_path / "w.bin", web).size_bytes == 0

    def test_may_come_without_a_length(self, server: Server, tmp_path: Path, web: Web):
        server.put(PATH, CONTENT, length=False)
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified

    def test_tells_how_far_it_is(self, server: Server, tmp_path: Path, web: Web):
        steps: list[tuple[int, int]] = []
        fetch(Wanted(server.url + PATH), tmp_path / "w", web=web, progress=lambda *step: steps.append(step))
        assert steps[0] == (0, len(CONTENT)) and steps[-1] == (len(CONTENT), len(CONTENT))


class TestACutConnection:
    def test_goes_on_where_it_was_cut(self, server: Server, tmp_path: Path, web: Web):
        server.next(PATH, cut(1000), cut(500))
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified
        assert server.seen("range") == [None, "bytes=1000-", "bytes=1500-"]
        assert server.seen("if-range") == [None, '"v1"', '"v1"']

    def test_goes_on_in_a_later_run(self, server: Server, tmp_path: Path):
        server.next(PATH, cut(1000))
        with pytest.raises(DownloadFailed, match=r"connection|ended"):
            bring(server, tmp_path / "w.bin", patient(attempts=1))
        assert part_of(tmp_path / "w.bin").read_bytes() == CONTENT[:1000]
        found = bring(server, tmp_path / "w.bin", patient(), sha256=SHA256)
        assert found.resumed_bytes == 1000 and found.path.read_bytes() == CONTENT
        assert left_over(tmp_path) == ["w.bin"]

    def test_progress_starts_the_count_of_attempts_afresh(self, server: Server, tmp_path: Path, web: Web):
        server.next(PATH, *[cut(1000)] * 20)
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified

    def test_a_server_that_cuts_for_ever_is_given_up(self, server: Server, tmp_path: Path, web: Web):
        server.next(PATH, cut(1000), *[cut(0)] * 50)
        with pytest.raises(DownloadFailed, match="4 times in a row") as caught:
            bring(server, tmp_path / "w.bin", web)
        assert caught.value.exit_status == 4
        assert part_of(tmp_path / "w.bin").stat().st_size == 1000

    def test_a_server_that_gives_crumbs_is_given_up_in_the_end(self, server: Server, tmp_path: Path):
        server.next(PATH, *[cut(1)] * 50)
        with pytest.raises(DownloadFailed):
            bring(server, tmp_path / "w.bin", patient(attempts_in_all=8))

    def test_a_server_without_ranges_starts_from_the_beginning(self, server: Server, tmp_path: Path, web: Web):
        server.put(PATH, CONTENT, ranges=False)
        server.next(PATH, cut(1000))
        found = bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        assert found.verified and found.path.read_bytes() == CONTENT

    def test_waits_grow_and_are_shortened_at_random(self, server: Server, tmp_path: Path, web: Web):
        server.next(PATH, *[status(500)] * 3)
        bring(server, tmp_path / "w.bin", web)
        slept = web.slept  # type: ignore[attr-defined]
        assert len(slept) == 3
        assert all(0.5 * 2**n <= seconds <= 2**n for n, seconds in enumerate(slept))


class TestAFileThatChanges:
    def test_is_fetched_anew(self, server: Server, tmp_path: Path):
        server.next(PATH, cut(1000))
        with pytest.raises(DownloadFailed):
            bring(server, tmp_path / "w.bin", patient(attempts=1))
        server.put(PATH, OTHER, etag='"v2"')
        found = bring(server, tmp_path / "w.bin", patient())
        assert found.path.read_bytes() == OTHER
        assert server.seen("if-range")[-1] == '"v1"'

    def test_by_its_date_where_there_is_no_etag(self, server: Server, tmp_path: Path):
        first, later = "Mon, 02 Nov 2026 00:00:00 GMT", "Tue, 03 Nov 2026 00:00:00 GMT"
        server.put(PATH, CONTENT, etag="", headers={"Last-Modified": first})
        server.next(PATH, cut(1000))
        with pytest.raises(DownloadFailed):
            bring(server, tmp_path / "w.bin", patient(attempts=1))
        server.put(PATH, OTHER, etag="", headers={"Last-Modified": later})
        assert bring(server, tmp_path / "w.bin", patient()).path.read_bytes() == OTHER
        assert server.seen("if-range")[-1] == first

    def test_a_weak_etag_is_no_promise(self, server: Server, tmp_path: Path):
        server.put(PATH, CONTENT, etag='W/"v1"')
        server.next(PATH, cut(1000))
        with pytest.raises(DownloadFailed):
            bring(server, tmp_path / "w.bin", patient(attempts=1))
        bring(server, tmp_path / "w.bin", patient())
        assert server.seen("range") == [None, None]

    def test_without_telling_is_found_out_by_the_hash(self, server: Server, tmp_path: Path, web: Web):
        part_of(tmp_path / "w.bin").write_bytes(OTHER[:5000])  # of another file, and nobody knows of which
        found = bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        assert found.path.read_bytes() == CONTENT
        assert server.seen("range") == ["bytes=5000-", None]

    def test_a_part_that_nothing_vouches_for_is_not_used(self, server: Server, tmp_path: Path, web: Web):
        part_of(tmp_path / "w.bin").write_bytes(CONTENT[:5000])
        bring(server, tmp_path / "w.bin", web)
        assert server.seen("range") == [None]

    def test_a_part_of_another_address_is_not_used(self, server: Server, tmp_path: Path):
        server.next(PATH, cut(1000))
        with pytest.raises(DownloadFailed):
            bring(server, tmp_path / "w.bin", patient(attempts=1))
        url = server.put("/other", OTHER)
        found = fetch(Wanted(url), tmp_path / "w.bin", web=patient())
        assert found.path.read_bytes() == OTHER and server.seen("range")[-1] is None

    def test_a_part_longer_than_the_file_is_dropped(self, server: Server, tmp_path: Path, web: Web):
        part_of(tmp_path / "w.bin").write_bytes(CONTENT + b"more")
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified
        assert server.seen("range") == [f"bytes={len(CONTENT) + 4}-", None]

    def test_a_part_that_is_the_whole_file_is_enough(self, server: Server, tmp_path: Path, web: Web):
        part_of(tmp_path / "w.bin").write_bytes(CONTENT)
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified  # 416, and the size agrees
        part_of(tmp_path / "v.bin").write_bytes(CONTENT)
        asked = len(server.asked)
        assert bring(server, tmp_path / "v.bin", web, sha256=SHA256, size_bytes=len(CONTENT)).verified
        assert len(server.asked) == asked

    def test_a_range_that_was_not_asked_for_is_not_believed(self, server: Server, tmp_path: Path, web: Web):
        wrong = {"Content_Range": f"bytes 0-999/{len(CONTENT)}", "ETag": '"v1"'}
        server.next(PATH, cut(1000), status(206, CONTENT[:1000], **wrong))
        found = bring(server, tmp_path / "w.bin", web)
        assert found.path.read_bytes() == CONTENT
        assert server.seen("range") == [None, "bytes=1000-", None]

    def test_a_range_of_another_version_is_not_believed(self, server: Server, tmp_path: Path, web: Web):
        wrong = {"Content_Range": f"bytes 1000-{len(OTHER) - 1}/{len(OTHER)}", "ETag": '"v2"'}
        server.next(PATH, cut(1000), status(206, OTHER[1000:], **wrong))
        assert bring(server, tmp_path / "w.bin", web).path.read_bytes() == CONTENT


class TestAWrongFile:
    def test_is_fetched_once_more_and_then_named_with_both_hashes(self, server: Server, tmp_path: Path, web: Web):
        server.put(PATH, OTHER)
        with pytest.raises(VerificationFailed) as caught:
            bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        assert SHA256 in caught.value.message
        assert hashlib.sha256(OTHER).hexdigest() in caught.value.message
        assert caught.value.exit_status == 4
        assert len(server.asked) == 2
        assert left_over(tmp_path) == []

    def test_may_be_right_the_second_time(self, server: Server, tmp_path: Path, web: Web):
        server.next(PATH, status(200, OTHER))
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).path.read_bytes() == CONTENT

    def test_of_another_size_does_not_even_come(self, server: Server, tmp_path: Path, web: Web):
        with pytest.raises(VerificationFailed, match="102,400 bytes, not 7"):
            bring(server, tmp_path / "w.bin", web, size_bytes=7)
        assert left_over(tmp_path) == []

    def test_a_length_too_long_is_a_cut_that_never_heals(self, server: Server, tmp_path: Path, web: Web):
        server.next(PATH, says(len(CONTENT) + 100))
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified

    def test_a_length_too_short_is_found_out_by_the_hash(self, server: Server, tmp_path: Path, web: Web):
        server.next(PATH, says(1000), says(1000))
        with pytest.raises(VerificationFailed):
            bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        server.next(PATH, says(1000))
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified

    def test_more_than_was_expected_is_not_written(self, server: Server, tmp_path: Path, web: Web):
        server.put(PATH, CONTENT, length=False)
        with pytest.raises(VerificationFailed, match="more than 1,000 bytes"):
            bring(server, tmp_path / "w.bin", web, size_bytes=1000)

    def test_a_web_page_in_its_place_is_named(self, server: Server, tmp_path: Path, web: Web):
        page = b"<!DOCTYPE html><title>log in</title>"
        server.put(PATH, page, headers={"Content-Type": "text/html; charset=utf-8"})
        with pytest.raises(DownloadFailed, match="a web page instead of"):
            bring(server, tmp_path / "w.bin", web)
        with pytest.raises(VerificationFailed, match="what came is a web page"):
            bring(server, tmp_path / "w.bin", web, sha256=SHA256)

    def test_a_pointer_in_its_place_is_named(self, server: Server, tmp_path: Path, web: Web):
        server.put(PATH, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n")
        with pytest.raises(VerificationFailed, match="Git LFS pointer"):
            bring(server, tmp_path / "w.bin", web, sha256=SHA256)

    def test_what_comes_compressed_is_unpacked(self, server: Server, tmp_path: Path, web: Web):
        import gzip

        server.put(PATH, gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"})
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified


class TestAnAnswer:
    @pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 418])
    def test_that_will_not_change_ends_it_at_once(self, server: Server, tmp_path: Path, web: Web, code: int):
        server.next(PATH, status(code))
        with pytest.raises(RefusedError, match=str(code)) as caught:
            bring(server, tmp_path / "w.bin", web)
        assert caught.value.status == code and caught.value.exit_status == 4
        assert len(server.asked) == 1

    @pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
    def test_that_may_pass_is_waited_out(self, server: Server, tmp_path: Path, web: Web, code: int):
        server.next(PATH, status(code))
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified

    def test_that_names_its_wait_is_heeded(self, server: Server, tmp_path: Path, web: Web):
        server.next(PATH, status(429, Retry_After="7"))
        bring(server, tmp_path / "w.bin", web)
        assert web.slept == [7.0]  # type: ignore[attr-defined]
        assert "asked too often" in web.told[0]  # type: ignore[attr-defined]

    def test_that_wants_an_hour_is_not_waited_for(self, server: Server, tmp_path: Path, web: Web):
        server.next(PATH, status(429, Retry_After="3600"))
        with pytest.raises(RefusedError, match="60 minutes"):
            bring(server, tmp_path / "w.bin", web)
        assert web.slept == []  # type: ignore[attr-defined]

    def test_a_wait_may_be_a_date(self):
        assert 25 < (retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=30))) or 0) < 31
        assert retry_after(format_datetime(datetime.now(UTC) - timedelta(seconds=30))) == 0
        assert retry_after("soon") is None and retry_after("") is None


class TestARedirect:
    def test_is_followed_with_the_range(self, server: Server, tmp_path: Path, web: Web):
        server.next("/old", *[redirect(PATH)] * 2)
        server.next(PATH, cut(1000))
        assert fetch(Wanted(server.url + "/old", sha256=SHA256), tmp_path / "w", web=web).verified
        assert server.seen("range", PATH) == [None, "bytes=1000-"]

    def test_takes_no_token_to_another_host(self, server: Server, tmp_path: Path, web: Web):
        server.next("/old", redirect(server.other_url + PATH))
        fetch(Wanted(server.url + "/old", token="secret"), tmp_path / "w", web=web)
        assert server.seen("authorization") == ["Bearer secret", None]

    def test_keeps_the_token_on_the_same_host(self, server: Server, tmp_path: Path, web: Web):
        server.next("/old", redirect(server.url + PATH))
        fetch(Wanted(server.url + "/old", token="secret"), tmp_path / "w", web=web)
        assert server.seen("authorization") == ["Bearer secret"] * 2

    def test_a_password_file_is_not_read(
        self, server: Server, tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
    ):
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        fetch(Wanted(server.url + PATH, token="secret"), tmp_path / "a", web=web)
        fetch(Wanted(server.url + PATH), tmp_path / "b", web=web)
        assert server.seen("authorization") == ["Bearer secret", None]

    def test_to_itself_ends(self, server: Server, tmp_path: Path, web: Web):
        server.next(PATH, *[redirect(PATH)] * 30)
        with pytest.raises(DownloadFailed, match="redirects without end"):
            bring(server, tmp_path / "w.bin", web)
        assert len(server.asked) == web.patience.redirects + 1

    @pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1"])
    def test_to_no_web_address_is_not_followed(self, server: Server, tmp_path: Path, web: Web, to: str):
        server.next(PATH, redirect(to))
        with pytest.raises(DownloadFailed, match="not followed"):
            bring(server, tmp_path / "w.bin", web)

    def test_from_https_to_http_is_not_followed(self):
        from clipalign.downloads.web import _check_redirect

        with pytest.raises(DownloadFailed, match="from https to http"):
            _check_redirect("https://example.org/a", "http://example.org/a")

    def test_an_address_must_be_one(self, tmp_path: Path, web: Web):
        for url in ("file:///etc/passwd", "example.org/x", "http://", "http://host:port/x"):
            with pytest.raises(DownloadFailed, match="no http or https address"):
                fetch(Wanted(url), tmp_path / "w.bin", web=web)


class TestASilentServer:
    def test_that_stalls_is_left_and_asked_again(self, server: Server, tmp_path: Path):
        server.next(PATH, stall(1000))
        found = bring(server, tmp_path / "w.bin", patient(stall_seconds=0.2), sha256=SHA256)
        assert found.verified and server.seen("range") == [None, "bytes=1000-"]

    def test_that_never_answers_is_given_up(self, server: Server, tmp_path: Path):
        server.next(PATH, *[silence()] * 3)
        with pytest.raises(DownloadFailed, match="does not answer, 2 times"):
            bring(server, tmp_path / "w.bin", patient(stall_seconds=0.1, attempts=2))

    def test_that_trickles_counts_as_one_that_stalls(self, server: Server, tmp_path: Path):
        server.next(PATH, trickle(0.05, 20))
        web = patient(stall_seconds=0.3, slowest_bytes=1000)
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified
        assert "next to nothing" in web.told[0]  # type: ignore[attr-defined]

    def test_that_is_not_there_is_named(self, tmp_path: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with pytest.raises(DownloadFailed, match=rf"no connection to 127.0.0.1:{port} .*refused"):
            fetch(Wanted(f"http://127.0.0.1:{port}/x"), tmp_path / "w", web=patient(attempts=2))

    def test_whose_name_means_nothing_is_not_waited_for_long(self, tmp_path: Path):
        web = patient(attempts=6)
        with pytest.raises(DownloadFailed, match=r"no connection: nowhere.invalid cannot be found, 2 times") as caught:
            fetch(Wanted("https://nowhere.invalid/x"), tmp_path / "w", web=web)
        assert caught.value.hint == "is there a network?"

    def test_a_proxy_is_used(self, server: Server, tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.delenv("no_proxy", raising=False)
        server.files["http://example.invalid/x"] = server.files[PATH]
        assert fetch(Wanted("http://example.invalid/x", sha256=SHA256), tmp_path / "w", web=web).verified


class TestADisk:
    def test_that_is_too_small_is_known_beforehand(
        self, server: Server, tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
    ):
        usage = room.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(OutputError, match=r"needs 0 MB more|MB of room") as caught:
            bring(server, tmp_path / "w.bin", web)
        assert caught.value.exit_status == 70

    def test_that_fills_up_keeps_what_has_come(self, server: Server, tmp_path: Path, web: Web):
        """For real: the size of a file this process may write is limited, and the write fails in the middle."""
        if sys.platform == "win32":
            pytest.skip("no such limit")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
            with pytest.raises(
                OutputError, match=r"the disk is full: 30,000 bytes of weights.bin are kept in"
            ) as caught:
                bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        assert caught.value.exit_status == 70 and "goes on from there" in caught.value.hint
        found = bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        assert found.resumed_bytes == 30_000 and found.verified

    def test_that_may_not_be_written_is_named(self, server: Server, tmp_path: Path, web: Web):
        (tmp_path / "folder").write_text("a file")
        with pytest.raises(OutputError, match=r"cannot be written to .*folder") as caught:
            bring(server, tmp_path / "folder" / "w.bin", web)
        assert "--cache-dir" in caught.value.hint

    def test_other_full_disks_are_full_too(self):
        assert {errno.ENOSPC, errno.EDQUOT} <= DISK_FULL


VERSIONS = {'"v1"': CONTENT[:30_000], '"v2"': OTHER[:33_000]}


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("known", [True, False], ids=["with a hash", "without"])
def test_whatever_a_server_does_there_is_a_whole_file_or_none(server: Server, tmp_path: Path, seed: int, known: bool):
    """Cuts, stalls, refusals, wrong ranges and a file that changes, in any order, over several runs."""
    draw = Random(seed)
    path = "/changing"

    def serve(etag: str) -> None:
        server.put(path, VERSIONS[etag], etag=etag, ranges=draw.random() < 0.8, length=not known or draw.random() < 0.8)

    def change(handler: Any) -> bool:
        serve(draw.choice(list(VERSIONS)))
        return False

    wrong = {"Content_Range": "bytes 5-9/33000", "ETag": draw.choice(list(VERSIONS))}
    moods = [
        *[cut(draw.randrange(30_000)) for _ in range(6)],
        *[change] * 3,
        status(500),
        status(429, Retry_After="0"),
        status(416, Content_Range=f"bytes */{draw.choice([30_000, 33_000, 7])}"),
        status(206, b"12345", **wrong),
        redirect(path),
    ]
    serve('"v1"')
    target = tmp_path / "w.bin"
    sha256 = hashlib.sha256(VERSIONS['"v1"']).hexdigest() if known else ""
    for _ in range(6):
        server.next(path, *draw.sample(moods, draw.randrange(len(moods))))
        try:
            found = fetch(Wanted(server.url + path, sha256=sha256), target, web=patient())
        except (DownloadFailed, VerificationFailed):
            assert not target.exists()
            continue
        assert target.read_bytes() in ([VERSIONS['"v1"']] if known else VERSIONS.values())
        assert found.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
        break
    assert left_over(tmp_path) in (["w.bin"], [], ["w.bin.part", "w.bin.part.json"])


def test_a_certificate_of_ones_own_is_not_trusted(server: Server, tmp_path: Path, web: Web):
    """For real, with TLS."""
    import shutil
    import ssl
    from http.server import ThreadingHTTPServer

    from tests.server import Handler

    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    made = [*make, "-addext", "subjectAltName=DNS:localhost", *files]
    subprocess.run(made, check=True, capture_output=True)
    secure = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    secure.owner = server  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    threading.Thread(target=secure.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    url = f"https://localhost:{secure.server_port}{PATH}"
    try:
        with pytest.raises(DownloadFailed, match=r"the certificate of localhost:.* cannot be trusted") as caught:
            fetch(Wanted(url, sha256=SHA256), tmp_path / "w.bin", web=web)
        assert "REQUESTS_CA_BUNDLE" in caught.value.hint and server.asked == []
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
            assert fetch(Wanted(url, sha256=SHA256), tmp_path / "w.bin", web=patient()).verified
    finally:
        secure.shutdown()
        secure.server_close()


FETCHING = """
import sys
from pathlib import Path
from clipalign.downloads.fetch import fetch
from clipalign.downloads.wanted import Wanted
from clipalign.downloads.web import Patience, Web
def tell(line):
    print(line, flush=True)
web = Web(Patience(stall_seconds=20), tell=tell)
found = fetch(Wanted(sys.argv[1], sha256=sys.argv[3]), Path(sys.argv[2]), web=web)
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


def test_a_killed_process_leaves_a_part_that_the_next_one_uses(server: Server, tmp_path: Path, web: Web):
    server.next(PATH, stall(50_000, 30))
    process = start(server, tmp_path / "w.bin")
    until(lambda: part_of(tmp_path / "w.bin").exists() and part_of(tmp_path / "w.bin").stat().st_size == 50_000)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert note_of(tmp_path / "w.bin").exists() and not (tmp_path / "w.bin").exists()
    found = bring(server, tmp_path / "w.bin", web, sha256=SHA256)
    assert found.resumed_bytes == 50_000 and found.verified
    assert server.seen("range") == [None, "bytes=50000-"]
    assert left_over(tmp_path) == ["w.bin"]


def test_of_two_at_once_the_second_waits_and_finds_it_there(server: Server, tmp_path: Path):
    server.next(PATH, stall(50_000, 30))
    first = start(server, tmp_path / "w.bin")
    until(lambda: part_of(tmp_path / "w.bin").exists())
    web = patient()
    found: list[Fetched] = []
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


def test_a_part_can_be_dropped(tmp_path: Path):
    part_of(tmp_path / "w").write_bytes(b"123")
    note_of(tmp_path / "w").write_text("{}")
    assert drop_part(tmp_path / "w") == 3 and left_over(tmp_path) == []
    assert drop_part(tmp_path / "w") == 0
