#!/bin/bash
#SBATCH --job-name=toca-eval
#SBATCH --array=1-64
#SBATCH --gpus=1
#SBATCH --requeue
# A part of the samples in each task of a job array; then, in a job without one, what is left, times, scores and the report:
#
#     sbatch slurm.sh coco-30k --model flux-dev --prompts-file captions_val2014.json --output /shared/coco
#     sbatch --array= slurm.sh coco-30k ...the same...
#
# With another --array, export SHARDS=n, as many as there are. A task that is requeued goes on where it stopped.
# Without a common disk add --remote s3://bucket/coco to both.
set -euo pipefail
if [[ -n "${SLURM_ARRAY_TASK_ID:-}" ]]; then
  exec toca eval generate "$@" --shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-64}"
fi
exec toca eval run "$@"
