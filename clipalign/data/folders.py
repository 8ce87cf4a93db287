"""A folder of pictures as an input: each with the text file of the same name beside it.

The whole of ``cup.txt``, stripped of white space, is the caption of ``cup.jpg``. Subfolders are read too, all names in
sorted order; hidden ones are skipped. Only the names of one folder at a time are held.
"""

from __future__ import annotations

import glob
import itertools
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from unicodedata import normalize

from clipalign.data.records import Row, Source
from clipalign.data.sources import PICTURES
from clipalign.data.words import check_length
from clipalign.errors import InputUnreadable
from clipalign.files import read_text_bytes

_Found: TypeAlias = "tuple[Path, Path | InputUnreadable]"

MAX_CAPTION_BYTES: Final = 16_000_000


MAX_COUNTED: Final = 100_000

METADATA: Final = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""Lists that Hugging Face's folders of pictures have."""


@dataclass(frozen=True, slots=True)
class Folder(Source):
    """A folder of pictures, with captions if texts are needed."""

    def check(self) -> None:
        """Raise ``InputUnreadable`` if the folder cannot be read, has no picture, or its captions in a list."""
        first = next(self._pictures(), None)
        listed = [name for name in METADATA if (self.path / name).is_file()] if self.reader.needs_text else []
        if listed and isinstance(first, tuple) and not (isinstance(first[1], Path) and first[1].exists()):
            message = f"the captions of {self.name} are not beside its pictures but in {listed[0]}"
            raise InputUnreadable(message, hint=f"--input {shlex.quote(str(self.path / listed[0]))}", input=self.name)
        if first is None:
            endings = {path.suffix.lower() for path in self.path.iterdir()}
            found = next((one for one in (".tar", ".jsonl", ".parquet") if one in endings), "")
            hint = f"name the files in it: '{glob.escape(self.name)}/*{found}'" if found else ""
            raise InputUnreadable(f"there are no pictures in {self.name}", hint=hint, input=self.name)

    def count(self) -> int | None:
        found = sum(1 for _ in itertools.islice(self._pictures(), MAX_COUNTED + 1))
        return found if found <= MAX_COUNTED else None

    def rows(self) -> Iterator[Row]:
        for found in self._pictures():
            yield Row(found if isinstance(found, InputUnreadable) else self._row(*found))

    def _row(self, picture: Path, file: Path | InputUnreadable) -> dict[str, Any]:
        row: dict[str, Any] = {"id": picture.relative_to(self.path).with_suffix("").as_posix(), "image": picture}
        if self.reader.needs_text:
            try:
                row["text"] = _caption(picture, file) if isinstance(file, Path) else file
            except InputUnreadable as error:
                row["text"] = error
        return row

    def _pictures(self) -> Iterator[_Found | InputUnreadable]:
        return _walk(self.path, self.name, ())


def _walk(folder: Path, name: str, above: tuple[tuple[int, int], ...]) -> Iterator[_Found | InputUnreadable]:
    """Yield the pictures below ``folder`` in sorted order with their caption files, or why one cannot be read."""
    try:
        state = folder.stat()
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))
    except OSError as error:
        problem = InputUnreadable(f"{folder} cannot be read: {error.strerror or error}", input=str(folder))
        if not above:
            raise problem from error
        yield problem
        return
    here = (state.st_dev, state.st_ino)
    if here in above:  # a link to a folder that it stands in
        return
    beside = _beside([entry for entry, is_folder in entries if not is_folder], folder)
    for entry, is_folder in entries:
        if is_folder:
            yield from _walk(folder / entry, name, (*above, here))
        elif entry in beside:
            yield folder / entry, beside[entry]


def _beside(names: list[str], folder: Path) -> dict[str, Path | InputUnreadable]:
    """Map each picture to its text file, or an error if there are several; the name's case and form of é may vary.

    Two pictures with one text file are an error of both.
    """
    stems: dict[tuple[str, bool], list[str]] = {}
    for name in names:
        path = Path(name)
        picture = path.suffix.lower() in PICTURES
        if picture or path.suffix.lower() == ".txt":
            stems.setdefault((normalize("NFC", path.stem), picture), []).append(name)
    alike: dict[str, list[tuple[str, bool]]] = {}
    for key in stems:
        alike.setdefault(key[0].casefold(), []).append(key)
    found: dict[str, Path | InputUnreadable] = {}
    for (stem, picture), pictures in stems.items():
        texts = stems.get((stem, False), [])
        if not texts and len(both := alike[stem.casefold()]) == 2:  # IMG.JPG and img.txt, as Windows allows it
            texts = stems.get((next(other for other, _ in both if other != stem), False), [])
        for name in pictures if picture else ():
            file = folder / (texts[0] if len(texts) == 1 else Path(name).with_suffix(".txt").name)
            others = texts if len(texts) > 1 and file.name not in texts else []
            if texts and len(texts) < len(pictures):
                others = pictures
            if others:
                what = (
                    f"{others[0]} and {others[1]} in {folder} are two {'pictures' if others is pictures else 'texts'}"
                )
                found[name] = InputUnreadable(f"{what} of {stem}", hint="rename one", input=str(folder / name))
            else:
                found[name] = file
    return found


def _caption(picture: Path, file: Path) -> str:
    try:
        text = read_text_bytes(file, MAX_CAPTION_BYTES).decode("utf-8-sig").strip()
        check_length(text, str(file))
    except FileNotFoundError as error:
        hint = f"write it into {file.name} beside the picture"
        raise InputUnreadable(f"{picture} has no caption", hint=hint, input=str(picture)) from error
    except UnicodeDecodeError as error:
        raise InputUnreadable(f"{file} is not valid UTF-8", hint="save it as UTF-8", input=str(file)) from error
    except OSError as error:
        raise InputUnreadable(f"{file} cannot be read: {error.strerror or error}", input=str(file)) from error
    if not text:
        raise InputUnreadable(f"{file} is empty", hint="write the caption into it", input=str(file))
    return text
