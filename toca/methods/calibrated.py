"""Methods that must know of a model what only a run of it can tell: a calibration file says it."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar

from torch import nn

from ..axes.sampling import Sampling
from ..calibration.charts import Chart
from ..calibration.file import Calibration
from ..calibration.gauges import Gauge
from ..checks import cleaned
from ..plan import Plan
from .base import Method


class Calibrated(Method):
    """A method with a field `calibration`, the path of a file that `toca calibrate` wrote for it.

    The file is read once, when the method is made. Without one the method can be calibrated, but makes no plan. A
    calibration belongs to one model, one number of steps and one scheduler, and is refused for any other.
    """

    calibration: str | None
    files: ClassVar[tuple[str, ...]] = ("calibration",)
    needs: ClassVar[str] = "a calibration of the model, the steps and the scheduler (`toca calibrate`)"

    @abstractmethod
    def gauge(self) -> Gauge:
        """What is measured of a model."""

    @abstractmethod
    def check_curves(self, measured: Calibration) -> None:
        """Refuse curves that its gauge does not write, or that its fields do not fit. Raises `ValueError`."""

    @abstractmethod
    def charts(self) -> list[Chart]:
        """The curves, with what it makes of them."""

    def expected_plan(self, transformer: nn.Module) -> Plan:
        """The plan for what it was calibrated for, with what a gate is expected to decide."""
        return self.plan(transformer, self.measured.num_inference_steps, self.measured.timesteps)

    @cached_property
    def measured(self) -> Calibration:
        """What the file holds.

        Raises:
            ValueError: If there is none, or it is no calibration for this method.
        """
        if self.calibration is None:
            raise ValueError(
                f"{self.name} needs a calibration of the model: make one with `toca calibrate --method {self.name}` "
                "and give its path as `calibration`."
            )
        found = Calibration.load(self.calibration)
        if found.method != self.name:
            other = cleaned(found.method, 60)
            raise ValueError(f"The calibration {self.calibration!r} is for {other}, and not for {self.name}.")
        self.check_curves(found)
        return found

    @property
    def reads_timesteps(self) -> bool:  # type: ignore[override]
        return self.calibration is not None

    @property
    def num_inference_steps(self) -> int | None:
        """The number of steps that it was calibrated for: the only one that it can plan."""
        return None if self.calibration is None else self.measured.num_inference_steps

    def check_fits(self, sampling: Sampling) -> None:
        super().check_fits(sampling)
        self.measured.check_model(sampling.layout)
        timesteps = sampling.timesteps if sampling.timesteps_known else ()
        self.measured.check_steps(sampling.num_inference_steps, timesteps)

    def check_scheduler(self, scheduler: Any) -> None:
        if self.calibration is not None:
            self.measured.check_scheduler(scheduler)
