"""Connections with a deadline, of which no redirect leads from a public address to a private one.

A socket's timeout limits one read, so a server that sends a byte now and then never meets it. A thread therefore
watches every request and shuts its sockets at the deadline.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter

from clipalign.errors import DownloadFailed

ADDRESSES: Final = 8
"""Maximum number of addresses tried for one name."""

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class Watch:
    """Watch the connections of one session, used by one thread at a time.

    Attributes:
        until: the deadline, in seconds of ``time.monotonic``.
        late: whether the deadline shut them.
        private_allowed: whether they may lead to private addresses.
        met_private: whether the last one led to a private address.
    """

    def __init__(self) -> None:
        self.until = math.inf
        self.late = False
        self.private_allowed = True
        self.met_private = False
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()

    def left(self) -> float:
        return self.until - time.monotonic()

    @contextmanager
    def watching(self) -> Iterator[None]:
        done = threading.Event()
        self.late = False

        def watch() -> None:
            while not done.wait(min(max(self.left(), 0.0), 0.5)):
                if self.left() <= 0:
                    self._shut()
                    return

        threading.Thread(target=watch, name="watch", daemon=True).start()
        try:
            yield
        finally:
            done.set()

    def opened(self, sock: socket.socket, *, direct: bool) -> None:
        """Watch ``sock`` before anything is sent; raise ``DownloadFailed`` for a forbidden private address."""
        if direct:
            place = sock.getpeername()[0]
            self.meet(is_private(place), place)
        with self._lock:
            # A copy: TLS takes the original over, and http.client lets go of it before the answer is read.
            self._open.append(socket.fromfd(sock.fileno(), sock.family, sock.type))
        if self.late:
            self._shut()

    def meet(self, private: bool, place: str) -> None:
        if private and not self.private_allowed:
            raise DownloadFailed(
                f"it redirects to the private address {place}, which is not followed",
                hint="give that address itself, if it is meant",
            )
        self.met_private = private

    def closed(self) -> None:
        with self._lock:
            for one in self._open:
                one.close()
            self._open.clear()

    def _shut(self) -> None:
        with self._lock:
            self.late = True
            for one in self._open:
                with contextlib.suppress(OSError):  # closed by the server already
                    one.shutdown(socket.SHUT_RDWR)


def is_private(place: str) -> bool:
    """Return whether an address, or a name by its spelling alone, is in this machine's own network."""
    try:
        address = ipaddress.ip_address(place.strip("[]"))
    except ValueError:
        name = place.lower().rstrip(".")
        return "." not in name or name.endswith((".localhost", ".local", ".internal"))
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        address = inner or address
    return not address.is_global


def new_session(watch: Watch) -> requests.Session:
    """Return a session under ``watch`` with the environment's proxies and certificates, but not its ``.netrc``."""
    session = requests.Session()
    session.auth = lambda request: request  # else .netrc is read, and wins over a token
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(watch))
    return session


class _Adapter(HTTPAdapter):
    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more)
        self._put_under_watch(self.poolmanager, direct=True)

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **more)
        if not known:
            self._put_under_watch(manager, direct=False)
        return manager

    def _put_under_watch(self, manager: Any, *, direct: bool) -> None:
        manager.pool_classes_by_scheme = {
            scheme: _watched(pool, self.watch, direct=direct) for scheme, pool in manager.pool_classes_by_scheme.items()
        }


def _watched(pool: Any, watch: Watch, *, direct: bool) -> Any:
    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            connect = super()._new_conn
            sock: socket.socket = _first_that_answers(self, connect, watch) if direct else connect()
            try:
                watch.opened(sock, direct=direct)
            except DownloadFailed:
                sock.close()
                raise
            return sock

        def putrequest(self, *arguments: Any, **more: Any) -> None:
            if self.sock is not None:  # kept open since an earlier request
                watch.opened(self.sock, direct=direct)
            super().putrequest(*arguments, **more)

    return type("Pool", (pool,), {"ConnectionCls": Connection})


def _first_that_answers(connection: Any, connect: Any, watch: Watch) -> socket.socket:
    """Limit the addresses tried: urllib3 would try each one of a name for the full timeout."""
    name = connection._dns_host
    try:
        found = socket.getaddrinfo(name.strip("[]"), connection.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise urllib3.exceptions.NameResolutionError(name, connection, error) from error
    failure: Exception = urllib3.exceptions.NewConnectionError(connection, "it has no address")
    for place in list(dict.fromkeys(str(one[4][0]) for one in found))[:ADDRESSES]:
        connection._dns_host = place
        connection.timeout = max(min(connection.timeout, watch.left()), 0.01)
        try:
            return connect()  # type: ignore[no-any-return]
        except urllib3.exceptions.HTTPError as error:
            failure = error
        finally:
            connection._dns_host = name
    raise failure
