"""Downloads of weights and data sets: resumed, verified, never half done.

Nothing here writes to a terminal or knows a command.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """Make ``clipalign.download`` both this package and the function, so that importing one does not hide the other."""

    def __call__(self, name: str, **options: Any) -> list[Path]:
        from clipalign.download.named import download

        return download(name, **options)


sys.modules[__name__].__class__ = _Package
