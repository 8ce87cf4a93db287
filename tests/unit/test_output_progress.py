"""How far a run is: lines where nobody watches, one bar for all on a terminal."""

from __future__ import annotations

import io

import pytest

from clipalign.output import progress as module
from clipalign.output.console import notices
from clipalign.output.progress import BYTES, Progress

PAIRS = ("pair", "pairs")
pytestmark = pytest.mark.usefixtures("fresh_notices")


@pytest.fixture(autouse=True)
def _lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for users; the other tests print no line, however long they take."""
    monkeypatch.setattr(module, "LINE_SECONDS", 30.0)


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_where_nobody_watches_a_line_comes_every_thirty_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = _Clock()
    notices.quiet = notices.json = False
    with Progress(PAIRS, total=300, clock=clock) as progress:
        for _ in range(100):
            progress.skip()
        for number in range(100):
            clock.now += 0.5
            progress.advance(unreadable=number % 50 == 0)
    assert capsys.readouterr().err == "160 of 300 pairs, 2.0/s, 70 s left, 2 unreadable\n"


@pytest.mark.parametrize("silent", ["quiet", "json"])
def test_no_line_where_none_is_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    clock = _Clock()
    monkeypatch.setattr(notices, silent, True)
    with Progress(PAIRS, total=None, clock=clock) as progress:
        clock.now = 100.0
        progress.advance()
    notices.release()
    assert capsys.readouterr().err == ""


def test_without_a_total_there_is_no_time_left() -> None:
    clock = _Clock()
    progress = Progress(PAIRS, total=None, clock=clock)
    clock.now = 10.0
    progress.advance()
    assert progress.line() == "1 pair, 0.10/s"


def test_bytes_are_shown_as_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    clock = _Clock()
    with Progress(BYTES, title="ViT-B-32", clock=clock) as progress:
        for done, now in ((0, 1), (100_000_000, 31), (200_000_000, 32), (605_000_000, 90)):
            clock.now = now
            progress.update(done, 605_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "ViT-B-32: 100 MB of 605 MB, 3.33 MB/s, 3 min left",
        "ViT-B-32: 605 MB of 605 MB, 6.98 MB/s",
    ]


def test_a_size_nobody_knows_is_left_out() -> None:
    progress = Progress(BYTES, title="x", clock=lambda: 0.0)
    progress.update(5000, 0)
    assert progress.line() == "x: 5 kB"


def test_another_count_begins_anew_and_earlier_steps_do_not_speed_it_up() -> None:
    clock = _Clock()
    progress = Progress(("picture", "pictures"), total=9, clock=clock)
    progress.update(9)
    progress.restart(("step", "steps"), total=100, done=50)
    clock.now = 20.0
    progress.update(60, note="loss 0.300")
    assert progress.line() == "60 of 100 steps, 0.50/s, 80 s left, loss 0.300"


def test_the_time_left_goes_by_the_last_half_minute_and_not_by_the_first_seconds() -> None:
    clock = _Clock()
    progress = Progress(PAIRS, total=100_000, clock=clock)
    clock.now = 2.0
    progress.update(1)
    assert progress.line() == "1 of 100,000 pairs, 0.50/s"
    for _ in range(60):
        clock.now += 1.0
        progress.advance(10)
    assert progress.line() == "601 of 100,000 pairs, 10.0/s, 3 h left"


def test_on_a_terminal_a_bar_moves_and_is_gone_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, highlight=False)
    monkeypatch.setattr(module, "progress_console", lambda: console)
    with Progress(BYTES, title="[red]ViT-B-32\x1b") as progress:
        progress.update(100_000_000, 605_000_000)
    text = screen.getvalue()
    assert "[red]ViT-B-32\\x1b: 100 MB of 605 MB" in text
    assert capsys.readouterr().err == ""
