"""The promises, each as a check of one cell: a model of the zoo with one method.

A cell plays its generations once, one after the other without a break, so that what one of them leaves behind shows in
the next. The checks read what was recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import toca
from toca.engine.unplaced import Unplaced
from toca.eval.counting.flops import FlopMeter
from toca.plan.cost import cache_bytes, full_flops, step_flops

from ..conformance.test_cost import held_bytes
from ..conformance.test_off_is_off import snapshot
from .methods import in_full, method_for
from .subject import Subject, subject_of
from .tiny import STEPS, run

Outputs = list[list[Tensor]]
PROMISES: dict[str, Callable[[Cell], None]] = {}
"""By their names in the table of the documentation."""


class Broken(AssertionError):
    """A promise that does not hold, in a sentence."""


@dataclass
class Cell:
    """A model with a method, and what it did.

    Args:
        entry, name (`str`): Of the model and of the method.

    Attributes:
        refusal (`str`): What was said where the method was refused for the model; empty where it was not.
        recorded (`dict`): The generations by name, or the exception that one ended with.
    """

    entry: str
    name: str
    refusal: str = ""
    recorded: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.subject: Subject = subject_of(self.entry)
        self.method = None
        try:
            self.method = method_for(self.entry, self.name)
            self._enable(self.method)
        except ValueError as error:
            self.refusal = str(error)
            self.after = snapshot(self.subject.model)
            return
        try:
            self._play()
        finally:
            toca.disable_cache(self.subject.model)
            self.after = snapshot(self.subject.model)
            if self.after != self.subject.untouched:
                subject_of.cache_clear()
        self._record("afterwards", lambda: run(self.subject.model, self.subject.calls()[:2]))
        self._record("in full", self._run_in_full)

    @property
    def passes_by(self) -> bool:
        """Whether its calls run in full: tokens are chosen, and each sample's image begins elsewhere."""
        spec = self.subject.spec
        ragged = spec.is_ragged(self.subject.calls()[0]) and not spec.image_is_first
        return ragged and self.method is not None and self.method.selection() is not None

    def outputs(self, generation: str) -> Any:
        """What was recorded. Raises what the generation ended with."""
        found = self.recorded[generation]
        if isinstance(found, Exception):
            raise Broken(f"{generation}: {type(found).__name__}: {found}") from found
        return found

    @property
    def stays_full(self) -> bool:
        """Whether tokens were to be dropped in some step, and cannot be in these calls: each step is full then, and
        the user is told so."""
        subject, call = self.subject, self.subject.calls()[0]
        plan = self.method.plan(subject.model, STEPS)
        added = any(call.get(name) is not None for name in subject.spec.added)
        by_token = subject.spec.modulates_by_token(call, subject.shape)
        return any(plan.drops(row) for row in plan.table) and (added or by_token)

    @property
    def stays_together(self) -> bool:
        """Whether all samples of these calls decide together, which no plan can know."""
        subject = self.subject
        unplaced = Unplaced(subject.model, subject.spec)
        return subject.batch > 1 and unplaced.why_whole(subject.calls()[0], subject.batch) is not None

    def _enable(self, method: toca.Method) -> None:
        toca.enable_cache(self.subject.model, method, num_inference_steps=STEPS)

    def _play(self) -> None:
        subject, model = self.subject, self.subject.model
        # First, for its timesteps lie below the others': after them they would be further steps of a generation.
        self._record("still", self._still)
        self._record("first", self._first)
        self._record("second", lambda: run(model, subject.calls()))
        self._record("alone", lambda: run(model, subject.calls(batch=1, first=1)))
        self._record("branches", self._branches)
        # The cache is taken off in the middle of a generation, when much is remembered.
        self._record("broken off", lambda: run(model, subject.calls()[:3]))

    def _still(self) -> Outputs:
        outputs = run(self.subject.model, self.subject.calls(still=True))
        self.still_summary = toca.summary(self.subject.model)
        return outputs

    def _branches(self) -> Outputs:
        """What the first of two branches of guidance gets, which take turns: the same latents, and in the second
        branch what another sample is told to show."""
        subject, condition = self.subject, self.subject.spec.condition
        mine, others = (subject.calls(batch=1, first=first) for first in (1, 0))
        outputs = []
        for call, other in zip(mine, others, strict=True):
            outputs += run(subject.model, [call])
            told = {condition: other[condition]} if condition in other else {}
            run(subject.model, [{**call, **told}])
        return outputs

    def _first(self) -> Outputs:
        subject, model = self.subject, self.subject.model
        calls = subject.calls()
        with FlopMeter() as meter:
            outputs = run(model, calls[:-1])
        counted = meter.total
        self.held, self.running = held_bytes(model), toca.summary(model)
        with FlopMeter() as meter:
            outputs += run(model, calls[-1:])
        self.counted, self.summary = counted + meter.total, toca.summary(model)
        return outputs

    def _run_in_full(self) -> Outputs | None:
        method = None if self.method is None else in_full(self.method)
        if method is None:
            return None
        with toca.cached(self.subject.model, method, num_inference_steps=STEPS):
            return run(self.subject.model, self.subject.calls()[:3])

    def _record(self, generation: str, play: Callable[[], Any]) -> None:
        try:
            self.recorded[generation] = play()
        except Exception as error:  # noqa: BLE001 (each promise is told by itself whether it holds)
            self.recorded[generation] = error


