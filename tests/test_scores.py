"""Scores against direct, naive computations: the whole map, loops over tokens."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import toca
from toca.axes.actions import REUSE
from toca.axes.selections.bonuses import best_tokens, random_score, spatial_bonus
from toca.axes.selections.ranked import ByAttention
from toca.axes.selections.scores import SCORES
from toca.engine.install import engine_of
from toca.kernels import scores
from toca.kernels.rows import put_rows, take_rows

from .helpers import TINY, inputs_for, run_steps

BATCH, HEADS, QUERIES, KEYS, WIDTH = 3, 2, 20, 12, 8
CHUNKS = [1, BATCH * HEADS * KEYS * 7, 2**30]
every_chunk = pytest.mark.parametrize("chunk", CHUNKS, ids=["one query", "seven", "all"])
masks = pytest.mark.parametrize("mask", ["none", "keys", "full"])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mask_of(kind: str, queries: int, keys: int) -> Tensor | None:
    """Additive; the last keys of each sample are out, or a random part of the map."""
    if kind == "none":
        return None
    if kind == "keys":
        out = torch.arange(keys) >= keys - torch.arange(BATCH)[:, None] - 1
        return (-10000.0 * out)[:, None, None, :].expand(BATCH, HEADS, 1, keys)
    return -10000.0 * (drawn(BATCH, HEADS, queries, keys, seed=9) > 0.5)


def naive_map(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """(B, heads, queries, keys) in double precision, number by number."""
    logits = torch.einsum("bhqd,bhkd->bhqk", query.double(), key.double()) / math.sqrt(query.shape[-1])
    logits = logits if mask is None else logits + mask.double()
    exponents = torch.exp(logits - logits.amax(-1, keepdim=True))
    return exponents / exponents.sum(-1, keepdim=True)


@every_chunk
@masks
def test_column_mass(monkeypatch: pytest.MonkeyPatch, chunk: int, mask: str) -> None:
    monkeypatch.setitem(scores.CHUNK_ELEMENTS, "cpu", chunk)
    query, key = drawn(BATCH, HEADS, QUERIES, WIDTH), drawn(BATCH, HEADS, QUERIES, WIDTH, seed=1)
    additive = mask_of(mask, QUERIES, QUERIES)
    got = scores.column_mass(query, key, additive)
    whole = naive_map(query, key, additive)
    wanted = torch.zeros(BATCH, QUERIES, dtype=torch.double)
    for head in range(HEADS):
        for position in range(QUERIES):
            wanted += whole[:, head, position] / HEADS
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got.sum(-1), torch.full((BATCH,), float(QUERIES)))


@every_chunk
@masks
def test_attention_entropy(monkeypatch: pytest.MonkeyPatch, chunk: int, mask: str) -> None:
    monkeypatch.setitem(scores.CHUNK_ELEMENTS, "cpu", chunk)
    query, key = drawn(BATCH, HEADS, QUERIES, WIDTH), 3 * drawn(BATCH, HEADS, KEYS, WIDTH, seed=1)
    additive = mask_of(mask, QUERIES, KEYS)
    got = scores.attention_entropy(query, key, additive)
    mean = naive_map(query, key, additive).mean(dim=1)
    wanted = [[-sum(p * math.log(p + 1e-7) for p in row) for row in sample] for sample in mean.tolist()]
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), torch.tensor(wanted, dtype=torch.double), rtol=1e-5, atol=1e-5)


def test_entropy_of_two_halves_adds_up() -> None:
    """Half of each branch's map over its own text is one map over both texts."""
    query = drawn(2, HEADS, QUERIES, WIDTH)
    keys = [drawn(1, HEADS, KEYS, WIDTH, seed=seed) for seed in (1, 2)]
    halves = torch.stack([scores.attention_entropy(query[i : i + 1], keys[i], None) for i in (0, 1)])
    joint = torch.cat([0.5 * naive_map(query[i : i + 1], keys[i], None).mean(1) for i in (0, 1)], dim=-1)
    wanted = -(joint * (joint + 1e-7).log()).sum(-1)
    merged = SCORES["cross_attention"].merge(halves)
    torch.testing.assert_close(merged.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_value_scarcity(dtype: torch.dtype) -> None:
    value = drawn(BATCH, HEADS, QUERIES, WIDTH).to(dtype)
    got = scores.value_scarcity(value)
    wanted = torch.zeros(BATCH, QUERIES, dtype=torch.double)
    for head in range(HEADS):
        wanted += 1 - value[:, head].double().square().sum(-1).sqrt()
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


@every_chunk
def test_half_precision_is_close(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setitem(scores.CHUNK_ELEMENTS, "cpu", chunk)
    query, key = drawn(BATCH, HEADS, QUERIES, WIDTH).bfloat16(), drawn(BATCH, HEADS, KEYS, WIDTH, seed=1).bfloat16()
    mask = mask_of("keys", QUERIES, KEYS)
    assert mask is not None
    whole = naive_map(query, key, mask)
    mass = scores.column_mass(query, key, mask.bfloat16())
    assert mass.dtype == torch.float32
    torch.testing.assert_close(mass.double(), whole.mean(1).sum(1), rtol=0.03, atol=0.03)
    entropy = scores.attention_entropy(query, key, mask.bfloat16())
    mean = whole.mean(1)
    torch.testing.assert_close(entropy.double(), -(mean * (mean + 1e-7).log()).sum(-1), rtol=0.03, atol=0.03)


@masks
def test_a_row_depends_on_itself_alone(mask: str) -> None:
    query, key = drawn(BATCH, HEADS, QUERIES, WIDTH), drawn(BATCH, HEADS, KEYS, WIDTH, seed=1)
    additive = mask_of(mask, QUERIES, KEYS)
    for i in range(BATCH):
        alone = None if additive is None else additive[i : i + 1]
        for measure in (scores.column_mass, scores.attention_entropy):
            got = measure(query[i : i + 1], key[i : i + 1], alone)
            torch.testing.assert_close(got, measure(query, key, additive)[i : i + 1], rtol=1e-6, atol=1e-6)


def naive_bonus(score: Tensor, grid: tuple[int, int], patch: int, weight: float) -> Tensor:
    result = score.clone()
    for top in range(0, grid[0], patch):
        for left in range(0, grid[1], patch):
            square = [
                r * grid[1] + c
                for r in range(top, min(top + patch, grid[0]))
                for c in range(left, min(left + patch, grid[1]))
            ]
            best = max(square, key=lambda token: score[token].item())
            result[best] = score[best] * (1 + weight)
    return result


@settings(max_examples=150, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    patch=st.integers(1, 5),
    weight=st.floats(0, 2),
    seed=st.integers(0, 2**16),
)
def test_spatial_bonus(grid: tuple[int, int], patch: int, weight: float, seed: int) -> None:
    tokens = grid[0] * grid[1]
    score = torch.rand(2, 3, tokens, generator=torch.Generator().manual_seed(seed))
    got = spatial_bonus(score, grid, patch, weight)
    assert got.shape == score.shape
    for row, wanted in zip(got.view(-1, tokens), score.view(-1, tokens), strict=True):
        torch.testing.assert_close(row, naive_bonus(wanted, grid, patch, weight))


@settings(max_examples=60, deadline=None)
@given(grid=st.sampled_from([(1, 7), (7, 1), (3, 5), (4, 4)]), text=st.integers(0, 4), weight=st.floats(0, 1))
def test_final_score(grid: tuple[int, int], text: int, weight: float) -> None:
    """s3 comes before s4, and text, which stands before or after the image, gets no s4."""
    tokens = grid[0] * grid[1]
    selection = ByAttention(
        rated_by="self_attention", interval=3, staleness_weight=weight, bonus_patch=2, bonus_weight=0.5
    )
    for start in (0, text):
        score, stale = torch.rand(text + tokens), torch.arange(text + tokens) % 4
        image = slice(start, start + tokens)
        got, aged = selection.final_score(score, stale, grid, image), score + weight * stale / 3
        torch.testing.assert_close(got[: image.start], aged[: image.start])
        torch.testing.assert_close(got[image], naive_bonus(aged[image], grid, 2, 0.5))
        torch.testing.assert_close(got[image.stop :], aged[image.stop :])
        torch.testing.assert_close(selection.final_score(score, stale, None, image), aged)


def test_the_bonus_is_of_each_frame() -> None:
    """Of a video in one row every frame has its own best tokens."""
    selection = ByAttention(rated_by="self_attention", bonus_patch=2, bonus_weight=0.5)
    score = torch.rand(3, 24)
    got = selection.final_score(score.flatten(), 0, (4, 6), slice(0, 72))
    torch.testing.assert_close(got.view(3, 24), torch.stack([naive_bonus(frame, (4, 6), 2, 0.5) for frame in score]))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.data())
def test_best_tokens(tokens: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, tokens))
    score = torch.randperm(2 * tokens).view(2, tokens).float()
    got = best_tokens(score, count)
    for row, chosen in zip(score.tolist(), got.tolist(), strict=True):
        assert chosen == sorted(range(tokens), key=lambda i: -row[i])[:count]


