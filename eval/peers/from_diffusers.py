"""The caches that diffusers brings along, with the settings that it publishes."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from torch import nn

from toca.checks import check
from toca.eval.peers.denoisers import transformers_of
from toca.eval.peers.host import Host
from toca.eval.peers.peer import Peer, PeerRefusal

SEACACHE_TOLD = "Cosmos3OmniTransformer"
"""The one model whose pipeline tells the cache context of each call its place in the schedule (diffusers 0.42)."""


class DiffusersPeer(Peer):
    """A cache of `diffusers.hooks`: a configuration, and a function that puts it on a model."""

    package: ClassVar[str] = "diffusers"
    configuration: ClassVar[str]
    """The configuration's class in `diffusers.hooks`."""
    function: ClassVar[str]
    """The function in `diffusers.hooks` that puts it on."""
    knows_branches: ClassVar[bool] = True
    """Whether it keeps the branches of guidance apart by the cache context."""

    @classmethod
    def available(cls) -> str | None:
        from diffusers import hooks

        return super().available() if hasattr(hooks, cls.configuration) else None

    @abstractmethod
    def settings(self, host: Host, num_inference_steps: int) -> dict[str, Any]:
        """The arguments of the configuration."""

    def check_model(self, transformer: nn.Module) -> None:
        """Raise `PeerRefusal` where diffusers would run, but not do what the method does."""

    @contextlib.contextmanager
    def enabled(self, pipe: Any, num_inference_steps: int) -> Iterator[Callable[[], int]]:
        about = (self.title, self.knows_branches, num_inference_steps)
        hosts = [Host(pipe, transformer, *about) for transformer in transformers_of(pipe)]
        try:
            for host in hosts:
                self.check_model(host.transformer)
                host.attach()
                self._put_on(host, num_inference_steps)
            yield lambda: sum(host.held for host in hosts)
        finally:
            for host in hosts:
                transformer: Any = host.transformer
                if getattr(transformer, "is_cache_enabled", False):
                    transformer.disable_cache()

    def _put_on(self, host: Host, num_inference_steps: int) -> None:
        from diffusers import hooks

        transformer, model = host.transformer, type(host.transformer).__name__
        config = getattr(hooks, self.configuration)(**self.settings(host, num_inference_steps))
        # What has a switch of its own is switched with it: that tells an open cache context of the new hooks.
        enable = getattr(transformer, "enable_cache", None)
        before = len(host.hooks)
        try:
            if enable is None:
                getattr(hooks, self.function)(transformer, config)
            else:
                enable(config)
        except ValueError as error:
            raise PeerRefusal(f"{self.title} cannot work on {model}: {error}") from error
        except IndexError as error:  # it takes a first and a last block from its list without looking
            raise PeerRefusal(f"{self.title} finds too few blocks in {model} to skip any.") from error
        if len(host.hooks) == before:
            raise PeerRefusal(
                f"{self.title} finds nothing to cache in {model}: it looks for modules by names "
                "that this model does not have."
            )


def _check_one_stack(peer: DiffusersPeer, transformer: nn.Module) -> None:
    """Refuse a model whose lists of blocks take turns: skipping from the first block to the last is no shortcut."""
    if hasattr(transformer, "temporal_transformer_blocks"):
        raise PeerRefusal(
            f"{peer.title} takes the lists of blocks one after the other, but in {type(transformer).__name__} spatial "
            "and temporal blocks take turns, with tokens laid out differently."
        )


@dataclass(frozen=True)
class DiffusersFirstBlockCache(DiffusersPeer):
    """The first block decides for all: where its residual has hardly changed, the others' is reused.

    Args:
        threshold (`float`, defaults to 0.05): Relative change of the first block's residual up to which a call is
            skipped; the mean over the whole batch decides.

    Raises:
        ValueError: If `threshold` is negative.
    """

    threshold: float = 0.05

    name: ClassVar[str] = "peer:diffusers-fbcache"
    title: ClassVar[str] = "FirstBlockCache of diffusers"
    configuration: ClassVar[str] = "FirstBlockCacheConfig"
    function: ClassVar[str] = "apply_first_block_cache"

    def __post_init__(self) -> None:
        check(self.threshold >= 0, "threshold", self.threshold, "must be non-negative")

    def settings(self, host: Host, num_inference_steps: int) -> dict[str, Any]:
        return {"threshold": self.threshold}

    def check_model(self, transformer: nn.Module) -> None:
        _check_one_stack(self, transformer)


