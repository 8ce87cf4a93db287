"""Results for people and programs: tables, pages, JSON, CSV, annotations. All that a command prints is made here.

:func:`render` writes the results of one command line; the writers of :mod:`.formats` write the records of a run over
many. Nothing here computes a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from clipalign.errors import UsageError
from clipalign.output.console import notices, stdout_is_terminal, write_output
from clipalign.output.formats import FORMATS, writer_of

if TYPE_CHECKING:
    from pathlib import Path

    from clipalign.config.groups import RecordSettings
    from clipalign.config.settings import CommandSettings
    from clipalign.output.records import RecordFormatter

STDOUT: Final = "-"


def chosen_format(settings: CommandSettings) -> str:
    """Return ``--format``, else ``table`` on a terminal and ``json`` elsewhere."""
    return settings.format or ("table" if stdout_is_terminal() else "json")


def chosen_batch_format(settings: RecordSettings) -> str:
    """Return ``--format`` for many records, else by the ending of ``--output``, else what suits stdout."""
    if settings.format:
        return settings.format
    if settings.output is None or str(settings.output) == STDOUT:
        return "table" if stdout_is_terminal() else "jsonl"
    file = settings.output.name.lower()
    named = next((name for name, format in FORMATS.items() if file.endswith(format.endings or (" ",))), None)
    if named is None and not _is_no_file(settings.output):
        *first, last = [format.endings[0] for format in FORMATS.values() if format.endings]
        raise UsageError(
            f"the name of --output {settings.output} does not say a format",
            hint=f"end it in {', '.join(first)} or {last}, or give --format",
            input=str(settings.output),
        )
    return named or "jsonl"


def _is_no_file(path: Path) -> bool:
    """Return whether ``path`` is a pipe, a device, or a folder, which is refused when opened."""
    try:
        return path.exists() and not path.is_file()
    except (OSError, ValueError):
        return False


def configure(settings: CommandSettings) -> None:
    notices.quiet = notices.quiet or settings.quiet
    notices.verbose = notices.verbose or settings.verbose
    notices.debug = notices.debug or settings.debug
    notices.json = notices.json or settings.format == "json"


def render(
    formatter: RecordFormatter,
    results: Sequence[Any],
    *,
    format: str,
    thumbnail: bytes | None = None,
    output: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the results of one command line, at least one and all of one picture, to stdout or into a file.

    Args:
        format: one of :data:`.formats.FORMATS`.
        thumbnail: a small WebP, JPEG or PNG of the picture, for ``html``.
        output: the file; None or ``-`` for stdout.

    Raises:
        ValueError: a number that JSON cannot hold.
        UsageError, OutputError: the output may not, or cannot, be written.
    """
    from clipalign.output.html import data_url
    from clipalign.output.records import Entry

    entries = [Entry(result.to_dict(), thumbnail=data_url(thumbnail)) for result in results]
    content = writer_of(format).results(formatter, entries)
    if output is None or str(output) == STDOUT:
        write_output(content, is_data=FORMATS[format].verbatim)
        return
    content = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    _write_document(output, content, overwrite=overwrite)
    if FORMATS[format].provenance_beside and output.is_file():
        from clipalign.files import write_whole
        from clipalign.output.csv import provenance_path
        from clipalign.output.json import encode

        write_whole(provenance_path(output.resolve()), encode(entries[0].record["provenance"], indent=True))


def _write_document(path: Path, content: bytes, *, overwrite: bool) -> None:
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


def write_record(record: object, table: str, *, format: str) -> None:
    if format != "json":
        write_output(table)
        return
    from clipalign.output.json import encode

    write_output(encode(record, indent=stdout_is_terminal()), is_data=True)
