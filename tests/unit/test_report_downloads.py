"""What ``download`` shows while a file comes, and its list."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipalign.download.catalog import Status
from clipalign.output import downloads
from clipalign.output.console import notices
from clipalign.output.downloads import listing, shown, size_of


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(notices.__class__, "tell", lambda self, line: lines.append(line))
    return lines


def clock(*seconds: float) -> Iterator[float]:
    yield from seconds


def test_without_a_terminal_a_line_comes_now_and_then(told: list[str]) -> None:
    times = clock(0, 1, 11, 11, 12, 30, 30)
    with shown("ViT-B-32", quiet=False, clock=lambda: next(times)) as advance:
        for done in (0, 100_000_000, 200_000_000, 600_000_000):
            advance(done, 605_000_000)
    assert told == ["ViT-B-32: 100 MB of 605 MB (16 %)", "ViT-B-32: 600 MB of 605 MB (99 %)"]


def test_a_size_nobody_knows_is_left_out(told: list[str]) -> None:
    times = clock(0, 11, 11)
    with shown("x", quiet=False, clock=lambda: next(times)) as advance:
        advance(5000, 0)
    assert told == ["x: 5 kB"]


def test_quiet_is_quiet(told: list[str]) -> None:
    with shown("x", quiet=True) as advance:
        advance(5000, 0)
    assert told == []


def test_on_a_terminal_a_bar_moves_and_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    from rich.console import Console

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, highlight=False)
    monkeypatch.setattr(downloads, "progress_console", lambda: console)
    with shown("[red]ViT-B-32\x1b", quiet=False) as advance:
        advance(100_000_000, 605_000_000)
    text = screen.getvalue()
    assert "[red]ViT-B-32\\x1b" in text and "100.0/605.0 MB" in text and told == []


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
