"""A language model at an address, and one question to it.

Any server with OpenAI's ``/chat/completions`` will do. What is sent: the prompt with a class's name, the model's name,
and ``OPENAI_API_KEY`` where it is set, to the one address named and never after a redirect; the key never to an
unencrypted address on another machine, nor to a proxy on the way to this one. What comes back is checked.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from clipalign.downloads.web import PassingError, Patience, RefusedError, TooLargeError, Web
from clipalign.errors import DownloadFailed, UsageError

KEY_VARIABLE: Final = "OPENAI_API_KEY"
"""Where the key is read from; every client of such servers knows it by this name."""

SENTENCES: Final = 10
"""Asked for, a class."""

PROMPT: Final = (
    'Write {count} short English sentences that say what "{name}" looks like in a photograph: shape, colours, parts, '
    "surroundings. Name it in every sentence. Answer with a JSON array of {count} strings and nothing else."
)
PATH: Final = "/chat/completions"

MOST_SENTENCES: Final = 50
LONGEST_SENTENCE: Final = 400
"""Characters; CLIP reads about 300."""

ANSWER_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Describer:
    """A language model at an address.

    Attributes:
        url: with its version, ``http://localhost:8080/v1``.
        model: as the server calls it.
        key: sent as a bearer token; empty for none.
        connect_seconds: until a connection stands.
        answer_seconds: between two pieces of an answer, and until the first.
        attempts: a class, at least 1.
        pause_seconds: before the second attempt, doubled for each that follows.
        at_once: classes asked about at the same time.
    """

    url: str
    model: str
    key: str = ""
    connect_seconds: float = 10.0
    answer_seconds: float = 120.0
    attempts: int = 4
    pause_seconds: float = 1.0
    at_once: int = 4

    @classmethod
    def at(cls, url: str, model: str) -> Describer:
        """The describer the user named, with the key of the environment.

        Raises:
            UsageError: an address that is none, that holds a name or password, or that the key would reach unencrypted;
                a model without a name; a key that is none.
        """
        key = os.environ.get(KEY_VARIABLE, "").strip()
        try:
            place = urlsplit(url)
        except ValueError:
            place = urlsplit("")
        if place.scheme not in ("http", "https") or not place.hostname or place.query or place.fragment:
            raise UsageError(
                f"{url!r} is no address of a server",
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
        """Where names are sent, for messages."""
        return urlsplit(self.url).hostname or ""

    def file_in(self, folder: Path) -> Path:
        """The file in ``folder`` that keeps what this model says in answer to this prompt."""
        asked = json.dumps([self.url, self.model, PROMPT, SENTENCES])
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self.model).strip("-.")[:60]
        return folder / f"{name}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}.json"


def ask(name: str, describer: Describer) -> tuple[str, ...]:
    """Ask about the class ``name``, once; sentences, at least one.

    Raises:
        PassingError: no answer, or none that can be used.
        DownloadFailed: the server refuses.
    """
    address = describer.url if describer.url.endswith(PATH) else describer.url + PATH
    body = {
        "model": describer.model,
        "messages": [{"role": "user", "content": PROMPT.format(count=SENTENCES, name=name)}],
    }
    patience = Patience(connect_seconds=describer.connect_seconds, stall_seconds=describer.answer_seconds)
    # A proxy would read what is sent to this machine unencrypted, the key included.
    direct = _is_this_machine(describer.host)
    with closing(Web(patience)) as web:
        try:
            with web.ask(
                "POST", address, json=body, token=describer.key, direct=direct, enough=lambda _: True
            ) as reply:
                if reply.status_code != 200:
                    raise _failed(
                        describer,
                        f"it answered {reply.status_code}",
                        "it wants to send the request elsewhere; give the final address",
                    )
                content = web.read(reply, ANSWER_BYTES)
        except TooLargeError as error:
            raise PassingError("the answer is endless") from error
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
        raise PassingError("the answer is not of OpenAI's form") from error
    if not isinstance(text, str):
        raise PassingError("the answer holds no text")
    return text


def read_answer(text: str) -> tuple[str, ...]:
    """The sentences of an answer: a JSON array, perhaps among other words, or a list with a sentence a line.

    Raises:
        PassingError: it is neither, or holds no sentence that can be used.
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
        raise PassingError("the answer holds no list of sentences")
    return tuple(one for one in usable[:MOST_SENTENCES] if one)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
