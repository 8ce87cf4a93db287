"""Where records come from: tables, folders, tars, standard input; read lazily, one input after another.

``open_input`` is the door. What cannot be read as a whole is an ``InputUnreadable``; what cannot be read of a record is
the record's ``problem``, and the rest goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipalign.inputs.records import Input, InputRecord, Place

__all__ = ["Input", "InputRecord", "Place", "open_input"]


def open_input(names: Sequence[str], *, image_root: Path | None = None, needs_text: bool = True) -> Input:
    """The records of one input after another.

    Args:
        names: files, folders, or ``-`` for JSON lines on standard input, as the user named them.
        image_root: folder that relative image names of tables are looked for in; None for the working directory.
        needs_text: whether a record without a text is a bad one.

    Raises:
        UsageError: no name, a kind of file that is not read, or standard input named twice or a terminal.
        InputUnreadable: an input that is not there.
        MissingExtra: a kind of file whose library is not installed.
    """
    raise NotImplementedError
