"""Caches of other libraries on tiny pipelines: they skip, it is counted, and nothing of them stays."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import toca
from tests.helpers import FAMILIES, TINY_PIPELINES, pipeline_arguments, tiny_pixart_pipeline
from toca.eval.counting.flops import FlopMeter
from toca.eval.peers import Peer, PeerRefusal, find_peer, peers
from toca.eval.peers.from_cache_dit import DBCache, DBCacheDMD, DBCacheFoCa, DBCacheSCM, DBCacheTaylorSeer
from toca.eval.peers.from_diffusers import (
    DiffusersFirstBlockCache,
    DiffusersMagCache,
    DiffusersPAB,
    DiffusersSeaCache,
    DiffusersTaylorSeer,
)
from toca.eval.peers.held import held_bytes
from toca.eval.peers.unchanged import unchanged
from toca.eval.samples.prompts import Prompt, items_of
from toca.eval.samples.running import run_items
from toca.eval.samples.subject import Subject
from toca.eval.variants import Variant, every_peer, parse_variant
from toca.pipelines.config import GenerationConfig

STEPS = 6
ALWAYS = 1e9  # a threshold that every change is below

FIRST_BLOCK = DiffusersFirstBlockCache(threshold=ALWAYS)
MAGCACHE = DiffusersMagCache(mag_ratios=(1.0,) * STEPS, max_skip_steps=2)
TAYLORSEER = DiffusersTaylorSeer(cache_interval=3, disable_cache_before_step=2)
LITE = replace(TAYLORSEER, use_lite_mode=True)
PAB = DiffusersPAB(cross_range=3)
DBCACHE = DBCache(fn_compute_blocks=1, residual_diff_threshold=ALWAYS, max_warmup_steps=2)
DBCACHE_TAYLOR = DBCacheTaylorSeer(fn_compute_blocks=1, residual_diff_threshold=ALWAYS, max_warmup_steps=2)
DBCACHE_DMD = DBCacheDMD(fn_compute_blocks=1, residual_diff_threshold=ALWAYS, max_warmup_steps=2)
DBCACHE_FOCA = DBCacheFoCa(fn_compute_blocks=1, residual_diff_threshold=ALWAYS, max_warmup_steps=2)
SCM = DBCacheSCM(fn_compute_blocks=1, max_warmup_steps=0, mask_policy="ultra", steps_computation_policy="static")

# The letter of each call: what the methods' published rules make of these settings. PAB's window is in the scheduler's
# timesteps, so there only what is skipped is checked.
RUNS = [
    (FIRST_BLOCK, ("dit", "pixart", "flux"), "Faaaaa"),
    (MAGCACHE, ("dit", "pixart", "flux"), "FaaFaa"),
    (TAYLORSEER, ("flux",), "FFmFmm"),
    (replace(TAYLORSEER, cache_identifiers=(r"transformer_blocks.*attn1",)), ("dit", "pixart"), "FFmFmm"),
    (LITE, ("pixart", "flux", "latte"), "FFaFaa"),
    (PAB, FAMILIES, None),
    (DBCACHE, ("dit", "pixart", "flux"), "FFaaaa"),
    (DBCACHE_TAYLOR, ("dit", "pixart", "flux"), "FFaaaa"),
    (DBCACHE_DMD, ("pixart", "flux"), "FFaaaa"),
    (DBCACHE_FOCA, ("pixart", "flux"), "FFaaaa"),
    (SCM, ("dit", "pixart", "flux"), "FFFaaF"),
]
MATRIX = [
    pytest.param(peer, family, letters, id=f"{peer.name.removeprefix('peer:')}-{family}-{number}")
    for number, (peer, families, letters) in enumerate(RUNS)
    for family in families
]

ONCE = "more than once at a timestep"
REFUSALS = [
    (FIRST_BLOCK, "latte", "take turns"),
    (MAGCACHE, "latte", "take turns"),
    (DiffusersMagCache(), "flux", "needs the ratios"),
    (TAYLORSEER, "dit", "nothing to cache"),
    (TAYLORSEER, "pixart", "nothing to cache"),
    (TAYLORSEER, "latte", "nothing to cache"),
    (LITE, "dit", "`proj_out`"),
    *((DiffusersSeaCache(), family, "do not tell") for family in FAMILIES),
    (DBCACHE, "latte", "no adapter"),
    (SCM, "latte", "no adapter"),
    (DBCache(), "pixart", "always computes 8 blocks, and PixArtTransformer2DModel has 3"),
]


@pytest.fixture(scope="module")
def pipelines():
    """One of each family, for all tests: peers leave nothing behind."""
    return {family: maker() for family, maker in TINY_PIPELINES.items()}


@pytest.fixture(scope="module")
def uncached(pipelines):
    """What the families make without a cache."""
    return {family: generate(pipe, family) for family, pipe in pipelines.items()}


def generate(pipe: Any, family: str, **arguments: Any) -> Tensor:
    output = pipe(**pipeline_arguments(family, STEPS), **arguments, return_dict=False)[0]
    return torch.as_tensor(output)


def counted(pipe: Any, family: str) -> tuple[Tensor, int]:
    """A generation, and the FLOPs that its transformer spends, as torch counts them."""
    spent = []
    with FlopMeter() as meter:
        begin = pipe.transformer.register_forward_pre_hook(lambda *_: spent.append(-meter.total))
        end = pipe.transformer.register_forward_hook(lambda *_: spent.append(meter.total))
        output = generate(pipe, family)
    begin.remove()
    end.remove()
    return output, sum(spent)


def marks(pipe: Any) -> list[Any]:
    """All that a peer may change: attributes of modules, processors and the class, and the order of weights."""
    modules = list(pipe.transformer.modules())
    owners = [*modules, *(module.processor for module in modules if hasattr(module, "processor"))]
    attributes = [{name: id(value) for name, value in vars(owner).items()} for owner in owners]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules]
    of_class = {name: id(value) for name, value in vars(type(pipe)).items()}
    return [attributes, hooks, of_class, list(pipe.transformer.state_dict()), sorted(vars(pipe))]


def installed(peer: Peer) -> None:
    if peer.available() is None:
        pytest.skip(f"{peer.package} is not installed")


@pytest.mark.parametrize(("peer", "family", "letters"), MATRIX)
def test_it_skips_is_counted_and_leaves_nothing_behind(pipelines, uncached, peer, family, letters):
    installed(peer)
    pipe = pipelines[family]
    before = marks(pipe)
    with peer.on(pipe, STEPS) as session:
        first = generate(pipe, family)
        again, flops = counted(pipe, family)
        work = session.summary()
    assert marks(pipe) == before
    assert torch.equal(generate(pipe, family), uncached[family])
    # The second generation starts afresh.
    assert torch.equal(first, again)
    assert not torch.equal(first, uncached[family])
    assert torch.isfinite(first).all()
    assert work.calls == 2 * STEPS
    assert work.steps[:STEPS] == work.steps[STEPS:]
    assert work.steps[:STEPS] == letters or (letters is None and {"F", "m"} == set(work.steps))
    assert work.flops == 2 * flops
    assert work.flops < work.flops_full
    assert (work.block_calls < work.block_calls_full) == ("a" in work.steps)
    assert work.cache_bytes > 0


@pytest.mark.parametrize(("peer", "family", "reason"), REFUSALS, ids=lambda value: getattr(value, "name", None))
def test_where_it_cannot_work_it_says_why_in_one_sentence(pipelines, peer, family, reason):
    installed(peer)
    pipe = pipelines[family]
    before = marks(pipe)
    with pytest.raises(PeerRefusal, match=re.escape(reason)) as caught, peer.on(pipe, STEPS):
        generate(pipe, family)
    assert not re.search(r"[.!?]\s", str(caught.value))
    assert marks(pipe) == before


def test_blocks_that_it_does_not_know_are_refused_and_what_was_begun_is_undone():
    pipe = tiny_pixart_pipeline()
    block = pipe.transformer.transformer_blocks[1]
    block.__class__ = type("OddBlock", (type(block),), {})
    before = marks(pipe)
    with pytest.raises(PeerRefusal, match="cannot work on PixArt.*OddBlock"), FIRST_BLOCK.on(pipe, STEPS):
        pass
    assert marks(pipe) == before
    single = tiny_pixart_pipeline(num_layers=1)
    with pytest.raises(PeerRefusal, match="too few blocks"), FIRST_BLOCK.on(single, STEPS):
        pass


def test_what_skips_nothing_says_so(pipelines, uncached):
    """So that a run that skipped nothing can be told: here nothing may change at all."""
    with DiffusersFirstBlockCache(threshold=0.0).on(pipelines["pixart"], STEPS) as session:
        made, flops = counted(pipelines["pixart"], "pixart")
        work = session.summary()
    assert torch.equal(made, uncached["pixart"])
    assert (work.steps, work.flops, work.flops_full) == ("F" * STEPS, flops, flops)
    assert work.block_calls == work.block_calls_full == 3 * STEPS


def test_first_block_cache_computes_the_first_block(pipelines):
    with FIRST_BLOCK.on(pipelines["flux"], STEPS) as session:
        generate(pipelines["flux"], "flux")
        work = session.summary()
    assert (work.block_calls, work.block_calls_full) == (5 + STEPS - 1, 5 * STEPS)


def test_branches_of_guidance_that_the_pipeline_names_are_kept_apart_or_refused(pipelines):
    pipe, guidance = pipelines["flux"], {"negative_prompt": "a dog", "true_cfg_scale": 3.0}
    with FIRST_BLOCK.on(pipe, STEPS) as session:
        generate(pipe, "flux", **guidance)
        assert session.summary().steps == "FF" + "aa" * (STEPS - 1)
    with pytest.raises(PeerRefusal, match=ONCE), PAB.on(pipe, STEPS):
        generate(pipe, "flux", **guidance)


def test_a_run_that_breaks_off_leaves_nothing_behind(pipelines, uncached):
    pipe = pipelines["flux"]
    before = marks(pipe)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), FIRST_BLOCK.on(pipe, STEPS):
        generate(pipe, "flux", callback_on_step_end=stop)
    assert marks(pipe)[:4] == before[:4]
    assert torch.equal(generate(pipe, "flux"), uncached["flux"])


@pytest.mark.parametrize("peer", [FIRST_BLOCK, DBCACHE], ids=lambda peer: peer.name)
def test_another_pipeline_of_the_class_stays_uncached(pipelines, uncached, peer):
    installed(peer)
    other = tiny_pixart_pipeline()
    with peer.on(pipelines["pixart"], STEPS):
        assert torch.equal(generate(other, "pixart"), uncached["pixart"])
    assert torch.equal(generate(other, "pixart"), uncached["pixart"])


def test_it_does_not_go_on_top_of_another_cache(pipelines):
    pipe = pipelines["pixart"]
    with toca.cached(pipe, toca.FORA(2)), pytest.raises(PeerRefusal, match="already on"), FIRST_BLOCK.on(pipe, STEPS):
        pass


def test_what_is_not_installed_says_what_to_install(monkeypatch, pipelines):
    monkeypatch.setattr(DBCache, "package", "no-such-package")
    assert DBCache.available() is None
    assert "peer:cache-dit-dbcache" not in [variant.name for variant in every_peer().variants]
    with pytest.raises(ImportError, match="pip install -U no-such-package"), DBCache().on(pipelines["dit"], STEPS):
        pass


def test_whatever_is_changed_inside_is_put_back():
    pipe = tiny_pixart_pipeline()
    before = marks(pipe)
    blocks = pipe.transformer.transformer_blocks
    with pytest.raises(ZeroDivisionError), unchanged(pipe):
        pipe.transformer.forward = None
        pipe.transformer.transformer_blocks = nn.ModuleList()
        del pipe.transformer.transformer_blocks
        pipe.transformer.transformer_blocks = blocks  # now the last of the submodules
        blocks[0].attn1.processor.backend = "other"
        type(pipe).__call__ = type(pipe).extra = None
        raise ZeroDivisionError
    assert marks(pipe) == before


def test_memory_that_tensors_share_counts_once_and_weights_do_not():
    shared = torch.zeros(4, 8)
    kept = {"a": shared, "b": [shared[1:], torch.zeros(2)], "model": nn.Linear(64, 64)}
    kept["itself"] = kept
    assert held_bytes(kept) == 4 * 8 * 4 + 2 * 4
    assert held_bytes(None) == 0


def test_a_peer_is_a_variant_with_settings():
    lineup = parse_variant("peer:diffusers-fbcache:threshold=0.1,0.2")
    names = ["peer:diffusers-fbcache threshold=0.1", "peer:diffusers-fbcache threshold=0.2"]
    assert [variant.name for variant in lineup.variants] == names
    assert lineup.variants[1].method == DiffusersFirstBlockCache(threshold=0.2)
    with pytest.raises(ValueError, match="threshold=-1.* non-negative"):
        parse_variant("peer:diffusers-fbcache:threshold=0.1,-1")
    recorded = lineup.variants[0].describe()["method"]
    assert recorded["fields"] == {"threshold": 0.1}
    assert re.fullmatch(r"diffusers \d+\.\d+.*", recorded["package"])
    with pytest.raises(ValueError, match="name one of .*peer:diffusers-pab"):
        parse_variant("peer:diffusers-pabb")


def test_every_peer_has_its_name():
    assert all(find_peer(name).name == name and name.startswith("peer:") for name in peers())
    assert {"peer:diffusers-fbcache", "peer:diffusers-pab"} <= {variant.name for variant in every_peer().variants}


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (DiffusersTaylorSeer, {"cache_interval": 0}),
        (DiffusersTaylorSeer, {"disable_cache_before_step": 0}),
        (DiffusersPAB, {"spatial_range": None}),
        (DiffusersPAB, {"cross_range": 0}),
        (DiffusersPAB, {"timesteps": (800, 100)}),
        (DiffusersMagCache, {"mag_ratios": ()}),
        (DiffusersMagCache, {"retention_ratio": 2.0}),
        (DBCache, {"fn_compute_blocks": 0}),
        (DBCacheTaylorSeer, {"taylorseer_order": 0}),
        (DBCacheDMD, {"dmd_history": 0}),
        (DBCacheSCM, {"mask_policy": "none"}),
        (DBCacheSCM, {"steps_computation_policy": "random"}),
        (DiffusersSeaCache, {"residual_order": 2}),
        (DiffusersSeaCache, {"threshold": -0.1}),
        (DiffusersSeaCache, {"power_exp": 0.0}),
    ],
)
def test_settings_out_of_range_are_named(cls, settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))}.*must.*, got"):
        cls(**settings)


def test_magcache_takes_the_ratios_beside_the_model():
    [variant] = parse_variant("peer:diffusers-magcache").for_model("emoji").variants
    assert len(variant.method.mag_ratios) == 20
    given = Variant("given", "given", MAGCACHE)
    lineup = parse_variant("peer:diffusers-magcache")
    lineup.variants = [given]
    assert lineup.for_model("emoji").variants == [given]


def test_a_run_of_the_evaluation_takes_a_peer_like_a_method(pipelines):
    config = GenerationConfig(num_inference_steps=STEPS, guidance_scale=4.0, height=64, width=64)
    prompts = [Prompt(0, "a red owl"), Prompt(1, "a blue cat")]
    subject = Subject("tiny", pipelines["pixart"], config, prompts, "weights", "float32")
    items = items_of(prompts, 1)
    full = run_items(subject, Variant("full", "full"), items, seed=0)
    run = run_items(subject, Variant("peer", "peer", FIRST_BLOCK), items, seed=0)
    assert (run.facts.calls, run.facts.steps) == (STEPS, "Faaaaa")
    assert run.facts.flops_speedup > 1.5
    assert run.facts.cache_bytes > 0
    assert run.frames[0][0].tobytes() != full.frames[0][0].tobytes()
    again = run_items(subject, Variant("full", "full"), items, seed=0)
    assert [frames[0].tobytes() for frames in again.frames] == [frames[0].tobytes() for frames in full.frames]
