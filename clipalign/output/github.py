"""Records as GitHub workflow commands: annotations that stand at a line of the input file.

GitHub shows 10 warnings and 10 errors a step, and 50 annotations a job; the log has all of them.
Source: GitHub Actions, "Workflow commands", "Setting a warning message".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from clipalign.output.console import visible
from clipalign.output.formats import Writer
from clipalign.output.records import Entry, RecordFormatter, is_error

MAX_MESSAGE_CHARACTERS: Final = 1000


class GithubWriter(Writer):
    def entry(self, formatter: RecordFormatter, entry: Entry, *, to_file: bool = False) -> bytes:
        return annotation(formatter, entry).encode("utf-8")


def annotation(formatter: RecordFormatter, entry: Entry) -> str:
    """Return the line of a record with a finding or an error; empty for others."""
    record = entry.record
    if is_error(record):
        message = str(record["error"].get("message", ""))
        if hint := record["error"].get("hint"):
            message += f"; {hint}"
        title = f"{formatter.noun[0]} {record.get('id', '')} cannot be read"
        return _line("error", _place(entry) | {"title": title}, message)
    message = formatter.annotation(record)
    if not message:
        return ""
    return _line(
        "warning", _place(entry) | {"title": f"clipalign {formatter.command}: {record.get('id', '')}"}, message
    )


def failure(message: str, hint: str) -> str:
    """Return the line of an error that ends a run early, without a line feed."""
    return _line("error", {"title": "clipalign"}, f"{message}; {hint}" if hint else message).rstrip("\n")


def _line(kind: str, properties: Mapping[str, str], message: str) -> str:
    shown = ",".join(f"{name}={escaped_property(value)}" for name, value in properties.items())
    if len(message) > MAX_MESSAGE_CHARACTERS:
        message = message[: MAX_MESSAGE_CHARACTERS - 1] + "…"
    return f"::{kind} {shown}::{escaped_message(message)}\n"


def _place(entry: Entry) -> dict[str, str]:
    if entry.file and entry.file != "-":
        where = {"file": workspace_path(entry.file)}
        return where | {"line": str(entry.line)} if entry.line else where
    image = str(entry.record.get("image") or "")
    if not entry.file and image not in ("", "-") and "://" not in image:
        return {"file": workspace_path(image)}
    return {}


def workspace_path(name: str) -> str:
    """Return ``name`` relative to the workspace's root, with slashes; unchanged if outside."""
    try:
        found = os.path.relpath(name, os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
    except (OSError, ValueError):  # another drive, no working directory, a name with NUL
        return name
    return name if Path(found).parts[:1] == (os.pardir,) else Path(found).as_posix()


def escaped_message(text: str) -> str:
    """Escape ``text`` for after the two colons: a runner decodes ``%25``, ``%0D`` and ``%0A`` only."""
    lines = (visible(line) for line in text.replace("\r\n", "\n").split("\n"))
    return "\n".join(lines).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escaped_property(text: str) -> str:
    """Escape ``text`` as the value of a property, where colons and commas are special too."""
    return escaped_message(text).replace(":", "%3A").replace(",", "%2C")
