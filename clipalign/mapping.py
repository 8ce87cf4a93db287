"""A method as a function over batches of columns, for the ``map`` of data frameworks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

from clipalign.errors import UsageError, need
from clipalign.models.registry import DEFAULT_MODEL
from clipalign.results import ClassifyResult, DetectResult, Failure, LongResult
from clipalign.session import Session, load

Method = Literal["detect", "classify", "score-long"]

COLUMNS: Final[dict[str, dict[str, str]]] = {
    "detect": {
        "cosine": "double", "clip_score": "double", "f_clip_score": "double",
        "misaligned": "array<string>", "attributions": "array<double>",
    },
    "classify": {"label": "string", "score": "double"},
    "score-long": {
        "cosine": "double", "specs_score": "double",
        "increments": "array<double>", "contributions": "array<double>",
    },
}  # fmt: skip
"""What a method adds to a batch, each with Spark's type; and ``error``, a string, for all."""


def mapper(
    method: Method,
    /,
    *,
    model: str = DEFAULT_MODEL,
    columns: Mapping[str, str] | None = None,
    on_error: Literal["skip", "fail"] = "skip",
    device: str = "auto",
    offline: bool = False,
    **settings: Any,
) -> Mapper:
    """A function over batches: columns in, the same columns and the scores out.

    It is picklable, holds no model, and loads one in each process on its first batch. It takes what Hugging Face's
    ``datasets.map(batched=True)`` gives, Ray Data's ``map_batches`` in every format, and Spark's ``mapInPandas``:
    mappings of columns, pandas' frames, Arrow's tables, and iterators of these; it answers in kind.

    Args:
        method: ``detect``, ``classify`` or ``score-long``.
        model: as for :func:`clipalign.load`.
        columns: names of the columns ``image``, ``text``, ``id`` and ``references`` in the batch, where they differ.
        on_error: ``skip``: a row that cannot be scored has no scores but an ``error``; ``fail``: it is raised.
        device: as for :func:`clipalign.load`.
        offline: whether pictures at addresses are refused.
        settings: of the method; for ``classify`` also ``labels``, ``descriptions``, ``templates`` and ``words``.

    Returns:
        The function; its ``schema`` declares the new columns for Spark, its ``arrow_schema`` for the others.

    Example:
        >>> detect = clipalign.mapper("detect", model="pictogram", columns={"text": "caption"})
        >>> batch = {"image": ["images/fruit.png", "images/none.png"], "caption": ["a pear", "a pear"]}
        >>> scored = detect(batch)
        >>> scored["misaligned"], scored["error"]
        ([['pear'], None], [None, 'there is no file images/none.png'])
    """
    if method not in COLUMNS:
        raise UsageError(f"method must be {' or '.join(COLUMNS)}, not {method!r}", input="method")
    if not isinstance(model, str):
        raise UsageError(f"model must be a name, not {type(model).__name__}", input="model")
    if not isinstance(columns or {}, Mapping):
        raise UsageError("columns must be names by name, such as {'text': 'caption'}", input="columns")
    return Mapper(method, model, dict(columns or {}), on_error, str(device), bool(offline), settings)


@dataclass(frozen=True)
class Mapper:
    """What :func:`mapper` returns."""

    method: str
    model: str
    columns: dict[str, str]
    on_error: Literal["skip", "fail"]
    device: str
    offline: bool
    settings: dict[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def schema(self) -> str:
        """The columns that are added, as Spark's data definition language has them."""
        return ", ".join(f"{name} {kind}" for name, kind in self._columns.items())

    @property
    def arrow_schema(self) -> Any:
        """The same as a ``pyarrow.Schema``: a batch in which nothing failed, or all did, does not show it.

        Raises:
            MissingExtra: Arrow is not installed.
        """
        arrow: Any = need("pyarrow", extra="parquet", what="a schema")
        kinds = {"string": arrow.string(), "double": arrow.float64()}
        kinds |= {f"array<{name}>": arrow.list_(kind) for name, kind in kinds.items()}
        return arrow.schema([(name, kinds[kind]) for name, kind in self._columns.items()])

    @property
    def _columns(self) -> dict[str, str]:
        return COLUMNS[self.method] | {"error": "string"}

    def __call__(self, batch: Any) -> Any:
        """Score a batch, or each of an iterator of batches."""
        if isinstance(batch, Iterator):
            return map(self, batch)
        if hasattr(batch, "to_pydict"):  # Arrow's table
            arrow: Any = need("pyarrow", extra="parquet", what="a table")
            added = arrow.table(self._scored(batch.to_pydict()), schema=self.arrow_schema)
            return arrow.table({name: table[name] for table in (batch, added) for name in table.column_names})
        added = self._scored(batch)
        return batch.assign(**added) if hasattr(batch, "assign") else {**batch, **added}

    def _scored(self, batch: Any) -> dict[str, list[Any]]:
        names = {name: self.columns.get(name, name) for name in ("image", "text", "id", "references")}
        missing = [names[name] for name in self._required() if names[name] not in batch]
        if missing:
            hint = f"columns={{{missing[0]!r}: …}} names another; it has {', '.join(map(str, batch))}"
            raise UsageError(f"the batch has no column {missing[0]}", hint=hint, input=missing[0])
        given = {name: list(batch[column]) for name, column in names.items() if column in batch}
        if len({len(values) for values in given.values()}) > 1:
            sizes = ", ".join(f"{names[name]} {len(values)}" for name, values in given.items())
            raise UsageError(f"the columns of the batch have different lengths: {sizes}")
        rows = [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]
        found = [_row(result) for result in _opened(self)(rows)]
        return {name: [row.get(name) for row in found] for name in self._columns}

    def _required(self) -> tuple[str, ...]:
        return ("image",) if self.method == "classify" else ("image", "text")


def _row(result: Any) -> dict[str, Any]:
    """A result as the columns of :data:`COLUMNS`."""
    if isinstance(result, Failure):
        return {"error": result.error.message}
    row = {name: getattr(result, name, None) for name in ("cosine", "clip_score", "f_clip_score", "specs_score")}
    if isinstance(result, DetectResult):
        row |= {"misaligned": list(result.misaligned), "attributions": [word.attribution for word in result.words]}
    elif isinstance(result, ClassifyResult):
        row |= {"label": result.label, "score": result.score}
    elif isinstance(result, LongResult):
        row |= {f"{name}s": [getattr(one, name) for one in result.sentences] for name in ("increment", "contribution")}
    return row


@lru_cache(maxsize=1)
def _session(model: str, device: str, offline: bool) -> Session:
    """The one model of this process."""
    return load(model, device=device, offline=offline)


@lru_cache(maxsize=4)
def _opened(asked: Mapper) -> Callable[[Iterable[Any]], Iterator[Any]]:
    """The method with its model, and with its classes encoded."""
    session = _session(asked.model, asked.device, asked.offline)
    scorer = session.scorer(asked.method, **asked.settings)
    needs_text = asked.method != "classify"
    return lambda rows: session.run(scorer, rows, needs_text=needs_text, on_error=asked.on_error)
