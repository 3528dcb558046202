"""The pictures of every variant, as PNG files: made in a stage of its own, in which nothing is timed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

from toca.eval.prompts import Item
from toca.eval.running import Run, run_items
from toca.eval.store import Store, digest, slug
from toca.eval.subject import Subject
from toca.eval.variants import Variant
from toca.writing import atomic_path

STAGE = "pictures"


@dataclass(frozen=True)
class Gallery:
    """Makes the pictures of a run and finds them again.

    Args:
        subject (`Subject`): The pipeline.
        items (`list[Item]`): The samples, the same for every variant.
        seed (`int`): Of the run.
        batch_size (`int`): Samples computed together.
        store (`Store`): Where the files go.
        code (`str`): Hash of the sources.
    """

    subject: Subject
    items: list[Item]
    seed: int
    batch_size: int
    store: Store
    code: str

    def key(self, variant: Variant) -> dict[str, Any]:
        """All that a variant's pictures depend on."""
        return {
            **self.subject.identity(),
            **variant.describe(),
            "items": [(item.prompt.id, item.prompt.text, item.sample) for item in self.items],
            "seed": self.seed,
            "batch_size": self.batch_size,
            "device": self.subject.pipe.device.type,
            "versions": [torch.__version__, diffusers.__version__, transformers.__version__],
            "code": self.code,
        }

    def make(self, variant: Variant) -> dict[str, Any]:
        """Make the pictures of a variant, unless they are there.

        Returns:
            `dict`: `steps`, the steps strings of the batches with their number; `flops_speedup`, over all batches;
            `bypassed`, calls that ran past the cache; `taken_at`.
        """
        key = self.key(variant)
        return self.store.load(STAGE, variant.name, key) or self._make(variant, key)

    def _make(self, variant: Variant, key: dict[str, Any]) -> dict[str, Any]:
        folder, facts = self._folder(variant), []
        for start in range(0, len(self.items), self.batch_size):
            batch = self.items[start : start + self.batch_size]
            run = run_items(self.subject, variant, batch, self.seed)
            self._save(folder, batch, run)
            facts.append(run.facts)
        flops, full = (sum(getattr(fact, name) for fact in facts) for name in ("flops", "flops_full"))
        # Written last: where it is, all pictures are.
        return self.store.save(STAGE, variant.name, key, {
            "steps": dict(Counter(fact.steps for fact in facts)),
            "flops_speedup": full / flops if flops else 1.0,
            "bypassed": sum(fact.bypassed for fact in facts),
        })  # fmt: skip

    def _save(self, folder: Path, batch: list[Item], run: Run) -> None:
        for item, frames in zip(batch, run.frames, strict=True):
            for number, frame in enumerate(frames):
                with atomic_path(folder / _file_name(item, number)) as temporary:
                    frame.convert("RGB").save(temporary)

    def _folder(self, variant: Variant) -> Path:
        return self.store.folder / STAGE / f"{slug(variant.name)}-{digest(self.key(variant))[:12]}"

    def load(self, variant: Variant) -> np.ndarray:
        """The pictures of a variant, in the order of `items`: (N, frames, height, width, 3), uint8."""
        folder = self._folder(variant)
        return np.stack([_load(folder, item) for item in self.items])


def _load(folder: Path, item: Item) -> np.ndarray:
    files = sorted(folder.glob(_file_name(item, None)))
    return np.stack([np.asarray(Image.open(file)) for file in files])


def _file_name(item: Item, frame: int | None) -> str:
    """Named by what it is, never by the prompt's text; the pattern of all frames for `None`."""
    prompt, sample = item.key
    return f"p{prompt:06}-s{sample:03}-f{'*' if frame is None else f'{frame:04}'}.png"
