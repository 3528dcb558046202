"""toca makes diffusion transformers fast: token-wise feature caching on stock diffusers pipelines, in one line."""

from . import methods as _methods
from . import moved as moved
from .api import cached, disable_cache, enable_cache, reset, summary
from .axes.actions import Action
from .axes.fills import Fill
from .axes.gates import Gate, Observation
from .axes.sampling import Sampling, Timeline
from .axes.selections import Selection
from .axes.spans import Span
from .engine.summary import Summary
from .family_check import FamilyCheck, check_family
from .files.versions import VERSION
from .methods import *  # noqa: F403
from .models import BlockSpec, CallShape, FamilySpec, Layout, Site, SiteSpec
from .plan import Plan
from .plan.front import Front
from .registry import register, registered
from .tuning.api import tune

__version__ = VERSION

__all__ = [
    "Action",
    "BlockSpec",
    "CallShape",
    "FamilyCheck",
    "FamilySpec",
    "Fill",
    "Front",
    "Gate",
    "Layout",
    "Observation",
    "Plan",
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
__all__ += _methods.__all__
