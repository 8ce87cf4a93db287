"""The settings file: ``clipalign.toml``, or ``[tool.clipalign]`` of ``pyproject.toml``, whichever is nearest upward.

A table named after a command (``[tool.clipalign.detect]``) holds for that command alone.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from clipalign.commands import COMMANDS
from clipalign.errors import SettingsError
from clipalign.paths import is_file
from clipalign.settings.meant import meant_by
from clipalign.settings.readers import READERS


def find_settings_file(start: Path) -> tuple[Path, dict[str, Any], str] | None:
    """The nearest settings file upward from ``start``: path, table, and the table's name in messages.

    ``clipalign.toml`` wins over a ``pyproject.toml`` beside it; a ``pyproject.toml`` without ``[tool.clipalign]`` is
    passed over.
    """
    for folder in (start, *start.parents):
        own = folder / "clipalign.toml"
        if is_file(own):
            document = _toml(own)
            nested = document.get("tool")
            if isinstance(nested, dict) and "clipalign" in nested:
                return own, _table(nested["clipalign"], own, "[tool.clipalign]"), "tool.clipalign"
            return own, document, ""
        project = folder / "pyproject.toml"
        if is_file(project):
            tools = _toml(project).get("tool")
            if isinstance(tools, dict) and "clipalign" in tools:
                return project, _table(tools["clipalign"], project, "[tool.clipalign]"), "tool.clipalign"
    return None


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
        if key in COMMANDS:
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

    ``model``, ``init`` and ``data`` are names first: a path there is one when it begins with ``./`` or ``../``.
    """
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, tuple):
        return tuple(beside(folder, name, one) for one in value)
    if not isinstance(value, str):
        return value
    if name in ("model", "init", "data"):
        return "@".join(_joined(folder, part) if part.startswith(("./", "../")) else part for part in value.split("@"))
    if name in ("input", "text_file") and value != "-" and value[:1] != "~" and "://" not in value:
        return _joined(folder, value)
    return value


def _joined(folder: Path, name: str) -> str:
    """Left as it is, and short in messages, where it means the same from the working directory."""
    return name if folder == Path.cwd() else str(folder / name)


def _origin(path: Path, table: str, key: str) -> str:
    return f"{path}: {f'[{table}] ' if table else ''}{key}"


def _known(key: str, path: Path, table: str, known: list[str]) -> str:
    """``key`` as a setting's name; ``batch-size`` and ``batch_size`` are the same."""
    name = key.replace("-", "_")
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
    raise SettingsError(f"{path}: {name} must be a table, not {value!r}", input=str(path))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}", input=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise SettingsError(f"{path} cannot be read: {reason}", input=str(path)) from error
