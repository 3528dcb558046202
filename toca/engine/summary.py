"""What a generation did: the record the engine keeps, and the summary users read."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from ..kernels.narrow import name_of
from ..memory.ram import Traffic
from ..plan.cost import full_flops, pass_flops, tokens_computed
from ..plan.table import PlanTable
from .record import CallRecord, GenerationRecord


@dataclass(frozen=True)
class SiteTrace:
    """What one site did in one call: its action, and tokens computed of all its tokens."""

    layer: int
    module: str
    action: str
    tokens_recomputed: int
    tokens: int


@dataclass(frozen=True)
class StepTrace:
    """One transformer call, or what it did for some of its images: its step, branch, letter, what each site did, and
    which images these are (`None` for all)."""

    step: int
    branch: Hashable
    letter: str
    sites: tuple[SiteTrace, ...]
    images: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Summary:
    """What the last generation did.

    Args:
        method (`str`): Name of the method or plan.
        steps (`str`): One letter a step, as in `Plan.steps`, for what really ran; m where the images of a batch, or
            the branches of guidance, did different things.
        full_steps (`int`): Steps in which every site computed.
        tokens_recomputed (`float`): Share of the sites' tokens that were computed.
        flops (`int`): FLOPs of all transformer calls, two a multiply-add.
        flops_full (`int`): The same with every site computed.
        cache_bytes (`int`): Bytes of the tensors kept between steps.
        trace (`tuple[StepTrace, ...]`): Each call in order, site by site.
        chosen (`str`): How the method was chosen, where none or only `"toca"` was named; else empty.
        cache_dtype (`str`): What features are kept in between steps, `"bf16"`, `"fp16"` or `"fp8"`; empty for the
            dtype that the model computes in.
        ram_bytes (`int`): Bytes of the cache in the machine's memory, where `cache_device="cpu"`.
        device_bytes (`int`): Bytes of the cache on the device that computes, at the most.
        traffic (`Traffic` or `None`): What was moved between the two: how many reads had been asked for a block ahead
            (`ahead`), how many had not (`awaited`), how many quantities were taken away (`sent`), and `bytes` in all;
            `None` where the cache stays on the device.
        made (`str`): What the plan was made from, and what it did to other prompts; empty where it does not say.
        bypassed (`int`): Further calls that ran in full, past the cache, with a warning that says why; they are in no
            other figure.
    """

    method: str
    steps: str
    full_steps: int
    tokens_recomputed: float
    flops: int
    flops_full: int
    cache_bytes: int
    trace: tuple[StepTrace, ...] = field(repr=False)
    bypassed: int = 0
    chosen: str = ""
    made: str = ""
    cache_dtype: str = ""
    ram_bytes: int = 0
    device_bytes: int = 0
    traffic: Traffic | None = None

    @property
    def flops_speedup(self) -> float:
        """FLOPs without the cache over FLOPs with it; 1 before anything ran."""
        return self.flops_full / self.flops if self.flops else 1.0

    def steps_of(self, image: int) -> str:
        """One letter a step for one image of the batch, where images decide for themselves; m where the branches of
        guidance did different things.

        Args:
            image (`int`): Its place in the batch, from 0.

        Raises:
            ValueError: If nothing is known of such an image.
        """
        letters: dict[int, set[str]] = {}
        for call in self.trace:
            if image >= 0 and (call.images is None or image in call.images):
                letters.setdefault(call.step, set()).add(call.letter)
        if len(letters) < len(self.steps):
            raise ValueError(f"`image` must be the place of an image in the batch, from 0, got {image}.")
        return "".join(_common_letter(letters[step]) for step in sorted(letters))

    def __str__(self) -> str:
        past = f"{self.bypassed} transformer calls ran in full, past the cache." if self.bypassed else ""
        if not self.steps:
            return f"{self.chosen or self.method}: {past or 'nothing has been generated yet.'}"
        lines = [
            f"{self.chosen or self.method}, {len(self.steps)} steps, {self.full_steps} of them full",
            f"  steps   {self.steps}",
            f"  FLOPs   {self.flops / 1e9:.2f} G instead of {self.flops_full / 1e9:.2f} G: {self.flops_speedup:.2f}x",
            f"  tokens  {self.tokens_recomputed:.1%} computed",
            f"  cache   {self.cache_bytes / 2**20:.2f} MiB{f', in {self.cache_dtype}' if self.cache_dtype else ''}",
        ]
        if self.traffic is not None:
            ram, device = self.ram_bytes / 2**20, self.device_bytes / 2**20
            lines.append(f"          {ram:.2f} MiB in RAM, at most {device:.2f} on the device; {self.traffic}")
        if self.made:
            lines.append(f"  plan    {self.made}")
        if self.flops >= self.flops_full:
            lines.append("  Nothing was skipped.")
        if past:
            lines.append(f"  {past}")
        return "\n".join(lines)


def summarize(method: str, records: list[tuple[GenerationRecord, list]], chosen: str = "") -> Summary:
    """The summary of one or more transformers' last generations; of all runs of the scheduler in a pipeline's call.

    Args:
        method (`str`): Name of the method.
        records (`list`): For each transformer its record and the memories it still holds.
        chosen (`str`, *optional*): How the method was chosen.
    """
    runs = _runs(records)
    total, first = _Total(), 0
    for run in runs:
        first += total.add(run, first)
    steps = "".join(_common_letter(total.letters[step]) for step in sorted(total.letters))
    share = total.computed / total.tokens if total.tokens else 1.0
    return Summary(
        method=method,
        steps=steps,
        full_steps=steps.count("F"),
        tokens_recomputed=share,
        flops=total.flops,
        flops_full=total.flops_full,
        cache_bytes=total.cache_bytes,
        trace=tuple(total.trace),
        bypassed=total.bypassed,
        chosen=chosen,
        made=_origins(records),
        cache_dtype=next((name for record, _ in records if (name := name_of(record.cache_dtype))), ""),
        ram_bytes=total.ram_bytes,
        device_bytes=total.device_bytes,
        traffic=total.traffic,
    )


def _origins(records: list[tuple[GenerationRecord, list]]) -> str:
    """What the plans were made from, in words."""
    plans = [record.plan for record, _ in records]
    return "; ".join(dict.fromkeys(str(plan.origin) for plan in plans if plan is not None and plan.origin is not None))


Run = list[tuple[GenerationRecord, list]]
"""What each transformer did in one run of the scheduler, and what it still holds."""


def _runs(records: Run) -> list[Run]:
    """The runs of the last call, in order. A transformer that sat it out (Wan 2.2 at few steps) still has the one
    before."""
    newest = max((record for record, _ in records), key=lambda record: record.number)
    runs: dict[tuple[int, int], Run] = {key: [] for key, _ in _numbered(newest)}
    for record, memories in records:
        for key, each in _numbered(record):
            if key in runs:
                runs[key].append((each, memories if each is record else []))
    return list(runs.values())


def _numbered(record: GenerationRecord) -> list[tuple[tuple[int, int], GenerationRecord]]:
    """The records of a transformer's runs, each with its schedule and which of the runs of that one it is."""
    chain = (*record.earlier, record)
    schedules = [id(each.schedule) for each in chain]
    return [((schedules[i], schedules[:i].count(schedules[i])), each) for i, each in enumerate(chain)]


