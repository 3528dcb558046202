"""Modules that were moved keep answering to their old names for one release, with a warning that says the new one."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType


class _Elsewhere(Loader):
    """Loads the module that stands under another name now: one module, whichever name it is asked for by."""

    def __init__(self, name: str):
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        # The import system writes the spec that it was asked for into the module.
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own

    def get_code(self, fullname: str) -> CodeType:
        """For `python -m` with the old name."""
        program = f"import runpy; runpy.run_module({self.name!r}, run_name='__main__', alter_sys=True)"
        return compile(program, fullname, "exec")


class _Finder(MetaPathFinder):
    def __init__(self) -> None:
        self.moved: dict[str, str] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        new = self.moved.get(fullname)
        if new is None:
            return None
        warnings.warn(f"`{fullname}` is `{new}` now; the old name goes with the next release.", DeprecationWarning, 2)
        return ModuleSpec(fullname, _Elsewhere(new))


_FINDER = _Finder()


def redirect(moved: Mapping[str, str]) -> None:
    """Have imports of modules that are no more go to those that took their place.

    Args:
        moved (`Mapping[str, str]`): The new name for each old one, dotted and whole.
    """
    _FINDER.moved.update(moved)
    if _FINDER not in sys.meta_path:
        # The first that is asked: a folder of data with a module's old name, as `eval/results`, passes for a package.
        sys.meta_path.insert(0, _FINDER)


def moved_modules() -> dict[str, str]:
    """The new name for each old one."""
    return dict(_FINDER.moved)


redirect(
    {
        f"toca.{old}": f"toca.{new}"
        for old, new in {
            "actions": "axes.actions",
            "clusters": "axes.selections.clustered",
            "tokens": "axes.selections.ranked_group",
            "filling": "axes.fills",
            "gates": "axes.gates",
            "sampling": "axes.sampling",
            "schedule": "axes.schedule",
            "selection": "axes.selections.older",
            "spans": "axes.spans",
            "calibration.recorder": "engine.calibration_run",
            "calibration.schedulers": "plan.schedulers",
            "arguments": "engine.arguments",
            "callers": "engine.callers",
            "condition": "engine.condition",
            "connection": "engine.connection",
            "freezing": "engine.decisions",
            "gating": "engine.gatekeeper",
            "install": "engine.install",
            "narrowing": "engine.dropping",
            "other_caches": "engine.other_caches",
            "span_ends": "engine.block_span",
            "unplaced": "engine.unplaced",
            "clock": "engine.clock",
            "report": "engine.summary",
            "figure_file": "files.figures",
            "reading": "files.reading",
            "writing": "files.writing",
            "state": "memory.branch",
            "methods.beside": "sharing.places",
            "methods.plain": "registry",
            "models.dit": "models.families.dit",
            "models.flux": "models.families.flux",
            "models.latte": "models.families.latte",
            "models.pixart": "models.families.pixart",
            "cost": "plan.cost",
            "passes": "plan.passes",
            "plan_drawing": "plan.drawing",
            "plan_file": "plan.file",
        }.items()
    }
)
