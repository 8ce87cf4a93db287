"""Whether a run may go on with the records of an earlier one: same settings, same input, in the same order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clipalign.report.json import plain_text

if TYPE_CHECKING:
    from clipalign.inputs.records import InputRecord

_ABSENT = object()


def first_difference(there: Mapping[str, Any], here: Mapping[str, Any], *, inside: str = "") -> str:
    """The first thing two provenances disagree in, as a sentence; empty where they agree.

    Args:
        there: of an earlier run, as read back.
        here: of this run, in JSON's types.
        inside: the name of the object they are, for nested ones.
    """
    for key in [*here, *(key for key in there if key not in here)]:
        old, new = there.get(key, _ABSENT), here.get(key, _ABSENT)
        if old == new and isinstance(old, bool) == isinstance(new, bool):
            continue
        name = f"{inside}{key}"
        if isinstance(old, dict) and isinstance(new, dict):
            return first_difference(old, new, inside="" if key == "settings" else f"{key}.")
        return f"{name} is {_shown(old)} there and {_shown(new)} now"
    return ""


def record_difference(there: Mapping[str, Any], asked: InputRecord) -> str:
    """The first thing an old record and the input's record at its place disagree in; empty where they agree."""
    for key, value in (("id", asked.id), ("image", asked.image_name), ("text", asked.text)):
        if key in there and there[key] != plain_text(value):
            return f"{key} is {_shown(there[key])} there and {_shown(value)} in the input"
    return ""


def _shown(value: object) -> str:
    if value is _ABSENT:
        return "not set"
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
