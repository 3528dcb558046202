"""What a step takes however little it computes: the bounds of every speed-up, measured and not reckoned.

A small model spends much of a step on launching operations and on reading weights, which no cache saves as long as the
blocks run. So the stock pipeline is timed on the smallest picture that it makes: its blocks do all that they do, on
next to no token. And steps are timed in which all blocks are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from toca.eval.benchmarks.bench.floor import Floor
from toca.eval.findings.results import Quartiles
from toca.eval.samples.prompts import Item
from toca.eval.samples.running import digest_of, identity_of, ready
from toca.eval.samples.subject import Subject
from toca.eval.store.store import Store
from toca.eval.timing.latency import paired_ratio
from toca.eval.timing.parts import DENOISER, PartCosts, measure_parts
from toca.eval.timing.speed import VariantWorkload
from toca.eval.variants import BASELINE, Variant, parse_variant

STAGE = "floor"
SIZES = (1, 2, 4, 8)
"""Sides that are tried, in latent pixels: those of a token differ, and a pipeline may ask for more than one token."""
FULL, SMALLEST, EMPTY = "full", "smallest", "empty"


def floor_of(subject: Subject, items: list[Item], seed: int, rounds: int, store: Store, code: str) -> Floor:
    """Measure the floor of a pipeline; what is on disk is taken from there.

    Args:
        subject (`Subject`): The pipeline.
        items (`list[Item]`): The samples of one call.
        seed (`int`): Of their noise.
        rounds (`int`): Turns that count.
        store (`Store`), code (`str`): Where it is kept, and the hash of the sources that it belongs to.
    """
    key = {**identity_of(subject, BASELINE, digest_of(items), seed, code), "rounds": rounds}
    found = store.load(STAGE, FULL, key)
    if found is None:
        found = store.save(STAGE, FULL, key, asdict(_measured(subject, items, seed, rounds)))
    return Floor.of(found)


def _measured(subject: Subject, items: list[Item], seed: int, rounds: int) -> Floor:
    small = next((each for each in _smaller(subject) if _runs(each, items, seed)), None)
    made = {FULL: VariantWorkload(subject, BASELINE, items, seed), EMPTY: _leaving_out(subject, items, seed)}
    if small is not None:
        made[SMALLEST] = VariantWorkload(small, BASELINE, items, seed)
    workloads = {name: each.workload() for name, each in made.items()}
    costs = measure_parts(subject.pipe.components, workloads, rounds, 1)
    steps = made[EMPTY].facts(costs[EMPTY].calls).steps
    empty = of_a_step(_share_of(costs[EMPTY], costs[FULL]), steps)
    if small is None:
        return Floor(empty)
    flops = costs[SMALLEST].flops[DENOISER] / costs[FULL].flops[DENOISER]
    return Floor(empty, _share_of(costs[SMALLEST], costs[FULL]), flops, _size_of(small))


def _leaving_out(subject: Subject, items: list[Item], seed: int) -> VariantWorkload:
    """A run that computes as few steps as it can, and leaves all blocks out in the others."""
    [variant] = parse_variant(f"composed:when=fora;when.interval={subject.steps};which=teacache").variants
    return VariantWorkload(subject, variant, items, seed)


def _share_of(costs: PartCosts, full: PartCosts) -> Quartiles:
    return paired_ratio(costs.seconds[DENOISER], full.seconds[DENOISER])


def of_a_step(share: Quartiles, steps: str) -> Quartiles:
    """From the share of a run to that of each of its steps that is not full."""
    computed = steps.count("F")
    first, median, third = sorted((len(steps) * each - computed) / (len(steps) - computed) for each in share)
    return median, first, third


def _smaller(subject: Subject) -> Iterator[Subject]:
    """The same pipeline, called for smaller pictures, the smallest first; none where its call takes no size."""
    given = _given(subject)
    unit = getattr(subject.pipe, "vae_scale_factor", None)
    if unit is None or not given.get("height") or not given.get("width"):
        return
    for size in SIZES:
        sides = {"height": unit * size, "width": unit * size}
        if sides["height"] >= given["height"]:
            return
        if subject.inputs is None:
            yield replace(subject, config=replace(subject.config, **sides))
        else:
            yield replace(subject, inputs={**subject.inputs, **sides})


def _given(subject: Subject) -> Mapping[str, Any]:
    """What its call is given, the size among it."""
    return asdict(subject.config) if subject.inputs is None else subject.inputs


def _size_of(subject: Subject) -> str:
    given = _given(subject)
    return f"{given['height']} x {given['width']} pixels"


@torch.no_grad()
def _runs(subject: Subject, items: list[Item], seed: int) -> bool:
    """Whether the pipeline makes anything of this size."""
    try:
        with ready(subject, Variant("floor", "floor", steps=2), items, seed) as (call, _):
            made = call()[0]
    except Exception:  # whatever it is that it cannot do with so few pixels
        return False
    return all(np.asarray(each).size > 0 for each in made)
