"""The pictures of every variant, as PNG files: made in a stage of its own, in which nothing is timed.

Two pictures that differ by less than a rounding are one in 8 bits, and where every pixel is off by at most one level
their PSNR ends near 59 dB. So beside a sample's PNG files lies what they were rounded from, in float32 (`.npy`), which
fidelity is computed of.
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

from toca.eval.samples.elsewhere import Elsewhere
from toca.eval.samples.manifest import Entry, Manifest, sha256
from toca.eval.samples.prompts import Item
from toca.eval.samples.running import Facts, Run, as_floats, digest_of, identity_of, run_items
from toca.eval.samples.shards import WHOLE, Shard
from toca.eval.samples.subject import Subject
from toca.eval.store.naming import file_part
from toca.eval.store.sealed import digest, seal, unseal
from toca.eval.store.store import Store
from toca.eval.variants import Variant
from toca.files.writing import atomic_path
from toca.pipelines.loading import first_sentence

STAGE = "pictures"
FAILURE = "failure.json"
ALL = slice(None)


class VariantFailed(Exception):
    """A variant raised while it made pictures, for a reason of its own; the cause is what it raised."""


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
        floats (`bool`): Whether to keep what the PNG files were rounded from, too, where the pipeline hands it out.
    """

    subject: Subject
    items: list[Item]
    seed: int
    batch_size: int
    store: Store
    code: str
    floats: bool = True

    def key(self, variant: Variant) -> dict[str, Any]:
        """All that a variant's pictures depend on."""
        return {
            **identity_of(self.subject, variant, self._digest, self.seed, self.code),
            "batch_size": self.batch_size,
            "floats": self.floats,
            "device": self.subject.pipe.device.type,
            "versions": [torch.__version__, diffusers.__version__, transformers.__version__],
        }

    @cached_property
    def _digest(self) -> str:
        """Of the samples, which every key holds."""
        return digest_of(self.items)

    def make(self, variant: Variant, shard: Shard = WHOLE, made: Callable[[int, bool], None] | None = None) -> None:
        """Make this process's share of a variant's pictures, all but those that are there.

        The batches are the same whatever the number of processes: so are the pictures, even of a method that looks at
        a whole batch. A batch whose files are damaged or gone is made again. Where the store has a mirror each batch
        is put there as soon as it is here.

        Args:
            variant (`Variant`): Whose.
            shard (`Shard`): Which share.
            made (`Callable`, *optional*): Is told after each batch of how many samples it is, and whether it is new.

        Raises:
            VariantFailed: If the variant does; the reason is on disk, and `failure` tells it.
            OSError: If a file cannot be written, or not be put there.
        """
        folder, manifest, elsewhere = self.folder(variant), self._manifest(variant), self._elsewhere(variant)
        done = manifest.entries()
        for number, batch in shard.own(list(enumerate(self._batches()))):
            new = number not in done or bool(manifest.faults(done[number]))
            if new:
                run = self._run(variant, batch)
                files = self._save(folder, batch, run)
                taken_at = datetime.now(timezone.utc).isoformat(timespec="microseconds")
                done[number] = Entry(number, files, asdict(run.facts), taken_at)
                manifest.append(shard.rank, done[number])
            if elsewhere is not None:
                elsewhere.put(shard.rank, done[number])
            if made is not None:
                made(len(batch), new)

    def share(self, shard: Shard = WHOLE) -> int:
        """How many samples of each variant are a process's."""
        return sum(map(len, shard.own(self._batches())))

    def take(self, variant: Variant, shard: Shard = WHOLE) -> None:
        """Take from the store's mirror, if it has one, what is there of this process's share of a variant's pictures
        and lacking here.

        Raises:
            OSError: If something cannot be read there or written here; one sentence.
        """
        elsewhere = self._elsewhere(variant)
        if elsewhere is None:
            return
        elsewhere.take(self._own(shard))
        done, count = self.made(variant, shard)
        if done < count:
            elsewhere.mirror.fetch(self.folder(variant) / FAILURE)

    def made(self, variant: Variant, shard: Shard = WHOLE) -> tuple[int, int]:
        """How many batches of this process's share are noted as done, and how many there are."""
        own = self._own(shard)
        return len(own & self._manifest(variant).entries().keys()), len(own)

    def _own(self, shard: Shard) -> set[int]:
        """The numbers of the batches of a process's share."""
        return set(shard.own(range(len(self._batches()))))

    def _run(self, variant: Variant, batch: list[Item]) -> Run:
        try:
            return run_items(self.subject, variant, batch, self.seed, self.floats)
        except Exception as error:  # whatever it is, the others go on
            reason = f"{type(error).__name__}: {first_sentence(error)}"
            path = self.folder(variant) / FAILURE
            seal(path, variant.name, reason)
            if self.store.mirror is not None:
                self.store.mirror.put([path])
            raise VariantFailed(reason) from error

    def failure(self, variant: Variant) -> str | None:
        """Why a variant has no pictures; `None` if they are all there, or if nobody knows."""
        reason = unseal(self.folder(variant) / FAILURE, variant.name)
        if reason is None or self._manifest(variant).entries().keys() >= set(range(len(self._batches()))):
            return None
        return reason

    def facts(self, variant: Variant) -> dict[str, Any]:
        """What the cache did over all batches.

        Returns:
            `dict`: `steps`, the steps strings of the batches with their number; `flops_speedup`, over all batches;
            `bypassed`, calls that ran past the cache; `taken_at`, of the last batch.

        Raises:
            ValueError: If pictures are missing or damaged; it says which, and what to do.
        """
        entries = self._entries(variant)
        facts = [Facts(**entry.facts) for entry in entries]
        flops, full = (sum(getattr(fact, name) for fact in facts) for name in ("flops", "flops_full"))
        return {
            "steps": dict(Counter(fact.steps for fact in facts)),
            "flops_speedup": full / flops if flops else 1.0,
            "bypassed": sum(fact.bypassed for fact in facts),
            "taken_at": max(entry.taken_at for entry in entries),
        }

    def _entries(self, variant: Variant) -> list[Entry]:
        manifest = self._manifest(variant)
        found, wanted = manifest.entries(), range(len(self._batches()))
        missing = [number for number in wanted if number not in found]
        if missing:
            raise ValueError(
                f"{variant.name!r} lacks {len(missing)} of {len(wanted)} batches of pictures: "
                "run the stage `generate` again, every shard of it."
            )
        for number in wanted:
            for name in manifest.faults(found[number]):
                path = manifest.folder / name
                raise ValueError(f"{path} is damaged or gone: run the stage `generate` again, which makes it anew.")
        return [found[number] for number in wanted]

    def _batches(self) -> list[list[Item]]:
        starts = range(0, len(self.items), self.batch_size)
        return [self.items[start : start + self.batch_size] for start in starts]

    def _save(self, folder: Path, batch: list[Item], run: Run) -> dict[str, str]:
        files = {}
        for place, (item, frames) in enumerate(zip(batch, run.frames, strict=True)):
            for number, frame in enumerate(frames):
                path = folder / _file_name(item, number)
                with atomic_path(path) as temporary:
                    frame.convert("RGB").save(temporary)
                files[path.name] = str(sha256(path))
            if run.floats is not None:
                path = folder / _float_name(item)
                with atomic_path(path) as temporary:
                    # numpy would write the file itself, and not say why it cannot.
                    temporary.write_bytes(_as_file(run.floats[place]))
                files[path.name] = str(sha256(path))
        return files

    def _manifest(self, variant: Variant) -> Manifest:
        return Manifest(self.folder(variant))

    def _elsewhere(self, variant: Variant) -> Elsewhere | None:
        mirror = self.store.mirror
        return None if mirror is None else Elsewhere(self._manifest(variant), mirror)

    def folder(self, variant: Variant) -> Path:
        """Where a variant's pictures lie, or will."""
        return self.store.folder / STAGE / f"{file_part(variant.name)}-{digest(self.key(variant))[:12]}"

    def load(self, variant: Variant, chosen: slice | Sequence[int] = ALL) -> np.ndarray:
        """The pictures of a variant: (n, frames, height, width, 3), uint8.

        Args:
            variant (`Variant`): Whose.
            chosen (`slice` or `Sequence[int]`): Which of `items`, by their places; all of them if not given.
        """
        folder = self.folder(variant)
        items = self.items[chosen] if isinstance(chosen, slice) else [self.items[place] for place in chosen]
        return np.stack([_load(folder, item) for item in items])

    def has_floats(self, variant: Variant) -> bool:
        """Whether every sample of a variant is there as it was before it was rounded."""
        noted = {name for entry in self._manifest(variant).entries().values() for name in entry.files}
        return all(_float_name(item) in noted for item in self.items)

    def expects_floats(self, variant: Variant) -> bool:
        """The same; of a variant that has no sample yet whether it is to be so."""
        if self._manifest(variant).entries():
            return self.has_floats(variant)
        return self.floats and bool(as_floats(self.subject.pipe))

    def load_floats(self, variant: Variant, place: slice, chosen: Sequence[int]) -> np.ndarray:
        """Some of a variant's samples as `has_floats` has them: (n, frames, height, width, 3), float32 in 0..1.

        Args:
            variant (`Variant`): Whose.
            place (`slice`): Which of `items`.
            chosen (`Sequence[int]`): Which of these.
        """
        folder, items = self.folder(variant), self.items[place]
        return np.stack([np.load(folder / _float_name(items[number]), allow_pickle=False) for number in chosen])

    def chunks(self, size: int) -> list[slice]:
        """Places for `load`: all of `items`, in their order, `size` at a time; the last may be fewer."""
        count = len(self.items)
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _load(folder: Path, item: Item) -> np.ndarray:
    # By their names one after the other: to list a folder of many thousand files for each sample takes hours.
    paths = (folder / _file_name(item, frame) for frame in itertools.count())
    return np.stack([np.asarray(Image.open(path)) for path in itertools.takewhile(Path.is_file, paths)])


def _as_file(array: np.ndarray) -> bytes:
    """An array as an `.npy` file has it."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _float_name(item: Item) -> str:
    """Of the file of all frames of a sample, before they were rounded."""
    prompt, sample = item.key
    return f"p{prompt:06}-s{sample:03}.npy"


def _file_name(item: Item, frame: int) -> str:
    """Named by what it is, never by the prompt's text."""
    prompt, sample = item.key
    return f"p{prompt:06}-s{sample:03}-f{frame:04}.png"
