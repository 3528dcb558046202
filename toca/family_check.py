"""A dry run of a family's data on a model: is every place where they say, with the tokens and at the cost?"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .api import cached, summary
from .methods import FORA, Method, RandomTokens
from .models import CallShape, FamilySpec, Layout, Site, describe, known_family, walk_blocks
from .models.checking import faults_of
from .models.streams import parts_of

TOLERANCE = 1e-3
"""Relative to the largest number of the output."""


@dataclass(frozen=True)
class FamilyCheck:
    """What a dry run found.

    Args:
        family (`str`): Name of the family.
        problems (`tuple[str, ...]`): What is wrong, a sentence each; empty where nothing is.
        flops, flops_counted (`int`): Of one full call, from the family's data and as torch counts them.
    """

    family: str
    problems: tuple[str, ...]
    flops: int = 0
    flops_counted: int = 0

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        if self.ok:
            cost = f"{self.flops / 1e9:.3f} GFLOPs"
            return f"{self.family}: every site is reached, and a call costs {cost}, as predicted."
        return "\n".join([f"{self.family}: {len(self.problems)} problems", *(f"  {each}" for each in self.problems)])


@torch.no_grad()
def check_family(transformer: nn.Module, inputs: Mapping[str, Any]) -> FamilyCheck:
    """Try a family's data on a model: run it once as it is, and compare what its modules return with what the data
    say; then with everything reused, and with some tokens recomputed, where nothing moves, which changes nothing.

    Args:
        transformer (`nn.Module`): A model of the family; a tiny one will do, with random weights. On the meta device
            nothing is compared but shapes and FLOPs.
        inputs (`Mapping[str, Any]`): The arguments of one call by name, of two samples or more.

    Returns:
        `FamilyCheck`

    Raises:
        ValueError: If the model has no family.

    Example:
        ```python
        print(toca.check_family(tiny_model, {"hidden_states": latents, "timestep": timestep}))
        ```
    """
    spec = known_family(transformer)
    faults = tuple(faults_of(transformer, spec))
    if faults:
        return FamilyCheck(spec.name, faults)
    layout = describe(transformer, spec)
    problems, wanted, counted = _look(transformer, spec, layout, inputs)
    on_meta = any(parameter.is_meta for parameter in transformer.parameters())
    if not problems and not on_meta:
        problems += _reused(transformer, spec, inputs)
    return FamilyCheck(spec.name, tuple(problems), wanted, counted)


def _look(
    transformer: nn.Module, spec: FamilySpec, layout: Layout, inputs: Mapping[str, Any]
) -> tuple[list[str], int, int]:
    """Problems of one full call, and its FLOPs as predicted and as counted."""
    returned: dict[nn.Module, list[Any]] = {}
    modules = _modules(transformer, spec)
    # Which fused attention is counted depends on torch's release; products are in all of them.
    with _noting({module for _, module in modules}, returned), FlopCounterMode(display=False) as meter:
        with sdpa_kernel(SDPBackend.MATH):
            transformer(**inputs)
    try:
        shape = spec.call_shape(transformer, dict(inputs))
    except (KeyError, AttributeError, ValueError, IndexError, TypeError) as error:
        return [f"`call_shape` cannot tell the sizes of this call: {type(error).__name__}: {error}."], 0, 0
    problems: list[str] = []
    turns: dict[nn.Module, int] = {}
    for site, (name, module) in zip(layout.sites, modules, strict=True):
        turn = turns[module] = turns.get(module, -1) + 1
        problems += _problems_of(site, name, module, returned.get(module, [])[turn : turn + 1], shape)
    problems += _problems_of_blocks(transformer, spec, inputs)
    wanted = sum(site.flops(shape, site.geometry(shape)[1]) for site in layout.sites) + layout.overhead_flops(shape)
    counted = meter.get_total_flops()
    if not problems and wanted != counted:
        missing = "more" if counted > wanted else "less"
        problems.append(
            f"A call does {counted:,} FLOPs, which is {abs(counted - wanted):,} {missing} than the {wanted:,} that "
            "the data say: see `around`, `conditioning`, `query_linears` and `text_linears`."
        )
    return problems, wanted, counted


def _modules(transformer: nn.Module, spec: FamilySpec) -> list[tuple[str, nn.Module]]:
    """The module of each site, with where it is."""
    return [
        (".".join(filter(None, (stack.blocks, str(index), site.path))), block.get_submodule(site.path))
        for _, index, _, block, stack in walk_blocks(transformer, spec)
        for site in stack.sites
    ]


@contextlib.contextmanager
def _noting(modules: set[nn.Module], returned: dict[nn.Module, list[Any]]) -> Iterator[None]:
    """Note what modules return, call by call."""

    def note(module: nn.Module, _: Any, output: Any) -> None:
        returned.setdefault(module, []).append(output)

    hooks = [module.register_forward_hook(note) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _problems_of(site: Site, name: str, module: nn.Module, outputs: list[Any], shape: CallShape) -> list[str]:
    """What is wrong with one site, from what its module returned."""
    where = f"Layer {site.layer}, {site.module} ({type(module).__name__} at `{name}`)"
    if not outputs:
        return [f"{where} was not reached: the block does not call this module, or not as often as it is named."]
    if site.module == "block":
        return []
    tensors = [each for each in _tensors(outputs[0]) if each.ndim == 3]
    if not tensors:
        return []
    rows, tokens = site.geometry(shape)
    got = tensors[0].shape[0], sum(each.shape[1] for each in tensors), tensors[-1].shape[2]
    transposed = tensors[0].shape[1], sum(each.shape[0] for each in tensors), tensors[-1].shape[2]
    right = (rows, tokens, site.width)
    if right in (got, transposed):
        return []
    return [
        f"{where} returns {' and '.join(str(tuple(each.shape)) for each in tensors)}, and its stream {site.stream!r} "
        f"in rows of a {site.rows} is {right} in this call: see `stream`, `rows`, `call_shape`."
    ]


def _problems_of_blocks(transformer: nn.Module, spec: FamilySpec, inputs: Mapping[str, Any]) -> list[str]:
    """Blocks that are not called once, or return other streams than they are said to."""
    blocks = {block: (f"{stack.blocks}.{i}", stack) for _, i, _, block, stack in walk_blocks(transformer, spec)}
    returned: dict[nn.Module, list[Any]] = {}
    with _noting(set(blocks), returned):
        transformer(**inputs)
    problems = []
    for block, (name, stack) in blocks.items():
        calls = returned.get(block, [])
        if len(calls) != 1:
            problems.append(f"The block `{name}` is called {len(calls)} times in a call of the model, and not once.")
            continue
        streams = len(_tensors(calls[0]))
        if streams < len(stack.read_after):
            problems.append(
                f"The block `{name}` returns {streams} tensors, and its `streams` are {', '.join(stack.streams)} "
                f"({', '.join(map(repr, map('+'.join, map(parts_of, stack.tokens))))})."
            )
    return problems


def _tensors(output: Any) -> list[torch.Tensor]:
    parts = output if isinstance(output, (tuple, list)) else (output,)
    return [part for part in parts if isinstance(part, torch.Tensor)]


def _reused(transformer: nn.Module, spec: FamilySpec, inputs: Mapping[str, Any]) -> list[str]:
    """What goes wrong with everything reused, and with half of the tokens recomputed, where nothing moves."""
    problems = []
    stock = _sample(transformer(**inputs))
    methods: dict[str, Method] = {
        "With everything reused": FORA(interval=2, counts_down=False),
        "With half of the tokens recomputed": RandomTokens(interval=2, fresh_ratio=0.5),
    }
    for what, method in methods.items():
        told: list[str] = []
        try:
            with _listening(told), cached(transformer, method, num_inference_steps=2):
                outputs = [_sample(transformer(**call)) for call in _still(inputs, spec)]
                bypassed = summary(transformer).bypassed
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            problems.append(f"{what} the model breaks: {type(error).__name__}: {error}")
            continue
        if bypassed:
            problems.append(f"{what} calls ran in full, past the cache: {' '.join(told)}")
        apart = (outputs[1] - stock).abs().max() / stock.abs().max()
        if not apart <= TOLERANCE:
            problems.append(
                f"{what} the output is another, by {apart.item():.1e}, where nothing moves: see `norms`, which must "
                "feed their site alone, `stream` and `whole`."
            )
    return problems


@contextlib.contextmanager
def _listening(told: list[str]) -> Iterator[None]:
    """Collect what the engine warns of."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logger, handler = logging.getLogger(__package__), Collect(logging.WARNING)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _still(inputs: Mapping[str, Any], spec: FamilySpec) -> list[dict[str, Any]]:
    """Two calls whose timesteps fall by as little as can be told: whole numbers in double precision, of which a model
    sees none, others by the last digit."""
    timestep = torch.as_tensor(inputs[spec.timestep])
    timestep = timestep if timestep.is_floating_point() else timestep.double()
    least = 1e-9 if timestep.dtype == torch.float64 else 2 * torch.finfo(timestep.dtype).eps
    return [{**inputs, spec.timestep: timestep * (1 - least * step)} for step in range(2)]


def _sample(output: Any) -> torch.Tensor:
    found = getattr(output, "sample", output)
    return _tensors(found)[0].float()
