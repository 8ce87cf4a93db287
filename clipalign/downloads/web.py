"""Asking a server: one request at a time, redirects followed by hand, nothing told to whom it does not concern.

Certificates are checked, proxies and ``REQUESTS_CA_BUNDLE`` respected. A token goes to the one origin it was given for
and never across a redirect; ``.netrc`` is not read, because a password of the user's is nobody's business here. What
may pass by itself (a cut, a stall, 429, 5xx) is told apart from what will not.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit

from clipalign.errors import DownloadFailed
from clipalign.version import __version__

if TYPE_CHECKING:
    import requests

T = TypeVar("T")

PASSING_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 509})
NO_NETWORK: Final = "is there a network?"
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on with a server that does not behave.

    Attributes:
        attempts: in a row that brought nothing new, at least 1.
        attempts_in_all: whatever they brought: a server that cuts after every megabyte is worth many.
        connect_seconds: until a connection stands.
        stall_seconds: without enough new bytes.
        slowest_bytes: a second, over ``stall_seconds``; fewer count as none.
        first_pause_seconds: before the second attempt, doubled for each that follows, and shortened at random.
        longest_pause_seconds: of those.
        longest_wait_seconds: that a server may ask for with ``Retry-After``; one that asks for more is given up.
        redirects: in a row.
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


class PassingError(Exception):
    """What may go better next time.

    Attributes:
        reason: a clause for the user.
        wait_seconds: that the server asked for; None where it did not.
        hint: what the user may look at when it does not pass.
        weight: attempts it counts for; more where there is little hope.
    """

    def __init__(
        self, reason: str, *, wait_seconds: float | None = None, hint: str = "try again later", weight: int = 1
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_seconds = wait_seconds
        self.hint = hint
        self.weight = weight


class RefusedError(DownloadFailed):
    """A status that will not change by asking again.

    Attributes:
        status: of HTTP.
        headers: of the answer, by lower-case name.
    """

    def __init__(
        self, message: str, *, status: int, headers: Mapping[str, str], hint: str = "", input: str = ""
    ) -> None:
        super().__init__(message, hint=hint, input=input)
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}


@dataclass
class Web:
    """The network, as far as one run needs it.

    Attributes:
        patience: with servers.
        sleep: how to wait; tests do not.
        random: of the pauses.
        tell: where it says that it waits or tries again, a line each.
        offline: ask nobody; what needs no asking, such as files of the user's, goes on.
    """

    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], None] = time.sleep
    random: Random = field(default_factory=Random)
    tell: Callable[[str], None] = lambda line: None
    offline: bool = False
    _session: requests.Session | None = field(default=None, repr=False)

    @contextmanager
    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        token: str = "",
        enough: Callable[[requests.Response], bool] = lambda response: False,
    ) -> Iterator[requests.Response]:
        """One answer, its body unread.

        Args:
            method: ``GET`` or ``HEAD``.
            url: http or https.
            headers: besides our own.
            token: sent to ``url``'s own origin only.
            enough: whether a redirect says all there is to know, and is handed back instead of followed.

        Raises:
            PassingError: no connection, a stall, or a status that passes.
            RefusedError: any other status than 200, 206 and 416, and one that passes later than we wait.
            DownloadFailed: an address that is none, a redirect that must not be followed, a false certificate, or
                no network is wanted.
        """
        if self.offline:
            raise DownloadFailed(
                f"{_host(url)} is not asked, because --offline (or HF_HUB_OFFLINE) forbids it",
                hint="run it without --offline (and without HF_HUB_OFFLINE)",
                input=url,
            )
        origin, current = _origin(url), url
        for _ in range(self.patience.redirects + 1):
            response = self._once(method, current, headers or {}, token if _origin(current) == origin else "")
            try:
                target = response.headers.get("Location", "")
                if response.status_code not in REDIRECTS or not target:
                    _check_status(response, current, self.patience)
                    yield response
                    return
                if enough(response):
                    yield response
                    return
                following = urljoin(current, target)
                _check_redirect(current, following)
                current = following
            finally:
                response.close()
        raise DownloadFailed(f"{_host(url)} redirects without end", input=url)

    def _once(self, method: str, url: str, headers: Mapping[str, str], token: str) -> requests.Response:
        import requests

        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise DownloadFailed(f"{url} is no http or https address", input=url)
        if self._session is None:
            self._session = requests.Session()
            self._session.auth = _no_password  # else .netrc is read, and wins over a token
        sent = {"User-Agent": f"clipalign/{__version__}", "Accept-Encoding": "identity", "Accept": "*/*", **headers}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        try:
            return self._session.request(
                method,
                url,
                headers=sent,
                stream=True,
                allow_redirects=False,
                timeout=(self.patience.connect_seconds, self.patience.stall_seconds),
            )
        except requests.exceptions.SSLError as error:
            raise DownloadFailed(
                f"the certificate of {_host(url)} cannot be trusted: {_said(error)}",
                hint="behind a proxy with a certificate of its own, name it: REQUESTS_CA_BUNDLE=FILE",
                input=url,
            ) from error
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError) as error:
            raise DownloadFailed(f"{url} is no http or https address", input=url) from error
        except requests.exceptions.Timeout as error:
            raise PassingError(f"{_host(url)} does not answer") from error
        except requests.exceptions.ProxyError as error:
            raise PassingError(f"the proxy gives no connection to {_host(url)}") from error
        except (requests.exceptions.RequestException, OSError) as error:
            if _has_no_name(error):
                raise PassingError(f"no connection: {_host(url)} cannot be found", hint=NO_NETWORK, weight=3) from error
            raise PassingError(f"no connection to {_host(url)} ({_said(error)})") from error

    def patiently(self, action: Callable[[], T], *, progress: Callable[[], int] = lambda: 0) -> T:
        """``action()``, again and again while its errors may pass; pauses grow, or are as long as the server asks.

        Args:
            action: raises :class:`PassingError` for what may pass.
            progress: a number that grows when an attempt brought something; the count of attempts then starts afresh.

        Raises:
            DownloadFailed: it failed as often as :class:`Patience` allows; and whatever else ``action`` raises.
        """
        failures = times = 0
        before = progress()
        for _ in range(self.patience.attempts_in_all):
            try:
                return action()
            except PassingError as error:
                reached = progress()
                if reached > before:
                    failures = times = 0
                failures, times = failures + error.weight, times + 1
                before = max(before, reached)
                last = error
            if failures >= self.patience.attempts:
                break
            self._pause(times, last)
        often = f", {times} times in a row" if times > 1 else ""
        raise DownloadFailed(f"{last.reason}{often}", hint=last.hint) from last

    def _pause(self, times: int, error: PassingError) -> None:
        patience = self.patience
        seconds = min(patience.first_pause_seconds * 2 ** (times - 1), patience.longest_pause_seconds)
        seconds *= self.random.uniform(0.5, 1.0)
        if error.wait_seconds is not None:
            seconds = max(error.wait_seconds, 0.0)
        self.tell(f"{error.reason}; trying again in {seconds:.0f} s")
        self.sleep(seconds)


def _has_no_name(error: BaseException | None) -> bool:
    """Whether a host's name could not be resolved."""
    import urllib3

    while error is not None:
        if isinstance(error, urllib3.exceptions.NameResolutionError):
            return True
        error = getattr(error, "reason", None) or next((e for e in error.args if isinstance(e, BaseException)), None)
    return False


