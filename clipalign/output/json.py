"""Results as JSON documents: the records of the command line and of ``result.json``.

A record holds finite numbers only: others are refused rather than turned into ``null``. Text that UTF-8 cannot carry is
written out, and what JSON has no type for, such as a path, becomes text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any, Final

import orjson

from clipalign.results import DetectResult, EvalResult, Metric, Provenance, WordScore

# ``asdict`` copies deeply, which takes longer than all else that is done with a record but scoring it.
_WORD: Final = tuple(field.name for field in fields(WordScore))
_PROVENANCE: Final = tuple(field.name for field in fields(Provenance))


def detect_record(result: DetectResult) -> dict[str, object]:
    """The record of one pair; ``references`` and ``ref_clip_score`` only where references were given."""
    record: dict[str, object] = {
        "id": result.id,
        "image": result.image,
        "text": result.text,
        "model": result.model,
        "cosine": result.cosine,
        "clip_score": result.clip_score,
        "f_clip_score": result.f_clip_score,
        "sum_negative_attribution": result.sum_negative_attribution,
        "misaligned": list(result.misaligned),
        "words": [{name: getattr(word, name) for name in _WORD} for word in result.words],
        "n_tokens": result.n_tokens,
        "truncated": result.truncated,
    }
    if result.references:
        record |= {"references": list(result.references), "ref_clip_score": result.ref_clip_score}
    return record | {
        "unknown_words": list(result.unknown_words),
        "warnings": list(result.warnings),
        "provenance": {name: getattr(result.provenance, name) for name in _PROVENANCE},
    }


def eval_record(result: EvalResult) -> dict[str, object]:
    """The document of a benchmark: metrics by name, their intervals and counts beside them."""
    return {
        "dataset": result.dataset,
        "model": result.model,
        "metrics": {metric.name: metric.value for metric in result.metrics},
        "intervals": {m.name: _interval(m) for m in result.metrics},
        "published": _published(result),
        "counts": result.counts,
        "settings": result.settings,
        "notes": list(result.notes),
        "provenance": asdict(result.provenance),
    }


def _interval(metric: Metric) -> dict[str, object]:
    return {"n": metric.n, "low": metric.low, "high": metric.high, "chance": metric.chance}


def _published(result: EvalResult) -> dict[str, object]:
    """Metric → the papers' numbers for it: one metric may have several, by backbone and by source."""
    found: dict[str, list[dict[str, object]]] = {}
    for number in result.published:
        found.setdefault(number.metric, []).append(
            {"value": number.value, "backbone": number.backbone, "source": number.source}
        )
    return dict(found)


def encode(record: Mapping[str, object], *, indent: bool = False) -> bytes:
    """UTF-8 JSON and a final newline.

    Raises:
        ValueError: a number that JSON has no sign for (an infinity, not-a-number).
    """
    return line_of(plain(record), indent=indent)


def plain(record: Mapping[str, object]) -> dict[str, Any]:
    """``record`` in JSON's own types, as it will be read back.

    Raises:
        ValueError: a number that JSON has no sign for.
    """
    return {str(key): _plain(value, f"record.{key}") for key, value in record.items()}


def line_of(record: Mapping[str, Any], *, indent: bool = False) -> bytes:
    """A record of plain types as UTF-8 JSON and a final newline."""
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if indent else 0))


def many(records: Iterable[Mapping[str, Any]], summary: Mapping[str, object]) -> Iterator[bytes]:
    """One document of many records and their summary, in pieces, a record a line."""
    yield b'{"results":['
    for number, record in enumerate(records):
        yield (b",\n" if number else b"\n") + line_of(record).rstrip(b"\n")
    yield b'\n],"summary":' + line_of(summary).rstrip(b"\n") + b"}\n"


def _plain(value: object, place: str) -> object:
    """``value`` in JSON's own types, checked."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}, which JSON cannot hold")
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)


def plain_text(text: str) -> str:
    """``text`` as UTF-8 can carry it: half of a surrogate pair, as in file names that are no UTF-8, is written out."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text
