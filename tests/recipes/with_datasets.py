"""Hugging Face's datasets, in two processes."""

import sys

import datasets

import clipalign


def main(table: str, output: str) -> None:
    detect = clipalign.mapper("detect", model="pictogram")
    rows = datasets.Dataset.from_parquet(table)
    features = datasets.Features({**rows.features, **datasets.Features.from_arrow_schema(detect.arrow_schema)})
    scored = rows.map(detect, batched=True, batch_size=100, num_proc=2, features=features)
    scored.to_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
