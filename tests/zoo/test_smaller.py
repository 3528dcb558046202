"""Models that others made smaller: pruned in depth or width, distilled to a few steps, mixed from experts, quantised,
or with linear attention in the place of a softmax. Nothing is told to the cache, and the promises hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import toca
from toca.models import describe, known_family

from .promises import Cell, broken, check_refusal
from .subject import subject_of
from .tiny import EVERY, STEPS, Tiny, run

METHODS = tuple(
    pytest.param(name, marks=() if name in ("toca", "gate") else pytest.mark.matrix)
    for name in ("fora", "taylorseer", "toca", "random", "dbcache", "gate")
)


@dataclass(frozen=True)
class Smaller(Tiny):
    """An entry of the zoo whose model somebody has changed since.

    Args:
        change (`Callable`): What was done to the model.
    """

    change: Callable[[nn.Module], Any] = id

    def make(self, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> nn.Module:
        model = super().make(dtype, seed, **changes)
        self.change(model)
        return model.to(dtype).requires_grad_(False)


def smaller(entry: str, change: Callable[[nn.Module], Any], **replaced: Any) -> Smaller:
    """An entry with a change."""
    found = EVERY[entry]
    values = {field.name: getattr(found, field.name) for field in fields(Tiny)}
    return Smaller(**{**values, **replaced}, change=change)


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Tiny], str]]:
    """Puts an entry into the zoo for one test, and returns its name there."""

    def enter(entry: Tiny) -> str:
        monkeypatch.setitem(EVERY, f"{entry.name}, smaller", entry)
        return f"{entry.name}, smaller"

    subject_of.cache_clear()
    yield enter
    subject_of.cache_clear()


def check(entry: str, method: str) -> None:
    """The promises, or a refusal that says why. Raises `AssertionError`."""
    cell = Cell(entry, method)
    if cell.refusal:
        check_refusal(cell)
        return
    found = broken(cell)
    assert not found, "\n".join(f"{promise}: {why}" for promise, why in found.items())


# Pruned.

STACKS = {
    "DiTTransformer2DModel": {"transformer_blocks": (1,)},
    "FluxTransformer2DModel": {"transformer_blocks": (1,), "single_transformer_blocks": (0, 2)},
    "WanTransformer3DModel": {"blocks": (0,)},
    "ZImageTransformer2DModel": {"layers": (1,), "noise_refiner": (0,)},
}
"""Which blocks of a model are left out, from anywhere in its stacks."""


def prune(model: nn.Module) -> None:
    for path, places in STACKS[type(model).__name__].items():
        blocks = model.get_submodule(path)
        setattr(model, path, nn.ModuleList(block for i, block in enumerate(blocks) if i not in places))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", STACKS)
def test_depth_pruned(entered: Callable[[Tiny], str], name: str, method: str) -> None:
    """TinyFusion's kind: the configuration still says how many blocks there were."""
    whole = EVERY[name].make()
    entry = entered(smaller(name, prune))
    left_out = sum(map(len, (STACKS[name][path] for path in STACKS[name] if path != "noise_refiner")))
    assert subject_of(entry).layout.layers == describe(whole, known_family(whole)).layers - left_out
    check(entry, method)


def narrow(model: nn.Module) -> None:
    """Half of one block's heads, and of another one's hidden channels."""
    attention, hidden = model.transformer_blocks[1].attn1, model.transformer_blocks[2].ff.net
    attention.heads = 1
    for name in ("to_q", "to_k", "to_v"):
        setattr(attention, name, kept(getattr(attention, name), rows=8))
    attention.to_out[0] = kept(attention.to_out[0], columns=8)
    hidden[0].proj, hidden[2] = kept(hidden[0].proj, rows=32), kept(hidden[2], columns=32)


