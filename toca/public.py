"""Every public name of the library in one place: what `import toca` offers, and loads when the first is asked for."""

from __future__ import annotations

from .api import cached, disable_cache, enable_cache, reset, summary
from .axes.actions import Action
from .axes.fills import Fill
from .axes.gates import Gate, Observation
from .axes.sampling import Sampling, Timeline
from .axes.selections import Selection
from .axes.spans import Span
from .calibration.file import Calibration
from .engine.summary import Summary
from .family_check import FamilyCheck, check_family
from .methods import *  # noqa: F403
from .methods import __all__ as _of_methods
from .methods.router import Router
from .models import BlockSpec, CallShape, FamilySpec, Layout, Site, SiteSpec
from .plan import Plan
from .plan.front import Front
from .registry import register, registered
from .tuning.api import tune

__all__ = [
    "Action",
    "BlockSpec",
    "Calibration",
    "CallShape",
    "FamilyCheck",
    "FamilySpec",
    "Fill",
    "Front",
    "Gate",
    "Layout",
    "Observation",
    "Plan",
    "Router",
    "Sampling",
    "Selection",
    "Site",
    "SiteSpec",
    "Span",
    "Summary",
    "Timeline",
    "cached",
    "check_family",
    "disable_cache",
    "enable_cache",
    "register",
    "registered",
    "reset",
    "summary",
    "tune",
]
__all__ += _of_methods
