"""Fetching one file from servers that cut, lie, stall and change their mind."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clipalign.download.fetch import RemoteFile, disk_error, fetch, partial_path, tidy
from clipalign.download.web import Web
from clipalign.errors import DISK_FULL, DownloadFailed, OutputError, VerificationFailed
from clipalign.files import exclusive
from tests.fetching import CONTENT, OTHER, PATH, SHA256, bring, left_over, patient
from tests.server import Server, cut, redirect, says, status


class TestAWholeFile:
    def test_comes_with_its_hash_and_leaves_nothing_else(self, server: Server, tmp_path: Path, web: Web) -> None:
        found = bring(server, tmp_path / "deep" / "w.bin", web, sha256=SHA256, size_bytes=len(CONTENT))
        assert (found.sha256, found.size_bytes, found.verified) == (SHA256, len(CONTENT), True)
        assert found.path.read_bytes() == CONTENT
        assert left_over(tmp_path / "deep") == ["w.bin"]

    def test_has_its_hash_also_where_nobody_knew_it(self, server: Server, tmp_path: Path, web: Web) -> None:
        found = bring(server, tmp_path / "w.bin", web)
        assert found.sha256 == SHA256 and not found.verified

    def test_may_be_known_by_md5_or_by_gits_name(self, server: Server, tmp_path: Path, web: Web) -> None:
        md5 = hashlib.md5(CONTENT).hexdigest()
        name = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
        assert bring(server, tmp_path / "a", web, md5=md5).verified
        assert bring(server, tmp_path / "b", web, git_sha1=name).verified
        with pytest.raises(VerificationFailed, match="MD5"):
            bring(server, tmp_path / "c", web, md5=md5[::-1])
        with pytest.raises(VerificationFailed, match="git hash"):
            bring(server, tmp_path / "d", web, git_sha1=name[::-1])

    def test_that_is_there_is_not_fetched_again(self, server: Server, tmp_path: Path, web: Web) -> None:
        bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        asked = len(server.asked)
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified
        assert len(server.asked) == asked

    def test_that_is_there_does_not_keep_what_a_killed_run_left(self, server: Server, tmp_path: Path, web: Web) -> None:
        wanted = RemoteFile(server.put("/a", CONTENT), sha256=SHA256)
        fetch(wanted, tmp_path / "a", web=web)
        for name in ("a.lock", "a.part", "a.part.json"):
            (tmp_path / name).write_bytes(b"{}")
        fetch(wanted, tmp_path / "a", web=web)
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_that_is_there_is_tidied_without_fetching_and_a_part_of_another_is_left(self, tmp_path: Path) -> None:
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

    def test_that_is_there_and_damaged_is_replaced(self, server: Server, tmp_path: Path, web: Web) -> None:
        (tmp_path / "w.bin").write_bytes(OTHER)
        bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        assert (tmp_path / "w.bin").read_bytes() == CONTENT

    def test_may_be_empty(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.put(PATH, b"")
        assert bring(server, tmp_path / "w.bin", web).size_bytes == 0

    def test_may_come_without_a_length(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.put(PATH, CONTENT, length=False)
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified

    def test_tells_how_far_it_is(self, server: Server, tmp_path: Path, web: Web) -> None:
        steps: list[tuple[int, int]] = []
        fetch(RemoteFile(server.url + PATH), tmp_path / "w", web=web, progress=lambda *step: steps.append(step))
        assert steps[0] == (0, len(CONTENT)) and steps[-1] == (len(CONTENT), len(CONTENT))


class TestACutConnection:
    def test_goes_on_where_it_was_cut(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next(PATH, cut(1000), cut(500))
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified
        assert server.seen("range") == [None, "bytes=1000-", "bytes=1500-"]
        assert server.seen("if-range") == [None, '"v1"', '"v1"']

    def test_goes_on_in_a_later_run(self, server: Server, tmp_path: Path) -> None:
        server.next(PATH, cut(1000))
        with pytest.raises(DownloadFailed, match=r"connection|ended"):
            bring(server, tmp_path / "w.bin", patient(attempts=1))
        assert partial_path(tmp_path / "w.bin").read_bytes() == CONTENT[:1000]
        found = bring(server, tmp_path / "w.bin", patient(), sha256=SHA256)
        assert found.resumed_bytes == 1000 and found.path.read_bytes() == CONTENT
        assert left_over(tmp_path) == ["w.bin"]

    def test_progress_starts_the_count_of_attempts_afresh(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next(PATH, *[cut(1000)] * 20)
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified

    def test_a_server_that_cuts_for_ever_is_given_up(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next(PATH, cut(1000), *[cut(0)] * 50)
        with pytest.raises(DownloadFailed, match="4 times in a row") as caught:
            bring(server, tmp_path / "w.bin", web)
        assert caught.value.exit_status == 4
        assert partial_path(tmp_path / "w.bin").stat().st_size == 1000

    def test_a_server_that_gives_crumbs_is_given_up_in_the_end(self, server: Server, tmp_path: Path) -> None:
        server.next(PATH, *[cut(1)] * 50)
        with pytest.raises(DownloadFailed):
            bring(server, tmp_path / "w.bin", patient(attempts_in_all=8))

    def test_a_server_without_ranges_starts_from_the_beginning(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.put(PATH, CONTENT, ranges=False)
        server.next(PATH, cut(1000))
        found = bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        assert found.verified and found.path.read_bytes() == CONTENT

    def test_waits_grow_and_are_shortened_at_random(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next(PATH, *[status(500)] * 3)
        bring(server, tmp_path / "w.bin", web)
        slept = web.slept  # type: ignore[attr-defined]
        assert len(slept) == 3
        assert all(0.5 * 2**n <= seconds <= 2**n for n, seconds in enumerate(slept))


class TestAFileThatChanges:
    def test_is_fetched_anew(self, server: Server, tmp_path: Path) -> None:
        server.next(PATH, cut(1000))
        with pytest.raises(DownloadFailed):
            bring(server, tmp_path / "w.bin", patient(attempts=1))
        server.put(PATH, OTHER, etag='"v2"')
        found = bring(server, tmp_path / "w.bin", patient())
        assert found.path.read_bytes() == OTHER
        assert server.seen("if-range")[-1] == '"v1"'

    def test_by_its_date_where_there_is_no_etag(self, server: Server, tmp_path: Path) -> None:
        first, later = "Mon, 02 Nov 2026 00:00:00 GMT", "Tue, 03 Nov 2026 00:00:00 GMT"
        server.put(PATH, CONTENT, etag="", headers={"Last-Modified": first})
        server.next(PATH, cut(1000))
        with pytest.raises(DownloadFailed):
            bring(server, tmp_path / "w.bin", patient(attempts=1))
        server.put(PATH, OTHER, etag="", headers={"Last-Modified": later})
        assert bring(server, tmp_path / "w.bin", patient()).path.read_bytes() == OTHER
        assert server.seen("if-range")[-1] == first

    def test_a_weak_etag_is_no_promise(self, server: Server, tmp_path: Path) -> None:
        server.put(PATH, CONTENT, etag='W/"v1"')
        server.next(PATH, cut(1000))
        with pytest.raises(DownloadFailed):
            bring(server, tmp_path / "w.bin", patient(attempts=1))
        bring(server, tmp_path / "w.bin", patient())
        assert server.seen("range") == [None, None]

    def test_without_telling_is_found_out_by_the_hash(self, server: Server, tmp_path: Path, web: Web) -> None:
        partial_path(tmp_path / "w.bin").write_bytes(OTHER[:5000])  # of another file, and nobody knows of which
        found = bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        assert found.path.read_bytes() == CONTENT
        assert server.seen("range") == ["bytes=5000-", None]

    def test_a_part_that_nothing_vouches_for_is_not_used(self, server: Server, tmp_path: Path, web: Web) -> None:
        partial_path(tmp_path / "w.bin").write_bytes(CONTENT[:5000])
        bring(server, tmp_path / "w.bin", web)
        assert server.seen("range") == [None]

    def test_a_part_of_another_address_is_not_used(self, server: Server, tmp_path: Path) -> None:
        server.next(PATH, cut(1000))
        with pytest.raises(DownloadFailed):
            bring(server, tmp_path / "w.bin", patient(attempts=1))
        url = server.put("/other", OTHER)
        found = fetch(RemoteFile(url), tmp_path / "w.bin", web=patient())
        assert found.path.read_bytes() == OTHER and server.seen("range")[-1] is None

    def test_a_part_longer_than_the_file_is_dropped(self, server: Server, tmp_path: Path, web: Web) -> None:
        partial_path(tmp_path / "w.bin").write_bytes(CONTENT + b"more")
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified
        assert server.seen("range") == [f"bytes={len(CONTENT) + 4}-", None]

    def test_a_part_longer_than_the_file_is_dropped_also_where_nobody_knows_the_hash(
        self, server: Server, tmp_path: Path
    ) -> None:
        server.next(PATH, cut(1000))
        with pytest.raises(DownloadFailed):
            bring(server, tmp_path / "w.bin", patient(attempts=1))
        partial_path(tmp_path / "w.bin").write_bytes(CONTENT + b"more")
        assert bring(server, tmp_path / "w.bin", patient()).path.read_bytes() == CONTENT

    def test_a_part_that_is_the_whole_file_is_enough(self, server: Server, tmp_path: Path, web: Web) -> None:
        partial_path(tmp_path / "w.bin").write_bytes(CONTENT)
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified  # 416, and the size agrees
        partial_path(tmp_path / "v.bin").write_bytes(CONTENT)
        asked = len(server.asked)
        assert bring(server, tmp_path / "v.bin", web, sha256=SHA256, size_bytes=len(CONTENT)).verified
        assert len(server.asked) == asked

    def test_a_range_that_was_not_asked_for_is_not_believed(self, server: Server, tmp_path: Path, web: Web) -> None:
        wrong = {"Content_Range": f"bytes 0-999/{len(CONTENT)}", "ETag": '"v1"'}
        server.next(PATH, cut(1000), status(206, CONTENT[:1000], **wrong))
        found = bring(server, tmp_path / "w.bin", web)
        assert found.path.read_bytes() == CONTENT
        assert server.seen("range") == [None, "bytes=1000-", None]

    def test_a_range_of_another_version_is_not_believed(self, server: Server, tmp_path: Path, web: Web) -> None:
        wrong = {"Content_Range": f"bytes 1000-{len(OTHER) - 1}/{len(OTHER)}", "ETag": '"v2"'}
        server.next(PATH, cut(1000), status(206, OTHER[1000:], **wrong))
        assert bring(server, tmp_path / "w.bin", web).path.read_bytes() == CONTENT


class TestAWrongFile:
    def test_is_fetched_once_more_and_then_named_with_both_hashes(
        self, server: Server, tmp_path: Path, web: Web
    ) -> None:
        server.put(PATH, OTHER)
        with pytest.raises(VerificationFailed) as caught:
            bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        assert SHA256 in caught.value.message
        assert hashlib.sha256(OTHER).hexdigest() in caught.value.message
        assert caught.value.exit_status == 4
        assert len(server.asked) == 2
        assert left_over(tmp_path) == []

    def test_may_be_right_the_second_time(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next(PATH, status(200, OTHER))
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).path.read_bytes() == CONTENT

    def test_of_another_size_does_not_even_come(self, server: Server, tmp_path: Path, web: Web) -> None:
        with pytest.raises(VerificationFailed, match="102,400 bytes, not 7"):
            bring(server, tmp_path / "w.bin", web, size_bytes=7)
        assert left_over(tmp_path) == []

    def test_a_length_too_long_is_a_cut_that_never_heals(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next(PATH, says(len(CONTENT) + 100))
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified

    def test_a_length_too_short_is_found_out_by_the_hash(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next(PATH, says(1000), says(1000))
        with pytest.raises(VerificationFailed):
            bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        server.next(PATH, says(1000))
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified

    def test_less_than_was_expected_is_refused_where_the_server_names_no_length(
        self, server: Server, tmp_path: Path, web: Web
    ) -> None:
        server.put(PATH, CONTENT, length=False)
        with pytest.raises(VerificationFailed, match="102,400 bytes, not 102,405"):
            bring(server, tmp_path / "w.bin", web, size_bytes=len(CONTENT) + 5)

    def test_more_than_was_expected_is_not_written(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.put(PATH, CONTENT, length=False)
        with pytest.raises(VerificationFailed, match="more than 1,000 bytes"):
            bring(server, tmp_path / "w.bin", web, size_bytes=1000)

    def test_a_web_page_in_its_place_is_named(self, server: Server, tmp_path: Path, web: Web) -> None:
        page = b"<!DOCTYPE html><title>log in</title>"
        server.put(PATH, page, headers={"Content-Type": "text/html; charset=utf-8"})
        with pytest.raises(DownloadFailed, match="a web page instead of"):
            bring(server, tmp_path / "w.bin", web)
        with pytest.raises(VerificationFailed, match="what came is a web page"):
            bring(server, tmp_path / "w.bin", web, sha256=SHA256)

    def test_a_pointer_in_its_place_is_named(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.put(PATH, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n")
        with pytest.raises(VerificationFailed, match="Git LFS pointer"):
            bring(server, tmp_path / "w.bin", web, sha256=SHA256)

    def test_what_comes_compressed_is_unpacked(self, server: Server, tmp_path: Path, web: Web) -> None:
        import gzip

        server.put(PATH, gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"})
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified


class TestADisk:
    def test_that_is_too_small_is_known_beforehand(
        self, server: Server, tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(OutputError, match=r"needs 0 MB more, and .* has 0 MB free") as caught:
            bring(server, tmp_path / "w.bin", web)
        assert caught.value.exit_status == 70

    def test_that_fills_up_keeps_what_has_come(
        self, server: Server, tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For real: the size of a file this process may write is limited, and the write fails in the middle."""
        if sys.platform == "win32":
            pytest.skip("no such limit")
        import resource

        monkeypatch.setattr(sys, "dont_write_bytecode", True)  # it would be cut short, and met by others
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
        assert caught.value.exit_status == 70 and "resumes there" in caught.value.hint
        found = bring(server, tmp_path / "w.bin", web, sha256=SHA256)
        assert found.resumed_bytes == 30_000 and found.verified

    def test_that_may_not_be_written_is_named(self, server: Server, tmp_path: Path, web: Web) -> None:
        (tmp_path / "folder").write_text("a file")
        with pytest.raises(OutputError, match=r"cannot be written to .*folder") as caught:
            bring(server, tmp_path / "folder" / "w.bin", web)
        assert "--cache-dir" in caught.value.hint

    def test_other_full_disks_are_full_too(self) -> None:
        assert {errno.ENOSPC, errno.EDQUOT} <= DISK_FULL


VERSIONS = {'"v1"': CONTENT[:30_000], '"v2"': OTHER[:33_000]}


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("known", [True, False], ids=["with a hash", "without"])
def test_whatever_a_server_does_there_is_a_whole_file_or_none(
    server: Server, tmp_path: Path, seed: int, known: bool
) -> None:
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
            found = fetch(RemoteFile(server.url + path, sha256=sha256), target, web=patient())
        except (DownloadFailed, VerificationFailed):
            assert not target.exists()
            continue
        assert target.read_bytes() in ([VERSIONS['"v1"']] if known else VERSIONS.values())
        assert found.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
        break
    assert left_over(tmp_path) in (["w.bin"], [], ["w.bin.part", "w.bin.part.json"])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOENT])
def test_a_cache_that_may_not_be_written_is_wrong_usage(tmp_path: Path, number: int) -> None:
    error = disk_error(OSError(number, os.strerror(number)), "weights", tmp_path / "w.bin")
    assert isinstance(error, OutputError) and error.exit_status == 2
