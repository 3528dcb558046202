"""Looking into stock attention: the output stays the stock one, and what is seen and completed is what went on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor, JointAttnProcessor2_0, PAGJointAttnProcessor2_0
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

import toca
from toca.engine.dropping import present_tokens
from toca.hooks.tracing import can_compile
from toca.kernels.scores import attention_entropy, column_mass, value_scarcity
from toca.methods.ras import RAS
from toca.models import CallShape
from toca.models.dialect import Present, Projected
from toca.models.families.flux import FLUX
from toca.models.families.pixart import PIXART
from toca.models.intercepted import Intercepted
from toca.models.positions import Positions
from toca.models.prediction import LATENTS, SEQUENCE, VIDEO, VIDEO_CHANNELS_LAST, VIDEO_FRAMES_FIRST
from toca.models.products import Product, projected
from toca.registry import registered

from .attentions import ALONE, BATCH, CROSS, SELF, Captured, Case, capture, drawn, model_of
from .conformance.common import assert_close, cached_run
from .helpers import TINY, inputs_for, relative_error, run_steps, still

each_self = pytest.mark.parametrize("case", SELF, ids=str)
each_cross = pytest.mark.parametrize("case", CROSS, ids=lambda case: f"{case}-{len(case.config)}")


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def streams_of(output: Any) -> list[Tensor]:
    return [stream for stream in (output if isinstance(output, tuple) else (output,)) if stream is not None]


def mass(projected: Projected) -> Tensor:
    return column_mass(projected.query, projected.key, projected.mask)


def entropy(projected: Projected) -> Tensor:
    return attention_entropy(projected.query, projected.key, projected.mask)


def maps_of(found: Captured, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The softmax maps that the stock module makes, written out, one for each product."""
    maps = []
    stock = F.scaled_dot_product_attention

    def spy(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **rest: Any) -> Tensor:
        scale = rest.get("scale") or query.shape[-1] ** -0.5
        logits = query @ key.transpose(2, 3) * scale
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = torch.where(attn_mask, 0.0, -torch.inf)
        logits = logits if attn_mask is None else logits + attn_mask
        maps.append(logits.softmax(dim=-1).nan_to_num(0))
        return stock(query, key, value, attn_mask=attn_mask, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(F, "scaled_dot_product_attention", spy)
        found.run()
    return maps


def tokens_of(case: Case, found: Captured) -> tuple[int, int]:
    """Tokens of the softmax's row, and those of the image among them."""
    tokens = found.queries.shape[1]
    if case.parts == ALONE:
        return tokens, tokens
    if case.joined:
        return tokens, 32 if "ZImage" in case.model else tokens - 5
    text = next(v for k, v in found.call.items() if k.endswith("encoder_hidden_states") and v is not found.queries)
    return tokens + text.shape[1], tokens


@each_self
def test_the_output_is_the_stock_ones_and_columns_are_summed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    found = capture(case)
    tokens, _ = tokens_of(case, found)
    output, statistic = case.dialect.measured(found.stock, found.module, found.call, mass, tokens)
    assert all(torch.equal(*pair) for pair in zip(streams_of(output), streams_of(found.run()), strict=True))
    columns = [each.sum(dim=2).mean(dim=1) for each in maps_of(found, monkeypatch)]
    # Mochi attends sample by sample, without the text's padding, which stands last.
    rows = [F.pad(each, (0, max(0, tokens - each.shape[1]))) for each in columns]
    wanted = torch.cat(rows)
    wanted = wanted[:, -tokens:] if case.dialect.own_keys == "last" else wanted[:, :tokens]  # type: ignore[attr-defined]
    assert statistic.shape == (BATCH, tokens)
    torch.testing.assert_close(statistic, wanted, rtol=1e-4, atol=1e-5)
    assert statistic.std() > 0.05


@each_self
def test_the_tokens_that_are_there_attend_to_all(case: Case) -> None:
    """Tokens move on in one step and half of them are there: their rows are those of full attention, to what the
    others were before."""
    found = capture(case)
    tokens, image = tokens_of(case, found)
    _, *held, _ = case.dialect.remembered(found.stock, found.module, found.call)
    generator = torch.Generator().manual_seed(5)
    places = torch.stack([torch.randperm(image, generator=generator)[: image // 2] for _ in range(BATCH)])
    present = present_tokens(case.parts, places, CallShape(BATCH, image, text_tokens=tokens - image))
    assert present is not None
    there = present.places if case.joined else places
    later = found.queries + 0.5 * torch.randn(found.queries.shape, generator=generator)
    mixed = torch.stack(
        [old.index_copy(0, i, new[i]) for old, new, i in zip(found.queries, later, there, strict=True)]
    )
    cut = torch.stack([new[i] for new, i in zip(later, there, strict=True)])
    wanted = found.stock(found.module, **found.given(mixed))
    got = case.dialect.with_dropped(found.stock, found.module, found.given(cut), present, tuple(held))
    for all_tokens, those in zip(streams_of(wanted), streams_of(got), strict=True):
        if all_tokens.shape[1] == found.queries.shape[1]:
            all_tokens = torch.stack([row[i] for row, i in zip(all_tokens, there, strict=True)])
        torch.testing.assert_close(those, all_tokens, rtol=1e-4, atol=1e-5)
    # What was renewed stays renewed: seen from all tokens.
    _, *again, _ = case.dialect.remembered(found.stock, found.module, found.given(mixed))
    for kept, fresh in zip(held, again, strict=True):
        torch.testing.assert_close(kept, fresh, rtol=1e-4, atol=1e-5)


@each_cross
def test_chosen_queries_keep_their_positions(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    found = capture(case)
    tokens = found.queries.shape[1]
    whole, statistic = case.dialect.measured(found.stock, found.module, found.call, entropy, tokens)
    assert torch.equal(whole, found.run())
    # The text's product is the last one.
    weights = maps_of(found, monkeypatch)[-1].mean(dim=1)
    torch.testing.assert_close(statistic, -(weights * (weights + 1e-7).log()).sum(dim=-1), rtol=1e-4, atol=1e-5)
    generator = torch.Generator().manual_seed(5)
    places = torch.stack([torch.randperm(tokens, generator=generator)[:7] for _ in range(BATCH)])
    picked = torch.stack([row[i] for row, i in zip(found.queries, places, strict=True)])
    present = Present(places, tokens, 0, tokens)
    for measure in (None, entropy):
        got, measured = case.dialect.for_queries(found.stock, found.module, found.given(picked), present, measure)
        wanted = torch.stack([row[i] for row, i in zip(whole, places, strict=True)])
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert measured is not None
    torch.testing.assert_close(measured, statistic.gather(1, places), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("argument", ["image_rotary_emb", "query_rotary_emb"])
def test_positions_matter(argument: str) -> None:
    """The comparison above has something to find: without their positions the chosen queries go wrong."""
    case = next(case for case in CROSS if argument in str(case.dialect))
    found = capture(case)
    picked = found.queries[:, 3:10]
    turned = [key for key, value in found.call.items() if key == argument and value is not None]
    assert (turned == [argument]) == ("LTX" not in case.model)
    places = torch.arange(3, 10).expand(BATCH, -1)
    present = Present(places, found.queries.shape[1], 0, found.queries.shape[1])
    right, _ = case.dialect.for_queries(found.stock, found.module, found.given(picked), present, None)
    wrong, _ = case.dialect.for_queries(
        found.stock, found.module, found.given(picked), present._replace(places=places - 3), None
    )
    assert ((right - wrong).abs().max() > 1e-3) == bool(turned)


def test_positions_of_other_tokens_are_refused() -> None:
    present = Present(torch.arange(4)[None], 24, 0, 24)
    with pytest.raises(ValueError, match="`turns` tells 7 tokens their positions along dimension 0; the row has 24"):
        Positions("turns").of({"turns": torch.zeros(7, 2)}, present)


# --- products ------------------------------------------------------------------------------------------------------


def test_products_with_fewer_key_heads_another_scale_and_causal() -> None:
    query, key, value = drawn(2, 4, 6, 8), drawn(2, 2, 6, 8, seed=2), drawn(2, 2, 6, 8, seed=3)
    got = projected(Product(query, key, value, is_causal=True, scale=0.7, enable_gqa=True))
    logits = query @ key.repeat_interleave(2, dim=1).transpose(2, 3) * 0.7
    logits = logits.masked_fill(~torch.ones(6, 6, dtype=torch.bool).tril(), -torch.inf)
    torch.testing.assert_close(mass(got), logits.softmax(dim=-1).sum(dim=2).mean(dim=1))
    torch.testing.assert_close(value_scarcity(got.value), 2 * value_scarcity(value))


def test_a_query_that_sees_nothing_gives_nothing() -> None:
    """As in torch, where its output is zero."""
    query = key = value = drawn(1, 2, 5, 8)
    mask = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    mask[..., 3, :] = False
    assert mass(projected(Product(query, key, value, mask))).sum().item() == pytest.approx(4)


# --- refusals ------------------------------------------------------------------------------------------------------


class Own(AttnProcessor):
    """Not from diffusers."""


class OwnModule(nn.Module):
    """Neither."""


class Bare(nn.Module):
    """Attention without a processor, that makes no product."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return hidden_states


class Halved(Bare):
    """Attention of half the batch."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        half = hidden_states[:1, None]
        return F.scaled_dot_product_attention(half, half, half)


Bare.__module__ = "diffusers.models.transformers.bare"


def test_refusals_say_what_was_found_and_what_to_do() -> None:
    module = capture(SELF[0]).module
    assert Intercepted().why_not(module) is None
    mapless = Intercepted(mapless=("JointAttnProcessor2_0",))
    assert str(mapless.why_not(module)).startswith("uses JointAttnProcessor2_0, which makes no attention map")
    wan = capture(next(case for case in SELF if "Wan" in case.model)).module
    wan.processor._attention_backend = "flash"
    try:
        assert "'flash', into which this library cannot look. Call `set_attention_backend('native')`" in str(
            Intercepted().why_not(wan)
        )
        wan.processor._attention_backend = "_native_cudnn"
        assert Intercepted().why_not(wan) is None
    finally:
        wan.processor._attention_backend = None
    module.set_processor(PAGJointAttnProcessor2_0())
    assert "uses PAGJointAttnProcessor2_0, which mixes the samples" in str(Intercepted().why_not(module))
    module.set_processor(JointAttnProcessor2_0())
    assert "Bare" in str(Intercepted(mapless=("Bare",)).why_not(Bare())) and Intercepted().why_not(Bare()) is None
    assert Intercepted().by_row(Bare()) and not Intercepted().by_row(OwnModule())
    assert "OwnModule, which this library cannot measure" in str(Intercepted().why_not(OwnModule()))
    trusting = Intercepted(trusted=("OwnModule",))
    assert trusting.why_not(OwnModule()) is None and trusting.by_row(OwnModule())
    module.set_processor(AttnProcessor())
    assert "AttnProcessor, which makes no attention map" in str(Intercepted().why_not(module))
    module.set_processor(JointAttnProcessor2_0())
    with pytest.raises(ValueError, match="Bare made no call of `scaled_dot_product_attention`.*native"):
        Intercepted().measured(Bare.forward, Bare(), {"hidden_states": torch.zeros(1, 2, 3)}, mass, 2)
    with pytest.raises(ValueError, match="Halved attended in 1 rows to what came in 2"):
        Intercepted().measured(Halved.forward, Halved(), {"hidden_states": torch.zeros(2, 2, 3)}, mass, 2)


def test_processors_of_somebody_else_are_refused() -> None:
    transformer = TINY["pixart"]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(registered("family"), "pixart", replace(PIXART, attention=Intercepted()))
        transformer.transformer_blocks[1].attn1.set_processor(Own())
        with pytest.raises(ValueError, match="of layer 1 of this \\w+ uses Own, which this library cannot measure"):
            toca.enable_cache(transformer, toca.ToCa(score="self_attention"), num_inference_steps=8)


# --- whole models --------------------------------------------------------------------------------------------------

LOOKED_INTO = {
    "flux": replace(FLUX, attention=Intercepted(("image_rotary_emb",))),
    "pixart": replace(PIXART, attention=Intercepted()),
}
METHODS = {
    "map": toca.ToCa(interval=3, fresh_ratio=0.3, score="self_attention"),
    "text": toca.ToCa(interval=3, fresh_ratio=0.3),
    "values": toca.DuCa(interval=4, fresh_ratio=0.3),
    "ras": RAS(sample_ratio=0.4, starvation=0.2, warmup_steps=2, dense_steps=(5,)),
}


@pytest.fixture
def looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, spec in LOOKED_INTO.items():
        monkeypatch.setitem(registered("family"), name, spec)


@pytest.mark.parametrize("family", LOOKED_INTO)
@pytest.mark.parametrize("name", METHODS)
def test_looking_on_is_as_good_as_restating(family: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, 8, batch_size=2)
    wanted = cached_run(transformer, METHODS[name], inputs)
    monkeypatch.setitem(registered("family"), family, LOOKED_INTO[family])
    assert_close(cached_run(transformer, METHODS[name], inputs), wanted)


@pytest.mark.skipif(not can_compile(), reason="this torch cannot trace classes made on the fly")
@pytest.mark.parametrize(("family", "name"), [("flux", "map"), ("pixart", "text"), ("flux", "ras")])
@pytest.mark.usefixtures("looked_into")
def test_compiled_blocks_are_looked_into_without_a_break(family: str, name: str) -> None:
    torch._dynamo.reset()
    transformer, inputs = TINY[family](), inputs_for(family, 8, batch_size=2)
    if family == "pixart":
        transformer._repeated_blocks = ["BasicTransformerBlock"]
    with toca.cached(transformer, METHODS[name], num_inference_steps=8):
        wanted = run_steps(transformer, inputs)
    counter = CompileCounterWithBackend("eager")
    transformer.compile_repeated_blocks(fullgraph=True, backend=counter)
    with toca.cached(transformer, METHODS[name], num_inference_steps=8):
        for _ in range(2):
            got = run_steps(transformer, inputs)
            assert max(relative_error(a, b) for a, b in zip(got, wanted, strict=True)) < 1e-5
    assert 0 < counter.frame_count
    torch._dynamo.reset()


# --- positions of tokens, end to end -------------------------------------------------------------------------------


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    return CallShape(len(call["hidden_states"]), 24, (4, 6), 5)


def _default_shape(config: Any, *sizes: int | None) -> CallShape:
    return CallShape(1, 24, (4, 6), 5)


ATTENDS = {"kind": "attention", "width": "to_q"}
ROTATED = toca.FamilySpec(
    name="rotated",
    transformer="HunyuanDiT2DModel",
    stacks=(
        toca.BlockSpec(
            "main",
            "blocks",
            (
                toca.SiteSpec("self_attn", "attn1", query_linears=("to_q", "to_k", "to_v", "to_out"), **ATTENDS),
                toca.SiteSpec(
                    "cross_attn", "attn2", query_linears=("to_q", "to_out"), text_linears=("to_k", "to_v"), **ATTENDS
                ),
                toca.SiteSpec("ff", "ff", "feed_forward"),
            ),
        ),
    ),
    call_shape=_call_shape,
    default_shape=_default_shape,
    attention=Intercepted(("image_rotary_emb",)),
    batched=("hidden_states", "timestep", "encoder_hidden_states", "text_embedding_mask", "image_meta_size", "style")
    + ("encoder_hidden_states_t5", "text_embedding_mask_t5"),
    whole=("return_dict", "image_rotary_emb"),
    prediction=LATENTS,
)


@pytest.mark.parametrize("name", METHODS)
def test_rotated_queries_of_cross_attention(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """HunyuanDiT: where nothing changes, steps that compute some tokens give what the stock model gives."""
    monkeypatch.setitem(registered("family"), "rotated", ROTATED)
    case = next(case for case in CROSS if case.model == ROTATED.transformer)
    transformer = model_of(case)
    inputs = [{**case.inputs(), "timestep": torch.full((BATCH,), 650.0 - step / 1e4)} for step in range(8)]
    with toca.cached(transformer, METHODS[name], num_inference_steps=8):
        got = [transformer(**call).sample for call in inputs]
        summary = toca.summary(transformer)
    assert summary.bypassed == 0 and summary.flops < summary.flops_full
    assert_close(got, [transformer(**call).sample for call in inputs], 1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_a_picture_that_prompts(name: str) -> None:
    """FLUX with an IP-Adapter, whose processor nobody re-states: where nothing changes, what the stock model gives."""
    transformer = TINY["flux"]()
    for block in transformer.transformer_blocks:
        with torch.random.fork_rng(devices=[]):
            block.attn.set_processor(FluxIPAdapterAttnProcessor(32, 16, num_tokens=(4,)))
    extra = {"joint_attention_kwargs": {"ip_hidden_states": [drawn(2, 4, 16)]}}
    inputs = [call | extra for call in still(inputs_for("flux", 8, batch_size=2)[0], 8)]
    wanted, plain = run_steps(transformer, inputs), run_steps(TINY["flux"](), inputs_for("flux", 1, batch_size=2))
    assert (wanted[0] - plain[0]).abs().max() > 1e-3
    assert_close(cached_run(transformer, METHODS[name], inputs), wanted)


# --- where tokens are ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "wanted", "first"),
    [
        (("image",), [5, 2], 0),
        (("text", "image"), [0, 1, 2, 8, 5], 3),
        (("image", "text"), [5, 2, 12, 13, 14], 0),
    ],
    ids=str,
)
def test_present_tokens_stand_in_the_order_of_the_row(parts: tuple[str, ...], wanted: list[int], first: int) -> None:
    """Two frames of six tokens, three text tokens."""
    shape = CallShape(1, 6, text_tokens=3, frames=2)
    present = present_tokens(parts, torch.tensor([[5, 2]]), shape)
    assert present is not None and present.places.tolist() == [wanted]
    assert present[1:4] == (12 + 3 * (len(parts) - 1), first, 12)
    assert present.image_places.tolist() == [[5, 2]]
    assert present_tokens(("text",), torch.tensor([[5, 2]]), shape) is None


def test_predictions_of_videos_by_token() -> None:
    shape = CallShape(batch=2, tokens=15, grid=(3, 5), frames=2)
    video = torch.randn(2, 7, 4, 6, 10)
    by_tokens = VIDEO.by_token(video, shape)
    assert by_tokens.shape == (2, 30, 7, 8)
    assert torch.equal(by_tokens[1, 22], video[1, :, 2:4, 2:4, 4:6].flatten(1))
    values = torch.arange(60).view(2, 30)
    for layout, dim in ((VIDEO, 1), (VIDEO_FRAMES_FIRST, 2), (VIDEO_CHANNELS_LAST, 4)):
        prediction = video.movedim(1, dim)
        assert torch.equal(layout.by_token(prediction, shape), by_tokens)
        over = layout.over(values, shape, prediction).expand_as(prediction)
        assert torch.equal(layout.by_token(over, shape), values[..., None, None].expand(-1, -1, 7, 8))
    assert SEQUENCE.by_token(torch.zeros(2, 30, 4), shape).shape == (2, 30, 4, 1)
