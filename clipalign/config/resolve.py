"""Where the values of settings come from: flags, variables, the settings file, defaults, in this order.

The settings file is ``clipalign.toml``, or ``[tool.clipalign]`` of ``pyproject.toml``, whichever is nearest upward.
A table named after a command (``[tool.clipalign.detect]``) holds for that command alone. The search goes up to the root
of the repository or the home folder, and skips files of owners other than the user or root.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from clipalign.cache import home_folder
from clipalign.config.readers import quoted
from clipalign.config.settings import CommandSettings, Setting, Tables, declared, read_value
from clipalign.config.suggest import suggestion
from clipalign.errors import SettingsError
from clipalign.files import is_file, is_folder, is_special, read_text_bytes

S = TypeVar("S", bound=CommandSettings)

ENVIRONMENT_PREFIX: Final = "CLIPALIGN_"

_MAX_BYTES: Final = 1_000_000
_MAX_DOTS: Final = 200
"""Dots allowed in a line: parsing a dotted key takes time quadratic in its parts."""


def resolve(
    kind: type[S],
    flags: Mapping[str, object],
    *,
    command: str,
    tables: Callable[[], Tables],
    start: Path | None = None,
) -> S:
    """Return the settings of one run.

    Args:
        flags: typed values, by setting; None for those not typed.
        tables: the settings of all commands, called only if there is a settings file.
        start: where the search for a settings file begins; the working directory by default.

    Raises:
        UsageError: a flag's value is out of its range.
        SettingsError: a variable or the settings file holds an invalid value.
    """
    own = declared(kind)
    unknown = set(flags) - set(own)
    if unknown:
        raise TypeError(f"no such settings: {sorted(unknown)}")
    in_file = _values_in_file(command, tables, start)
    found: dict[str, Any] = {}
    for key, setting in own.items():
        if flags.get(key) is not None:
            found[key] = read_value(setting, flags[key], origin=setting.flag)
        elif variable := _variable(key, setting):
            found[key] = read_value(setting, os.environ[variable], origin=variable, error=SettingsError)
        elif key in in_file:
            value, origin = in_file[key]
            found[key] = read_value(setting, value, origin=origin, error=SettingsError)
    given = {key: value for key, value in found.items() if value is not None}
    return kind(**given, typed=frozenset(key for key, value in flags.items() if value is not None))


def find_settings_file(start: Path | None) -> tuple[Path, dict[str, Any], str] | None:
    """Return path, table and the table's name of the nearest settings file upward from ``start``.

    ``clipalign.toml`` wins over a ``pyproject.toml`` beside it; a ``pyproject.toml`` without ``[tool.clipalign]`` and
    files of other users are skipped.
    """
    for folder in _folders(start):
        own = folder / "clipalign.toml"
        if _counts(own):
            document = _toml(own)
            nested = document.get("tool")
            if isinstance(nested, dict) and "clipalign" in nested:
                return own, _table(nested["clipalign"], own, "[tool.clipalign]"), "tool.clipalign"
            return own, document, ""
        project = folder / "pyproject.toml"
        if _counts(project) and _names_us(project):
            tools = _toml(project).get("tool")
            if isinstance(tools, dict) and "clipalign" in tools:
                return project, _table(tools["clipalign"], project, "[tool.clipalign]"), "tool.clipalign"
    return None


def foreign_files(start: Path | None = None) -> list[str]:
    """Return a sentence about each skipped settings file: not a file, or owned or writable by another user."""
    paths = [folder / name for folder in _folders(start) for name in ("clipalign.toml", "pyproject.toml")]
    return [
        f"{path} is not read, because it is a device, a pipe or a socket, not a file"
        for path in paths
        if path.name == "clipalign.toml" and is_special(path)
    ] + [
        f"{path} is not read, because another user owns it or may write it"
        for path in paths
        if is_file(path) and not _counts(path) and (path.name == "clipalign.toml" or _names_us(path))
    ]


def _names_us(project: Path) -> bool:
    try:
        with project.open("rb") as stream:
            return b"clipalign" in stream.read(_MAX_BYTES)
    except OSError:
        return False


def _folders(start: Path | None) -> list[Path]:
    """Return ``start``, by default the working directory, and its parents up to the repository or the home folder.

    Without either it is alone; nothing is returned if the working directory was deleted.
    """
    try:
        start = start or Path.cwd()
    except FileNotFoundError:
        return []
    home = home_folder()
    found = []
    for folder in (start, *start.parents):
        found.append(folder)
        if folder == home or is_folder(folder / ".git") or is_file(folder / ".git"):
            return found
    return found[:1]


def _counts(path: Path) -> bool:
    """Return whether this user or root alone owns and may write it; a link's own owner counts too."""
    if not is_file(path) or not hasattr(os, "getuid"):
        return is_file(path)
    there = path.stat()
    return {there.st_uid, path.lstat().st_uid} <= {0, os.getuid()} and not there.st_mode & stat.S_IWOTH


