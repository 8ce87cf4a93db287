#!/bin/bash
# An array of four jobs, each with a part of the input and a file of its own:
#     sbatch slurm.sh pairs.parquet found
# A job that was killed goes on where it was, when Slurm requeues it or the same line is submitted again.
#     cat found/*.jsonl > found.jsonl
#SBATCH --array=1-4
#SBATCH --requeue
mkdir -p "$2"
exec clipalign detect --model pictogram --input "$1" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" \
  --output "$2/$SLURM_ARRAY_TASK_ID.jsonl" --resume
