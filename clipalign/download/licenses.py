"""What a license allows, in the four words that ``download`` shows, and the licenses of families of weights.

Licenses are as the publishers' pages stated when a row was written; if a page changes, the page counts.
"""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Final, Literal

LicenseClass = Literal["free", "non-commercial", "consent or account", "none stated"]

FREE: Final = frozenset(
    {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-4.0"}
)

_FAMILIES: Final = (
    ("*metaclip*", "CC-BY-NC-4.0"),
    ("timm/MobileCLIP*", "Apple-AMLR"),
    ("apple/*", "Apple-AMLR"),
    ("visheratin/nllb-*", "CC-BY-NC-4.0"),
    ("timm/*SigLIP*", "Apache-2.0"),
    ("timm/PE-Core-*", "Apache-2.0"),
    ("timm/eva*", "MIT"),
    ("timm/*clip_*", "MIT"),
    ("laion/*", "MIT"),
    ("UCSC-VLAA/*", "Apache-2.0"),
    ("https://openaipublic.azureedge.net/*", "MIT"),
    ("https://github.com/mlfoundations/open_clip/*", "MIT"),
)
"""Hub repository or address to license; the first match counts. Apple's are for research."""


def license_class(license: str) -> LicenseClass:
    if license in FREE:
        return "free"
    return "non-commercial" if "-NC-" in license or license == "Apple-AMLR" else "none stated"


def license_of_family(place: str) -> str:
    """Return the license of weights in a repository ``owner/name`` or at an address; empty if unknown."""
    return next((license for pattern, license in _FAMILIES if fnmatch(place, pattern)), "")
