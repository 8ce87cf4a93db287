"""Errors a user can understand: each type has an exit status, each error a message and a hint. Imports nothing heavy.

``clipalign.cli`` prints any of them as one or two lines, or as one JSON object, on stderr; a Python program sees both
in ``str(error)``, where flags are named as arguments. :func:`need` imports an optional library or names its extra.
"""

from __future__ import annotations

import errno
import importlib
import re
from collections.abc import Sequence
from types import ModuleType
from typing import ClassVar, Final

EXIT_DONE = 0
EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_INPUTS = 3
EXIT_UNAVAILABLE = 4
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a write may end with when the disk is full."""

NO_RIGHTS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What reading and writing may end with where the user may not."""


class ClipalignError(Exception):
    """A failure that a user can understand.

    Args:
        message: what happened, one sentence without a final period.
        hint: what to try next, or an empty string.
        input: the file, option or record concerned, or an empty string.
    """

    exit_status: ClassVar[int] = EXIT_INTERNAL
    type: str = "internal_error"

    def __init__(self, message: str, *, hint: str = "", input: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.input = input

    def __str__(self) -> str:
        return in_arguments(f"{self.message}\nhint: {self.hint}" if self.hint else self.message)

    def as_dict(self) -> dict[str, dict[str, object]]:
        """The object printed on stderr with ``--format json``."""
        return {
            "error": {
                "code": self.exit_status,
                "type": self.type,
                "message": self.message,
                "hint": self.hint or None,
                "input": self.input or None,
            }
        }


class UsageError(ClipalignError):
    """Arguments that do not make sense together, or a value outside its range."""

    exit_status = EXIT_USAGE
    type = "usage"


class SettingsError(UsageError):
    """A settings file or an environment variable holds something unusable."""

    type = "settings"


class MissingExtra(UsageError):
    """A library that only some tasks need is not installed."""

    type = "missing_extra"


class Busy(UsageError):
    """A file that another process is at work on."""

    type = "busy"


class UnknownModel(UsageError):
    """A model name that is neither in the registry, nor known to open_clip, nor a file."""

    type = "unknown_model"


class UnknownDataset(UsageError):
    """A dataset name that nothing here answers to."""

    type = "unknown_dataset"


class DeviceUnavailable(UsageError):
    """The device or precision that was asked for is not there, or the device has too little memory."""

    type = "device_unavailable"


class ModelMismatch(UsageError):
    """Weights that do not fit the architecture: shapes, keys, activation or non-finite values."""

    type = "model_mismatch"


class InputUnreadable(ClipalignError):
    """An input file or record that cannot be used."""

    exit_status = EXIT_INPUTS
    type = "input_unreadable"


class RecordFailed(InputUnreadable):
    """An unexpected error, met while one record was read, prepared or scored; it costs that record alone."""

    type = "unexpected_error"


def record_failed(error: Exception, name: str) -> RecordFailed:
    """The error of the record ``name``, for which ``error`` was met; its cause is shown with ``--debug``."""
    what = f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")
    failed = RecordFailed(f"{name}: unexpected error, {what}", hint="--debug shows where; please report it", input=name)
    failed.__cause__ = error
    return failed


class ImageUnreadable(InputUnreadable):
    """A picture that is missing, empty, cut short, too large, or no picture at all."""

    type = "image_unreadable"


class TextUnusable(InputUnreadable):
    """A text with nothing in it to score."""

    type = "text_unusable"


class MissingWeights(ClipalignError):
    """A model or dataset that is not on this machine and may not, or could not, be fetched."""

    exit_status = EXIT_UNAVAILABLE
    type = "missing_weights"


class MissingDataset(MissingWeights):
    """A data set that is not where it is looked for."""

    type = "missing_dataset"


class DownloadFailed(MissingWeights):
    """A server that does not give what it was asked for."""

    type = "download_failed"


class LicenseNotAccepted(MissingWeights):
    """Something that is fetched only when the user has accepted its license."""

    type = "license_not_accepted"


class VerificationFailed(MissingWeights):
    """A file whose SHA-256 differs from the one on record."""

    type = "verification_failed"


class OutputError(ClipalignError):
    """What was to be written could not be: a full disk, a closed stdout."""

    type = "output_failed"


class OutputDenied(OutputError):
    """The user lacks the rights to write there, from the beginning or since the run began."""

    exit_status = EXIT_USAGE
    type = "output_denied"


DOWNLOAD_LINE: Final = re.compile(r"clipalign download (?!lists\b|-)(?:'([^']+)'|([\w.@/:-]+))( --accept-license \S+)?")
_FLAG: Final = re.compile(
    r"--(?:no-(?P<off>[a-z-]+)|(?P<name>[a-z]+(?:-[a-z]+)*)"
    r"(?: (?P<value>(?=\S*[A-Z\d])[\w./@-]*\w|auto|cpu|cuda|mps|clip|pictogram))?)"
)


def in_arguments(text: str) -> str:
    """``text`` for a Python program: ``--device cpu`` as ``device='cpu'``, a command to download as its function."""

    def argument(flag: re.Match[str]) -> str:
        name = (flag["off"] or flag["name"]).replace("-", "_")
        if flag["off"]:
            return f"{name}=False"
        value = flag["value"]
        return name if value is None else f"{name}={value if value[0].isdecimal() else repr(value)}"

    def call(line: re.Match[str]) -> str:
        return f"clipalign.download({line[1] or line[2]!r}{', accept_license=True' if line[3] else ''})"

    return _FLAG.sub(argument, DOWNLOAD_LINE.sub(call, text))


def unwritable(error: OSError) -> type[OutputError]:
    """Return ``OutputDenied`` where permission lacks, else ``OutputError``."""
    # Creating a file in /proc raises ENOENT.
    return OutputDenied if error.errno in NO_RIGHTS | {errno.ENOENT} else OutputError


class Interrupted(ClipalignError):
    """Ctrl-C; the hint says what of the work is kept."""

    exit_status = EXIT_INTERRUPTED
    type = "interrupted"


def name_some(names: Sequence[str], *, most: int = 8) -> str:
    """The first of ``names``, at most ``most``, and how many more there are."""
    named = ", ".join(names[:most])
    return named if len(names) <= most else f"{named} and {len(names) - most} more"


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
