"""The named models of the hub can be planned without a network: their configurations come with toca."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from toca.eval.architectures import architecture
from toca.models import family_of
from toca.pipelines.arguments import call_defaults_of
from toca.pipelines.registry import models
from toca.pipelines.skeleton import load_skeleton

HUB = sorted(name for name, entry in models().items() if not entry.embedded)
PARAMETERS = {
    # Published with 675 million; diffusers has the embedders of label and timestep in every block.
    "dit-xl-2-256": 749_826_464, "flux-schnell": 11_891_178_560,
    "flux-dev": architecture("flux-dev").transformer.parameters,
    "pixart-alpha-256": architecture("pixart-256").transformer.parameters,
    "pixart-alpha-512": architecture("pixart-512").transformer.parameters,
}  # fmt: skip
WITHOUT_A_NETWORK = """
import socket, sys

def refused(*_, **__):
    raise OSError("this test has no network")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refused
from toca.pipelines.cli import app
for name in sys.argv[1:]:
    try:
        app(["plan", "--model", name, "--draw", f"{name}.png"])
    except SystemExit as end:
        assert not end.code, name
"""


def test_plan_works_for_every_name_without_a_network(tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    program = [sys.executable, "-c", WITHOUT_A_NETWORK, *HUB]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("One sample: ") == len(HUB) == len(list(tmp_path.glob("*.png")))
    assert not any((tmp_path / "empty").rglob("*.json"))


@pytest.mark.parametrize("name", HUB)
def test_a_skeleton_is_the_published_model(name):
    skeleton, entry = load_skeleton(name), models()[name]
    parameters = list(skeleton.transformer.parameters())
    assert {parameter.device.type for parameter in parameters} == {"meta"}
    if name in PARAMETERS:
        assert sum(parameter.numel() for parameter in parameters) == pytest.approx(PARAMETERS[name], rel=1e-3)
    family = family_of(skeleton.transformer)
    grid = family.default_shape(skeleton.transformer.config, None, None, None, None).grid
    assert grid == (entry.height // 16, entry.width // 16)
    assert call_defaults_of(skeleton.pipeline_class, entry.source)["num_inference_steps"] == entry.steps
    assert load_skeleton(entry.source).pipeline_class is skeleton.pipeline_class
