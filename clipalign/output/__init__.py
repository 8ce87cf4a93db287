"""Results to the eye and to programs: tables, pages, JSON, CSV, annotations. All that a command prints is made here.

:func:`render` writes one result in one format to stdout or into a file; many records go through :mod:`.many`. Nothing
here computes a score.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from clipalign.errors import UsageError
from clipalign.output.console import notices, stdout_is_terminal, write_output

if TYPE_CHECKING:
    from pathlib import Path

    from clipalign.config.groups import RecordSettings
    from clipalign.config.settings import CommandSettings
    from clipalign.results import ClassifyResult, DetectResult, EvalResult

STDOUT: Final = "-"
"""What names it as an output."""

DATA_FORMATS: Final = ("json", "jsonl", "csv")
"""Formats that hold texts exactly as they were given."""

FORMAT_OF_ENDING: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".html": "html",
    ".htm": "html",
    ".txt": "table",
}
"""What the ending of an output file says."""


OTHER_SPELLINGS: Final = (".ndjson", ".htm")
"""Endings that are known, and not suggested."""


def chosen_format(settings: CommandSettings) -> str:
    """``--format``, or ``table`` where a person is looking and ``json`` where a program reads."""
    return settings.format or ("table" if stdout_is_terminal() else "json")


def chosen_batch_format(settings: RecordSettings) -> str:
    """``--format`` for many records, or what the ending of ``--output`` says, or what suits stdout.

    Raises:
        UsageError: the ending of a file says nothing; a pipe or a device needs none, and gets JSON lines.
    """
    if settings.format:
        return settings.format
    if settings.output is None or str(settings.output) == STDOUT:
        return "table" if stdout_is_terminal() else "jsonl"
    said = FORMAT_OF_ENDING.get(settings.output.suffix.lower())
    if said is None and not _is_no_file(settings.output):
        endings = [ending for ending in FORMAT_OF_ENDING if ending not in OTHER_SPELLINGS]
        raise UsageError(
            f"the name of --output {settings.output} does not say a format",
            hint=f"end it in {', '.join(endings[:-1])} or {endings[-1]}, or give --format",
            input=str(settings.output),
        )
    return said or "jsonl"


def _is_no_file(path: Path) -> bool:
    """Whether it is there, and is a pipe, a device, or a folder, which is refused where it is opened."""
    try:
        return path.exists() and not path.is_file()
    except (OSError, ValueError):
        return False


def configure(settings: CommandSettings) -> None:
    """Take up ``-q``, ``-v``, ``--debug`` and the format, from wherever the settings came."""
    notices.quiet = notices.quiet or settings.quiet
    notices.verbose = notices.verbose or settings.verbose
    notices.debug = notices.debug or settings.debug
    notices.json = notices.json or settings.format == "json"


def render(
    result: DetectResult | ClassifyResult | EvalResult,
    *,
    format: str,
    top: int | None = None,
    thumbnail: bytes | None = None,
    output: Path | None = None,
    overwrite: bool = False,
) -> bool:
    """Write ``result`` to stdout or into a file; its warnings are the caller's.

    Args:
        result: what a method or a benchmark found.
        format: ``table`` or ``json``; for results of a pair or a picture also ``jsonl``, ``csv``, ``html``, ``github``.
        top: rows of a table of words, the most negative; None for all, in reading order. JSON is always whole.
        thumbnail: a small WebP, JPEG or PNG of the picture, for ``html``.
        output: the file; None or ``-`` for stdout.
        overwrite: whether a file that exists is replaced.

    Returns:
        False when the reader has gone.

    Raises:
        UsageError: a file that may not be written.
        OutputError: stdout, or the file, cannot be written.
    """
    content = _document(result, format=format, top=top, thumbnail=thumbnail)
    return deliver(content, output=output, overwrite=overwrite, is_data=format in DATA_FORMATS)


def deliver(content: str | bytes, *, output: Path | None, overwrite: bool, is_data: bool = False) -> bool:
    """Write a whole document to stdout, or into a file; arguments, result and errors as of :func:`render`."""
    if output is None or str(output) == STDOUT:
        return write_output(content, is_data=is_data)
    content = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    _write_document(output, content, overwrite=overwrite)
    return True


def _write_document(path: Path, content: bytes, *, overwrite: bool) -> None:
    """Write one document into a file, or into whatever else ``path`` names.

    Raises:
        UsageError: the file exists and ``overwrite`` is not set, or it cannot be one.
        OutputError: it cannot be written.
    """
    from clipalign.files import is_special, open_special, write_failed, write_whole
    from clipalign.output.console import shown_on_terminal

    name = str(path)
    try:
        if is_special(path):
            with open_special(path, name) as stream, open(stream.fileno(), "wb", closefd=False) as buffered:
                buffered.write(shown_on_terminal(content).encode() if stream.isatty() else content)
            return
        target = path.resolve()
        if target.is_dir():
            raise UsageError(f"--output {name} is a folder", hint="name a file in it", input=name)
        if target.exists() and not overwrite:
            raise UsageError(f"--output {name} exists already", hint="--overwrite makes it anew", input=name)
        write_whole(target, content)
    except OSError as error:
        raise write_failed(name, error) from error
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"--output {name} cannot be used: {error}", input=name) from error


def _document(
    result: DetectResult | ClassifyResult | EvalResult, *, format: str, top: int | None, thumbnail: bytes | None
) -> str | bytes:
    from clipalign.results import ClassifyResult, EvalResult  # a fifth of what --help would cost

    if isinstance(result, EvalResult):
        from clipalign.output import json
        from clipalign.output.eval import metrics_table

        if format == "json":
            return json.encode(json.eval_record(result), indent=stdout_is_terminal())
        return metrics_table(result)
    from clipalign.output.documents import document

    if isinstance(result, ClassifyResult):
        from clipalign.output.classify import ClassifyView, classify_record, classify_table

        pictured = partial(classify_table, classify_record(result))
        return document(ClassifyView(), [result], format=format, table=pictured, thumbnail=thumbnail)
    from clipalign.output.detect import DetectView, detect_table

    table = partial(detect_table, result, top=top)
    return document(DetectView(), [result], format=format, table=table, thumbnail=thumbnail)
