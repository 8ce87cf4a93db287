"""The list that ``download`` shows."""

from __future__ import annotations

from pathlib import Path

from clipalign.download.catalog import Status
from clipalign.output.download import listing, size_of


def test_a_row_shows_what_counts() -> None:
    row = Status(
        name="cub",
        kind="dataset",
        size_bytes=1_150_000_000,
        license="for research",
        license_class="non-commercial",
        source="https://example.org",
        state="here",
        verified=True,
        place=Path("x"),
        title="birds",
        note="a note",
        needs=("tiny",),
    )
    assert listing([row]).splitlines() == [
        "Data sets",
        "  cub                 1.15 GB  here, verified",
        "      non-commercial (for research) · https://example.org · needs tiny",
        "      birds (a note)",
    ]
    assert size_of(0) == "-"
