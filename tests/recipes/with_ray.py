"""Ray Data, with two workers; a batch whose worker dies is done once more by another."""

import sys

import ray

import clipalign


def main(table: str, output: str) -> None:
    detect = clipalign.mapper("detect", model="pictogram")
    rows = ray.data.read_parquet(table).repartition(10)
    scored = rows.map_batches(detect, batch_format="pyarrow", batch_size=100, concurrency=2)
    scored.write_parquet(output)


if __name__ == "__main__":
    ray.init(num_cpus=2)
    main(*sys.argv[1:])
