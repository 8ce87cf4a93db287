"""HTTP requests: one at a time, redirects followed one by one, credentials sent only to whom they are meant for.

Certificates are checked; proxies and ``REQUESTS_CA_BUNDLE`` are respected. A token goes to the origin it was given for,
never across a redirect; ``.netrc`` is not read. Errors that a retry may cure (a cut connection, a stall, 429, 5xx) are
:class:`RetryableError`; all others end the request.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urljoin

from clipalign.errors import DownloadFailed
from clipalign.version import __version__

if TYPE_CHECKING:
    import requests

T = TypeVar("T")

RETRYABLE_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 509})
NO_NETWORK: Final = "is there a network?"
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits for retrying a server that fails or stalls.

    Attributes:
        attempts: in a row without progress, at least 1.
        attempts_in_all: with or without progress.
        stall_seconds: without enough new bytes.
        slowest_bytes: a second, over ``stall_seconds``; fewer count as none.
        first_pause_seconds: before the second attempt, doubled for each that follows, and shortened at random.
        longest_wait_seconds: that a server may ask for with ``Retry-After``; more is an error.
        whole_seconds: for all attempts together, with their pauses.
    """

    attempts: int = 6
    attempts_in_all: int = 500
    connect_seconds: float = 15.0
    stall_seconds: float = 30.0
    slowest_bytes: int = 16
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0
    longest_wait_seconds: float = 600.0
    redirects: int = 8
    whole_seconds: float = math.inf

    @property
    def progress_bytes(self) -> float:
        return self.slowest_bytes * self.stall_seconds


class RetryableError(Exception):
    """A failure that another attempt may cure.

    Attributes:
        reason: a clause for the user.
        wait_seconds: that the server asked for; None if it did not.
        weight: attempts it counts for; more if there is little hope.
        kind: for counting failures: a status, ``timeout``, ``no_host`` or ``no_connection``.
    """

    def __init__(
        self,
        reason: str,
        *,
        wait_seconds: float | None = None,
        hint: str = "try again later",
        weight: int = 1,
        kind: str = "no_connection",
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason, self.wait_seconds, self.hint, self.weight = reason, wait_seconds, hint, weight


class RefusedError(DownloadFailed):
    """An HTTP status that another attempt will not change; ``headers`` are by lower-case name."""

    def __init__(
        self, message: str, *, status: int, headers: Mapping[str, str], hint: str = "", input: str = ""
    ) -> None:
        super().__init__(message, hint=hint, input=input)
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}


class TooLargeError(DownloadFailed):
    """An answer with more bytes than allowed."""


