"""The list that ``download`` shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipalign.download.catalog import Status, all_statuses
from clipalign.output.console import notices
from clipalign.output.download import listing, size_of


def test_a_row_is_a_line_and_with_verbose_all_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
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
    head = "Data sets                          size  license            state"
    line = "cub                             1.15 GB  non-commercial     here, verified"
    assert listing([row]).splitlines() == [head, line, "", "-v: license, source and use of each"]
    monkeypatch.setattr(notices, "verbose", True)
    assert listing([row]).splitlines() == [
        head,
        line,
        "      for research · https://example.org · needs tiny",
        "      birds (a note)",
    ]


def test_every_row_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    lines = listing(all_statuses(tmp_path)).splitlines()
    assert len(lines) > 60 and max(map(len, lines)) <= 80


def test_a_size_that_is_not_known_is_a_dash() -> None:
    assert size_of(0) == "-"
