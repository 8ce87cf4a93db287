"""clipalign tells whether a text fits a picture, which words do not, and how well long captions describe it.

    import clipalign

    model = clipalign.load("pictogram")
    result = model.detect("photo.png", "a red car left of a green tree")
    print(result.misaligned, result.clip_score)

Shapes in docstrings and comments use one legend of letters:

    B  images or captions      L  layers             M  descriptions
    T  tokens                  D  width of a tower   C  classes
    W  words                   E  joint embedding    S  pixels a side
    H  attention heads         N  crops

Units: ``cosine`` is raw, -1 to 1, without logit scale; ``clip_score`` is ``2.5 * max(cosine, 0)``; an attribution is a
change of cosine, near 1e-4, negative where a word pulls text and picture apart; ``start`` and ``end`` count characters
of the text as given; ``_tokens``, ``_px`` and ``_bytes`` say what they count.

Importing this package loads neither torch nor open_clip: names are looked up when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clipalign.version import __version__

if TYPE_CHECKING:
    from clipalign.data.in_memory import Prepared
    from clipalign.download.named import download, list_datasets, list_models
    from clipalign.errors import (
        ClipalignError,
        DeviceUnavailable,
        DownloadFailed,
        ImageUnreadable,
        InputUnreadable,
        LicenseNotAccepted,
        MissingDataset,
        MissingExtra,
        MissingWeights,
        ModelMismatch,
        TextUnusable,
        UnknownDataset,
        UnknownModel,
        UsageError,
        VerificationFailed,
    )
    from clipalign.eval_results import EvalResult
    from clipalign.frames import to_frame
    from clipalign.mapping import Mapper, mapper
    from clipalign.measure import evaluate
    from clipalign.methods.detect import Pair
    from clipalign.notebook import progress_bar
    from clipalign.results import (
        ClassifyResult,
        ClassScore,
        DetectResult,
        Failure,
        LongResult,
        Provenance,
        SentenceScore,
        WordScore,
    )
    from clipalign.session import Session, load, wrap

_MODULES = {
    "data.in_memory": "Prepared",
    "download.named": "list_datasets list_models",
    "mapping": "Mapper mapper",
    "measure": "evaluate",
    "errors": "ClipalignError DeviceUnavailable DownloadFailed ImageUnreadable InputUnreadable LicenseNotAccepted "
    "MissingDataset MissingExtra MissingWeights ModelMismatch TextUnusable UnknownDataset UnknownModel UsageError "
    "VerificationFailed",
    "frames": "to_frame",
    "methods.detect": "Pair",
    "notebook": "progress_bar",
    "eval_results": "EvalResult",
    "results": "ClassScore ClassifyResult DetectResult Failure LongResult Provenance SentenceScore WordScore",
    "session": "Session load wrap",
}
_HOMES = {name: f"clipalign.{module}" for module, names in _MODULES.items() for name in names.split()}
"""Public name to the module it lives in."""

__all__ = [
    "ClassScore",
    "ClassifyResult",
    "ClipalignError",
    "DetectResult",
    "DeviceUnavailable",
    "DownloadFailed",
    "EvalResult",
    "Failure",
    "ImageUnreadable",
    "InputUnreadable",
    "LicenseNotAccepted",
    "LongResult",
    "Mapper",
    "MissingDataset",
    "MissingExtra",
    "MissingWeights",
    "ModelMismatch",
    "Pair",
    "Prepared",
    "Provenance",
    "SentenceScore",
    "Session",
    "TextUnusable",
    "UnknownDataset",
    "UnknownModel",
    "UsageError",
    "VerificationFailed",
    "WordScore",
    "__version__",
    "download",
    "evaluate",
    "list_datasets",
    "list_models",
    "load",
    "mapper",
    "progress_bar",
    "to_frame",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name == "download":
        return import_module("clipalign.download")  # a function, too
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