@dataclass
class Web:
    """The network, as one thread of a run uses it; ``tell`` receives a line for the user, as on a wait or a retry."""

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    sleep: Callable[[float], object] = time.sleep
    random: Random = field(default_factory=Random)
    tell: Callable[[str], None] = lambda line: None
    offline: bool = False
    _session: requests.Session | None = field(default=None, repr=False)
    _watch: Any = field(default=None, repr=False)
    _until: float = field(default=math.inf, repr=False)

    @contextmanager
    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        token: str = "",
        json: Any = None,
        direct: bool = False,
        enough: Callable[[requests.Response], bool] = lambda response: False,
    ) -> Iterator[requests.Response]:
        """Send a request and yield the answer, its body unread; read it with :meth:`chunks` or :meth:`read`.

        Args:
            method: ``GET``, ``HEAD`` or ``POST``.
            token: sent to ``url``'s own origin only.
            direct: past every proxy.
            enough: whether to return a redirect instead of following it.

        Raises:
            RetryableError: no connection, a stall, or a status that another attempt may change.
            RefusedError: any other status than 200, 206 and 416, or a wait longer than the policy allows.
            DownloadFailed: an invalid address, certificate, proxy or redirect, or offline.
        """
        if self.offline:
            raise DownloadFailed(
                f"{host_of(url)} is not asked, because --offline (or HF_HUB_OFFLINE) forbids it",
                hint="run it without --offline (and without HF_HUB_OFFLINE)",
                input=url,
            )
        from clipalign.download.connections import Watch, new_session

        if self._session is None:
            self._watch = Watch()
            self._session = new_session(self._watch)
        watch = self._watch
        watch.private_allowed = True
        origin, current = origin_of(url), url
        authorization = f"Bearer {token}" if token else _named_in(url)
        watch.until = self._until
        with watch.watching():
            for _ in range(self.policy.redirects + 1):
                own = authorization if origin_of(current) == origin else ""
                watch.until = min(
                    self._until, time.monotonic() + self.policy.connect_seconds + self.policy.stall_seconds
                )
                response = None
                try:
                    response = self._once(method, current, headers or {}, own, json, direct=direct)
                    if watch.late:  # headers that were shut read like all of them
                        raise self._too_slow(current, f"{host_of(current)} does not answer")
                    watch.private_allowed = watch.met_private
                    target = response.headers.get("Location", "")
                    is_redirect = response.status_code in REDIRECTS and target
                    if not is_redirect:
                        _check_status(response, current, self.policy)
                    if not is_redirect or enough(response):
                        yield response
                        return
                    current = _redirected(current, target)
                finally:
                    if response is not None:
                        response.close()
                    watch.closed()
        raise DownloadFailed(f"{host_of(url)} redirects without end", input=url)

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str, json: Any, *, direct: bool
    ) -> requests.Response:
        import requests

        from clipalign.download.connections import is_private

        host = origin_of(url)[1]
        assert self._session is not None
        sent = {"User-Agent": f"clipalign/{__version__}", "Accept-Encoding": "identity", "Accept": "*/*", **headers}
        if authorization:
            sent["Authorization"] = authorization
        proxies = {"no_proxy": host} if direct else None
        proxy = None
        try:
            known = requests.utils.get_environ_proxies(url, no_proxy=host if direct else None)
            proxy = requests.utils.select_proxy(url, known)
            if proxy:
                self._watch.meet(is_private(host), host)  # where a proxy connects to is not to be seen
            return self._session.request(
                method,
                url,
                headers=sent,
                json=json,
                stream=True,
                allow_redirects=False,
                proxies=proxies,
                timeout=(self.policy.connect_seconds, self.policy.stall_seconds),
            )
        except DownloadFailed:
            raise
        except Exception as error:  # of three libraries, and of what they call with what a server says
            raise self._explained(error, url, proxy) from error

    def _explained(self, error: Exception, url: str, proxy: str | None) -> Exception:
        from requests import exceptions

        if self._watch.late:
            return self._too_slow(url, f"{host_of(url)} does not answer")
        if isinstance(error, exceptions.ProxyError):
            return RetryableError(f"the proxy gives no connection to {host_of(url)}", hint="check the proxy")
        if isinstance(error, exceptions.SSLError):
            return DownloadFailed(
                f"the certificate of {host_of(url)} cannot be trusted: {_said(error)}",
                hint="behind a proxy with a certificate of its own, name it: REQUESTS_CA_BUNDLE=FILE",
                input=url,
            )
        if proxy and isinstance(error, exceptions.InvalidSchema) and "SOCKS" in str(error):
            return DownloadFailed(
                f"{host_of(url)} would be asked through a SOCKS proxy, which needs another library",
                hint="pip install 'requests[socks]', or change HTTP_PROXY, HTTPS_PROXY and ALL_PROXY",
                input=url,
            )
        if isinstance(error, exceptions.Timeout):
            return self._too_slow(url, f"{host_of(url)} does not answer")
        if _has_no_name(error):
            return RetryableError(
                f"no connection: {host_of(url)} cannot be found", hint=NO_NETWORK, weight=3, kind="no_host"
            )
        if isinstance(error, ValueError):  # InvalidURL and UnicodeError are
            if proxy:
                return DownloadFailed(
                    f"the proxy for {host_of(url)} cannot be used: {_said(error)}",
                    hint="see HTTP_PROXY, HTTPS_PROXY and ALL_PROXY",
                    input=url,
                )
            return _no_address(url)
        if isinstance(error, exceptions.RequestException | OSError):
            return RetryableError(f"no connection to {host_of(url)} ({_said(error)})")
        return error

    def _too_slow(self, url: str, otherwise: str) -> RetryableError:
        if self._until > time.monotonic() + 0.05:
            return RetryableError(otherwise, kind="timeout")
        said = f"{host_of(url)} did not answer within {self.policy.whole_seconds:g} seconds"
        return RetryableError(said, kind="timeout")

    def chunks(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the body as it arrives, decompressed.

        Raises:
            RetryableError: nothing, or next to nothing, came for too long, or the connection broke.
            DownloadFailed: its encoding is not supported.
        """
        import urllib3

        watch, policy = self._watch, self.policy
        decompress = _decompressor(response)
        counted = 0
        watch.until = min(self._until, time.monotonic() + policy.stall_seconds)
        try:
            while raw := response.raw.read1(CHUNK_BYTES, decode_content=False):
                counted += len(raw)
                for chunk in decompress(raw):
                    left, watch.until = watch.left(), math.inf  # what the caller does is not the server's time
                    yield chunk
                    watch.until = time.monotonic() + left
                if counted >= policy.progress_bytes:
                    counted, watch.until = 0, min(self._until, time.monotonic() + policy.stall_seconds)
        except zlib.error as error:
            raise RetryableError(f"what {host_of(response.url)} sent cannot be decompressed") from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if isinstance(error, urllib3.exceptions.ReadTimeoutError):
                raise self._too_slow(response.url, f"nothing came for {policy.stall_seconds:.0f} s") from error
            if not watch.late:
                raise RetryableError("the connection was cut") from error
        if watch.late:  # a connection that was shut may read like the end of the body
            raise self._too_slow(response.url, "next to nothing comes from the server")

    def read(self, response: requests.Response, most_bytes: int) -> bytes:
        """Read all of an answer; raise ``TooLargeError`` beyond ``most_bytes``, else as :meth:`chunks`."""
        content = bytearray()
        for chunk in self.chunks(response):
            content += chunk
            if len(content) > most_bytes:
                raise TooLargeError(
                    f"{response.url} is larger than {most_bytes / 1_000_000:.3g} MB", input=str(response.url)
                )
        return bytes(content)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def with_retries(self, action: Callable[[], T], *, progress: Callable[[], int] = lambda: 0) -> T:
        """Call ``action`` until it raises no :class:`RetryableError`; pauses grow, or are as long as the server asks.

        ``progress`` returns the bytes present; enough new ones restart the count of attempts.

        Raises:
            DownloadFailed: all attempts failed; and whatever else ``action`` raises.
        """
        failures = times = 0
        before = progress()
        self._until = time.monotonic() + self.policy.whole_seconds
        for _ in range(self.policy.attempts_in_all):
            try:
                return action()
            except RetryableError as error:
                reached = progress()
                if reached - before >= self.policy.progress_bytes:
                    failures = times = 0
                failures, times = failures + error.weight, times + 1
                before = max(before, reached)
                last = error
            if failures >= self.policy.attempts or not self._pause(times, last):
                break
        often = f", {times} times in a row" if times > 1 else ""
        raise DownloadFailed(f"{last.reason}{often}", hint=last.hint) from last

    def _pause(self, times: int, error: RetryableError) -> bool:
        """Wait before the next attempt; return False if no time is left for one."""
        policy = self.policy
        seconds = min(policy.first_pause_seconds * 2 ** (times - 1), policy.longest_pause_seconds)
        seconds *= self.random.uniform(0.5, 1.0)
        if error.wait_seconds is not None:
            seconds = max(error.wait_seconds, 0.0)
        if time.monotonic() + seconds >= self._until:
            return False
        self.tell(f"{error.reason}; trying again in {seconds:.0f} s")
        self.sleep(seconds)
        return True


def _has_no_name(error: BaseException | None) -> bool:
    import urllib3

    while isinstance(error, BaseException):
        if isinstance(error, urllib3.exceptions.NameResolutionError):
            return True
        error = getattr(error, "reason", None) or next((e for e in error.args if isinstance(e, BaseException)), None)
    return False


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port; raise ``DownloadFailed`` if ``url`` is not http or https."""
    # By the parser that requests connects by: another could read another host into the same address.
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    try:
        parts = parse_url(url.strip())
    except LocationParseError:
        raise _no_address(url) from None
    if parts.scheme not in ("http", "https") or not parts.host:
        raise _no_address(url)
    return parts.scheme, parts.host.lower(), parts.port or (443 if parts.scheme == "https" else 80)


def _named_in(url: str) -> str:
    """Return the authorization header for the name and password in an address; empty if there are none."""
    from requests.utils import get_auth_from_url
    from urllib3.util import make_headers

    name, password = get_auth_from_url(url)
    return make_headers(basic_auth=f"{name}:{password}")["authorization"] if name else ""


def same_origin(one: str, other: str) -> bool:
    try:
        return origin_of(one) == origin_of(other)
    except DownloadFailed:
        return False


def host_of(url: str) -> str:
    from urllib3.exceptions import LocationParseError
    from urllib3.util import parse_url

    try:
        return parse_url(url).netloc or url
    except LocationParseError:
        return url


def length_of(value: object) -> int:
    """Parse a size in bytes stated by a server, in digits or as a number; 0 if invalid."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else 0
    return value if isinstance(value, int) and 0 <= value < 10**18 else 0


def _no_address(url: str) -> DownloadFailed:
    return DownloadFailed(f"{url} is no http or https address", hint="check the address", input=url)


def _redirected(current: str, target: str) -> str:
    try:
        following = urljoin(current, target.encode("latin-1").decode("utf-8", "replace"))
    except ValueError:
        raise DownloadFailed(
            f"{host_of(current)} redirects to an invalid address: {target[:100]!r}", input=current
        ) from None
    _check_redirect(current, following)
    return following


def _check_redirect(current: str, following: str) -> None:
    scheme = following.partition(":")[0].lower()
    if scheme not in ("http", "https"):
        raise DownloadFailed(
            f"{host_of(current)} redirects to {scheme[:20] or 'nothing'}: …, which is not followed", input=current
        )
    if scheme == "http" and origin_of(current)[0] == "https":
        raise DownloadFailed(f"{host_of(current)} redirects from https to http, which is not followed", input=current)


def _decompressor(response: requests.Response) -> Callable[[bytes], Iterator[bytes]]:
    """Decompress a body in bounded chunks, as a few bytes may expand to any amount."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return lambda raw: iter((raw,))
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise DownloadFailed(
            f"{host_of(response.url)} sends the encoding {encoding[:20]!r}, which is not supported",
            input=str(response.url),
        )
    decompressor = zlib.decompressobj(wbits=47)  # zlib or gzip

    def decompress(raw: bytes) -> Iterator[bytes]:
        while raw and not decompressor.eof:
            yield decompressor.decompress(raw, CHUNK_BYTES)
            raw = decompressor.unconsumed_tail

    return decompress


def _check_status(response: requests.Response, url: str, policy: RetryPolicy) -> None:
    status, host = response.status_code, host_of(url)
    if status in (200, 206, 416):
        return
    if status in RETRYABLE_STATUSES:
        wait = retry_after(response.headers.get("Retry-After", ""))
        trouble = f"{host} {'is asked too often' if status == 429 else 'has a temporary problem'} ({status})"
        if wait is None or wait <= policy.longest_wait_seconds:
            raise RetryableError(trouble, wait_seconds=wait, kind=str(status))
        message, hint = f"{trouble} and asks for {wait / 60:.0f} minutes", "try again then; what has arrived is kept"
    else:
        why = {
            401: "asks for credentials",
            403: "refuses this file",
            404: "has no such file",
            410: "does not have this file any more",
        }
        message, hint = f"{host} {why.get(status, 'answers with an error')} ({status})", ""
    raise RefusedError(message, status=status, headers=response.headers, hint=hint, input=url)


def retry_after(value: str) -> float | None:
    """Parse a ``Retry-After`` header, a number or a date, into seconds; None if absent or invalid."""
    if value.strip().isdecimal():
        return float(value[:18])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _said(error: BaseException) -> str:
    while (inner := getattr(error, "reason", None) or (error.args[0] if error.args else None)) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).rpartition(": ")[2].split())[:120] or type(error).__name__
