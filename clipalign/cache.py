"""clipalign's own cache folder: where it is, what lies where in it, and how a file is put there whole."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from clipalign.errors import UsageError

CACHE_VARIABLE: Final = "CLIPALIGN_CACHE"

DATASETS_FOLDER: Final = "datasets"
"""With a folder a data set."""

VECTORS_FOLDER: Final = "class-vectors"

_PART_PREFIX: Final = ".clipalign-"
"""Of unfinished files, which may lie in a folder of the user's."""

_STALE_SECONDS: Final = 3600.0
"""Age of a part that nobody can be writing any more."""


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """``cache_dir``, else ``CLIPALIGN_CACHE``, else ``clipalign`` in the platform's cache folder; may not exist yet.

    Raises:
        UsageError: the folder is given with ``~``, and there is no home folder.
    """
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
    return (home / usual if home else Path(tempfile.gettempdir())) / "clipalign"


def home_folder() -> Path | None:
    """The user's home folder; None where there is none, as for the nameless users of containers."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def data_folder(name: str, *, data_root: Path | None = None, cache_dir: Path | None = None) -> Path:
    """Where data set ``name`` is looked for; may not exist.

    ``data_root`` is the data set's own folder, or one that holds it under its name; without it, where ``download``
    puts it.
    """
    if data_root is None:
        return cache_folder(cache_dir) / DATASETS_FOLDER / name
    inner = data_root / name
    return inner if inner.is_dir() else data_root


def write_kept(file: Path, content: bytes) -> None:
    """Put ``content`` into ``file``, whole or not at all, whoever else does it meanwhile.

    A process that is killed here leaves a part; the next one to write there an hour later deletes it.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    _sweep(file.parent)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=_PART_PREFIX, suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _sweep(folder: Path) -> None:
    now = time.time()
    for part in folder.glob(f"{_PART_PREFIX}*.part"):
        with contextlib.suppress(OSError):  # another process was quicker, or it is another user's
            if now - part.stat().st_mtime > _STALE_SECONDS:
                part.unlink()