def kept(linear: nn.Linear, rows: int | None = None, columns: int | None = None) -> nn.Linear:
    """A layer's first rows, or columns."""
    weight = linear.weight[:rows, :columns].clone()
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=linear.bias is not None, dtype=weight.dtype)
    made.weight = nn.Parameter(weight)
    if linear.bias is not None:
        made.bias = nn.Parameter(linear.bias[:rows].clone())
    return made


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["DiTTransformer2DModel", "PixArtTransformer2DModel"])
def test_width_pruned(entered: Callable[[Tiny], str], name: str, method: str) -> None:
    """Blocks of several widths."""
    entry = entered(smaller(name, narrow))
    assert len({site.attention_width for site in subject_of(entry).layout.sites}) > 2
    check(entry, method)


# Few steps.


@pytest.mark.parametrize("steps", range(1, STEPS + 1))
@pytest.mark.parametrize("name", ["FluxTransformer2DModel", "ZImageTransformer2DModel"])
def test_distilled_to_a_few_steps(name: str, steps: int) -> None:
    """With one to eight steps nothing fails, and the first step is whole; where it is the only one, that is all."""
    model, calls = EVERY[name].make(), [EVERY[name].inputs(step) for step in range(steps)]
    stock = run(model, calls)
    few = (toca.FORA(interval=3), toca.TaylorSeer(interval=3), toca.ToCa(interval=3), toca.DBCache(first_blocks=1))
    for method in few:
        with toca.cached(model, method, num_inference_steps=steps):
            outputs, summary = run(model, calls), toca.summary(model)
        assert len(summary.steps) == steps and summary.bypassed == 0
        assert all(torch.isfinite(tensor).all() for step in outputs for tensor in step)
        assert torch.allclose(outputs[0][0], stock[0][0], atol=1e-4)
        if steps == 1:
            assert torch.allclose(outputs[0][0], stock[0][0], atol=1e-6) and summary.flops == summary.flops_full


# Experts.


def test_experts_of_one_model_take_over_in_full_steps() -> None:
    """Remix-DiT's kind: the weights are exchanged between two steps. What is computed whole is the new expert's."""
    entry = EVERY["DiTTransformer2DModel"]
    model, calls = entry.make(), entry.generation()
    experts = [entry.make(seed=seed).state_dict() for seed in (0, 1)]
    with toca.cached(model, toca.FORA(interval=4), num_inference_steps=STEPS):
        first = run(model, calls[:3])
        model.load_state_dict(experts[1])
        second = run(model, calls[3:])
        assert toca.summary(model).steps == "FrrFrrrF"
    stock = [run(entry.make(seed=seed), calls) for seed in (0, 1)]
    assert torch.equal(first[0][0], stock[0][0][0])
    assert torch.equal(second[0][0], stock[1][3][0])


def test_experts_that_are_models_of_their_own() -> None:
    """Each begins with a whole step, whenever its turn comes, and keeps nothing of the other's."""
    entry = EVERY["WanTransformer3DModel"]
    models, calls = [entry.make(seed=seed) for seed in (0, 1)], entry.generation()
    stock = [run(model, calls) for model in models]
    for model in models:
        toca.enable_cache(model, toca.FORA(interval=4), num_inference_steps=4)
    outputs = run(models[0], calls[:4]) + run(models[1], calls[4:])
    for model in models:
        assert toca.summary(model).steps == "FrrF"
        toca.disable_cache(model)
    assert torch.equal(outputs[0][0], stock[0][0][0])
    assert torch.equal(outputs[4][0], stock[1][4][0])


# Quantised.


