"""The settings file: ``clipalign.toml``, or ``[tool.clipalign]`` of ``pyproject.toml``, whichever is nearest upward.

A table named after a command (``[tool.clipalign.detect]``) holds for that command alone. Folders above the working
directory are looked at up to the root of the repository or the home folder, and a file counts only where the user or
root owns it: what a stranger left in a shared folder changes nothing.
"""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any, Final

from clipalign.cache import home_folder
from clipalign.commands import COMMANDS
from clipalign.config.readers import FLAGS_ALONE, NOT_FROM_FILES, READERS, flag_name, shown
from clipalign.config.suggest import meant_by
from clipalign.errors import SettingsError
from clipalign.files import is_file, is_folder, is_special

_MAX_BYTES: Final = 1024 * 1024
_MAX_DOTS: Final = 200
"""Of a line: the time that a dotted key takes grows with the square of its parts."""


def find_settings_file(start: Path) -> tuple[Path, dict[str, Any], str] | None:
    """The nearest settings file upward from ``start``: path, table, and the table's name in messages.

    ``clipalign.toml`` wins over a ``pyproject.toml`` beside it; a ``pyproject.toml`` without ``[tool.clipalign]`` is
    passed over, and so is a file of another user.
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


def foreign_files(start: Path) -> list[str]:
    """A sentence about each settings file that does not count: no file, or somebody else owns it or may write it."""
    places = [folder / name for folder in _folders(start) for name in ("clipalign.toml", "pyproject.toml")]
    return [
        f"{place} is not read, because it is a device, a pipe or a socket, not a file"
        for place in places
        if place.name == "clipalign.toml" and is_special(place)
    ] + [
        f"{place} is not read, because another user owns it or may write it"
        for place in places
        if is_file(place) and not _counts(place) and (place.name == "clipalign.toml" or _names_us(place))
    ]


def _names_us(project: Path) -> bool:
    try:
        with project.open("rb") as stream:
            return b"clipalign" in stream.read(_MAX_BYTES)
    except OSError:
        return False


def _folders(start: Path) -> list[Path]:
    """``start`` and those above it, up to the repository's root or the home folder; without either, it alone."""
    home = home_folder()
    found = []
    for folder in (start, *start.parents):
        found.append(folder)
        if folder == home or is_folder(folder / ".git") or is_file(folder / ".git"):
            return found
    return found[:1]


def _counts(path: Path) -> bool:
    """Whether only this user or root can have written it; of a link, both its owner and what it leads to count."""
    if not is_file(path) or not hasattr(os, "getuid"):
        return is_file(path)
    there = path.stat()
    return {there.st_uid, path.lstat().st_uid} <= {0, os.getuid()} and not there.st_mode & stat.S_IWOTH


def read_settings_file(command: str, *, start: Path) -> dict[str, tuple[object, str, Path]]:
    """Value, origin for messages, and folder of every setting the nearest file holds for ``command``.

    Raises:
        SettingsError: the file cannot be read, is no TOML, has a key nobody knows, or a value where a table belongs.
    """
    nearest_file = find_settings_file(start)
    if nearest_file is None:
        return {}
    path, table, table_name = nearest_file
    found: dict[str, tuple[object, str, Path]] = {}
    own: dict[str, tuple[object, str, Path]] = {}
    for key, value in table.items():
        if key in COMMANDS and (isinstance(value, dict) or key not in READERS):
            inner_name = f"{table_name}.{key}".lstrip(".")
            for inner, inner_value in _table(value, path, f"[{inner_name}]").items():
                name = _known(inner, path, inner_name, list(READERS))
                if key == command:
                    own[name] = (inner_value, _origin(path, inner_name, inner), path.parent)
        else:
            name = _known(key, path, table_name, [*READERS, *COMMANDS])
            found[name] = (value, _origin(path, table_name, key), path.parent)
    return found | own


def beside(folder: Path, name: str, value: object) -> object:
    """``value`` of setting ``name`` with its paths seen from ``folder``, where the file lies.

    ``model`` and ``init`` are names first: a path there is one when it begins with ``./`` or ``../``.
    """
    if name not in ("model", "init") or not isinstance(value, str):
        return value
    return "@".join(_joined(folder, part) if part.startswith(("./", "../")) else part for part in value.split("@"))


def _joined(folder: Path, name: str) -> str:
    """Left as it is, and short in messages, where it means the same from the working directory."""
    return name if folder == Path.cwd() else str(folder / name)


def _origin(path: Path, table: str, key: str) -> str:
    return f"{path}: {f'[{table}] ' if table else ''}{key}"


def _known(key: str, path: Path, table: str, known: list[str]) -> str:
    """``key`` as a setting's name; ``batch-size`` and ``batch_size`` are the same."""
    name = key.replace("-", "_")
    if name in NOT_FROM_FILES | FLAGS_ALONE:
        variable = {"cache_dir": "CLIPALIGN_CACHE"}.get(name, f"CLIPALIGN_{name.upper()}")
        raise SettingsError(
            f"{path}: {key} does not belong in a settings file, which says nothing of files, data sets and fetching",
            hint=f"give {flag_name(name)} on the command line" + (f", or set {variable}" if name in READERS else ""),
            input=str(path),
        )
    if name in READERS:
        return name
    place = f" in [{table}]" if table else ""
    raise SettingsError(
        f"{path}: unknown key {key!r}{place}",
        hint=meant_by(key, [one.replace("_", "-") for one in known]) or "clipalign COMMAND --help lists the settings",
        input=str(path),
    )


def _table(value: object, path: Path, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise SettingsError(f"{path}: {name} must be a table, not {shown(value)}", input=str(path))


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise SettingsError(f"{path} is larger than {_MAX_BYTES:,} bytes", input=str(path))
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
