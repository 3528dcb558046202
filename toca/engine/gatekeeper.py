"""Gates at work: each image of a batch takes the decision that it would take alone."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..axes.gates import Seen, finite_images
from ..memory.branch import Branch, Memory
from ..plan import Plan
from ..plan.passes import MODULATED, Job, probe_pass, resumed, step_pass, verifying_pass, watched
from .span_ends import laid_out

FINITE = "finite"
"""Name in a part's memory of what is not the gate's own: 1 for each image whose last output was finite, else 0."""


class Gatekeeper:
    """Asks the gate in one call, and parts images that decide differently, each part with a memory of its own. In the
    next step they come together again; those stay apart that choose tokens, or have a forecast that depends on which
    steps have been computed.

    Args:
        plan (`Plan`): With a gate.
        memory (`Memory`): Of the call's branch.
        step (`int`): Index of the step.
        latents (`torch.Tensor`): (B, ...), the call's `hidden_states`.
        warn (`Callable`): `(key, message)`: tells the user something, once for each key.
    """

    def __init__(
        self, plan: Plan, memory: Memory, step: int, latents: torch.Tensor, warn: Callable[[str, str], None]
    ):
        self.warn = warn
        self.per_sample = plan.gate.per_sample and not memory.whole
        self.plan, self.gate, self.memory, self.step, self.latents = plan, plan.gate, memory, step, latents
        self.layers = plan.layout.sites[-1].layer + 1

    def decide(self, astray: bool, look: Callable[[Job], torch.Tensor]) -> list[Job]:
        """The jobs of the call.

        Args:
            astray (`bool`): Whether everything must be computed, for nothing fit is remembered.
            look (`Callable`): Runs a job that only looks.
        """
        forced = astray or self.plan.table[self.step] == self.plan.full_row
        self._join()
        jobs = [job for part in self.memory.parts for job in self._jobs_of(part, forced, look)]
        self.memory.parts = [job.part for job in jobs]
        return jobs

    def _join(self) -> None:
        """Parts with the same course behind them become one again, so that a step takes no more passes than there are
        decisions."""
        if self.plan.partial_sites or len(self.memory.parts) == 1:
            return
        alike: dict[tuple, list[Branch]] = {}
        for part in self.memory.parts:
            alike.setdefault(part.course(self.plan), []).append(part)
        self.memory.parts = [
            parts[0] if len(parts) == 1 else Branch.join(self.plan, parts, self.memory.key) for parts in alike.values()
        ]

    def _jobs_of(self, part: Branch, forced: bool, look: Callable[[Job], torch.Tensor]) -> list[Job]:
        seen = self._seen(part)
        probe = self.gate.probe
        if forced:
            run = step_pass(self.plan, self.step, computed=True)
            if probe is not None:
                run = watched(run, (0, probe) if probe else (), probes_input=probe == 0)
            return [Job(part, run, seen, computed=True)]
        streams = None
        if probe is not None:
            first = Job(part, probe_pass(self.plan, probe))
            look(first)
            streams = first.notes.get(probe) if probe else None
            self._note_probe(part, seen, first)
        return [self._job(*decided) for decided in self._split(part, seen, streams)]

    def _split(self, part: Branch, seen: Seen, streams: tuple | None) -> list[tuple]:
        """(part, what it sees, whether it computes, its probed streams) for those who compute and those who do not."""
        images = part.images(self.per_sample)
        opens = self._opens(seen)
        if len(set(opens)) == 1:
            return [(part, seen, opens[0], streams)]
        split = []
        for computed in (True, False):
            chosen = [i for i, open_ in enumerate(opens) if open_ == computed]
            index = torch.tensor(chosen, device=self.latents.device)
            taken = part.take(self.plan, index, images)
            taken.numbers = tuple(part.numbers[i] for i in chosen) if part.numbers else tuple(chosen)
            mine = None if streams is None else tuple(_rows_of(part, index, images, stream) for stream in streams)
            split.append((taken, seen.take(index, taken.memory), computed, mine))
        return split

    def _opens(self, seen: Seen) -> list[bool]:
        """Which images compute: those that the gate says, and those whose last output was not finite, for whatever was
        kept of it is not fit to be used."""
        asked = torch.stack([self.gate.opens(seen), seen.memory[FINITE] > 0])
        opens, finite = asked.tolist()
        if not all(finite):
            self.warn(
                FINITE,
                f"The model returned numbers that are not finite in step {self.step - 1}: what was kept of it is not "
                "used, and the next step is computed in full.",
            )
        return [open_ or not fine for open_, fine in zip(opens, finite, strict=True)]

    def _job(self, part: Branch, seen: Seen, computed: bool, streams: tuple | None) -> Job:
        run = step_pass(self.plan, self.step, computed or None)
        job = Job(part, run, seen, computed)
        if streams is not None:
            job.run, job.streams = resumed(self.plan, run, self.gate.probe), streams
        if not computed and self.gate.verifies(seen):
            job.run = watched(job.run, (self.layers - 1, self.layers))
        return job

    def observe(self, job: Job, output: torch.Tensor, look: Callable[[Job], torch.Tensor]) -> None:
        """Show the gate a job that has run.

        Args:
            job (`Job`): The job.
            output (`torch.Tensor`): What the model returned for its rows.
            look (`Callable`): Runs a job that only looks.
        """
        part, seen = job.part, job.seen
        images = part.images(self.per_sample)
        seen.output = part.by_image(output, images)
        if seen.probe is None and self.gate.probe is not None:
            self._note_probe(part, seen, job)
        if self.layers - 1 in job.notes and not job.computed:
            check = Job(part, verifying_pass(self.plan), streams=job.notes[self.layers - 1])
            look(check)
            before = self._laid_out(part, job.notes[self.layers - 1][-1], self.layers - 2, self.layers - 1)
            seen.before_last = part.by_image(before, images)
            seen.draft = part.by_image(job.notes[self.layers][-1], images)
            seen.verified = part.by_image(check.notes[self.layers][-1], images)
        self.gate.observe(seen, job.computed)
        seen.memory[FINITE] = finite_images(seen.output)
        part.memory = seen.memory

    def _seen(self, part: Branch) -> Seen:
        latents = self.latents if part.rows is None else self.latents.index_select(0, part.rows)
        seen = Seen(self.step, self.plan.num_inference_steps, part.memory)
        seen.input = part.by_image(latents, part.images(self.per_sample))
        return seen

    def _note_probe(self, part: Branch, seen: Seen, job: Job) -> None:
        images = part.images(self.per_sample)
        if self.gate.probe:
            seen.entering = part.by_image(job.notes[0][-1], images)
            probed = self._laid_out(part, job.notes[self.gate.probe][-1], self.gate.probe - 1, 0)
            seen.probe = part.by_image(probed, images)
        else:
            seen.probe = part.by_image(job.notes[MODULATED][0], images)

    def _laid_out(self, part: Branch, left: torch.Tensor, layer: int, like: int) -> torch.Tensor:
        """What has left a layer, with its rows laid out as those of another one."""
        rows = {site.layer: site.rows for site in self.plan.layout.sites}
        return laid_out(left, part.key.shape, rows[max(layer, 0)], rows[like])


def _rows_of(part: Branch, index: torch.Tensor, images: int, stream: torch.Tensor) -> torch.Tensor:
    """The rows of some images in a stream (rows, ...)."""
    taken = part.by_image(stream, images).index_select(0, index)
    return taken.transpose(0, 1).flatten(0, 1).reshape(-1, *stream.shape[1:])
