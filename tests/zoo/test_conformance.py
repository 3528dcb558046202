"""Every model of the zoo x every method: the promises hold, or the method is refused with the reason.

Of each model `make test` runs a method that chooses tokens, which asks most of it, and one that does not, others for
each model; `make test-matrix` runs all the others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import toca
from toca.models import FAMILIES

from ..conformance.common import CACHING
from ..conformance.test_off_is_off import snapshot
from .methods import by_kind
from .promises import Cell, broken, check_refusal
from .subject import family_of_entry, subject_of, supported
from .tiny import EVERY, STEPS, run

SUPPORTED = supported()
every_model = pytest.mark.parametrize("entry", SUPPORTED)
NEVER_REFUSED = ("fora",)
"""Methods that every family must take: its sites are what they reuse."""


def chosen(entry: str) -> set[str]:
    """The methods that a model meets in every run of the tests: one that chooses tokens, and of a class one of all
    others."""
    tokens = by_kind()["tokens"]
    found = {tokens[list(EVERY).index(entry) % len(tokens)]}
    if "/" not in entry:
        others = [name for name in CACHING if name not in tokens]
        found.add(others[[name for name in EVERY if "/" not in name].index(entry) % len(others)])
    return found


def cells() -> list[object]:
    return [
        pytest.param(entry, name, id=f"{entry}-{name}", marks=() if name in chosen(entry) else pytest.mark.matrix)
        for entry in SUPPORTED
        for name in CACHING
    ]


@pytest.mark.parametrize(("entry", "name"), cells())
def test_promises(entry: str, name: str) -> None:
    cell = Cell(entry, name)
    if cell.refusal:
        assert name not in NEVER_REFUSED, cell.refusal
        check_refusal(cell)
        return
    found = broken(cell)
    assert not found, "\n".join(f"{promise}: {why}" for promise, why in found.items())


FULL = {
    "none": toca.NoCache(),
    "interval": toca.DuCa(interval=1, score="random"),
    "share": toca.RandomTokens(interval=4, fresh_ratio=1.0),
}


def full_cells() -> list[object]:
    """One of `FULL` for each model, others for the next."""
    return [
        pytest.param(entry, name, marks=() if turn == place % len(FULL) else pytest.mark.matrix)
        for place, entry in enumerate(SUPPORTED)
        for turn, name in enumerate(FULL)
    ]


@pytest.mark.parametrize(("entry", "name"), full_cells())
def test_full_is_bitwise_full(entry: str, name: str) -> None:
    """In float32 and with guidance in a batch, beside the cells."""
    model, calls = EVERY[entry].make(), EVERY[entry].generation()[:6]
    stock = run(model, calls)
    batched = EVERY[entry].batches
    with toca.cached(model, FULL[name], num_inference_steps=STEPS, batched_cfg=batched):
        for got, wanted in zip(run(model, calls), stock, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
        assert toca.summary(model).flops == toca.summary(model).flops_full


@every_model
def test_on_keeps_classes_and_names(entry: str) -> None:
    """What `isinstance` and checkpoints see is the same while the cache is on."""
    model, other = subject_of(entry).model, EVERY[entry].make()
    keys, types = list(model.state_dict()), [type(module) for module in other.modules()]
    with toca.cached(model, toca.FORA(), num_inference_steps=STEPS):
        assert list(model.state_dict()) == keys
        for module, wanted in zip(model.modules(), types, strict=True):
            assert isinstance(module, wanted) and type(module).__name__ == wanted.__name__
    assert snapshot(model) == subject_of(entry).untouched


@every_model
def test_sites_cover_every_block(entry: str) -> None:
    """Every list of blocks with attention is a stack of the family, or stands in its books as outside the sites."""
    subject = subject_of(entry)
    named = _paths_named(subject.spec)
    for path in _lists_of_blocks(subject.model):
        covered = any(path == known or path.startswith(f"{known}.") for known in named)
        assert covered, f"{path} is neither a stack of {subject.spec.name} nor named beside the stacks"
    blocks = sum(len(subject.model.get_submodule(stack.blocks)) for stack in subject.spec.stacks)
    assert subject.layout.layers == blocks
    assert {site.layer for site in subject.layout.sites} == set(range(blocks))


def _lists_of_blocks(model: nn.Module) -> list[str]:
    """Paths of the outermost lists of modules that hold attention."""
    found: list[str] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and not inside and _attends(module):
            found.append(path)
    return found


def _attends(module: nn.Module) -> bool:
    return any("Attention" in type(child).__name__ for child in module.modules())


def _paths_named(spec: toca.FamilySpec) -> set[str]:
    return {stack.blocks for stack in (*spec.stacks, *spec.side)} | {path for path, _ in spec.around}


@every_model
def test_sizes_as_numbers_are_those_of_a_call(entry: str) -> None:
    """What a plan's cost is told (rows, columns and frames of the latents) makes the tokens that a call has."""
    subject = subject_of(entry)
    sizes = _sizes(subject.spec, subject.calls()[0])
    if sizes is None:
        pytest.skip("its latents come packed: the zoo does not say from how many rows and columns")
    told = subject.spec.default_shape(subject.model.config, *sizes, subject.shape.text_tokens)
    assert (told.tokens, told.frames) == (subject.shape.tokens, subject.shape.frames)
    assert told.text_tokens == subject.shape.text_tokens
    assert subject.shape.grid in (None, told.grid)


