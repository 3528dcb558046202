"""The node for ComfyUI, on a transformer of diffusers; ComfyUI is a stand-in with the calls that the node makes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

import toca
from examples.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from tests.helpers import tiny_dit

OUTER = "outer_sample"
STEPS = 6


class Patcher:
    """ComfyUI's `ModelPatcher`, as far as the node goes."""

    def __init__(self, transformer: nn.Module, wrappers: dict[str, list[Callable]] | None = None):
        self.transformer, self.wrappers = transformer, wrappers or {}

    def clone(self) -> Patcher:
        return Patcher(self.transformer, {key: list(value) for key, value in self.wrappers.items()})

    def get_model_object(self, name: str) -> nn.Module:
        return {"diffusion_model": self.transformer}[name]

    def remove_wrappers_with_key(self, kind: str, key: str) -> None:
        self.wrappers.pop(f"{kind}/{key}", None)

    def add_wrapper_with_key(self, kind: str, key: str, wrapper: Callable) -> None:
        self.wrappers.setdefault(f"{kind}/{key}", []).append(wrapper)

    def sample(self, latents: torch.Tensor) -> torch.Tensor:
        """Euler's steps, through the wrappers."""
        sigmas = torch.linspace(1, 0, STEPS + 1)

        def execute(noise, latents, sampler, sigmas, *, seed):
            assert seed == 3
            for i in range(STEPS):
                label = torch.zeros(1, dtype=torch.long)
                called = self.transformer(latents, timestep=1000 * sigmas[i : i + 1], class_labels=label)
                prediction = called.sample[:, : latents.shape[1]]
                latents = latents + (sigmas[i + 1] - sigmas[i]) * prediction
            return latents

        for wrapper in [wrapper for wrappers in self.wrappers.values() for wrapper in wrappers]:
            execute = partial(wrapper, execute)
        with torch.no_grad():
            return execute(latents, latents, "euler", sigmas, seed=3)


@pytest.fixture
def comfy(monkeypatch):
    extension = ModuleType("comfy.patcher_extension")
    extension.WrappersMP = SimpleNamespace(OUTER_SAMPLE=OUTER)
    monkeypatch.setitem(sys.modules, "comfy", ModuleType("comfy"))
    monkeypatch.setitem(sys.modules, "comfy.patcher_extension", extension)


@pytest.fixture
def node():
    return NODE_CLASS_MAPPINGS["CacheWithToca"]()


def test_the_pack_has_what_comfyui_reads(node):
    assert set(NODE_CLASS_MAPPINGS) == set(NODE_DISPLAY_NAME_MAPPINGS)
    methods, options = node.INPUT_TYPES()["required"]["method"]
    assert options["default"] in methods and "fora" in methods
    assert hasattr(node, node.FUNCTION)


def test_the_cache_is_on_while_it_samples_and_gone_after(comfy, node, capsys):
    model = tiny_dit()
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    stock = Patcher(model)
    full = stock.sample(latents)
    (cached,) = node.wrap(stock, "fora")
    made = cached.sample(latents)
    assert not torch.equal(made, full)
    assert "fora, 6 steps" in capsys.readouterr().out
    assert torch.equal(stock.sample(latents), full), "other workflows with the same model are not touched"
    with toca.cached(model, "fora", num_inference_steps=STEPS):
        assert torch.equal(stock.sample(latents), made)


def test_a_node_after_a_node_takes_its_place(comfy, node):
    (once,) = node.wrap(Patcher(tiny_dit()), "fora")
    (twice,) = node.wrap(once, "toca")
    assert len(twice.wrappers[f"{OUTER}/toca"]) == 1


def test_a_model_of_comfyuis_own_is_refused(comfy, node):
    with pytest.raises(ValueError, match="is a Linear of ComfyUI's own"):
        node.wrap(Patcher(nn.Linear(2, 2)), "fora")
