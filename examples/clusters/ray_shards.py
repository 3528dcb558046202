"""A part of the samples in each task of a Ray cluster, then the other stages in one. Not tried on a cluster.

`python ray_shards.py 64 coco-30k --model flux-dev --prompts-file captions_val2014.json --output /shared/coco`
"""

from __future__ import annotations

import subprocess
import sys

import ray


@ray.remote(num_gpus=1, max_retries=3)
def evaluate(stage: str, arguments: list[str]) -> None:
    """Run a command on a machine of the cluster; one that was lost goes on where it stopped."""
    subprocess.run([sys.executable, "-m", "toca.eval", stage, *arguments], check=True)


def main(shards: int, arguments: list[str]) -> None:
    """Wait for all samples, then for the report."""
    ray.init()
    parts = [[*arguments, "--shard", f"{number}/{shards}"] for number in range(1, shards + 1)]
    ray.get([evaluate.remote("generate", part) for part in parts])
    ray.get(evaluate.remote("run", arguments))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
