"""The table of formats: what the command line offers has a writer, and every ending one format."""

from __future__ import annotations

import pytest

from clipalign.config import groups
from clipalign.output.formats import FORMATS, Writer, writer_of


def test_the_command_line_offers_every_format() -> None:
    assert tuple(FORMATS) == groups.FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_writer(name: str) -> None:
    assert isinstance(writer_of(name), Writer)


def test_an_ending_says_one_format() -> None:
    endings = [ending for format in FORMATS.values() for ending in format.endings]
    assert len(endings) == len(set(endings)) and all(ending.startswith(".") for ending in endings)


def test_what_grows_can_be_streamed() -> None:
    assert all(format.streamed for format in FORMATS.values() if format.appended)
