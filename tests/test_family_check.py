"""A family's data are checked when they are registered, against a model, and by a dry run; a model that is built of a
known family's blocks is known by them, and of another one the specification is written."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import toca
from toca.models import FAMILIES, family_of
from toca.models.attention import CLASSIC
from toca.models.checking import check_family_spec
from toca.models.refusals import refusal
from toca.models.sites import feed_forward, self_attention

from .helpers import TINY, inputs_for, randomize, run_steps, tiny_flux, tiny_pixart
from .registries import as_it_was
from .test_adding import PebbleTransformer2DModel

STEPS = 6
ATTENTION = self_attention("attn", "norm1")
FEED_FORWARD = feed_forward("ff", "norm2")


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    with as_it_was():
        yield


def stack(*sites: toca.SiteSpec, **changes: Any) -> toca.BlockSpec:
    return replace(toca.BlockSpec("main", "blocks", sites or (ATTENTION, FEED_FORWARD)), **changes)


def call_shape(transformer: Any, call: dict[str, Any]) -> toca.CallShape:
    batch, _, height, width = call["hidden_states"].shape
    return toca.CallShape(batch, (height // 2) * (width // 2), (height // 2, width // 2))


def default_shape(config: Any, height: Any, width: Any, num_frames: Any, text_tokens: Any) -> toca.CallShape:
    rows, columns = ((size or config.sample_size) // 2 for size in (height, width))
    return toca.CallShape(1, rows * columns, (rows, columns))


PEBBLE = toca.FamilySpec(
    name="pebble",
    transformer="PebbleTransformer2DModel",
    stacks=(stack(),),
    call_shape=call_shape,
    default_shape=default_shape,
    attention=CLASSIC,
    around=(("patches", "token"), ("time", "sample"), ("out", "token")),
    by_row=("AttnProcessor",),
    input="patches",
    output="out",
)


def pebble() -> nn.Module:
    return randomize(PebbleTransformer2DModel())


def one_call() -> dict[str, Any]:
    call = inputs_for("dit", 1, 2)[0]
    return {"hidden_states": call["hidden_states"], "timestep": call["timestep"].float()}


# --- when it is registered -----------------------------------------------------------------------------------------


WRONG: dict[str, tuple[toca.FamilySpec, str]] = {
    "no stacks": (replace(PEBBLE, stacks=()), "`stacks` must name a stack"),
    "no sites": (replace(PEBBLE, stacks=(stack(sites=()),)), "`sites` must name what is kept"),
    "two of a name": (replace(PEBBLE, stacks=(stack(), stack())), "`stacks` must have names of their own"),
    "no such module": (
        replace(PEBBLE, stacks=(stack(replace(ATTENTION, module="self_atn")),)),
        "`module` must be one of .*, got 'self_atn' .did you mean 'self_attn'",
    ),
    "no such kind": (
        replace(PEBBLE, stacks=(stack(replace(ATTENTION, kind="attn")),)),
        "site 'self_attn': `kind` must be one of attention, feed_forward, parallel_block",
    ),
    "inside nothing": (
        replace(PEBBLE, stacks=(stack(replace(ATTENTION, inside="block"), FEED_FORWARD),)),
        "`inside` must name another site of the block, got 'block'",
    ),
    "no width": (replace(PEBBLE, stacks=(stack(replace(ATTENTION, width=None)),)), "`width` must name the linear"),
    "no pieces": (
        replace(PEBBLE, stacks=(stack(toca.SiteSpec("block", "", "parallel_block")),)),
        "`parallel` of its BlockSpec must say",
    ),
    "no main stream": (replace(PEBBLE, stacks=(stack(streams=("x",)),)), "`streams` must have 'hidden_states'"),
    "unread": (replace(PEBBLE, stacks=(stack(read=("text",)),)), "`read` must be of `streams`, got text"),
    "other rows": (
        replace(PEBBLE, stacks=(stack(rows="column"),)),
        "`rows` must be 'sample' or 'frame' or 'position'",
    ),
    "a list of norms": (
        replace(PEBBLE, stacks=(stack(replace(ATTENTION, norms=(1,)), FEED_FORWARD),)),
        r"site 'self_attn': `norms`\[0\] must be text, got 1",
    ),
    "no path": (replace(PEBBLE, stacks=(stack(replace(ATTENTION, path="at tn")),)), "'at tn' must be a path"),
    "not callable": (replace(PEBBLE, call_shape=64), "`call_shape` must be a Callable, got 64"),
    "other arguments": (replace(PEBBLE, default_shape=call_shape), "`default_shape` must take 5 arguments"),
    "a dialect's name": (
        replace(PEBBLE, attention="classic"),
        "`attention` must be a AttentionDialect, got 'classic'",
    ),
    "taken": (replace(PEBBLE, transformer="DiTTransformer2DModel"), "DiTTransformer2DModel is the family 'dit'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_is_named_when_it_is_registered(name: str) -> None:
    spec, words = WRONG[name]
    with pytest.raises(ValueError, match=f"The family 'pebble'.*{words}"):
        toca.register(spec)
    assert "pebble" not in FAMILIES


def test_only_a_specification_is_registered_as_a_family() -> None:
    class Like:
        kind, name, transformer = "family", "like", "Like"

    with pytest.raises(TypeError, match="registered by its FamilySpec"):
        toca.register(Like())


def test_those_of_the_library_are_sound() -> None:
    for spec in FAMILIES.values():
        check_family_spec(spec, FAMILIES)


# --- against a model -----------------------------------------------------------------------------------------------


MISSING: dict[str, tuple[toca.FamilySpec, str]] = {
    "a site": (
        replace(PEBBLE, stacks=(stack(replace(ATTENTION, path="attnn"), FEED_FORWARD),)),
        "names the site `attnn`, but PebbleBlock has no `attnn`; it has attn, .*nearest is `attn`",
    ),
    "a norm": (
        replace(PEBBLE, stacks=(stack(ATTENTION, replace(FEED_FORWARD, norms=("norm3",))),)),
        "names the norm `norm3`, but PebbleBlock has no `norm3`; it has norm[12], ",
    ),
    "a layer": (
        replace(PEBBLE, stacks=(stack(replace(ATTENTION, width="q_proj"), FEED_FORWARD),)),
        "names of self_attn the layer `q_proj`, but Attention has no `q_proj`; it has .*to_q",
    ),
    "a stack": (
        replace(PEBBLE, stacks=(stack(blocks="transformer_blocks"),)),
        "names the stack `transformer_blocks`, but PebbleTransformer2DModel has no `transformer_blocks`; it has",
    ),
    "an end": (replace(PEBBLE, input="pos_embed"), "names `pos_embed`, but PebbleTransformer2DModel has no"),
    "beside": (replace(PEBBLE, around=(("caption", "text_token"),)), "names `caption`, but PebbleTransformer2DModel"),
    "below": (
        replace(PEBBLE, stacks=(stack(conditioning=("attn.adaln",)),)),
        "`attn.adaln`, but Attention has no `ada",
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_path_that_leads_nowhere_is_named_with_what_is_there(name: str) -> None:
    spec, words = MISSING[name]
    toca.register(spec)
    for act in (
        lambda: toca.enable_cache(pebble(), "fora", num_inference_steps=4),
        lambda: toca.FORA().plan(pebble(), 4),
    ):
        with pytest.raises(ValueError, match=f"The family 'pebble' .*{words}"):
            act()
    assert re.search(words, str(toca.check_family(pebble(), one_call())))


def test_checkpoints_of_diffusers_may_lack_parts() -> None:
    model = tiny_flux(guidance_embeds=False, num_layers=0)
    assert toca.FORA().plan(model, 4).layout.layers == 3


# --- a dry run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", TINY)
def test_sound_data_pass(family: str) -> None:
    model, [call] = TINY[family](), inputs_for(family, 1, 2)
    found = toca.check_family(model, call)
    assert found.ok and found.flops == found.flops_counted > 0, found
    assert "as predicted" in str(found)
    assert all(
        torch.equal(a, b) for a, b in zip(run_steps(model, [call]), run_steps(TINY[family](), [call]), strict=True)
    )


def test_without_weights_it_looks_at_shapes_and_costs() -> None:
    toca.register(PEBBLE)
    with torch.device("meta"):
        model, call = (
            PebbleTransformer2DModel(),
            {"hidden_states": torch.empty(2, 4, 8, 8), "timestep": torch.empty(2)},
        )
    assert toca.check_family(model, call).ok


def problems_of(spec: toca.FamilySpec, model: nn.Module | None = None) -> str:
    toca.register(spec)
    found = toca.check_family(pebble() if model is None else model, one_call())
    assert not found.ok
    return str(found)


def test_a_call_whose_cost_is_another_is_told() -> None:
    said = problems_of(replace(PEBBLE, around=PEBBLE.around[:-1]))
    assert "FLOPs, which is 131,072 more than the" in said and "see `around`" in said


def test_a_stream_of_other_tokens_is_told() -> None:
    text = replace(PEBBLE, stacks=(stack(replace(ATTENTION, stream="text"), FEED_FORWARD),))
    said = problems_of(text)
    assert "Layer 0, self_attn (Attention at `blocks.0.attn`) returns (2, 64, 32), and its stream 'text'" in said
    assert "is (2, 0, 32) in this call" in said


def test_a_site_that_is_not_reached_is_told() -> None:
    model = pebble()
    for block in model.blocks:
        block.spare = nn.Linear(32, 32)
    said = problems_of(replace(PEBBLE, stacks=(stack(ATTENTION, replace(FEED_FORWARD, path="spare")),)), model)
    assert "Layer 0, ff (Linear at `blocks.0.spare`) was not reached" in said


def test_a_norm_that_feeds_another_site_is_told() -> None:
    said = problems_of(replace(PEBBLE, stacks=(stack(ATTENTION, replace(FEED_FORWARD, norms=("norm1",))),)))
    assert "With everything reused" in said or "With half of the tokens recomputed" in said


def test_sizes_that_cannot_be_told_are_named() -> None:
    def wrong(transformer: Any, call: dict[str, Any]) -> toca.CallShape:
        return toca.CallShape(len(call["latents"]), 4)

    assert "`call_shape` cannot tell the sizes of this call: KeyError: 'latents'" in problems_of(
        replace(PEBBLE, call_shape=wrong)
    )


# --- a model of known blocks ---------------------------------------------------------------------------------------


class Renamed(nn.Module):
    """FLUX with other names of its stacks: a class that nobody has registered."""

    dtype = torch.float32

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.config, self._stock = stock.config, [stock]
        self.x_embedder, self.proj_out, self.norm_out = stock.x_embedder, stock.proj_out, stock.norm_out
        self.context_embedder, self.time_text_embed = stock.context_embedder, stock.time_text_embed
        self.joint_blocks, self.lone_blocks = stock.transformer_blocks, stock.single_transformer_blocks

    def forward(
        self, hidden_states: Any, encoder_hidden_states: Any, pooled_projections: Any, timestep: Any, img_ids: Any,
        txt_ids: Any, guidance: Any = None,
    ) -> Any:  # fmt: skip
        return self._stock[0](
            hidden_states, encoder_hidden_states, pooled_projections, timestep, img_ids, txt_ids, guidance
        )


def test_a_model_of_known_blocks_is_known_by_them() -> None:
    model, inputs = Renamed(tiny_flux()), inputs_for("flux", STEPS, 2)
    spec = family_of(model)
    assert spec is not None and [stack.blocks for stack in spec.stacks] == ["joint_blocks", "lone_blocks"]
    with torch.no_grad():
        toca.enable_cache(model, num_inference_steps=STEPS)
        outputs = [model(**call)[0] for call in inputs]
        summary = toca.summary(model)
        toca.disable_cache(model)
    assert summary.chosen == "toca, the preset toca/flux" and "t" in summary.steps
    with toca.cached(stock := tiny_flux(), "toca/flux", num_inference_steps=STEPS):
        assert all(torch.equal(a, b) for a, b in zip(outputs, run_steps(stock, inputs), strict=True))


def test_asking_imports_nothing() -> None:
    """A pipeline's text encoder and VAE are asked too, and not every transformer of diffusers is worth importing."""
    program = (
        "import sys, torch, toca; from torch import nn; from toca.models import family_of\n"
        "model = nn.Module(); model.layers = nn.ModuleList([nn.TransformerEncoderLayer(8, 2)] * 2)\n"
        "before = set(sys.modules); assert family_of(model) is None\n"
        "new = {name for name in set(sys.modules) - before if name.startswith('diffusers')}\n"
        "assert not new, new"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])


