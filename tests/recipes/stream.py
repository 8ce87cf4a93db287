"""A stream of pairs in one process, into pandas, Polars and Parquet."""

import sys
from collections.abc import Iterator

import pyarrow.parquet

import clipalign


def pairs(table: str) -> Iterator[dict[str, str]]:
    """The rows of a table, a few at a time."""
    for batch in pyarrow.parquet.ParquetFile(table).iter_batches(batch_size=100):
        yield from batch.to_pylist()


def main(table: str, output: str) -> None:
    session = clipalign.load("pictogram")
    results = list(session.detect_iter(pairs(table)))  # errors stand in their places
    failures = [result for result in results if isinstance(result, clipalign.Failure)]
    print(f"{len(results)} pairs, {len(failures)} could not be scored; the first: {failures[0].error.message}")

    frame = clipalign.to_frame(results)
    print(frame[["clip_score", "f_clip_score"]].mean())
    clipalign.to_frame(results, "polars").write_ndjson(f"{output}.jsonl")
    pyarrow.parquet.write_table(clipalign.to_frame(results, "pyarrow"), output)


if __name__ == "__main__":
    main(*sys.argv[1:])
