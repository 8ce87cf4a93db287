"""Results as a table of pandas, Polars or Arrow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from clipalign.errors import UsageError, need
from clipalign.results import Result

LIBRARIES: Final = ("pandas", "polars", "pyarrow")


def to_frame(results: Iterable[Result], library: str = "pandas") -> Any:
    """Results as a frame: a row a result, its columns the keys of ``to_dict()``.

    Lists and objects, such as ``words`` and ``provenance``, stay nested, as Parquet holds them. A
    :class:`~clipalign.Failure` is a row too, with an ``error`` and without scores.

    Args:
        results: read once.
        library: ``pandas``, ``polars`` or ``pyarrow``.

    Returns:
        A ``pandas.DataFrame``, a ``polars.DataFrame`` or a ``pyarrow.Table``.

    Raises:
        MissingExtra: the library is not installed.

    Example:
        >>> session = clipalign.load("pictogram")
        >>> texts = ["two apples", "two apples and a pear"]
        >>> frame = clipalign.to_frame(session.detect_many([("images/fruit.png", text) for text in texts]))
        >>> frame[["text", "misaligned"]].to_dict("records")
        [{'text': 'two apples', 'misaligned': []}, {'text': 'two apples and a pear', 'misaligned': ['pear']}]
    """
    if library not in LIBRARIES:
        raise UsageError(f"library must be {' or '.join(LIBRARIES)}, not {library!r}", input="library")
    if isinstance(results, Result):  # one alone
        said = f"results must be a list of them, not {type(results).__name__}"
        raise UsageError(said, hint="to_frame([result])", input="results")
    module: Any = need(library, extra="parquet" if library == "pyarrow" else library, what="to_frame")
    rows = [result.to_dict() for result in results]
    columns = dict.fromkeys(name for row in rows for name in row)
    if library == "pandas":
        return module.DataFrame.from_records(rows, columns=list(columns))
    if library == "polars":
        return module.DataFrame(rows, infer_schema_length=None)
    return module.table({name: [row.get(name) for row in rows] for name in columns})