def broken(cell: Cell) -> dict[str, str]:
    """The promises that do not hold, and why."""
    if cell.passes_by:
        return _broken_past_the_cache(cell)
    found = {}
    for name, check in PROMISES.items():
        try:
            check(cell)
        except Broken as error:
            found[name] = str(error)
    return found


def _broken_past_the_cache(cell: Cell) -> dict[str, str]:
    """The same of calls that run in full, for a reason that is known beforehand."""
    try:
        demand(_equal(cell.outputs("first"), cell.subject.stock), "calls past the cache compute something else")
        demand(cell.summary.bypassed == STEPS, f"{cell.summary.bypassed} calls ran past the cache")
        off_is_off(cell)
    except Broken as error:
        return {"in full": str(error)}
    return {}


def promise(name: str) -> Callable[[Callable[[Cell], None]], Callable[[Cell], None]]:
    def enter(check: Callable[[Cell], None]) -> Callable[[Cell], None]:
        PROMISES[name] = check
        return check

    return enter


def demand(holds: bool, otherwise: str) -> None:
    """Raises `Broken` with a sentence if something does not hold."""
    if not holds:
        raise Broken(otherwise)


@promise("full is full")
def full_is_full(cell: Cell) -> None:
    """With every step computed the model returns bitwise what it returns without a cache; where a method has no
    setting that says so, its first steps do but for rounding, for these may be measured."""
    full, stock = cell.outputs("in full"), cell.subject.stock
    if full is not None:
        demand(_equal(full, stock[:3]), f"in full it is off by {_furthest(full, stock[:3]):.1e}")
    leading = len(cell.summary.steps) - len(cell.summary.steps.lstrip("F")) if cell.outputs("first") else 0
    off = _furthest(cell.outputs("first")[:leading], stock[:leading])
    demand(leading > 0 and off < cell.subject.entry.tolerance, f"its first steps are off by {off:.1e}")


@promise("off is off")
def off_is_off(cell: Cell) -> None:
    """Taken off in mid-run, nothing is left: neither a class, an attribute, a hook nor a number."""
    demand(cell.after == cell.subject.untouched, f"it leaves behind {_difference(cell.after, cell.subject.untouched)}")
    demand(_equal(cell.outputs("afterwards"), cell.subject.stock[:2]), "the model computes something else afterwards")


@promise("still is exact")
def still_is_exact(cell: Cell) -> None:
    """Where the inputs stand still what is remembered is right, whatever is computed anew; but for a fill that reads
    the velocity off latents that move."""
    off = _furthest(cell.outputs("still"), cell.subject.stock_still)
    steps, moving = cell.still_summary.steps, cell.summary.steps
    # A gate may find what stands still no ground to skip anything.
    alike = steps == moving or cell.method.gate() is not None
    demand(alike and not cell.still_summary.bypassed, f"still inputs run {steps}, and others {moving}")
    fill = cell.method.filling()
    reads_motion = fill is not None and fill.reads_latents
    right = reads_motion or off < max(1e-4, 10 * cell.subject.entry.tolerance)
    demand(right, f"it is off by {off:.1e} on inputs that stand still")


@promise("samples are apart")
def samples_are_apart(cell: Cell) -> None:
    """A sample in a batch is what it is alone, unless all decide together."""
    if cell.subject.batch == 1 or (cell.method.gate() is not None and cell.stays_together):
        return
    together = [[tensor[1:2] for tensor in step] for step in cell.outputs("second")]
    off = _furthest(together, cell.outputs("alone"))
    demand(off < 10 * cell.subject.entry.tolerance, f"a sample alone is off by {off:.1e}")