def _no_password(request: Any) -> Any:
    return request


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise DownloadFailed(f"{url} is no http or https address", input=url) from None
    return parts.scheme, (parts.hostname or "").lower(), port or (443 if parts.scheme == "https" else 80)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or url


def _check_redirect(current: str, following: str) -> None:
    scheme = urlsplit(following).scheme
    if scheme not in ("http", "https"):
        raise DownloadFailed(
            f"{_host(current)} redirects to {scheme or 'nothing'}: …, which is not followed", input=current
        )
    if scheme == "http" and urlsplit(current).scheme == "https":
        raise DownloadFailed(f"{_host(current)} redirects from https to http, which is not followed", input=current)


def _check_status(response: requests.Response, url: str, patience: Patience) -> None:
    status = response.status_code
    if status in (200, 206, 416):
        return
    if status in PASSING_STATUSES:
        wait = retry_after(response.headers.get("Retry-After", ""))
        busy = "is asked too often" if status == 429 else "has a passing trouble"
        if wait is not None and wait > patience.longest_wait_seconds:
            raise RefusedError(
                f"{_host(url)} {busy} ({status}) and wants {wait / 60:.0f} minutes of rest",
                status=status,
                headers=response.headers,
                hint="try again then; what has come is kept",
                input=url,
            )
        raise PassingError(f"{_host(url)} {busy} ({status})", wait_seconds=wait)
    sentence = {
        401: f"{_host(url)} wants to know who asks (401)",
        403: f"{_host(url)} refuses this file (403)",
        404: f"{_host(url)} has no such file (404)",
        410: f"{_host(url)} has this file no more (410)",
    }.get(status, f"{_host(url)} answers with status {status}")
    raise RefusedError(sentence, status=status, headers=response.headers, input=url)


def retry_after(value: str) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, from a number or a date; None where it asks for none."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _said(error: BaseException) -> str:
    """The innermost reason in one clause."""
    while (inner := getattr(error, "reason", None) or (error.args[0] if error.args else None)) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).rpartition(": ")[2].split())[:120] or type(error).__name__
