"""Asking servers that refuse, send elsewhere, fall silent or cannot be trusted."""

from __future__ import annotations

import socket
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from clipalign.download.fetch import RemoteFile, fetch
from clipalign.download.web import RefusedError, Web, retry_after
from clipalign.errors import DownloadFailed
from tests.fetching import PATH, SHA256, bring, patient
from tests.server import Server, cut, drip, redirect, silence, stall, status, trickle


class TestAnAnswer:
    @pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 418])
    def test_that_will_not_change_ends_it_at_once(self, server: Server, tmp_path: Path, web: Web, code: int) -> None:
        server.next(PATH, status(code))
        with pytest.raises(RefusedError, match=str(code)) as caught:
            bring(server, tmp_path / "w.bin", web)
        assert caught.value.status == code and caught.value.exit_status == 4
        assert len(server.asked) == 1

    @pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
    def test_that_may_pass_is_waited_out(self, server: Server, tmp_path: Path, web: Web, code: int) -> None:
        server.next(PATH, status(code))
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified

    def test_that_names_its_wait_is_heeded(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next(PATH, status(429, Retry_After="7"))
        bring(server, tmp_path / "w.bin", web)
        assert web.slept == [7.0]  # type: ignore[attr-defined]
        assert "asked too often" in web.told[0]  # type: ignore[attr-defined]

    def test_that_wants_an_hour_is_not_waited_for(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next(PATH, status(429, Retry_After="3600"))
        with pytest.raises(RefusedError, match="60 minutes"):
            bring(server, tmp_path / "w.bin", web)
        assert web.slept == []  # type: ignore[attr-defined]

    def test_a_wait_may_be_a_date(self) -> None:
        assert 25 < (retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=30))) or 0) < 31
        assert retry_after(format_datetime(datetime.now(UTC) - timedelta(seconds=30))) == 0
        assert retry_after("soon") is None and retry_after("") is None


class TestARedirect:
    def test_is_followed_with_the_range(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next("/old", *[redirect(PATH)] * 2)
        server.next(PATH, cut(1000))
        assert fetch(RemoteFile(server.url + "/old", sha256=SHA256), tmp_path / "w", web=web).verified
        assert server.seen("range", PATH) == [None, "bytes=1000-"]

    def test_takes_no_token_to_another_host(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next("/old", redirect(server.other_url + PATH))
        fetch(RemoteFile(server.url + "/old", token="secret"), tmp_path / "w", web=web)
        assert server.seen("authorization") == ["Bearer secret", None]

    def test_keeps_the_token_on_the_same_host(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next("/old", redirect(server.url + PATH))
        fetch(RemoteFile(server.url + "/old", token="secret"), tmp_path / "w", web=web)
        assert server.seen("authorization") == ["Bearer secret"] * 2

    def test_a_password_file_is_not_read(
        self, server: Server, tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        fetch(RemoteFile(server.url + PATH, token="secret"), tmp_path / "a", web=web)
        fetch(RemoteFile(server.url + PATH), tmp_path / "b", web=web)
        assert server.seen("authorization") == ["Bearer secret", None]

    def test_to_itself_ends(self, server: Server, tmp_path: Path, web: Web) -> None:
        server.next(PATH, *[redirect(PATH)] * 30)
        with pytest.raises(DownloadFailed, match="redirects without end"):
            bring(server, tmp_path / "w.bin", web)
        assert len(server.asked) == web.policy.redirects + 1

    @pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1"])
    def test_to_no_web_address_is_not_followed(self, server: Server, tmp_path: Path, web: Web, to: str) -> None:
        server.next(PATH, redirect(to))
        with pytest.raises(DownloadFailed, match="not followed"):
            bring(server, tmp_path / "w.bin", web)

    def test_from_https_to_http_is_not_followed(self) -> None:
        from clipalign.download.web import _check_redirect

        with pytest.raises(DownloadFailed, match="from https to http"):
            _check_redirect("https://example.org/a", "http://example.org/a")

    def test_an_address_must_be_one(self, tmp_path: Path, web: Web) -> None:
        for url in ("file:///etc/passwd", "example.org/x", "http://", "http://host:port/x"):
            with pytest.raises(DownloadFailed, match="no http or https address"):
                fetch(RemoteFile(url), tmp_path / "w.bin", web=web)


class TestASilentServer:
    def test_that_stalls_is_left_and_asked_again(self, server: Server, tmp_path: Path) -> None:
        server.next(PATH, stall(1000))
        found = bring(server, tmp_path / "w.bin", patient(stall_seconds=0.2), sha256=SHA256)
        assert found.verified and server.seen("range") == [None, "bytes=1000-"]

    def test_that_never_answers_is_given_up(self, server: Server, tmp_path: Path) -> None:
        server.next(PATH, *[silence()] * 3)
        with pytest.raises(DownloadFailed, match="does not answer, 2 times"):
            bring(server, tmp_path / "w.bin", patient(stall_seconds=0.1, attempts=2))

    def test_that_trickles_counts_as_one_that_stalls(self, server: Server, tmp_path: Path) -> None:
        server.next(PATH, trickle(0.05, 20))
        web = patient(stall_seconds=0.3, slowest_bytes=1000)
        assert bring(server, tmp_path / "w.bin", web, sha256=SHA256).verified
        assert "next to nothing" in web.told[0]  # type: ignore[attr-defined]

    def test_that_drips_headers_is_given_up(self, server: Server, tmp_path: Path) -> None:
        server.next(PATH, *[drip(0.05, head=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", drop=b"X: y\r\n")] * 2)
        with pytest.raises(DownloadFailed, match="does not answer, 2 times"):
            bring(server, tmp_path / "w.bin", patient(stall_seconds=0.3, connect_seconds=0.2, attempts=2))

    def test_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with pytest.raises(DownloadFailed, match=rf"no connection to 127.0.0.1:{port} .*refused"):
            fetch(RemoteFile(f"http://127.0.0.1:{port}/x"), tmp_path / "w", web=patient(attempts=2))

    def test_whose_name_means_nothing_is_not_waited_for_long(self, tmp_path: Path) -> None:
        web = patient(attempts=6)
        with pytest.raises(DownloadFailed, match=r"no connection: nowhere.invalid cannot be found, 2 times") as caught:
            fetch(RemoteFile("https://nowhere.invalid/x"), tmp_path / "w", web=web)
        assert caught.value.hint == "is there a network?"

    def test_a_proxy_is_used(self, server: Server, tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.delenv("no_proxy", raising=False)
        server.files["http://example.invalid/x"] = server.files[PATH]
        assert fetch(RemoteFile("http://example.invalid/x", sha256=SHA256), tmp_path / "w", web=web).verified


def test_a_certificate_of_ones_own_is_not_trusted(server: Server, tmp_path: Path, web: Web) -> None:
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
            fetch(RemoteFile(url, sha256=SHA256), tmp_path / "w.bin", web=web)
        assert "REQUESTS_CA_BUNDLE" in caught.value.hint and server.asked == []
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
            assert fetch(RemoteFile(url, sha256=SHA256), tmp_path / "w.bin", web=patient()).verified
    finally:
        secure.shutdown()
        secure.server_close()