@promise("branches are apart")
def branches_are_apart(cell: Cell) -> None:
    """A branch of guidance is what it would be without the other, which takes turns with it."""
    off = _furthest(cell.outputs("branches"), cell.outputs("alone"))
    demand(off < 10 * cell.subject.entry.tolerance, f"a branch beside another is off by {off:.1e}")


@promise("resets")
def resets(cell: Cell) -> None:
    """The next generation is as if it were the first."""
    first, second = cell.outputs("first"), cell.outputs("second")
    demand(_equal(second, first), f"a second generation is off by {_furthest(second, first):.1e}")


@promise("skips")
def skips(cell: Cell) -> None:
    """Something is left out, in every kind of step that is said to be filled, and it shows."""
    first = cell.outputs("first")
    demand(cell.summary.bypassed == 0, f"{cell.summary.bypassed} calls ran past the cache")
    demand(cell.stays_full or not _equal(first, cell.subject.stock), "nothing is skipped")


@promise("sites")
def sites_are_reported(cell: Cell) -> None:
    """The summary tells what each site did in each step."""
    cell.outputs("first")
    wanted = [site.key for site in cell.subject.layout.sites]
    for call in cell.summary.trace:
        demand([(site.layer, site.module) for site in call.sites] == wanted, f"step {call.step} lacks sites")
    steps = sorted({call.step for call in cell.summary.trace})
    demand(steps == list(range(STEPS)), f"of {STEPS} steps it reports {steps}")


@promise("FLOPs")
def flops_are_counted(cell: Cell) -> None:
    """Predicted, reported and counted FLOPs are one number, with the cache and without."""
    cell.outputs("first")
    shape, plan = cell.subject.shape, cell.method.plan(cell.subject.model, STEPS)
    steps = (full_flops(plan, shape) if cell.stays_full else step_flops(plan, i, shape, False) for i in range(STEPS))
    predicted = sum(steps)
    for what, found, counted in (
        ("uncached", STEPS * full_flops(plan, shape), cell.subject.flops),
        ("uncached, as reported,", cell.summary.flops_full, cell.subject.flops),
        ("predicted", predicted, cell.counted),
        ("reported", cell.summary.flops, cell.counted),
    ):
        demand(found == counted, f"{what} FLOPs are {found}, and {counted} are counted ({found / counted:.4f})")


@promise("bytes")
def bytes_are_held(cell: Cell) -> None:
    """Predicted and reported bytes of the cache are those that it holds."""
    cell.outputs("first")
    plan = cell.method.plan(cell.subject.model, STEPS)
    # Of samples that decide together the gate keeps what it would of one.
    together = plan.gate is not None and cell.stays_together
    predicted = cache_bytes(plan, cell.subject.shape, cell.subject.entry.exact.itemsize, together)
    # What counts the tokens that were dropped is made with the first choice of them.
    promised = () if cell.stays_full else (("predicted", predicted),)
    for what, found in (*promised, ("reported", cell.running.cache_bytes)):
        demand(found == cell.held, f"{what} bytes are {found}, and {cell.held} are held")
    demand(cell.summary.cache_bytes == cell.held, "the summary forgets what was held")


def check_refusal(cell: Cell) -> None:
    """A refusal names the model and the reason, and leaves nothing behind. Raises `Broken` if it does not."""
    spec, said = cell.subject.spec, cell.refusal
    names = (spec.name, spec.transformer, type(cell.subject.model).__name__)
    demand(any(name in said for name in names), f"the refusal names neither family nor class: {said}")
    demand(len(said.split()) > 8, f"the refusal gives no reason: {said}")
    demand(cell.after == cell.subject.untouched, "a refusal leaves something behind")


def _equal(got: Outputs, wanted: Outputs) -> bool:
    pairs = zip(_flat(got), _flat(wanted), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def _furthest(got: Outputs, wanted: Outputs) -> float:
    """The largest difference of a tensor of a step over its largest value."""
    pairs = list(zip(_flat(got), _flat(wanted), strict=True))
    errors = [((a - b).abs().max() / b.abs().max()).item() for a, b in pairs]
    return max((float("inf") if error != error else error for error in errors), default=0.0)


def _flat(outputs: Outputs) -> list[Tensor]:
    return [tensor for step in outputs for tensor in step]


def _difference(after: dict[str, Any], before: dict[str, Any]) -> str:
    return ", ".join(key for key in before if after[key] != before[key])
