"""Pairs and pictures that a program holds become the records of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from clipalign.data.columns import RowReader
from clipalign.data.in_memory import picture_source
from clipalign.data.records import InputRecord, Place, bad_record
from clipalign.errors import ClipalignError, UsageError
from clipalign.methods.detect import Pair

_PLACEHOLDER: Final = "image"


def records_of(items: Iterable[Any], *, needs_text: bool, broken: list[Exception]) -> Iterator[InputRecord]:
    """Yield a record for each pair, or without ``needs_text`` picture; what is wrong with one is its ``problem``.

    What ``items`` itself raises goes into ``broken`` and ends the records, so that those before it are scored.
    """
    numbered = enumerate(items)
    while True:
        try:
            number, item = next(numbered)
        except StopIteration:
            return
        except Exception as error:
            broken.append(error)
            return
        place = Place("the pairs" if needs_text else "the images", 0, number)
        try:
            row = _row(item, needs_text=needs_text)
        except ClipalignError as error:
            yield bad_record(place, error)
        else:
            yield _record(row, place, needs_text=needs_text)


def _record(row: dict[str, Any], place: Place, *, needs_text: bool) -> InputRecord:
    image, row["image"] = row["image"], _PLACEHOLDER
    record = RowReader(needs_text=needs_text).record(row, place)
    given = record.id if row.get("id") not in (None, "") else ""
    number = str(place.number + 1)
    try:
        source = picture_source(image)
    except ClipalignError as error:
        problem = record.problem or error
        return replace(record, image="", image_name="", problem=problem, id=given or number)
    name = row.get("image_name") or (str(source) if isinstance(source, str | Path) else "")
    return replace(record, image=source, image_name=name, id=given or name or number)


def _row(item: Any, *, needs_text: bool) -> dict[str, Any]:
    """Return the item as a row of a table; raise ``UsageError`` if it is none."""
    if isinstance(item, Pair):
        return {field.name: getattr(item, field.name) for field in fields(item)}
    if isinstance(item, Mapping) and "image" in item:
        return dict(item)
    if not needs_text:
        return {"image": item}
    if isinstance(item, list | tuple) and len(item) in (2, 3):
        return dict(zip(("image", "text", "references"), item, strict=False))
    raise UsageError(
        f"a pair must be an image and a text, not {type(item).__name__}",
        hint="(image, text), {'image': …, 'text': …}, or clipalign.Pair",
        input="pairs",
    )