@dataclass(frozen=True)
class DiffusersTaylorSeer(DiffusersPeer):
    """Attention outputs, or with `use_lite_mode` the model's output alone, forecast between the steps computed.

    Forecasts are kept in bfloat16, as diffusers does unless told otherwise.

    Args:
        cache_interval (`int`, defaults to 5): Steps from one computed to the next.
        disable_cache_before_step (`int`, defaults to 3): Steps that compute at the start.
        max_order (`int`, defaults to 1): Order of the expansion.
        use_lite_mode (`bool`, defaults to `False`): Leave out all blocks, and forecast what `proj_out` returns.
        cache_identifiers (`tuple[str, ...]`, *optional*): Patterns that the names of the cached modules match in full.
            Those of diffusers, the default, match names that end in `attn`: FLUX has them, DiT, PixArt and Wan do not.

    Raises:
        ValueError: If a value is out of range.
    """

    cache_interval: int = 5
    disable_cache_before_step: int = 3
    max_order: int = 1
    use_lite_mode: bool = False
    cache_identifiers: tuple[str, ...] | None = None

    name: ClassVar[str] = "peer:diffusers-taylorseer"
    title: ClassVar[str] = "TaylorSeer of diffusers"
    configuration: ClassVar[str] = "TaylorSeerCacheConfig"
    function: ClassVar[str] = "apply_taylorseer_cache"

    def __post_init__(self) -> None:
        check(self.cache_interval >= 1, "cache_interval", self.cache_interval, "must be at least 1")
        steps = self.disable_cache_before_step
        # The first step has to compute: there is nothing yet to forecast from.
        check(steps >= 1, "disable_cache_before_step", steps, "must be at least 1")
        check(self.max_order >= 0, "max_order", self.max_order, "must be non-negative")

    def settings(self, host: Host, num_inference_steps: int) -> dict[str, Any]:
        return {
            "cache_interval": self.cache_interval,
            "disable_cache_before_step": self.disable_cache_before_step,
            "max_order": self.max_order,
            "use_lite_mode": self.use_lite_mode,
            "cache_identifiers": self.cache_identifiers and list(self.cache_identifiers),
        }

    def check_model(self, transformer: nn.Module) -> None:
        if self.use_lite_mode and not hasattr(transformer, "proj_out"):
            raise PeerRefusal(
                f"{self.title} in its lite mode forecasts the output of `proj_out`, which "
                f"{type(transformer).__name__} does not have: its blocks would be left out for nothing."
            )


@dataclass(frozen=True)
class DiffusersPAB(DiffusersPeer):
    """Attention outputs reused for some calls, each kind for its own number, in the middle of the timesteps.

    Args:
        spatial_range (`int`, *optional*, defaults to 2): Self-attention computes once in this many calls.
        temporal_range (`int`, *optional*): The same of temporal attention; `None` leaves it alone.
        cross_range (`int`, *optional*): The same of attention to the text; `None` leaves it alone.
        timesteps (`tuple[int, int]`, defaults to (100, 800)): Nothing is reused outside of this window.

    Raises:
        ValueError: If a range is below 1, all are `None`, or the window is empty.
    """

    spatial_range: int | None = 2
    temporal_range: int | None = None
    cross_range: int | None = None
    timesteps: tuple[int, int] = (100, 800)

    name: ClassVar[str] = "peer:diffusers-pab"
    title: ClassVar[str] = "PyramidAttentionBroadcast of diffusers"
    configuration: ClassVar[str] = "PyramidAttentionBroadcastConfig"
    function: ClassVar[str] = "apply_pyramid_attention_broadcast"
    knows_branches: ClassVar[bool] = False

    def __post_init__(self) -> None:
        ranges = (self.spatial_range, self.temporal_range, self.cross_range)
        given = [value for value in ranges if value is not None]
        check(bool(given), "spatial_range", None, "or one of the other ranges must be a number")
        check(min(given) >= 1, "spatial_range, temporal_range, cross_range", ranges, "must be at least 1")
        check(self.timesteps[0] < self.timesteps[1], "timesteps", self.timesteps, "must be a window (low, high)")

    def settings(self, host: Host, num_inference_steps: int) -> dict[str, Any]:
        return {
            "spatial_attention_block_skip_range": self.spatial_range,
            "temporal_attention_block_skip_range": self.temporal_range,
            "cross_attention_block_skip_range": self.cross_range,
            "spatial_attention_timestep_skip_range": self.timesteps,
            "temporal_attention_timestep_skip_range": self.timesteps,
            "cross_attention_timestep_skip_range": self.timesteps,
            "current_timestep_callback": lambda: host.timestep,
        }