def _values_in_file(command: str, tables: Callable[[], Tables], start: Path | None) -> dict[str, tuple[object, str]]:
    """Return value and origin, for messages, of every setting that the nearest file holds for ``command``.

    Raises:
        SettingsError: an unreadable file, invalid TOML, an unknown or forbidden key, or a value in place of a table.
    """
    nearest_file = find_settings_file(start)
    if nearest_file is None:
        return {}
    path, table, table_name = nearest_file
    commands = tables()
    settings = {key: setting for one in commands.values() for key, setting in one.items()} | {**commands[command]}
    found: dict[str, tuple[object, str]] = {}
    own: dict[str, tuple[object, str]] = {}
    for key, value in table.items():
        if key in commands and (isinstance(value, dict) or key not in settings):
            inner_name = f"{table_name}.{key}".lstrip(".")
            for inner, inner_value in _table(value, path, f"[{inner_name}]").items():
                name = _known(inner, settings, path, inner_name, [])
                if key == command:
                    own[name] = _said(settings[name], inner_value, path, inner_name, inner)
        else:
            name = _known(key, settings, path, table_name, list(commands))
            found[name] = _said(settings[name], value, path, table_name, key)
    return found | own


def _said(setting: Setting, value: object, path: Path, table: str, key: str) -> tuple[object, str]:
    """Return a value and its origin; parts of a model's name that begin with ``./`` or ``../`` are beside the file."""
    if setting.beside_file and isinstance(value, str) and path.parent != Path.cwd():
        parts = value.split("@")
        value = "@".join(str(path.parent / part) if part.startswith(("./", "../")) else part for part in parts)
    return value, f"{path}: {f'[{table}] ' if table else ''}{key}"


def _known(key: str, settings: Mapping[str, Setting], path: Path, table: str, commands: list[str]) -> str:
    """Return ``key`` as a setting's name; ``batch-size`` and ``batch_size`` are the same."""
    name = key.replace("-", "_")
    setting = settings.get(name)
    if setting is None:
        known = [*(one.replace("_", "-") for one in settings), *commands]
        raise SettingsError(
            f"{path}: unknown key {key!r}{f' in [{table}]' if table else ''}",
            hint=suggestion(key, known) or "clipalign COMMAND --help lists the settings",
            input=str(path),
        )
    if not setting.file:
        variable = f", or set {(*setting.variables, f'CLIPALIGN_{name.upper()}')[0]}" if setting.variable else ""
        raise SettingsError(
            f"{path}: {key} does not belong in a settings file, which says nothing of files, data sets and fetching",
            hint=f"give {setting.flag} on the command line{variable}",
            input=str(path),
        )
    return name


def _table(value: object, path: Path, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise SettingsError(f"{path}: {name} must be a table, not {quoted(value)}", input=str(path))


def _toml(path: Path) -> dict[str, Any]:
    try:
        content = read_text_bytes(path, _MAX_BYTES)
        if any(line.count(b".") > _MAX_DOTS for line in content.split(b"\n")):
            raise SettingsError(f"{path} has a line of more than {_MAX_DOTS} dots", input=str(path))
        return tomllib.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise SettingsError(f"{path} is not valid TOML: nested too deep", input=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(f"{path} cannot be read: {reason}", input=str(path)) from error
    except ValueError as error:  # no TOML, or a number of more digits than Python reads
        raise SettingsError(f"{path} is not valid TOML: {error}", input=str(path)) from error


def variables_of(key: str, setting: Setting) -> tuple[str, ...]:
    """Return the variables that set it; the first that is set wins."""
    return (ENVIRONMENT_PREFIX + key.upper(), *setting.variables) if setting.variable else ()


def _variable(key: str, setting: Setting) -> str:
    """Return the variable that sets it now, or empty; an empty variable sets nothing."""
    return next((one for one in variables_of(key, setting) if os.environ.get(one)), "")


def unknown_variables(tables: Callable[[], Tables]) -> list[str]:
    """Return a sentence about each variable that looks like a setting but is none."""
    set_now = [variable for variable in os.environ if variable.startswith(ENVIRONMENT_PREFIX)]
    if not set_now:
        return []
    known = {one for table in tables().values() for key in table for one in variables_of(key, table[key])}
    short = [one.removeprefix(ENVIRONMENT_PREFIX) for one in sorted(known) if one.startswith(ENVIRONMENT_PREFIX)]
    return [
        f"the variable {one} sets nothing"
        + (f"; {hint}" if (hint := suggestion(one.removeprefix(ENVIRONMENT_PREFIX), short)) else "")
        for one in sorted(set(set_now) - known)
    ]
