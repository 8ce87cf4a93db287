"""Spark, with two workers."""

import sys

from pyspark.sql import SparkSession

import clipalign


def main(table: str, output: str) -> None:
    detect = clipalign.mapper("detect", model="pictogram")
    spark = SparkSession.builder.master("local[2]").getOrCreate()
    rows = spark.read.parquet(table).repartition(10)
    schema = f"id string, image string, text string, {detect.schema}"
    rows.mapInPandas(detect, schema=schema).write.parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
