"""What a calibration reads of a model is what a gate is shown of it."""

from __future__ import annotations

import pytest
import torch

import toca
from toca.calibration.reading import on_modulated_input
from toca.engine.decisions import Decisions
from toca.engine.job import Job
from toca.models import family_of
from toca.plan.passes import MODULATED

from .tiny import EVERY, STEPS, run

ENTRIES = (
    # Earlier frames before the image in a stream, text beside it, all of them in one row, and the image alone.
    *("HunyuanVideoFramepackTransformer3DModel", "SD3Transformer2DModel"),
    *("Lumina2Transformer2DModel", "WanTransformer3DModel"),
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_modulated_input_is_that_of_the_gate(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = EVERY[entry].make(), EVERY[entry].generation()[:1]
    spec = family_of(model)
    shape, read, shown = spec.call_shape(model, calls[0]), [], []
    hook = on_modulated_input(model, spec, lambda: shape, read.append)
    run(model, calls)
    hook.remove()
    note_input = Decisions.note_input

    def noted(decisions: Decisions, job: Job) -> None:
        note_input(decisions, job)
        shown.append(job.notes[MODULATED][0])

    monkeypatch.setattr(Decisions, "note_input", noted)
    with toca.cached(model, toca.methods()["teacache"](threshold=1.0), num_inference_steps=STEPS):
        run(model, calls)
    assert shown[0].shape[1] == shape.image_tokens
    assert torch.equal(read[0], shown[0])
