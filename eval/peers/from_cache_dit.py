"""cache-dit (Apache-2.0): its DBCache, with and without TaylorSeer. Written against version 1.5.3."""

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
