"""Libraries that only some tasks need: imported on use, and named with their extra when they are not installed."""

from __future__ import annotations

import importlib
from types import ModuleType

from clipalign.errors import MissingExtra


def need(module: str, *, extra: str, what: str) -> ModuleType:
    """Import an optional library.

    Args:
        module: as it is imported, ``pyarrow.parquet``.
        extra: of this package, which installs it.
        what: the subject of the error's sentence, "reading Parquet".

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{what} needs {module.partition('.')[0]}", hint=f"pip install 'clipalign[{extra}]'", input=module
        ) from error
