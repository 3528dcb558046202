"""The preset `smoke`, as a user types it, on an embedded pipeline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_smoke_measures_an_embedded_pipeline(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "toca.eval", "run", "smoke", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Saved ") == 7
    found = json.loads((tmp_path / "emoji-flux.json").read_text())
    rows = {row["name"]: row for row in found["methods"]}
    assert rows["none"]["identical"] == 4 and rows["none"]["flops_speedup"] == 1
    told = ("toca interval=2", "easycache threshold=0.06 warmup_steps=3", "peer:diffusers-fbcache threshold=0.1")
    for name in (*told, "fora interval=2", "fora interval=3"):
        assert rows[name]["flops_speedup"] > 1.2 and rows[name]["fidelity"]["psnr"]["mean"] > 20
    assert rows["fora interval=2"]["at_flops"]["between"] == [10, 13]
    labels = {column["label"]: column for column in found["scores"]}
    assert labels["CLIP score"]["scores"]["full"]["value"] > 40
    assert "not shown below 128" in labels["FID"]["refusals"]["full"]
    assert set(found["methods"][1]["parts"]) == {"text encoder", "denoiser", "VAE decode", "end to end"}
