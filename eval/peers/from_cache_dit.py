"""cache-dit (Apache-2.0): its DBCache as it is, with what forecasts the residual (TaylorSeer, DMD, FoCa), and with a
mask of steps (SCM). Written against version 1.5.3."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from toca.checks import check
from toca.eval.peers.denoisers import transformers_of
from toca.eval.peers.held import held_bytes
from toca.eval.peers.peer import Peer, PeerRefusal

MASKS, POLICIES = ("slow", "medium", "fast", "ultra"), ("dynamic", "static")


@dataclass(frozen=True)
class DBCache(Peer):
    """The first blocks decide, the last ones repair, those in between are left out: their residual is reused.

    Args:
        fn_compute_blocks (`int`, defaults to 8): First blocks, which always compute.
        bn_compute_blocks (`int`, defaults to 0): Last blocks, which always compute.
        residual_diff_threshold (`float`, defaults to 0.08): Relative change of the first blocks' residual below which
            the others are left out; the mean over the whole batch decides.
        max_warmup_steps (`int`, defaults to 8): Steps that compute at the start.
        max_cached_steps (`int`, defaults to -1): Most steps cached; -1 for any number.
        max_continuous_cached_steps (`int`, defaults to -1): Most steps cached in a row; -1 for any number.

    Raises:
        ValueError: If a value is out of range.
    """

    fn_compute_blocks: int = 8
    bn_compute_blocks: int = 0
    residual_diff_threshold: float = 0.08
    max_warmup_steps: int = 8
    max_cached_steps: int = -1
    max_continuous_cached_steps: int = -1

    name: ClassVar[str] = "peer:cache-dit-dbcache"
    title: ClassVar[str] = "DBCache of cache-dit"
    package: ClassVar[str] = "cache-dit"

    def __post_init__(self) -> None:
        check(self.fn_compute_blocks >= 1, "fn_compute_blocks", self.fn_compute_blocks, "must be at least 1")
        check(self.bn_compute_blocks >= 0, "bn_compute_blocks", self.bn_compute_blocks, "must be non-negative")
        threshold = self.residual_diff_threshold
        check(threshold >= 0, "residual_diff_threshold", threshold, "must be non-negative")
        check(self.max_warmup_steps >= 0, "max_warmup_steps", self.max_warmup_steps, "must be non-negative")

    def calibrator(self) -> Any | None:
        """What forecasts the residual; `None` where it is reused as it is."""
        return None

    def masked(self, num_inference_steps: int) -> dict[str, Any]:
        """What says beforehand which steps compute; nothing where the residual of the first blocks decides."""
        return {}

    @contextlib.contextmanager
    def enabled(self, pipe: Any, num_inference_steps: int) -> Iterator[Callable[[], int]]:
        import cache_dit

        self._check_pipeline(pipe)
        config = cache_dit.DBCacheConfig(
            Fn_compute_blocks=self.fn_compute_blocks,
            Bn_compute_blocks=self.bn_compute_blocks,
            residual_diff_threshold=self.residual_diff_threshold,
            max_warmup_steps=self.max_warmup_steps,
            max_cached_steps=self.max_cached_steps,
            max_continuous_cached_steps=self.max_continuous_cached_steps,
            **self.masked(num_inference_steps),
        )
        with _hushed():
            try:
                cache_dit.enable_cache(pipe, cache_config=config, calibrator_config=self.calibrator())
                yield lambda: held_bytes(vars(pipe).get("_context_manager"))
            finally:
                cache_dit.disable_cache(pipe)

    def _check_pipeline(self, pipe: Any) -> None:
        from cache_dit import BlockAdapterRegister

        if not BlockAdapterRegister.is_supported(pipe):
            raise PeerRefusal(f"cache-dit {self.available()} has no adapter for {type(pipe).__name__}.")
        always = self.fn_compute_blocks + self.bn_compute_blocks
        for transformer in transformers_of(pipe):
            lists = [child for child in transformer.children() if isinstance(child, nn.ModuleList)]
            blocks = sum(len(blocks) for blocks in lists)
            if always >= blocks:
                raise PeerRefusal(
                    f"{self.title} always computes {always} blocks, and {type(transformer).__name__} has {blocks}, so "
                    "that nothing could be left out: give it less `fn_compute_blocks`."
                )


@dataclass(frozen=True)
class DBCacheTaylorSeer(DBCache):
    """DBCache that forecasts the residual instead of reusing it.

    Args:
        taylorseer_order (`int`, defaults to 1): Order of the expansion.

    Raises:
        ValueError: If a value is out of range.
    """

    taylorseer_order: int = 1

    name: ClassVar[str] = "peer:cache-dit-dbcache-taylorseer"
    title: ClassVar[str] = "DBCache of cache-dit with TaylorSeer"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.taylorseer_order >= 1, "taylorseer_order", self.taylorseer_order, "must be at least 1")

    def calibrator(self) -> Any:
        from cache_dit import TaylorSeerCalibratorConfig

        return TaylorSeerCalibratorConfig(taylorseer_order=self.taylorseer_order)


@dataclass(frozen=True)
class DBCacheDMD(DBCache):
    """DBCache that forecasts the residual by dynamic mode decomposition: a sum of exponentials through the last steps
    that computed, or a line where these are fewer than four.

    Args:
        dmd_history (`int`, defaults to 6): Steps that the sum is fitted to.

    Raises:
        ValueError: If a value is out of range.
    """

    dmd_history: int = 6

    name: ClassVar[str] = "peer:cache-dit-dbcache-dmd"
    title: ClassVar[str] = "DBCache of cache-dit with DMD"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.dmd_history >= 1, "dmd_history", self.dmd_history, "must be at least 1")

    def calibrator(self) -> Any:
        from cache_dit import DMDCalibratorConfig

        return DMDCalibratorConfig(dmd_history=self.dmd_history)


@dataclass(frozen=True)
class DBCacheFoCa(DBCache):
    """DBCache that forecasts the residual as FoCa does: a step of an ODE solver, which the next one corrects.

    Raises:
        ValueError: If a value is out of range.
    """

    name: ClassVar[str] = "peer:cache-dit-dbcache-foca"
    title: ClassVar[str] = "DBCache of cache-dit with FoCa"

    def calibrator(self) -> Any:
        from cache_dit import FoCaCalibratorConfig

        return FoCaCalibratorConfig()


@dataclass(frozen=True)
class DBCacheSCM(DBCache):
    """Steps computation mask: the steps that compute are said beforehand, denser at the start.

    Args:
        mask_policy (`str`, defaults to "medium"): How many: "slow", "medium", "fast" or "ultra".
        steps_computation_policy (`str`, defaults to "dynamic"): Whether the other steps are always cached ("static"),
            or where the first blocks' residual says so ("dynamic").

    Raises:
        ValueError: If a value is out of range.
    """

    mask_policy: str = "medium"
    steps_computation_policy: str = "dynamic"

    name: ClassVar[str] = "peer:cache-dit-scm"
    title: ClassVar[str] = "SCM of cache-dit"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, known in (("mask_policy", MASKS), ("steps_computation_policy", POLICIES)):
            value = getattr(self, field)
            check(value in known, field, value, f"must be one of {', '.join(known)}")

    def masked(self, num_inference_steps: int) -> dict[str, Any]:
        import cache_dit

        mask = cache_dit.steps_mask(total_steps=num_inference_steps, mask_policy=self.mask_policy)
        return {"steps_computation_mask": mask, "steps_computation_policy": self.steps_computation_policy}


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Without its messages, of which it prints dozens a pipeline, to the output that tables are printed on."""
    handlers = [(handler, handler.level) for handler in logging.getLogger("CACHE_DIT").handlers]
    for handler, _ in handlers:
        handler.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for handler, level in handlers:
            handler.setLevel(level)
