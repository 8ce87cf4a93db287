"""What lies in the folder of a data set, and what is said when it does not."""

from __future__ import annotations

from pathlib import Path

from clipalign.errors import InputUnreadable, MissingDataset


def find_in(folder: Path, name: str, *places: str) -> Path:
    """The first of ``places`` (paths within ``folder``) that exists.

    Raises:
        MissingDataset: there is none of them; ``name`` says of which data set.
    """
    for place in places:
        if (folder / place).exists():
            return folder / place
    if folder.is_dir():
        message = f"{folder} is not laid out as {name}: there is no {' and no '.join(places[:2])}"
        hint = f"clipalign download {name}, or --data-root with the folder that holds {places[0]}"
    else:
        message = f"the data set {name} is not in {folder}"
        hint = f"clipalign download {name}, or --data-root DIR"
    raise MissingDataset(message, hint=hint, input=str(folder))


def text_lines(path: Path) -> list[str]:
    """The lines of a list that belongs to a data set, without blank ones.

    Raises:
        InputUnreadable: it is not there, or no text.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputUnreadable(
            f"{path} cannot be read: {error.strerror}", hint="is the data set complete?", input=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise InputUnreadable(f"{path} is no text", hint="is the data set complete?", input=str(path)) from error
