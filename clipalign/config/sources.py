"""Where a setting comes from: the flag, then ``CLIPALIGN_*``, then a settings file, then the default.

The first that has it wins, and an error names it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from clipalign.config.choices import FORMATS, FORMATS_OF, MODELS_OF
from clipalign.config.file import beside, foreign_files, read_settings_file
from clipalign.config.readers import READERS, checked, flag_name, listed
from clipalign.config.suggest import meant_by
from clipalign.config.values import Settings
from clipalign.errors import SettingsError, UsageError
from clipalign.models.registry import DEFAULT_MODEL

ENVIRONMENT_PREFIX: Final = "CLIPALIGN_"
OTHER_VARIABLES: Final[dict[str, tuple[str, ...]]] = {
    "cache_dir": ("CLIPALIGN_CACHE",),
    "offline": ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
}
"""Variables that set something besides the one named after it."""


def resolve(command: str, flags: Mapping[str, object], *, start: Path | None = None) -> Settings:
    """The settings of one run.

    Args:
        command: name of the subcommand.
        flags: what was typed, by setting; None for what was not.
        start: where the search for a settings file begins; the working directory by default.

    Raises:
        UsageError: a flag's value is out of its range.
        SettingsError: a variable or the settings file holds something unusable.
    """
    unknown = set(flags) - set(READERS)
    if unknown:
        raise TypeError(f"no such settings: {sorted(unknown)}")
    from_file = _from_file(command, start)
    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in READERS:
        if flags.get(name) is not None:
            origins[name] = flag_name(name)
            found[name] = checked(name, flags[name], origin=origins[name], error=UsageError)
        elif variable := _variable(name):
            origins[name] = variable
            found[name] = checked(name, os.environ[variable], origin=variable, error=SettingsError)
        elif name in from_file:
            value, origins[name], folder = from_file[name]
            found[name] = beside(folder, name, checked(name, value, origin=origins[name], error=SettingsError))
    _check_format(command, found.get("format"), origins.get("format", ""))
    found.setdefault("model", MODELS_OF.get(command, DEFAULT_MODEL))
    return Settings(**found)


def unknown_variables() -> list[str]:
    """A sentence about each variable that looks like a setting and is none."""
    own = [name for names in OTHER_VARIABLES.values() for name in names if name.startswith(ENVIRONMENT_PREFIX)]
    known = [name.upper() for name in READERS] + [name.removeprefix(ENVIRONMENT_PREFIX) for name in own]
    set_now = [name.removeprefix(ENVIRONMENT_PREFIX) for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]
    return [
        f"the variable {ENVIRONMENT_PREFIX}{name} sets nothing{f'; {hint}' if (hint := meant_by(name, known)) else ''}"
        for name in sorted(set(set_now) - set(known))
    ]


def _check_format(command: str, format: str | None, origin: str) -> None:
    has = FORMATS_OF.get(command, FORMATS)
    if format is not None and format not in has:
        error = UsageError if origin == flag_name("format") else SettingsError
        raise error(f"{command} has no format {format!r}", hint=f"it has {listed(has)}", input=origin)


def foreign_settings_files() -> list[str]:
    """A sentence about each settings file near the working directory that another user owns, and that is not read."""
    try:
        return foreign_files(Path.cwd())
    except FileNotFoundError:
        return []


def _from_file(command: str, start: Path | None) -> dict[str, tuple[object, str, Path]]:
    try:
        start = start or Path.cwd()
    except FileNotFoundError:
        return {}  # the working directory was deleted: no file is near
    return read_settings_file(command, start=start)


def _variable(name: str) -> str:
    """The environment variable that sets ``name`` now, or an empty string; an empty variable sets nothing."""
    for variable in (ENVIRONMENT_PREFIX + name.upper(), *OTHER_VARIABLES.get(name, ())):
        if os.environ.get(variable):
            return variable
    return ""