def test_random_score_depends_on_its_key_alone() -> None:
    one = random_score(3, 64, (1, 0, 2))
    torch.rand(5)
    assert torch.equal(one, random_score(3, 64, (1, 0, 2)))
    others = [(2, 0, 2), (1, 1, 2), (1, 0, 3)]
    assert not any(torch.equal(one, random_score(3, 64, key)) for key in others)
    assert not torch.equal(one, random_score(4, 64, (1, 0, 2)))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 5), st.data())
def test_rows(batch: int, tokens: int, width: int, data: st.DataObject) -> None:
    """Gather, change, scatter: the chosen rows change, the others do not."""
    count = data.draw(st.integers(1, tokens))
    order = torch.stack([torch.randperm(tokens)[:count] for _ in range(batch)])
    features = torch.randn(batch, tokens, width)
    index = order + tokens * torch.arange(batch)[:, None]
    rows = take_rows(features, index)
    wanted = torch.stack([torch.stack([features[b, t] for t in order[b].tolist()]) for b in range(batch)])
    assert torch.equal(rows, wanted)
    target = features.clone()
    assert put_rows(target, index, rows + 1) is target
    for b in range(batch):
        for t in range(tokens):
            assert torch.equal(target[b, t], features[b, t] + (t in order[b].tolist()))