def _sizes(spec: toca.FamilySpec, call: dict[str, Any]) -> tuple[int, int, int | None] | None:
    """Rows, columns and frames of latents that are a picture or a video; `None` where they are something else."""
    latents = call[spec.latents]
    if not isinstance(latents, torch.Tensor) or latents.ndim not in (4, 5):
        return None
    # Without samples and channels there are rows and columns, and frames before them.
    *frames, rows, columns = [size for i, size in enumerate(latents.shape) if i not in (0, _channels(spec, latents))]
    return rows, columns, (frames or [None])[0]


def _channels(spec: toca.FamilySpec, latents: torch.Tensor) -> int:
    return spec.channel_dim % latents.ndim


def test_every_method_is_chosen_for_some_class() -> None:
    """However few families there are now: over all models of the zoo each method meets one."""
    met = Counter(name for entry in EVERY for name in chosen(entry))
    assert not [name for name in CACHING if not met[name]]


def test_a_class_without_a_family_is_refused_by_its_name() -> None:
    for entry in EVERY.values():
        if family_of_entry(entry) is None and "/" not in entry.name:
            with pytest.raises(ValueError, match=entry.name):
                toca.FORA().plan(entry.make(), STEPS)
            return


def test_a_wrong_specification_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site without its output layer and an argument that no one named: each breaks the promise that it must."""
    spec = FAMILIES["dit"]
    (stack,) = spec.stacks
    attention = replace(stack.sites[0], query_linears=("to_q", "to_k", "to_v"))
    cheap = replace(spec, stacks=(replace(stack, sites=(attention, *stack.sites[1:])),))
    unnamed = replace(spec, batched=tuple(name for name in spec.batched if name != "class_labels"))
    shallow = replace(spec, stacks=(replace(stack, sites=stack.sites[1:]),))
    wrong = {"FLOPs": cheap, "skips": unnamed}
    try:
        for promise, changed in wrong.items():
            monkeypatch.setitem(FAMILIES, "dit", changed)
            subject_of.cache_clear()
            assert promise in broken(Cell("DiTTransformer2DModel", "fora"))
        monkeypatch.setitem(FAMILIES, "dit", shallow)
        subject_of.cache_clear()
        assert set(broken(Cell("DiTTransformer2DModel", "fora"))) == {"FLOPs"}
    finally:
        subject_of.cache_clear()
