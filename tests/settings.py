"""Settings resolved as a command does it, without running the command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipalign.commands import command_function, settings_tables
from clipalign.config import resolve as config


def resolve(command: str, flags: Mapping[str, object], *, start: Path | None = None) -> Any:
    """The settings of ``command``, in its own class."""
    kind = command_function(command).settings
    return config.resolve(kind, flags, command=command, tables=settings_tables, start=start)
