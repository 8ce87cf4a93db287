"""Pictures at addresses: what a server, a redirect or a mistyped address may cost, and what it may learn."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import pytest

from clipalign.data import sources as image_bytes
from clipalign.data.sources import read_image
from clipalign.download import connections
from clipalign.errors import ImageUnreadable
from tests.server import Behavior, Server, cut, drip, redirect, status

PATH = "/a.png"
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """With a picture, and no proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server.put(PATH, CONTENT)
    return server


def why(address: str, **more: Any) -> str:
    with pytest.raises(ImageUnreadable) as caught:
        read_image(address, **more)
    assert "\n" not in caught.value.message and len(caught.value.message) < 600
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize(
    "address",
    [
        *("http://", "https:///x", "http://example..com/x.png", f"http://{'a' * 70}.example/x", "http://[::1/x"),
        *("http://host:99999/x", "http://host:x/", "http://\udcff/", "http://a b/", "http://\x00/", "http://xn--a/"),
        *("http://例え。。テスト/x", "http://.example/", "http://[v1.x]/", "http://%00/", "http://-/"),
    ],
)
def test_a_mistyped_address_costs_its_own_picture(server: Server, address: str) -> None:
    assert "cannot be fetched" in why(address, timeout=20)
    if address == "http://":  # a redirect to which leads to the server itself
        return
    server.next(PATH, redirect(address.encode("utf-8", "surrogateescape").decode("latin-1").replace("\0", "%00")))
    assert "cannot be fetched" in why(server.url + PATH, timeout=20)


class TestASlowServer:
    @pytest.mark.parametrize(
        "behavior",
        [
            drip(0.05),
            drip(0.05, head=b"", drop=b"HTTP/1.1 100 Continue\r\n\r\n"),
            drip(0.05, head=b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
            drip(0.05, head=b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
            drip(0.05, head=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;"),
            drip(0.05, head=b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08\0\0\0\0\0\0"),
            status(503, Retry_After="3600"),
            status(503, Retry_After="9" * 5000),
        ],
    )
    def test_has_a_deadline_for_headers_and_body_together(self, server: Server, behavior: Behavior) -> None:
        server.next(PATH, *[behavior] * 3)
        said = why(server.url + PATH, timeout=0.6)
        assert "did not answer within 0.6 seconds" in said or "(503)" in said

    @pytest.mark.parametrize("behavior", [status(429), status(503), cut(1000)])
    def test_that_fails_once_is_asked_again(self, server: Server, behavior: Behavior) -> None:
        server.next(PATH, behavior)
        assert read_image(server.url + PATH) == CONTENT

    def test_in_tls_has_a_deadline_for_its_greeting(self, server: Server) -> None:
        server.next("*", drip(0.05))
        assert "cannot be fetched" in why(server.url.replace("http", "https") + PATH, timeout=0.6)


class TestWhatIsPacked:
    def test_is_unpacked_within_the_limit(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        server.put("/z", gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"})
        assert read_image(server.url + "/z") == CONTENT
        monkeypatch.setattr(image_bytes, "MAX_DOWNLOAD_BYTES", 1000)
        assert "larger than" in why(server.url + "/z")

    def test_in_an_unknown_way_is_named(self, server: Server) -> None:
        server.put("/z", CONTENT, headers={"Content-Encoding": "br, gzip"})
        assert "sends the encoding 'br, gzip', which is not supported" in why(server.url + "/z")


class TestSecrets:
    def test_a_password_file_is_not_read(self, server: Server, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        read_image(server.url + PATH)
        assert server.seen("authorization") == [None]

    def test_a_name_in_the_address_is_told_to_its_server_alone(self, server: Server) -> None:
        server.next("/old", redirect(server.other_url + PATH))
        assert read_image(server.url.replace("//", "//me:mine@") + "/old") == CONTENT
        assert server.seen("authorization") == ["Basic " + base64.b64encode(b"me:mine").decode(), None]


class TestARedirect:
    @pytest.mark.parametrize("to", ["http://[::1", "ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x"])
    def test_to_no_web_address_is_refused(self, server: Server, to: str) -> None:
        server.next(PATH, redirect(to))
        assert "cannot be fetched" in why(server.url + PATH)

    def test_to_a_private_address_is_refused_unless_the_first_was_one(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.next("/old", *[redirect(server.other_url + PATH)] * 2)
        assert read_image(server.url + "/old") == CONTENT
        answers = iter([False, True])
        monkeypatch.setattr(connections, "is_private", lambda place: next(answers))
        asked = len(server.asked)
        assert "redirects to the private address 127.0.0.1" in why(server.url + "/old")
        assert len(server.asked) == asked + 1

    def test_is_checked_by_name_behind_a_proxy(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", server.url)
        server.files["http://example.invalid/x"] = server.files[PATH]
        assert read_image("http://example.invalid/x") == CONTENT
        server.next("http://example.invalid/x", redirect("http://[::ffff:10.0.0.1]/x"))
        assert "redirects to the private address" in why("http://example.invalid/x")

    @pytest.mark.parametrize(
        ("place", "private"),
        [
            *((one, True) for one in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "0.0.0.0", "100.64.0.1", "::1")),
            *(
                (one, True)
                for one in ("::ffff:127.0.0.1", "fe80::1%eth0", "fd00::1", "64:ff9b::7f00:1", "2002:7f00:1::")
            ),
            *((one, True) for one in ("localhost", "LOCALHOST.", "a.localhost", "printer.local", "intranet", "[::1]")),
            *((one, False) for one in ("8.8.8.8", "2606:4700::1111", "example.org", "64:ff9b::808:808")),
        ],
    )
    def test_private_is(self, place: str, private: bool) -> None:
        assert connections.is_private(place) is private


class TestAProxy:
    @pytest.mark.parametrize(
        "proxy", ["socks5://127.0.0.1:9", "socks4a://127.0.0.1:9", "socks5h://me:mine@127.0.0.1:9"]
    )
    def test_of_socks_is_named(self, server: Server, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", proxy)
        said = why("http://example.org/x.png", timeout=2)
        assert "SOCKS" in said and "HTTP_PROXY" in said and "mine" not in said

    @pytest.mark.parametrize("proxy", ["ftp://127.0.0.1:9", "http://", "http://127.0.0.1:99999", "http://127.0.0.1:9"])
    def test_that_cannot_be_used_is_named(self, server: Server, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", proxy)
        assert "proxy" in why("http://example.org/x.png", timeout=2)


class TestData:
    @pytest.mark.parametrize(
        "address",
        [
            "data:image/png;base64," + base64.b64encode(CONTENT).decode(),
            "DATA:image/png;BASE64," + base64.b64encode(CONTENT).decode().rstrip("=").replace("+", "%2B"),
            "data:;base64,\n" + base64.encodebytes(CONTENT).decode(),
            "data:," + "".join(f"%{byte:02x}" for byte in CONTENT),
        ],
    )
    def test_is_the_picture_itself(self, address: str) -> None:
        assert read_image(address, offline=True) == CONTENT

    @pytest.mark.parametrize("rest", ["", "image/png;base64", ";base64,!!!!", ";base64,A", ","])
    def test_that_cannot_be_read_is_named_shortly(self, rest: str) -> None:
        assert "data:" in why("data:" + rest)

    def test_has_a_limit_and_a_short_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(image_bytes, "MAX_DATA_CHARACTERS", 100)
        assert "has over 100 characters" in why("data:;base64," + "A" * 5000)