@dataclass
class _Total:
    """What runs add up to."""

    flops: int = 0
    flops_full: int = 0
    computed: int = 0
    tokens: int = 0
    cache_bytes: int = 0
    ram_bytes: int = 0
    device_bytes: int = 0
    traffic: Traffic | None = None
    bypassed: int = 0
    letters: dict[int, set[str]] = field(default_factory=dict)
    trace: list[StepTrace] = field(default_factory=list)

    def add(self, run: Run, first: int) -> int:
        """Take in a run whose first step is this one in the call; how many steps it has."""
        held = in_ram = in_flight = steps = 0
        for record, memories in run:
            self.bypassed += record.bypassed
            plan = record.plan
            if plan is None:
                # Nothing of it has gone through the cache.
                continue
            held += record.cache_bytes + sum(memory.cache_bytes for memory in memories)
            in_ram += record.ram_bytes + sum(memory.ram_bytes for memory in memories)
            if record.traffic is not None:
                in_flight += record.traffic.most
                self.traffic = record.traffic if self.traffic is None else self.traffic + record.traffic
            self.flops += sum(pass_flops(plan, each, shape) for each, shape in record.passes)
            self.computed += sum(tokens_computed(plan, each.row, shape) for each, shape in record.passes)
            for call in record.calls:
                shape = replace(call.shape, batch=call.full_batch)
                self.flops_full += full_flops(plan, shape)
                self.tokens += tokens_computed(plan, plan.full_row, shape)
                self.letters.setdefault(first + call.step, set()).add(call.letter)
                self.trace.append(_trace(plan, call, first))
                steps = max(steps, call.step + 1)
        # One run lets go of what it holds before the next one begins.
        self.cache_bytes, self.ram_bytes = max(self.cache_bytes, held), max(self.ram_bytes, in_ram)
        self.device_bytes = max(self.device_bytes, held - in_ram + in_flight)
        return steps


def _common_letter(letters: set[str]) -> str:
    """The letter of a step; m where the images of a batch, or the branches, did different things."""
    return next(iter(letters)) if len(letters) == 1 else "m"


def _trace(plan: PlanTable, call: CallRecord, first: int) -> StepTrace:
    sites = []
    for i, (site, action) in enumerate(zip(plan.layout.sites, call.row, strict=True)):
        fresh, tokens = plan.fresh_tokens(i, call.row, call.shape), site.geometry(call.shape)[1]
        sites.append(SiteTrace(site.layer, site.module, action.kind, fresh, tokens))
    return StepTrace(first + call.step, call.branch, call.letter, tuple(sites), call.images)