@dataclass(frozen=True)
class DiffusersMagCache(DiffusersPeer):
    """All blocks left out while the size of their residual, as calibrated, says that it has hardly changed.

    Args:
        mag_ratios (`tuple[float, ...]`, *optional*): Mean ratio of the residual's norm to that of the step before, one
            a step. diffusers prints them after a generation with `MagCacheConfig(calibrate=True)`; `toca calibrate
            --method magcache` measures the same, and for a model that comes with that file they are taken from there.
        threshold (`float`, defaults to 0.06): Error that may add up between two steps computed.
        max_skip_steps (`int`, defaults to 3): Most steps in a row that are skipped.
        retention_ratio (`float`, defaults to 0.2): Share of the steps, from the first, that compute.

    Raises:
        ValueError: If a value is out of range.
    """

    mag_ratios: tuple[float, ...] | None = None
    threshold: float = 0.06
    max_skip_steps: int = 3
    retention_ratio: float = 0.2

    name: ClassVar[str] = "peer:diffusers-magcache"
    title: ClassVar[str] = "MagCache of diffusers"
    configuration: ClassVar[str] = "MagCacheConfig"
    function: ClassVar[str] = "apply_mag_cache"

    def __post_init__(self) -> None:
        check(self.mag_ratios != (), "mag_ratios", self.mag_ratios, "must have a number for each step")
        check(self.threshold >= 0, "threshold", self.threshold, "must be non-negative")
        check(self.max_skip_steps >= 0, "max_skip_steps", self.max_skip_steps, "must be non-negative")
        check(0 <= self.retention_ratio <= 1, "retention_ratio", self.retention_ratio, "must be between 0 and 1")

    def for_model(self, model: str) -> Peer:
        from toca.calibration.file import Calibration
        from toca.pipelines.loading import resolve_source
        from toca.sharing.places import file_beside

        path = file_beside(resolve_source(model), "magcache")
        if self.mag_ratios is not None or not path.is_file():
            return self
        measured = Calibration.load(path)
        measured.check_numbers("ratio")
        return replace(self, mag_ratios=tuple(measured.numbers("ratio")))

    def settings(self, host: Host, num_inference_steps: int) -> dict[str, Any]:
        if self.mag_ratios is None:
            raise PeerRefusal(
                f"{self.title} needs the ratios of this model: give `mag_ratios`, as a generation with "
                "`MagCacheConfig(calibrate=True)` prints them."
            )
        return {
            "threshold": self.threshold,
            "max_skip_steps": self.max_skip_steps,
            "retention_ratio": self.retention_ratio,
            "num_inference_steps": num_inference_steps,
            "mag_ratios": list(self.mag_ratios),
        }

    def check_model(self, transformer: nn.Module) -> None:
        _check_one_stack(self, transformer)


@dataclass(frozen=True)
class DiffusersSeaCache(DiffusersPeer):
    """All blocks skipped while what the latents say through a filter of their spectrum has hardly changed.

    diffusers knows the latents of two models alone, and needs the scheduler's step and sigma with each call, which no
    pipeline but Cosmos 3's tells: elsewhere it would run every step in full, with a warning.

    Args:
        threshold (`float`, defaults to 0.25): Relative change, summed up since the last full step, up to which a step
            is skipped.
        residual_order (`int`, defaults to 1): 0 reuses the residual, 1 draws a line through the last two.
        retention_steps, cache_end_steps (`int`, defaults to 1): First and last steps, which always compute.
        max_consecutive_cached (`int`, defaults to 2): Most steps skipped in a row; 0 for any number.
        power_exp (`float`, defaults to 3.0): Of the filter.

    Raises:
        ValueError: If a value is out of range.
    """

    threshold: float = 0.25
    residual_order: int = 1
    retention_steps: int = 1
    cache_end_steps: int = 1
    max_consecutive_cached: int = 2
    power_exp: float = 3.0

    name: ClassVar[str] = "peer:diffusers-seacache"
    title: ClassVar[str] = "SeaCache of diffusers"
    configuration: ClassVar[str] = "SeaCacheConfig"
    function: ClassVar[str] = "apply_sea_cache"

    def __post_init__(self) -> None:
        for field in ("threshold", "retention_steps", "cache_end_steps", "max_consecutive_cached"):
            value = getattr(self, field)
            check(value >= 0, field, value, "must be non-negative")
        check(self.residual_order in (0, 1), "residual_order", self.residual_order, "must be 0 or 1")
        check(self.power_exp > 0, "power_exp", self.power_exp, "must be positive")

    def settings(self, host: Host, num_inference_steps: int) -> dict[str, Any]:
        return asdict(self)

    def check_model(self, transformer: nn.Module) -> None:
        if type(transformer).__name__ != SEACACHE_TOLD:
            raise PeerRefusal(
                f"{self.title} needs the scheduler's step and sigma with each call, which the pipelines of "
                f"{type(transformer).__name__} do not tell: every step would run in full."
            )
