"""Records of a TFRecord file of ``tf.train.Example``, without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from clipalign.errors import MissingDataset
from clipalign.extras import need

_LENGTH: Final = struct.Struct("<Q")
_FRAME_BYTES: Final = 16
"""Of a record: its length in eight bytes, and two checksums."""

Value = bytes | float | int


def tfrecord_rows(path: Path) -> Iterator[dict[str, Value]]:
    """Each record's features: name → the first of its values; a feature without any is left out.

    Raises:
        MissingExtra: the library that reads them is not installed.
        MissingDataset: the file breaks off or is no TFRecord, as it turns out on the way.
    """
    reader = need("tfrecord.reader", extra="richhf", what="reading TFRecord")
    formats = need("tfrecord.example_pb2", extra="richhf", what="reading TFRecord")
    message = need("google.protobuf.message", extra="richhf", what="reading TFRecord")
    number = 0
    try:
        _check_lengths(path)
        for content in reader.tfrecord_iterator(str(path)):
            example = formats.Example()
            example.ParseFromString(bytes(content))
            yield {name: value for name, feature in example.features.feature.items() for value in _first(feature)}
            number += 1
    except (RuntimeError, ValueError, struct.error, MemoryError, OverflowError, message.DecodeError) as error:
        raise MissingDataset(
            f"{path} is no whole TFRecord file: after {number:,} records, {str(error).rstrip('.') or 'no sense'}",
            hint="delete it and fetch it again",
            input=str(path),
        ) from error


def _check_lengths(path: Path) -> None:
    """See that every record ends within the file: the library makes room for whatever length a record claims.

    Raises:
        ValueError: one does not.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        place = number = 0
        while header := file.read(_LENGTH.size):
            length = _LENGTH.unpack(header)[0] if len(header) == _LENGTH.size else size
            place += _FRAME_BYTES + length
            if place > size:
                raise ValueError(f"record {number:,} claims to go on behind the end of the file")
            file.seek(place)
            number += 1


def _first(feature: Any) -> list[Value]:
    """The first value, if there is one."""
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value[:1]) if kind else []
