"""Where results go, checked before anything is loaded: format, file, and whether that file may be written."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clipalign.errors import UsageError
from clipalign.files import address_in, is_special
from clipalign.output import STDOUT, chosen_batch_format, chosen_format
from clipalign.output.formats import FORMATS

if TYPE_CHECKING:
    from clipalign.config.groups import RecordSettings

JOINED: Final = tuple(name for name, format in FORMATS.items() if format.joined)

_JOURNAL_ENDING: Final = ".journal.jsonl"

_PICTURES: Final = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")
"""Prefixes of picture files, besides those of WebP, AVIF and HEIC, whose marks come later."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the records of a run go.

    Attributes:
        path: the output file, links followed; None for stdout.
        name: as the user gave it.
        selects: only some records are written, at the end.
        in_parts: ``path`` is a folder, or an address, for parts.
    """

    format: str
    path: Path | None
    name: str
    resume: bool
    overwrite: bool
    selects: bool = False
    in_parts: bool = False

    @property
    def appended(self) -> bool:
        """Whether the output itself grows, not a journal."""
        return FORMATS[self.format].appended and not self.selects

    @property
    def is_file(self) -> bool:
        """Whether it is, or will be, a file, not stdout, a pipe or a device."""
        return self.path is not None and not self.in_parts and (self.path.is_file() or not self.path.exists())

    @property
    def log_path(self) -> Path | None:
        """The file that records are appended to; None if none are kept."""
        if self.path is None or not self.is_file:
            return None
        return self.path if self.appended else self.path.with_name(self.path.name + _JOURNAL_ENDING)


def find_destination(settings: RecordSettings, output: Path | None = None) -> Destination:
    """Return the destination given by the settings; raise ``UsageError`` for one that must not be written."""
    chosen = output or settings.output
    if chosen is not None and str(chosen) == STDOUT:
        chosen = None
    if settings.resume and chosen is None:
        raise UsageError("--resume needs --output", hint="what went to stdout is not kept", input="--resume")
    format = chosen_batch_format(settings)
    if chosen is None:
        _refuse_stdout(format)
        selects = settings.top_share is not None
        return Destination(format, None, "stdout", resume=False, overwrite=False, selects=selects)
    if address_in(chosen) or chosen.is_dir():
        return _in_parts(settings, chosen, format)
    path = _checked(chosen, settings.input)
    selects = settings.where is not None or settings.top_share is not None
    found = Destination(format, path, str(chosen), settings.resume, settings.overwrite, selects)
    if found.resume and not found.is_file:
        raise UsageError(f"{chosen} is no file that --resume could read", input="--resume")
    return found


def _in_parts(settings: RecordSettings, folder: Path, format: str) -> Destination:
    name = address_in(folder) or str(folder)
    if format not in JOINED:
        hint = f"--format {' or '.join(JOINED)}"
        raise UsageError(f"the format {format} cannot be written in parts", hint=hint, input="--format")
    if settings.top_share is not None:
        hint = "write one file here, or find the threshold and give it: --where 'clip_score >= 0.7'"
        raise UsageError("--top-share is not for an output in parts", hint=hint, input="--top-share")
    if getattr(settings, "update_baseline", False):
        hint = "update it from one file of all"
        raise UsageError("--update-baseline is not for an output in parts", hint=hint, input="--update-baseline")
    if address_in(folder) and settings.offline:
        raise UsageError(f"{name} is not written while offline", hint="leave out --offline", input=name)
    if not address_in(folder) and not os.access(folder, os.W_OK):
        raise _refused(folder, "may not be written: Permission denied", hint="check its rights")
    return Destination(format, folder, name, settings.resume, settings.overwrite, in_parts=True)


def document_format(settings: RecordSettings) -> str:
    """Return the format of a command's one document; raise ``UsageError`` if its file must not be written."""
    if settings.output is None or str(settings.output) == STDOUT:
        _refuse_stdout(format := chosen_format(settings))
        return format
    format = chosen_batch_format(settings)
    if FORMATS[format].has_originals:
        raise UsageError(f"the format {format} is for many", hint="give --input", input=str(settings.output))
    path = _checked(settings.output, ())
    if path.is_file() and not settings.overwrite:
        message = f"--output {settings.output} exists already"
        raise UsageError(message, hint="--overwrite makes it anew", input=str(settings.output))
    return format


def _refuse_stdout(format: str) -> None:
    if FORMATS[format].binary:
        raise UsageError(f"the format {format} needs a file", hint="give --output", input="--format")


def refuse_sources(output: Path | None, sources: Iterable[str], what: str, *, option: str = "--output") -> None:
    """Raise ``UsageError`` if ``output`` (None or ``-``: stdout) is one of the ``sources``, even with ``--overwrite``.

    ``sources`` are files and patterns as the user gave them; missing ones are skipped. ``what`` names them in errors.
    """
    for source in sources:
        try:
            same = output is not None and output.is_file() and any(map(output.samefile, _matching_files(source)))
        except (OSError, ValueError, RuntimeError):  # a name with NUL, a closed folder: said where it is opened
            continue
        if same:
            raise _refused(output, f"is {what}", option=option)


def _matching_files(source: str) -> Iterator[Path]:
    """Yield the files of an input's name: ``~`` is expanded, and a name that is no file may be a pattern."""
    named = Path(source).expanduser()
    found = [named] if named.exists() else map(Path, glob.iglob(str(named), recursive=True))  # noqa: PTH207
    yield from (file for file in found if file.is_file())


def _checked(output: Path, inputs: tuple[str, ...]) -> Path:
    try:
        # A pipe behind /dev/fd has no name that it could be resolved to.
        path = output if is_special(output) else output.resolve()
        if path.is_dir():
            raise _refused(output, "is a folder", hint="name a file in it")
        if not path.parent.is_dir():
            raise _refused(
                output, "is in a folder that is not there", hint=f"mkdir -p {shlex.quote(str(output.parent))}"
            )
        kernels = path.parts[1:2] in (("proc",), ("sys",)) and "/fd/" not in str(path)
        if kernels or path.is_block_device():
            raise _refused(output, "is no file for results")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise _refused(output, "may not be written: Permission denied", hint="check its rights")
        refuse_sources(output, inputs, "an --input")
        if path.is_file():
            _refuse_user_data(path, inputs, output)
    except (OSError, ValueError, RuntimeError) as error:  # a name with NUL, a loop of links, a folder nobody may read
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--output {output} cannot be used: {reason}", input=str(output)) from error
    return path


def _refuse_user_data(path: Path, inputs: tuple[str, ...], output: Path) -> None:
    """Refuse a picture, and a text in a folder of pictures, which is a caption."""
    if path.suffix.lower() == ".txt":
        for name in inputs:
            folder = Path(name).expanduser()
            if folder.is_dir() and folder.resolve() in path.parents:
                raise _refused(output, f"lies among the captions of {name}")
    try:
        with path.open("rb") as stream:
            beginning = stream.read(16)
    except OSError:  # said where it is written
        return
    if beginning.startswith(_PICTURES) or beginning[4:8] == b"ftyp" or beginning[8:12] == b"WEBP":
        raise _refused(output, "is a picture")


def _refused(output: Path | None, why: str, *, hint: str = "", option: str = "--output") -> UsageError:
    return UsageError(f"{option} {output} {why}", hint=hint or f"give another {option}", input=str(output))
