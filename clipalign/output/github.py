"""Records as GitHub workflow commands: annotations that stand at a line of the input file.

GitHub shows 10 warnings and 10 errors a step, and 50 annotations a job; the log has all of them.
Workflow commands as documented by GitHub Actions ("Workflow commands", "Setting a warning message").
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from clipalign.output.console import visible
from clipalign.output.records import Entry, RecordView, is_error

MAX_MESSAGE_CHARACTERS: Final = 1000
"""Longer ones are cut; a page of annotations shows far less."""


def annotation(view: RecordView, entry: Entry) -> str:
    """The line of one record, with its line feed; empty where there is nothing to say."""
    record = entry.record
    if is_error(record):
        said = str(record["error"].get("message", ""))
        if hint := record["error"].get("hint"):
            said += f"; {hint}"
        return _command("error", entry, f"{view.noun[0]} {record.get('id', '')} cannot be read", said)
    message = view.annotation(record)
    if not message:
        return ""
    return _command("warning", entry, f"clipalign {view.command}: {record.get('id', '')}", message)


def _command(kind: str, entry: Entry, title: str, message: str) -> str:
    return _line(kind, _place(entry) | {"title": title}, message)


def failure(message: str, hint: str) -> str:
    """The line of an error that ends a run before its records are through, without a line feed."""
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
    """``name`` as GitHub looks for it: from the workspace's root, with slashes; as it is where it lies elsewhere."""
    try:
        found = os.path.relpath(name, os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
    except (OSError, ValueError):  # another drive, no working directory, a name with NUL
        return name
    return name if Path(found).parts[:1] == (os.pardir,) else Path(found).as_posix()


def escaped_message(text: str) -> str:
    """``text`` behind the two colons: a runner takes ``%25``, ``%0D`` and ``%0A`` back; nothing else is special."""
    return _readable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escaped_property(text: str) -> str:
    """``text`` as the value of a property, where colons and commas are special too."""
    return escaped_message(text).replace(":", "%3A").replace(",", "%2C")


def _readable(text: str) -> str:
    """Line feeds kept, everything else that a log would obey or hide written out."""
    return "\n".join(visible(line) for line in text.replace("\r\n", "\n").split("\n"))
