"""The job array of examples/clusters, with a stand-in for `toca` that tells what it was given."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "clusters" / "slurm.sh"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_task_makes_its_part_and_a_job_without_an_array_the_rest(tmp_path):
    stand_in = tmp_path / "toca"
    stand_in.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    stand_in.chmod(0o755)
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def told(**variables: str) -> str:
        command = ["bash", str(SCRIPT), "coco-30k", "--output", "/a folder"]
        return subprocess.run(command, env=path | variables, capture_output=True, text=True, check=True).stdout

    assert told(SLURM_ARRAY_TASK_ID="3") == "eval|generate|coco-30k|--output|/a folder|--shard|3/64|"
    assert told(SLURM_ARRAY_TASK_ID="3", SHARDS="8").endswith("|--shard|3/8|")
    assert told() == "eval|run|coco-30k|--output|/a folder|"