class Int8Linear(nn.Module):
    """A layer that holds whole numbers and a scale for each of its rows, as quantising libraries do: no linear layer
    of torch's, and without a `weight` of floating point."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        scale = linear.weight.abs().amax(dim=1, keepdim=True) / 127
        self.register_buffer("whole", (linear.weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return F.linear(hidden_states, self.whole * self.scale, self.bias)


def quantise(model: nn.Module) -> None:
    """The layers in the blocks: some models ask those before them for a dtype."""
    for path, module in list(model.named_modules()):
        if type(module) is nn.Linear and "blocks." in path:
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, Int8Linear(module))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["DiTTransformer2DModel", "WanTransformer3DModel", "FluxTransformer2DModel"])
def test_quantised_layers(entered: Callable[[Tiny], str], name: str, method: str) -> None:
    """FLOPs are those of the layers as they run, and bytes those of the features, whatever a weight is stored in."""
    check(entered(smaller(name, quantise)), method)


@pytest.mark.parametrize("kind", ["Int8WeightOnlyConfig", "Float8WeightOnlyConfig"])
def test_torchao(kind: str) -> None:
    """Tensor subclasses as weights."""
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    entry = EVERY["WanTransformer3DModel"]
    model, calls = entry.make(), entry.generation()
    blocks = model.get_submodule("blocks")
    quantization.quantize_(blocks, getattr(quantization, kind)())
    stock = run(model, calls)
    for method in (toca.FORA(), toca.TaylorSeer(), toca.ToCa(interval=3, score="random")):
        with toca.cached(model, method, num_inference_steps=STEPS):
            outputs, summary = run(model, calls), toca.summary(model)
        assert torch.allclose(outputs[0][0], stock[0][0], atol=1e-4)
        assert summary.bypassed == 0 and summary.flops < summary.flops_full
    assert describe(model, known_family(model)).itemsize == 4


def cast_layerwise(model: nn.Module) -> None:
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["PixArtTransformer2DModel", "CogVideoXTransformer3DModel"])
def test_layerwise_casting(entered: Callable[[Tiny], str], name: str, method: str) -> None:
    """Weights of one byte each, features of four."""

    @dataclass(frozen=True)
    class Cast(Smaller):
        def make(self, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> nn.Module:
            model = Tiny.make(self, dtype, seed, **changes)
            cast_layerwise(model)
            return model

    found = smaller(name, cast_layerwise, exact=torch.float32)
    entry = entered(Cast(**vars(found)))
    assert subject_of(entry).layout.itemsize == 4
    assert any(parameter.dtype == torch.float8_e4m3fn for parameter in subject_of(entry).model.parameters())
    check(entry, method)


# Linear attention in the place of a softmax.


class LinearAttention:
    """What LinVideo's kind puts in the place of a model's processor: keys are summed over values once, and each query
    looks at the sum."""

    def token_flops(self, attn: Any) -> int:
        width = attn.to_q.out_features
        return 4 * 2 * width * width + 2 * 2 * width * (width // attn.heads) + 2 * width

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: Any = None,
    ) -> torch.Tensor:
        layers = (attn.to_q, attn.to_k, attn.to_v)
        query, key, value = (layer(hidden_states).unflatten(2, (attn.heads, -1)).transpose(1, 2) for layer in layers)
        query, key = F.elu(query) + 1, F.elu(key) + 1
        total = query @ key.sum(dim=2, keepdim=True).transpose(2, 3)
        output = query @ (key.transpose(2, 3) @ value) / (total + 1e-6)
        return attn.to_out[0](output.transpose(1, 2).flatten(2) / math.sqrt(attn.heads))


def linearise(model: nn.Module) -> None:
    """In all blocks but the last."""
    for block in model.get_submodule("blocks")[:-1]:
        block.attn1.set_processor(LinearAttention())


@pytest.mark.parametrize("method", [*METHODS, "ras"])
def test_linear_attention(entered: Callable[[Tiny], str], method: str) -> None:
    """Its cost is what its processor says; where a map is needed the method is refused by the processor's name."""
    entry = entered(smaller("WanTransformer3DModel", linearise))
    widths = [site.attention_width for site in subject_of(entry).layout.sites if site.module == "self_attn"]
    assert widths == [0, 0, 24]
    check(entry, method)


def test_linear_attention_is_not_measured() -> None:
    model = smaller("WanTransformer3DModel", linearise).make()
    with pytest.raises(ValueError, match="of this WanTransformer3DModel uses LinearAttention"):
        toca.enable_cache(model, toca.ToCa(score="self_attention"), num_inference_steps=STEPS)


# Autoregressive.


def test_autoregressive_models_are_refused() -> None:
    class NextToken(nn.Module):
        def prepare_inputs_for_generation(self) -> None: ...

    for method in (toca.FORA(), toca.ToCa(), toca.TaylorSeer()):
        with pytest.raises(ValueError, match="NextToken is autoregressive: .* no denoising steps"):
            toca.enable_cache(NextToken(), method, num_inference_steps=STEPS)
