"""Classes described by a language model: asked over the network only when the user names the address, and kept.

Any server with OpenAI's ``/chat/completions`` works. The prompt with a class's name, the model's name and
``OPENAI_API_KEY``, if set, are sent to the named address only, never after a redirect; the key is never sent
unencrypted to another machine, nor to a proxy on the way to this one. Answers are checked and written as a file of
class → sentences that ``--descriptions`` reads, so that the next run asks only about new classes.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from clipalign.cache import write_kept
from clipalign.data.classes import read_descriptions
from clipalign.download.web import RefusedError, RetryableError, RetryPolicy, TooLargeError, Web
from clipalign.errors import DownloadFailed, UsageError
from clipalign.files import exclusive, is_file

KEY_VARIABLE: Final = "OPENAI_API_KEY"

SENTENCES: Final = 10

PROMPT: Final = (
    'Write {count} short English sentences that say what "{name}" looks like in a photograph: shape, colors, parts, '
    "surroundings. Name it in every sentence. Answer with a JSON array of {count} strings and nothing else."
)
PATH: Final = "/chat/completions"

MOST_SENTENCES: Final = 50
LONGEST_SENTENCE: Final = 400
"""Characters; CLIP reads about 300."""

ANSWER_BYTES: Final = 1_000_000

RETRIES: Final = RetryPolicy(attempts=4, connect_seconds=10.0, stall_seconds=120.0)
"""Limits for each class; a model may take long until the first byte of an answer."""


@dataclass(frozen=True, slots=True)
class Describer:
    """A language model at an address.

    Attributes:
        url: with its version, ``http://localhost:8080/v1``.
        key: sent as a bearer token; empty for none.
        at_once: classes asked about at the same time.
    """

    url: str
    model: str
    key: str = ""
    policy: RetryPolicy = RETRIES
    at_once: int = 4

    @classmethod
    def at(cls, url: str, model: str) -> Describer:
        """Return the describer the user named, with the key of the environment.

        Raises:
            UsageError: an invalid address, key or model; an address with a name or password; a key sent unencrypted.
        """
        key = os.environ.get(KEY_VARIABLE, "").strip()
        try:
            place = urlsplit(url)
        except ValueError:
            place = urlsplit("")
        if place.scheme not in ("http", "https") or not place.hostname or place.query or place.fragment:
            raise UsageError(
                f"{url!r} is not the address of a server",
                hint="--describe-with http://localhost:8080/v1 MODEL",
                input="--describe-with",
            )
        if place.username is not None or place.password is not None:
            raise UsageError(
                "the address must not hold a name or password", hint=f"set {KEY_VARIABLE}", input="--describe-with"
            )
        if not model.strip():
            raise UsageError("the model's name is empty", input="--describe-with")
        if key and not (key.isascii() and key.isprintable()):
            raise UsageError(f"{KEY_VARIABLE} holds characters that no key has", input=KEY_VARIABLE)
        if key and place.scheme == "http" and not _is_this_machine(place.hostname):
            raise UsageError(
                f"{KEY_VARIABLE} would travel to {place.hostname} unencrypted",
                hint="give an https address, or unset the variable",
                input="--describe-with",
            )
        return cls(url.rstrip("/"), model, key)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    def file_in(self, folder: Path) -> Path:
        """Return the file in ``folder`` that keeps this model's answers to this prompt."""
        asked = json.dumps([self.url, self.model, PROMPT, SENTENCES])
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self.model).strip("-.")[:60]
        return folder / f"{name}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}.json"


def ask(name: str, describer: Describer, web: Web) -> tuple[str, ...]:
    """Ask about the class ``name`` once; return at least one sentence, or raise ``RetryableError``."""
    address = describer.url if describer.url.endswith(PATH) else describer.url + PATH
    body = {
        "model": describer.model,
        "messages": [{"role": "user", "content": PROMPT.format(count=SENTENCES, name=name)}],
    }
    # A proxy would read what is sent to this machine unencrypted, the key included.
    direct = _is_this_machine(describer.host)
    try:
        with web.ask("POST", address, json=body, token=describer.key, direct=direct, enough=lambda _: True) as reply:
            if reply.status_code != 200:
                hint = "it wants to send the request elsewhere; give the final address"
                raise _failed(describer, f"it answered {reply.status_code}", hint)
            content = web.read(reply, ANSWER_BYTES)
    except TooLargeError as error:
        raise RetryableError("the answer is endless") from error
    except RefusedError as error:
        hint = "check the address (it usually ends in /v1) and the model's name"
        if error.status in (401, 403):
            hint = f"check {KEY_VARIABLE}" if describer.key else f"does it need a key? set {KEY_VARIABLE}"
        raise _failed(describer, f"it answered {error.status}", hint) from error
    return read_answer(_text_of(content))


def _failed(describer: Describer, why: str, hint: str) -> DownloadFailed:
    return DownloadFailed(f"{describer.host} does not describe classes: {why}", hint=hint, input=describer.url)


def _text_of(content: bytes) -> str:
    try:
        said: Any = json.loads(content)
        text = said["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RetryableError("the answer is not of OpenAI's form") from error
    if not isinstance(text, str):
        raise RetryableError("the answer holds no text")
    return text


def read_answer(text: str) -> tuple[str, ...]:
    """Parse an answer: a JSON array, perhaps among other words, or a list with a sentence a line.

    Raises:
        RetryableError: it has no usable sentence.
    """
    sentences: list[str] = []
    begin, end = text.find("["), text.rfind("]")
    if 0 <= begin < end:
        try:
            found = json.loads(text[begin : end + 1])
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list) and all(isinstance(one, str) for one in found):
            sentences = found
    if not sentences:
        listed = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.):])\s+(.+)$")
        sentences = [found[1] for line in text.splitlines() if (found := listed.match(line))]
    tidy = dict.fromkeys(" ".join("".join(c if c.isprintable() else " " for c in one).split()) for one in sentences)
    usable = [one.strip("\"'") for one in tidy if 0 < len(one) <= LONGEST_SENTENCE]
    if not any(usable):
        raise RetryableError("the answer holds no list of sentences")
    return tuple(one for one in usable[:MOST_SENTENCES] if one)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


