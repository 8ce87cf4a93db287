"""What lies in the folder of a data set, and what is said when it does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from clipalign.errors import InputUnreadable, MissingDataset

_WHOLE: Final = re.compile(r"[0-9]{1,9}")


def find_in(folder: Path, name: str, *places: str) -> Path:
    """The first of ``places`` (paths within ``folder``) that exists.

    Raises:
        MissingDataset: there is none of them; ``name`` says of which data set.
    """
    for place in places:
        if (folder / place).exists():
            return folder / place
    if folder.is_dir():
        message = f"{folder} is not laid out as {name}: there is no {' and no '.join(places[:3])}"
        hint = f"clipalign download {name}, or --data-root with the folder that holds {places[0]}"
    else:
        why = "that is a file" if folder.exists() else "there is no such folder"
        message = f"the data set {name} is not in {folder}: {why}"
        hint = f"clipalign download {name}, or --data-root DIR"
    raise MissingDataset(message, hint=hint, input=str(folder))


def files_in(folder: Path) -> list[Path]:
    """What lies in a folder that belongs to a data set, by name.

    Raises:
        InputUnreadable: it is no folder, or cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputUnreadable(
            f"{folder} cannot be read: {error.strerror}", hint="is the data set complete?", input=str(folder)
        ) from error


def text_lines(path: Path) -> list[str]:
    """The lines of a list that belongs to a data set, without blank ones.

    Raises:
        InputUnreadable: it is not there, or no text.
    """
    return [line for _, line in _numbered_lines(path)]


def numbered_rows(path: Path, form: str) -> list[tuple[int, str]]:
    """The lines of such a list that are a number and a text, in either order.

    Args:
        path: of the list.
        form: what a line has: ``"NUMBER FILE"``, where the text goes on to the end of the line, or ``"FILE NUMBER"``,
            where it has no space and further fields are passed over.

    Raises:
        InputUnreadable: it cannot be read, or a line, which is named, has another form.
    """
    place = form.split().index("NUMBER")
    found = []
    for number, line in _numbered_lines(path):
        fields = line.split(maxsplit=1) if place == 0 else line.split()
        if len(fields) < 2 or not _WHOLE.fullmatch(fields[place]):
            raise InputUnreadable(
                f"{path}:{number} is not {form}", hint="is the data set complete?", input=f"{path}:{number}"
            )
        found.append((int(fields[place]), fields[1 - place]))
    return found


def _numbered_lines(path: Path) -> list[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    except OSError as error:
        raise InputUnreadable(
            f"{path} cannot be read: {error.strerror}", hint="is the data set complete?", input=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise InputUnreadable(f"{path} is no text", hint="is the data set complete?", input=str(path)) from error
