"""Clocks that go on by what is done, and by nothing else."""

from __future__ import annotations

from typing import Any

from tests.pipelines_tiny.style import transformers_of
from toca.models import family_of, walk_blocks


class BlockClock:
    """In place of `time`: each block of a pipeline's transformers that runs takes a second, and all else no time.

    Args:
        pipe: The pipeline.
    """

    def __init__(self, pipe: Any) -> None:
        self.now = 0.0
        for transformer in transformers_of(pipe):
            for *_, block, spec in walk_blocks(transformer, family_of(transformer)):
                block.get_submodule(spec.sites[0].path).register_forward_pre_hook(self._tick)

    def _tick(self, *_: Any) -> None:
        self.now += 1

    def perf_counter(self) -> float:
        return self.now
