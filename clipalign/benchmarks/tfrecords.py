"""Records of a TFRecord file of ``tf.train.Example``, without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clipalign.errors import MissingDataset
from clipalign.extras import need

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


def _first(feature: Any) -> list[Value]:
    """The first value, if there is one."""
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value[:1]) if kind else []