SAVE_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 3600.0
"""Time to wait for another process that is asking the same model."""

logger = logging.getLogger(__name__)


def describe_classes(
    names: Sequence[str],
    describer: Describer,
    *,
    folder: Path,
    offline: bool = False,
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, tuple[str, ...]], Path]:
    """Return sentences about every class, and the file in ``folder`` that keeps them.

    Only classes missing from the file are asked about. ``tell`` receives a sentence on what is about to be sent where,
    and once on why something is asked again; ``progress`` the number of classes done.

    Raises:
        UsageError: offline, and a class is not in the file.
        Busy: another process has been asking the same model for an hour.
        DownloadFailed: the server cannot be reached, refuses, or gives no sentences; earlier answers are kept.
    """
    file = describer.file_in(folder)
    known = _kept(file)
    missing = [name for name in names if name not in known]
    if missing and offline:
        raise UsageError(
            f"--offline (or HF_HUB_OFFLINE) forbids asking {describer.host} about {_counted(missing)}",
            hint="run it without them, or give --descriptions FILE.json",
            input="--describe-with",
        )
    if missing:
        with _locked(file):
            known = _kept(file, again=True)
            missing = [name for name in names if name not in known]
            if missing and tell is not None:
                tell(f"asking {describer.model} at {describer.host} about {_counted(missing)}")
            if missing:
                _ask_about(missing, describer, known, file, tell, progress)
    return {name: known[name] for name in names}, file


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Let one process ask at a time; without a writable folder there is no lock."""
    with ExitStack() as stack:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(file.with_suffix(".lock"), wait_seconds=WAIT_SECONDS, remove=True))
        except OSError:
            pass  # what cannot be kept is said later
        yield


def _ask_about(
    names: Sequence[str],
    describer: Describer,
    known: dict[str, tuple[str, ...]],
    file: Path,
    tell: Callable[[str], None] | None,
    progress: Callable[[int], None] | None,
) -> None:
    """Fill ``known``, and write the file every few seconds and at the end, however it ends."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, tuple[str, ...] | Exception]] = queue.SimpleQueue()
    stop, troubled = threading.Event(), threading.Event()
    for name in names:
        waiting.put(name)

    def again(line: str) -> None:
        if tell is not None and not troubled.is_set():
            troubled.set()  # once a run: a server that is gone is gone for every class
            tell(f"{describer.host}: {line}")

    def work() -> None:
        while not stop.is_set():
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((name, _described(name, describer, stop, again)))
            except Exception as error:
                stop.set()  # the others finish what they have begun
                done.put((name, error))

    # Daemons: Ctrl-C does not wait for a server that never answers.
    for _ in range(min(describer.at_once, len(names))):
        threading.Thread(target=work, name="describe", daemon=True).start()
    saved = time.monotonic()
    try:
        for _ in names:
            name, outcome = done.get()
            if isinstance(outcome, Exception):
                raise outcome
            known[name] = outcome
            if progress is not None:
                progress(1)
            if time.monotonic() - saved > SAVE_SECONDS:
                _keep(known, file)
                saved = time.monotonic()
    finally:
        stop.set()
        while not done.empty():
            name, outcome = done.get()
            if not isinstance(outcome, Exception):
                known[name] = outcome
        _keep(known, file)


def _described(name: str, describer: Describer, stop: threading.Event, again: Callable[[str], None]) -> tuple[str, ...]:
    def once() -> tuple[str, ...]:
        if stop.is_set():
            raise DownloadFailed("stopped")
        return ask(name, describer, web)

    with closing(Web(describer.policy, sleep=stop.wait, tell=again)) as web:
        try:
            return web.with_retries(once)
        except DownloadFailed as error:
            if not isinstance(error.__cause__, RetryableError):
                raise
            raise DownloadFailed(
                f"{describer.model} at {describer.host} did not describe {name!r}: {error.message}",
                hint="try again later, what it wrote is kept; or give --descriptions FILE.json",
                input=describer.url,
            ) from error


def _kept(file: Path, *, again: bool = False) -> dict[str, tuple[str, ...]]:
    """Read the file, or rename a damaged one; a failure to rename is reported unless ``again``."""
    if not is_file(file):
        return {}
    try:
        return read_descriptions(file)
    except UsageError as error:
        aside = file.with_suffix(".damaged")
        try:
            file.replace(aside)
            logger.warning("%s; put aside as %s", error.message, aside)
        except OSError as refused:
            if not again:
                logger.warning("%s; it cannot be put aside: %s", error.message, refused.strerror or refused)
        return {}


def _keep(known: dict[str, tuple[str, ...]], file: Path) -> None:
    if not known:
        return
    try:
        write_kept(file, json.dumps(known, ensure_ascii=False, indent=1).encode("utf-8"))
    except OSError as error:
        logger.warning("the descriptions could not be kept in %s: %s", file.parent, error.strerror or error)


def _counted(names: Sequence[str]) -> str:
    return "1 class" if len(names) == 1 else f"{len(names)} classes"
