"""``score-long`` as a JSON record. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from clipalign.report.console import stdout_is_terminal, write_output
from clipalign.results import LongResult


def render_long(results: Sequence[LongResult], *, format: str) -> bool:
    """Write the results of one picture's texts to stdout.

    Returns:
        False when the reader has gone.

    Raises:
        OutputError: stdout cannot be written.
    """
    records = [score_long_record(result) for result in results]
    if format == "json":
        from clipalign.report.json import encode

        document = records[0] if len(records) == 1 else {"results": records}
        return write_output(encode(document, indent=stdout_is_terminal()))
    from clipalign.report.score_long_table import score_long_table

    return write_output(score_long_table(records))


def score_long_record(result: LongResult) -> dict[str, Any]:
    """The record of one text; ``clip_score`` only where the weights are not SPECS'."""
    record: dict[str, Any] = {
        "id": result.id,
        "image": result.image,
        "text": result.text,
        "model": result.model,
        "cosine": result.cosine,
        "specs_score": result.specs_score,
    }
    if result.clip_score is not None:
        record["clip_score"] = result.clip_score
    return record | {
        "n_tokens": result.n_tokens,
        "truncated": result.truncated,
        "sentences": [asdict(sentence) for sentence in result.sentences],
        "unknown_words": list(result.unknown_words),
        "warnings": list(result.warnings),
        "provenance": asdict(result.provenance),
    }
