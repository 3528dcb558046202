"""Gates at work: each image of a batch takes the decision that it would take alone."""

from __future__ import annotations

import torch

from ..axes.gates import Observation, finite_images
from ..kernels.sending import sent
from ..memory.algebra import join, take
from ..memory.part import Part
from ..plan.passes import (
    ENTERED,
    MODULATED,
    VERIFIED,
    Pass,
    probe_pass,
    probed_layers,
    resumed,
    step_pass,
    verified,
    verifying_pass,
    watched,
    watching,
)
from .block_span import BlockSpan
from .call import Call
from .job import Job
from .probe import Left
from .told_once import Warnings

FINITE = "engine: finite"
"""Name, which no gate would give, of what is not the gate's own in a part's memory: 1 for each image whose last output
was finite, else 0."""


class Gatekeeper:
    """Asks the gate in one call, and parts images that decide differently, each part with a memory of its own. In the
    next step they come together again; those stay apart that choose tokens, or have a forecast that depends on which
    steps have been computed.

    A gate that looks at blocks is asked in the middle of a pass, which goes on as it says. Where images differ the
    pass ends there, and each part goes on in one of its own.

    Args:
        call (`Call`): The call; its plan has a gate.
        warn (`Warnings`): Tells the user something.
        block_span (`BlockSpan`): Knows where the image is in what goes through the blocks.
    """

    def __init__(self, call: Call, warn: Warnings, block_span: BlockSpan):
        gate = call.plan.gate
        assert gate is not None, "the plan has a gate"
        self.warn, self.record, self.block_span = warn, call.record, block_span
        self.plan, self.gate, self.memory = call.plan, gate, call.memory
        self.step, self.latents = call.step, call.latents
        self.noise, self.grid = call.noise, call.memory.grid
        # An image's rows stand before what it has of them.
        self.channel_dim = call.spec.channel_dim % self.latents.ndim + 1
        self.per_sample = gate.per_sample and not self.memory.whole
        self.layers = self.plan.layout.layers
        self.watched = gate.watched_layer(self.layers)

    def decide(self, lost: bool) -> list[Job]:
        """The jobs of the call.

        Args:
            lost (`bool`): Whether everything must be computed, for nothing fit is remembered.
        """
        forced = lost or self.plan.table[self.step] == self.plan.full_row
        self._join()
        jobs = [job for part in self.memory.parts for job in self._jobs_of(part, forced)]
        self.memory.parts = [job.part for job in jobs]
        return jobs

    def _join(self) -> None:
        """Parts with the same past become one again, so that a step takes no more passes than there are
        decisions."""
        if self.plan.partial_sites or len(self.memory.parts) == 1:
            return
        alike: dict[tuple, list[Part]] = {}
        for part in self.memory.parts:
            alike.setdefault(part.past(self.plan), []).append(part)
        self.memory.parts = [
            parts[0] if len(parts) == 1 else join(self.plan, parts, self.memory.key) for parts in alike.values()
        ]

    def _jobs_of(self, part: Part, forced: bool) -> list[Job]:
        now = self._observation(part)
        probe = self.gate.probe
        if forced:
            run = step_pass(self.plan, self.step, computed=True)
            if probe is not None:
                run = watched(run, (0, probe) if probe else (), probes_input=probe == 0)
            return [Job(part, self._watching(run), now, computed=True)]
        if probe is not None:
            return [Job(part, probe_pass(self.plan, probe), now, undecided=True)]
        return self._split(part, now, {})

    def ask(self, job: Job, left: Left) -> list[Job]:
        """Ask about a job that is not decided yet; what takes its place.

        Args:
            job (`Job`): Its pass has come by all that the gate looks at.
            left (`dict`): What has left the probed layers.
        """
        assert job.observation is not None, "the gate has been shown the step"
        self._note_probe(job.part, job.observation, job)
        return self._split(job.part, job.observation, left)

    def _split(self, part: Part, now: Observation, left: Left) -> list[Job]:
        """The jobs of the images that compute and of those that do not."""
        images = part.images(self.per_sample)
        opens = self._opens(now)
        if len(set(opens)) == 1:
            return [self._job(part, now, opens[0])]
        split = []
        for computed in (True, False):
            chosen = [i for i, open_ in enumerate(opens) if open_ == computed]
            index = sent(torch.tensor(chosen), self.latents.device)
            taken = take(self.plan, part, index, images)
            taken.numbers = tuple(part.numbers[i] for i in chosen) if part.numbers else tuple(chosen)
            job = self._job(taken, now.take(index, taken.gate), computed)
            for layer in self._probed(computed) if left else ():
                job.streams[layer] = tuple(_rows_of(part, index, images, stream) for stream in left[layer])
            split.append(job)
        return split

    def _probed(self, computed: bool) -> frozenset[int]:
        """The layers that the probe has run for the step."""
        return probed_layers(step_pass(self.plan, self.step, computed or None), self.gate.probe or 0)

    def _opens(self, now: Observation) -> list[bool]:
        """Which images compute: those that the gate says, and those whose last output was not finite, for whatever was
        kept of it is not fit to be used."""
        asked = torch.stack([self.gate.opens(now), now.memory[FINITE] > 0])
        if self.block_span.ranks is not None:
            asked = self.block_span.ranks.settled(asked)
        opens, finite = asked.tolist()
        if not all(finite):
            self.warn(
                FINITE,
                f"The model returned numbers that are not finite in step {self.step - 1}: what was kept of it is not "
                "used, and the next step is computed in full.",
            )
        return [open_ or not fine for open_, fine in zip(opens, finite, strict=True)]

    def _job(self, part: Part, now: Observation, computed: bool) -> Job:
        run = resumed(self.plan, step_pass(self.plan, self.step, computed or None), self.gate.probe or 0)
        if computed:
            run = self._watching(run)
        if not computed and self.gate.verifies(now):
            run = verified(self.plan, run)
        return Job(part, run, now, computed)

    def _watching(self, run: Pass) -> Pass:
        """The same run with what enters and what leaves the watched layer noted."""
        return run if self.watched is None else watching(run, self.watched)

    def observe(self, job: Job, output: torch.Tensor) -> None:
        """Show the gate a job that has run.

        Args:
            job (`Job`): The job, with an observation.
            output (`torch.Tensor`): What the model returned for its rows.
        """
        part, now = job.part, job.observation
        assert now is not None, "the gate has been shown the step"
        images = part.images(self.per_sample)
        now.output = part.by_image(output, images)
        if now.probe is None and self.gate.probe is not None:
            self._note_probe(part, now, job)
        if job.computed and self.watched is not None:
            now.added = part.by_image(self._added(part, job, self.watched), images)
        if job.run.verifies:
            self.record.add_pass(verifying_pass(self.plan), part)
            last = self.layers - 1
            before = self._laid_out(part, job.notes[last], last - 1, last)
            now.before_last = part.by_image(before, images)
            now.draft = part.by_image(self._laid_out(part, job.notes[self.layers], last, last), images)
            now.verified = part.by_image(self._laid_out(part, job.notes[VERIFIED], last, last), images)
        self.gate.observe(now, job.computed)
        now.memory[FINITE] = finite_images(now.output)
        part.gate = now.memory

    def _observation(self, part: Part) -> Observation:
        latents = self.latents if part.rows is None else self.latents.index_select(0, part.rows)
        now = Observation(self.step, self.plan.num_inference_steps, part.gate)
        now.input = part.by_image(latents, part.images(self.per_sample))
        now.level, now.grid, now.channel_dim = self.noise(), self.grid, self.channel_dim
        return now

    def _note_probe(self, part: Part, now: Observation, job: Job) -> None:
        images = part.images(self.per_sample)
        if self.gate.probe:
            now.entering = part.by_image(self._laid_out(part, job.notes[0], 0, 0), images)
            probed = self._laid_out(part, job.notes[self.gate.probe], self.gate.probe - 1, 0)
            now.probe = part.by_image(probed, images)
        else:
            now.probe = part.by_image(job.notes[MODULATED][0], images)

    def _added(self, part: Part, job: Job, layer: int) -> torch.Tensor:
        """(B, tokens of all frames, C): what a layer has added to the image tokens."""
        entered = self.block_span.image_by_sample(job.notes[ENTERED], layer, part.key.shape)
        return self.block_span.image_by_sample(job.notes[layer + 1], layer, part.key.shape) - entered

    def _laid_out(self, part: Part, streams: tuple, layer: int, like: int) -> torch.Tensor:
        """The image tokens in what has left a layer, with their rows laid out as those of another one. A gate may keep
        them, and a view of them would hold the text tokens too."""
        return self.block_span.image_like(streams, max(layer, 0), like, part.key.shape)


def _rows_of(part: Part, index: torch.Tensor, images: int, stream: torch.Tensor) -> torch.Tensor:
    """The rows of some images in a stream (rows, ...)."""
    taken = part.by_image(stream, images).index_select(0, index)
    return taken.transpose(0, 1).flatten(0, 1).reshape(-1, *stream.shape[1:])