def test_one_with_further_blocks_or_other_arguments_is_not() -> None:
    more = Renamed(tiny_flux())
    more.extra = nn.ModuleList([tiny_pixart().transformer_blocks[0]])
    assert family_of(more) is None

    class Other(Renamed):
        def forward(self, latents: Any, timestep: Any) -> Any: ...

    assert family_of(Other(tiny_flux())) is None


# --- and of unknown ones -------------------------------------------------------------------------------------------


def test_the_specification_that_is_written_works() -> None:
    model = pebble()
    with pytest.raises(ValueError, match="is of no family that is known") as refused:
        toca.enable_cache(model, "fora", num_inference_steps=STEPS)
    said = str(refused.value)
    exec(compile(said[said.index("import toca") :], "pasted", "exec"), {})
    found = toca.check_family(model, one_call())
    assert found.ok, found
    calls = [{**one_call(), "timestep": torch.full((2,), 900.0 - 100 * step)} for step in range(STEPS)]
    for method in ("fora", toca.ToCa(interval=3), "easycache"):
        with toca.cached(model, method, num_inference_steps=STEPS):
            run_steps(model, calls)
            assert toca.summary(model).steps.startswith("F") and not toca.summary(model).bypassed


def test_it_is_written_for_models_of_other_names() -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(16, 16) for _ in range(4))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.cross, self.mlp = (
                Attend(),
                Attend(),
                nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 16)),
            )

        def forward(self, x: Any, context: Any) -> Any: ...

    class VideoModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patchify, self.text_embedder, self.head = nn.Conv3d(4, 16, 2, 2), nn.Linear(8, 16), nn.Linear(16, 8)
            self.layers = nn.ModuleList([Block(), Block()])

        def forward(self, x: Any, t: Any, context: Any) -> Any: ...

    said = str(refusal(VideoModel(), ()))
    for words in (
        "Sizes('BCFHW', patch=lambda config: (2, 2, 2)",
        "text='context', argument='x'",
        "SiteSpec(\"cross_attn\", 'cross', \"attention\", query_linears=('q_proj', 'out_proj'), "
        "text_linears=('k_proj', 'v_proj')",
        "streams=('x',), main='x'",
        "('text_embedder', 'text_token')",
        "timestep='t'",
    ):
        assert words in said
    assert "import toca" not in str(refusal(nn.Linear(1, 1), ()))
