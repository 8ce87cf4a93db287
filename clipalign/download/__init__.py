"""Downloads of weights and data sets: resumed, verified, never half done.

``catalog`` knows what there is and its status, ``models`` and ``datasets`` fetch it into its place; ``fetch`` gets one
file, ``web`` sends the requests, ``hub`` knows Hugging Face's API and cache, ``archives`` unpacks what may not be
trusted. Nothing here writes to a terminal or knows a command.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """``clipalign.download`` is this package and, called, the function of that name: an import of the one must not hide
    the other.
    """

    def __call__(self, name: str, **options: Any) -> list[Path]:
        from clipalign.download.named import download

        return download(name, **options)


sys.modules[__name__].__class__ = _Package
