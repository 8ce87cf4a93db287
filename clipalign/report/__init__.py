"""Results to the eye and to programs: tables, JSON. The only place that knows Rich or writes stdout.

:func:`render` is the one sink: a result and a format in, text on stdout out. Nothing here computes a score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clipalign.report.console import notices, stdout_is_terminal, write_output
from clipalign.results import ClassifyResult, DetectResult, EvalResult

if TYPE_CHECKING:
    from clipalign.settings import Settings

STDOUT: Final = "-"
"""What names it as an output."""

FORMAT_OF_ENDING: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".html": "html",
    ".htm": "html",
    ".txt": "table",
}
"""What the ending of an output file says; anything else is taken for JSON lines."""


def chosen_format(settings: Settings) -> str:
    """``--format``, or ``table`` where a person is looking and ``json`` where a program reads."""
    return settings.format or ("table" if stdout_is_terminal() else "json")


def chosen_batch_format(settings: Settings) -> str:
    """``--format`` for many records, or what the ending of ``--output`` says, or what suits stdout."""
    if settings.format:
        return settings.format
    if settings.output is None or str(settings.output) == STDOUT:
        return "table" if stdout_is_terminal() else "jsonl"
    return FORMAT_OF_ENDING.get(settings.output.suffix.lower(), "jsonl")


def configure(settings: Settings) -> None:
    """Take up ``-q``, ``-v``, ``--debug`` and the format, from wherever the settings came."""
    notices.quiet = notices.quiet or settings.quiet
    notices.verbose = notices.verbose or settings.verbose
    notices.debug = notices.debug or settings.debug
    notices.json = notices.json or settings.format == "json"


def render(result: DetectResult | ClassifyResult | EvalResult, *, format: str, top: int | None = None) -> bool:
    """Write ``result`` to stdout; its warnings are the caller's.

    Args:
        result: what a method or a benchmark found.
        format: ``table`` or ``json``.
        top: rows of a table of words, the most negative; None for all, in reading order. JSON is always whole.

    Returns:
        False when the reader has gone.

    Raises:
        OutputError: stdout cannot be written.
    """
    if isinstance(result, ClassifyResult):
        return _render_classes(result, format=format)
    if format == "json":
        from clipalign.report import json

        record = json.detect_record(result) if isinstance(result, DetectResult) else json.eval_record(result)
        return write_output(json.encode(record, indent=stdout_is_terminal()))
    if isinstance(result, DetectResult):
        from clipalign.report.table import detect_table

        return write_output(detect_table(result, top=top))
    from clipalign.report.metrics import metrics_table

    return write_output(metrics_table(result))


def _render_classes(result: ClassifyResult, *, format: str) -> bool:
    from clipalign.report.classify import classify_record

    record = classify_record(result)
    if format == "json":
        from clipalign.report import json

        return write_output(json.encode(record, indent=stdout_is_terminal()))
    from clipalign.report.classify_table import classify_table

    return write_output(classify_table(record))
