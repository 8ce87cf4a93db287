"""What is right about a run whatever it was fed, seen from outside: statuses, formats and streams as a user gets them.

Written against the promises of the command line alone; nothing of the product is imported.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.hardening.arena import Case, Outcome

MAX_STDERR_BYTES: Final = 20_000
"""More than this on stderr reads nobody: a message has repeated its input."""

_OBEYED: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
"""What moves a terminal's cursor, colors it, or turns its lines around; the line feed alone is meant."""

_FAILED: Final = frozenset({2, 4, 70})


def judge(outcome: Outcome) -> dict[str, str]:
    """Failures of a run that ended by itself, each with what it was about."""
    failures: dict[str, str] = {}
    if outcome.status < 0:
        failures["crash"] = f"died of signal {-outcome.status}"
        return failures
    if b"Traceback (most recent call last)" in outcome.stderr:
        failures["traceback"] = _last_line(outcome.stderr)
    if outcome.status not in outcome.case.statuses:
        failures["wrong status"] = f"{outcome.status}: {_last_line(outcome.stderr)}"
    for column, look in (("stdout", _stdout), ("stderr", _stderr), ("content", _content)):
        said = next(iter(look(outcome)), None)
        if said is not None:
            failures[column] = said
    return failures


def format_of(case: Case) -> str:
    """The format that stdout must have, as the line or the variable asks for it; empty where neither does."""
    words = case.arguments
    for index, word in enumerate(words):
        if word == "--":
            break
        if word == "--format" and index + 1 < len(words):
            return words[index + 1]
        if word.startswith("--format="):
            return word.removeprefix("--format=")
    return case.environment.get("CLIPALIGN_FORMAT", "")


def _stdout(outcome: Outcome) -> Iterator[str]:
    format = format_of(outcome.case)
    try:
        text = outcome.stdout.decode("utf-8")
    except UnicodeDecodeError as error:
        yield f"not UTF-8: {error}"
        return
    if not text:
        to_file = any(word in ("--output", "-o") for word in outcome.case.arguments)
        if outcome.status in (0, 1) and format in ("json", "html") and not to_file:
            yield f"no {format} although the status is {outcome.status}"
        return
    if outcome.status in _FAILED and format == "json":
        yield "not empty although the command failed"
    if format == "json":
        yield from _json(text)
    elif format == "jsonl":
        for line in text.split("\n")[:-1]:
            yield from _json(line)
        if not text.endswith("\n"):
            yield "the last line is torn"
    elif format == "csv":
        yield from _csv(text)
    elif format == "html":
        yield from _html(text)
    elif format in ("table", "github"):
        found = _OBEYED.search(text)
        if found:
            yield f"a terminal would obey {found.group()!r}"


def _json(text: str) -> Iterator[str]:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    try:
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        yield f"not JSON: {error}"


def _csv(text: str) -> Iterator[str]:
    csv.field_size_limit(sys.maxsize)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        yield f"not CSV: {error}"
        return
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        yield f"rows of {sorted(widths)} columns"


class Tags(HTMLParser):
    """Everything in a page that is not text: tags with the names of their attributes."""

    ALLOWED: Final = re.compile(
        "html|head|meta|title|style|script|body|main|header|footer|section|article|h[1-4]|p|div|span|table|thead|tbody|"
        "tfoot|caption|colgroup|col|tr|th|td|ul|ol|li|dl|dt|dd|a|b|i|em|strong|small|code|pre|br|hr|img|svg|g|rect|line|"
        "circle|path|text|tspan|polyline|polygon|figure|figcaption|label|input|select|option|button|details|summary|"
        "form|mark|nav|noscript|fieldset|legend|output|image|abbr|sub|sup|link|time|meter|progress|desc|defs|symbol|use"
    )

    def __init__(self) -> None:
        """Nothing seen yet."""
        super().__init__()
        self.strange: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Tags and attributes that a report of ours never has."""
        if not self.ALLOWED.fullmatch(tag):
            self.strange.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or (value or "").strip().lower().startswith(("javascript:", "http:", "//")):
                self.strange.append(f"{name}={value!r}"[:80])
            if tag == "use" and name.endswith("href") and not (value or "").startswith("#"):
                self.strange.append(f"{name}={value!r}"[:80])
            if (name == "src" or (tag == "image" and name.endswith("href"))) and not (value or "").startswith(
                "data:image/"
            ):
                self.strange.append(f"{name}={value!r}"[:80])


def _html(text: str) -> Iterator[str]:
    if not text.lstrip()[:15].lower().startswith("<!doctype html"):
        yield "not a page of HTML"
        return
    tags = Tags()
    tags.feed(text)
    tags.close()
    if tags.strange:
        yield f"holds {', '.join(tags.strange[:3])}"


def _stderr(outcome: Outcome) -> Iterator[str]:
    text = outcome.stderr.decode("utf-8", "replace")
    found = _OBEYED.search(text)
    if found:
        yield f"a terminal would obey {found.group()!r}"
    if len(outcome.stderr) > MAX_STDERR_BYTES:
        yield f"{len(outcome.stderr)} bytes"
    if outcome.status in (0, 1):
        return
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        if not outcome.stdout:  # a table says in its last line what could not be read
            yield f"status {outcome.status} without a word"
    elif outcome.status in _FAILED or (outcome.status == 3 and not outcome.stdout):
        yield from _complaint(outcome, lines)


def _complaint(outcome: Outcome, lines: list[str]) -> Iterator[str]:
    """One or two lines, or one JSON object, that say what was wrong."""
    if format_of(outcome.case) == "json" and lines[-1].startswith("{"):
        try:
            error = json.loads(lines[-1])["error"]
            said, code = error["message"], error["code"]
        except (ValueError, KeyError, TypeError):
            yield f"not an error object: {lines[-1][:100]!r}"
            return
        if code != outcome.status:
            yield f"the error object says {code}, the status is {outcome.status}"
    else:
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if not errors:
            yield from () if outcome.status == 3 else (f"no error is named: {lines[-1][:100]!r}",)
            return
        said = errors[-1]
    if len(said.split()) < 2 or said.startswith("unexpected ") or unicodedata.category(said[-1]) == "Cc":
        yield f"no sentence: {said[:100]!r}"


def _content(outcome: Outcome) -> Iterator[str]:
    if outcome.case.check is not None:
        yield from outcome.case.check(outcome)


def _last_line(data: bytes) -> str:
    lines = [line for line in data.decode("utf-8", "replace").split("\n") if line.strip()]
    return next((line for line in lines if line.startswith("error:")), lines[-1] if lines else "")[:200]
