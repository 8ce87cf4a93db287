"""The cache folder: where it is, its subfolders, and files written into it atomically."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from clipalign.errors import UsageError
from clipalign.files import write_whole

CACHE_VARIABLE: Final = "CLIPALIGN_CACHE"

DATASETS_FOLDER: Final = "datasets"

VECTORS_FOLDER: Final = "class-vectors"

IMAGE_VECTORS_FOLDER: Final = "image-vectors"

ENGINES_FOLDER: Final = "image-towers"


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Return ``cache_dir``, else ``CLIPALIGN_CACHE``, else ``clipalign`` in the platform's cache; may not exist."""
    given = cache_dir or os.environ.get(CACHE_VARIABLE)
    if given:
        try:
            return Path(given).expanduser()
        except RuntimeError:
            raise UsageError(
                f"the cache folder {given} needs a home folder, and there is none", hint="give it without ~"
            ) from None
    if sys.platform == "darwin":
        home, usual, variable = home_folder(), "Library/Caches", ""
    elif sys.platform == "win32":
        home, usual, variable = home_folder(), "AppData/Local", "LOCALAPPDATA"
    else:
        home, usual, variable = home_folder(), ".cache", "XDG_CACHE_HOME"
    if platforms := os.environ.get(variable):
        return Path(platforms) / "clipalign"
    if home:
        return home / usual / "clipalign"
    from tempfile import gettempdir  # only here: --help does without it

    return Path(gettempdir()) / "clipalign"


def home_folder() -> Path | None:
    """Return the home folder; None if there is none, as for the nameless users of containers."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def data_folder(name: str, *, data_root: Path | None = None, cache_dir: Path | None = None) -> Path:
    """Return the folder of data set ``name``, which may not exist.

    ``data_root`` is the data set's own folder, or its parent; by default it is where ``download`` puts it.
    """
    if data_root is None:
        return cache_folder(cache_dir) / DATASETS_FOLDER / name
    inner = data_root / name
    return inner if inner.is_dir() else data_root


def write_kept(file: Path, content: bytes) -> None:
    """Write ``content`` into ``file`` whole or not at all; on ``OSError`` the file is unchanged."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content, sync=False)
