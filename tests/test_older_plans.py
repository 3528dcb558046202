"""Plans that earlier versions wrote: they load, are what today's methods make, and run alike.

The files under older_plans/ were written by the last version of the library that wrote their format, for the tiny
models of the tests. Version 1 knows tables and selections; version 2 has methods in the places of fill and gate; up
to version 3 less is said of the model; version 4 does not know what a plan was made from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import toca
from toca.plan import Plan

from .conformance.common import assert_equal, differ
from .helpers import TINY, inputs_for, run_steps

FOLDER = Path(__file__).parent / "older_plans"
STEPS = 8
EASY = toca.EasyCache(threshold=0.4, warmup_steps=2)
OWN = toca.DiCache(threshold=0.3)
METHODS: dict[str, tuple[str, Any]] = {
    "version-1/toca-preset-dit": ("dit", toca.preset("toca/dit-ddim50")),
    "version-1/toca-preset-flux": ("flux", toca.preset("toca/flux")),
    "version-1/fora-pixart": ("pixart", toca.FORA(interval=3)),
    "version-1/random-latte": ("latte", toca.RandomTokens(interval=3, seed=5)),
    "version-2/toca": ("pixart", toca.preset("toca/pixart")),
    "version-2/toca-value-norm": (
        "flux",
        toca.ToCa(interval=3, fresh_ratio=0.4, score="value_norm", bonus_patch=3),
    ),
    "version-2/duca": ("flux", toca.DuCa(interval=4, fresh_ratio=0.3)),
    "version-2/clusca": ("dit", toca.ClusCa(interval=3, clusters=5, smoothing=0.3, warmup_steps=1)),
    "version-2/ras": ("flux", toca.RAS(sample_ratio=0.4, starvation=0.2, warmup_steps=2, dense_steps=(5,))),
    "version-2/random": ("latte", toca.RandomTokens(interval=3, fresh_ratio=0.3, seed=5)),
    "version-2/taylorseer-divided": ("dit", toca.TaylorSeer(interval=3, order=2, spacing="divided")),
    "version-2/taylorseer-lite": ("flux", toca.TaylorSeer(interval=3, order=1, scope="lite")),
    "version-2/hicache": ("dit", toca.HiCache(interval=3, order=2, scope="block", sigma=0.6)),
    "version-2/fastercache": ("pixart", toca.FasterCache(first_call=3)),
    "version-2/dicache": ("flux", OWN),
    "version-2/teacache": ("dit", toca.TeaCache(threshold=0.4)),
    "version-2/easycache": ("dit", EASY),
    "version-2/speca": (
        "flux",
        toca.SpeCa(threshold=0.5, min_drafts=1, max_drafts=3, order=1, warmup_steps=2),
    ),
    "version-2/fbcache": ("dit", toca.FBCache(threshold=0.9, per_sample=False)),
    "version-2/dbcache": (
        "flux",
        toca.DBCache(threshold=0.5, first_blocks=1, last_blocks=1, warmup_steps=2, max_cached_steps=2),
    ),
    "version-2/tgate": ("pixart", toca.TGate(gate_step=5, sp_interval=2, fi_interval=1, warm_up=1)),
    "version-2/composed": (
        "dit",
        toca.CacheMethod(when=EASY, which=toca.RandomTokens(fresh_ratio=0.3), fill=toca.TaylorSeer(order=1)),
    ),
    # A fill whose weights its own method's gate tells: told none by another's, and told them by its own.
    "version-2/composed-dicache": (
        "dit",
        toca.CacheMethod(when=toca.FBCache(threshold=0.9), which=toca.TeaCache(), fill=toca.DiCache()),
    ),
    "version-2/composed-own-gate": ("flux", toca.CacheMethod(when=OWN, which=OWN, fill=OWN)),
    # Up to version 3 a model's streams were the image, the text, or both in one row, with the text first.
    "version-3/toca": ("pixart", toca.preset("toca/pixart")),
    "version-3/duca": ("flux", toca.DuCa(interval=4, fresh_ratio=0.3)),
    "version-3/clusca": ("dit", toca.ClusCa(interval=3, clusters=5, smoothing=0.3, warmup_steps=1)),
    "version-3/ras": ("flux", toca.RAS(sample_ratio=0.4, starvation=0.2, warmup_steps=2, dense_steps=(5,))),
    "version-3/random": ("latte", toca.RandomTokens(interval=3, fresh_ratio=0.3, seed=5)),
    "version-3/taylorseer-lite": ("flux", toca.TaylorSeer(interval=3, order=1, scope="lite")),
    "version-3/fbcache": ("dit", toca.FBCache(threshold=0.9, per_sample=False)),
    "version-3/composed": (
        "dit",
        toca.CacheMethod(when=EASY, which=toca.RandomTokens(fresh_ratio=0.3), fill=toca.TaylorSeer(order=1)),
    ),
}
METHODS |= {name.replace("-3/", "-4/"): made for name, made in METHODS.items() if name.startswith("version-3/")}
every_file = pytest.mark.parametrize("name", METHODS)


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


def test_every_file_is_looked_at() -> None:
    assert {path_of(name) for name in METHODS} == set(FOLDER.glob("*/*.yaml"))


@every_file
def test_an_older_plan_is_todays(name: str) -> None:
    family, method = METHODS[name]
    assert yaml.safe_load(path_of(name).read_text())["version"] == int(name[len("version-")])
    loaded, made = Plan.load(path_of(name)), method.plan(TINY[family](), STEPS)
    for field in ("table", "spans", "guided", "selection", "fill", "gate", "timesteps", "layout", "method"):
        assert getattr(loaded, field) == getattr(made, field), field
    assert loaded == made and loaded.cost() == made.cost()


@every_file
def test_it_runs_as_the_method_does(name: str) -> None:
    family, method = METHODS[name]
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2, cfg=True)
    outputs, summaries = [], []
    for choice in (method, Plan.load(path_of(name))):
        options: dict[str, Any] = {} if isinstance(choice, Plan) else {"num_inference_steps": STEPS}
        with toca.cached(transformer, choice, batched_cfg=True, **options):
            outputs.append(run_steps(transformer, inputs))
            summaries.append(toca.summary(transformer))
    assert_equal(*outputs)
    assert summaries[0] == summaries[1]
    assert differ(outputs[0], run_steps(transformer, inputs))


@every_file
def test_saved_again_it_is_of_this_version(tmp_path: Path, name: str) -> None:
    loaded, path = Plan.load(path_of(name)), tmp_path / "plan.yaml"
    loaded.save(path)
    assert yaml.safe_load(path.read_text())["version"] == 5
    assert Plan.load(path) == loaded


def edited(tmp_path: Path, name: str, key: str, value: Any) -> Path:
    data = yaml.safe_load(path_of(name).read_text())
    data[key] = value
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.mark.parametrize("axis", ["fill", "gate"])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"method": "fora", "fields": {}}, "`{axis}` must name a method that has one, got 'fora'"),
        ({"method": "beauty", "fields": {}}, "no method 'beauty'"),
        ({"method": "taylorseer", "fields": {"colour": 3}}, "no field 'colour'"),
        ({"fill": "taylor", "fields": {}}, "no method None"),
    ],
)
def test_faults_are_named(tmp_path: Path, axis: str, said: dict[str, Any], reason: str) -> None:
    path = edited(tmp_path, "version-2/taylorseer-divided", axis, said)
    with pytest.raises(ValueError, match=rf"plan\.yaml is not a valid plan: .*{reason.format(axis=axis)}"):
        Plan.load(path)


def test_a_method_is_no_fill_in_this_version(tmp_path: Path) -> None:
    path = edited(tmp_path, "version-2/taylorseer-divided", "version", 3)
    with pytest.raises(ValueError, match=r"plan\.yaml is not a valid plan: .*no fill None"):
        Plan.load(path)