def indices_of(transformer: Any, call: dict[str, Any]) -> list[Tensor | None]:
    """The tokens that each site computes in a call; decisions last as long as the call that they are of."""
    found: list[Tensor | None] = []

    def note(*_: Any) -> None:
        found.extend(handle.index for handle in engine_of(transformer).decisions.handles)

    hook = transformer.register_forward_hook(note, prepend=True)
    run_steps(transformer, [call])
    hook.remove()
    return found


@pytest.mark.parametrize("family", ["dit", "pixart", "flux", "latte"])
def test_staleness_counts(family: str) -> None:
    """By hand: one older at each step, zero where a full step or the choice has just been."""
    transformer, steps, oldest = TINY[family](), 8, 0.0
    method = toca.ToCa(interval=4, fresh_ratio=0.3, score="self_attention")
    ages: dict[tuple[int, int], Tensor] = {}
    with toca.cached(transformer, method, num_inference_steps=steps):
        letters = method.plan(transformer, steps).steps
        # All but the last step, at whose end everything is let go.
        for call, letter in zip(inputs_for(family, steps, batch_size=2)[:-1], letters[:-1], strict=True):
            chosen = indices_of(transformer, call)
            engine = engine_of(transformer)
            assert engine is not None
            ((branch,),) = (memory.parts for memory in engine.branches.values())
            for number, group in enumerate(branch.groups):
                for position, site in enumerate(group.sites):
                    age = ages.setdefault((number, position), torch.zeros(group.rows * group.tokens))
                    age += 1
                    index = chosen[site]
                    if letter == "F":
                        age.zero_()
                    elif index is not None:
                        assert index.unique().numel() == index.numel() == group.rows * int(0.3 * group.tokens)
                        age[index.flatten()] = 0
                    assert torch.equal(group.counts[position].flatten(), age)
                    oldest = max(oldest, age.max().item())
    assert oldest == 3


def test_staleness_grows_while_everything_is_reused() -> None:
    """Also over steps of the very same decision, as an edited plan may have."""
    transformer, steps = TINY["dit"](), 6
    plan = toca.ToCa(interval=6, fresh_ratio=0.3, score="self_attention").plan(transformer, steps)
    reused = (REUSE,) * len(plan.layout.sites)
    plan = replace(plan, table=(*plan.table[:2], reused, reused, *plan.table[4:]))
    assert plan.steps == "Ftrrtt"
    with toca.cached(transformer, plan):
        run_steps(transformer, inputs_for("dit", steps)[:4])
        engine = engine_of(transformer)
        assert engine is not None
        ((branch,),) = (memory.parts for memory in engine.branches.values())
        assert branch.groups[0].counts.unique().tolist() == [2, 3]
