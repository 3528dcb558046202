"""What a cache does at the sites is seen from outside, and the cache does not notice."""

from __future__ import annotations

import pytest
import torch

import toca
from toca.api import cache_on, plan_of
from toca.hooks.watch import Watch

from .helpers import inputs_for, run_steps, tiny_pixart

METHOD = toca.RandomTokens(interval=2, fresh_ratio=0.25)


def test_every_site_that_computes_is_told_of_with_its_tokens():
    transformer, calls = tiny_pixart(), inputs_for("pixart", 2, batch_size=2)
    with toca.cached(transformer, METHOD, num_inference_steps=2):
        unseen = run_steps(transformer, calls)
    told: list[tuple[int, torch.Tensor | None]] = []
    with toca.cached(transformer, METHOD, num_inference_steps=2):
        with Watch(transformer, lambda site, tokens: told.append((site, tokens))):
            first = run_steps(transformer, calls[:1])
            full, _ = told.copy(), told.clear()
            second = run_steps(transformer, calls[1:])
        plan = plan_of(transformer)
    assert plan is not None
    assert [site for site, _ in full] == list(range(len(plan.layout.sites)))
    assert all(tokens is None for _, tokens in full), "a full step computes every token"
    partial = {site: tokens for site, tokens in told if tokens is not None}
    assert set(partial) == set(plan.partial_sites)
    assert all(len(tokens.unique()) == len(tokens) == 2 * 64 // 4 for tokens in partial.values())
    assert all(torch.equal(a, b) for a, b in zip([*first, *second], unseen, strict=True))
    assert not any(module._forward_hooks for module in transformer.modules()), "nothing stays"


def test_sites_that_compute_nothing_are_not_told_of():
    transformer, told = tiny_pixart(), []
    with toca.cached(transformer, toca.FORA(2), num_inference_steps=2):
        run_steps(transformer, inputs_for("pixart", 2)[:1])
        with Watch(transformer, lambda site, tokens: told.append(site)):
            run_steps(transformer, inputs_for("pixart", 2)[1:])
        plan = plan_of(transformer)
    assert plan is not None and told == [i for i, action in enumerate(plan.table[1]) if action.kind == "compute"]


def test_whose_cache_is_on_is_told():
    transformer = tiny_pixart()
    assert cache_on(transformer) is None
    with pytest.raises(ValueError, match="enable_cache"):
        plan_of(transformer)
    with toca.cached(transformer, METHOD, num_inference_steps=2):
        assert cache_on(transformer) == "A toca cache"
        assert plan_of(transformer) is None
    transformer._is_cached = True
    assert "cache" in str(cache_on(transformer))
