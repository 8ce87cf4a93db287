"""Conditions on records: what they say, what is refused, and that nothing is run."""

from __future__ import annotations

from typing import Any

import pytest

from clipalign.config.conditions import MAX_CHARACTERS, condition, top_share
from clipalign.config.readers import BadValueError

RECORD: dict[str, Any] = {
    "id": "a", "text": "a cup of coke", "clip_score": 0.75, "misaligned": ["coke"], "truncated": False, "n": 3,
    "words": [{"text": "a"}], "columns": {"label": 1, "source": "web"}, "provenance": {"device": "cpu"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("clip_score > 0.7", True),
        ("clip_score > 0.7 and not misaligned", False),
        ("0.5 <= clip_score < 0.75 or n == 3", True),
        ("'coke' in misaligned and 'cup' in text", True),
        ("'dog' not in text", True),
        ("len(misaligned) == 1 and len(words) >= 1", True),
        ("clip_score * 2 - 1 > 0.4 and -clip_score < 0", True),
        ("label == 1 and columns.source in ['web', 'book']", True),
        ("provenance.device != 'cpu'", False),
        ("not truncated", True),
        ("ref_clip_score > 0.1", False),
        ("ref_clip_score == None", True),
        ("text > 0.5 or 1 in n or text * 1000000 > 1 or n / 0 > 1", False),
        ("id.upper.x == None", True),
    ],
)
def test_what_a_condition_says(text: str, holds: bool) -> None:
    assert condition(text)(RECORD) is holds


@pytest.mark.parametrize(
    "text",
    [
        *("", "clip_score >", "clip_score = 1", "x; y", "__import__('os').system('x')", "open('x')", "len(a, b)"),
        *("(lambda: 1)()", "[x for x in words]", "words[0]", "f'{id}'", "a if b else c", "a is b", "2 ** 9999", "b'x'"),
        *("(x := 1)", "not " * 300 + "x", "(" * 500 + "x" + ")" * 500, "x" * (MAX_CHARACTERS + 1), "*a", "a @ b", "~n"),
    ],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(BadValueError, match="a condition such as"):
        condition(text)


def test_a_condition_is_read_once_and_names_its_fields() -> None:
    read = condition(" clip_score > 0.7 and len(columns.label) ")
    assert condition(read) is read
    assert (read.fields, str(read)) == (
        ("clip_score", "columns", "columns.label"),
        "clip_score > 0.7 and len(columns.label)",
    )


def test_shares() -> None:
    assert [top_share(one) for one in ("0.3", "f_clip_score=1", ("x", 0.5))] == [
        ("", 0.3),
        ("f_clip_score", 1),
        ("x", 0.5),
    ]
    for bad in ("0", "1.5", "x", "nan", "", "=", None):
        with pytest.raises(BadValueError, match="a share above 0"):
            top_share(bad)
