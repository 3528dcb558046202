"""What becomes known by a name: a stranger's method, fill, gate and selection as ours, and all of them as data."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import toca
from toca.axes.fills.expansions import Taylor
from toca.axes.gates import GateSizes
from toca.axes.sampling import Timeline
from toca.axes.selections import Group, Grouping
from toca.axes.selections.planned import ByPlan
from toca.axes.selections.ranked import Ranked
from toca.axes.selections.ranked_group import RankedGroup
from toca.checks import NonNegative, Share, SomeSteps, Within, field_hints
from toca.files.reading import parse_yaml
from toca.plan import Plan
from toca.registry import Registered, field_types, from_data, named, register, registered, to_data

from .conformance.common import assert_equal, differ
from .conformance.test_cost import check
from .helpers import TINY, inputs_for, run_steps

if TYPE_CHECKING:
    from nowhere import Nothing

STEPS = 8
KINDS = ("method", "fill", "gate", "selection")
EVERYTHING = [cls for kind in KINDS for cls in registered(kind).values()]
every_class = pytest.mark.parametrize("cls", EVERYTHING, ids=lambda cls: f"{cls.kind}-{cls.name}")


# --- a stranger's ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fading(toca.Fill):
    """The last value, less with every step."""

    keeps: Share = 0.9
    for_type_checkers: ClassVar[Nothing]

    name: ClassVar[str] = "stranger-fading"

    @property
    def kept(self) -> int:
        return 0

    def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
        return [self.keeps ** (step - history[0])]


@dataclass(frozen=True)
class Loud(toca.Gate):
    """Opens where the latents have moved. What it remembers has a name that the engine might think of too."""

    threshold: NonNegative = 0.3

    name: ClassVar[str] = "stranger-loud"

    def opens(self, now: toca.Observation) -> torch.Tensor:
        return (now.input - now.memory["finite"]).abs().flatten(1).mean(dim=1) >= self.threshold

    def observe(self, now: toca.Observation, computed: bool) -> None:
        if computed:
            now.memory["finite"] = now.input.clone()

    def bytes_kept(self, sizes: GateSizes) -> int:
        return sizes.input


@dataclass(frozen=True)
class Striped(Ranked):
    """Every n-th token, from another one in every step."""

    every: SomeSteps = 3
    also: ByPlan | None = None

    name: ClassVar[str] = "stranger-striped"

    def score(self, group: RankedGroup, step: int) -> torch.Tensor:
        places = torch.arange(group.tokens, device=group.device)
        stripe = ((places + step) % self.every == 0).float()
        return stripe.expand(len(group.sites), group.chosen_rows, -1)


@dataclass(frozen=True)
class Strange(toca.Method):
    """All of these at once."""

    by: toca.Selection = Striped()
    fill: toca.Fill = Fading()
    gates: tuple[toca.Gate, ...] = (Loud(),)
    others: Mapping[str, toca.Fill] = dataclasses.field(default_factory=dict)
    ratios: Mapping[str, Share] = dataclasses.field(default_factory=lambda: {"ff": 0.4, "block": 0.2})

    name: ClassVar[str] = "stranger-method"

    def computes(self, site: toca.Site, step: int, sampling: toca.Sampling) -> bool:
        return step < 2

    def share(self, site: toca.Site, step: int, sampling: toca.Sampling) -> float | None:
        return self.ratios.get(site.module)

    def selection(self) -> toca.Selection:
        return self.by

    def gate(self) -> toca.Gate:
        return self.gates[0]

    def filling(self) -> toca.Fill:
        return self.fill


STRANGERS = (Fading, Loud, Striped, Strange)
METHOD = Strange(
    Striped(every=4, also=ByPlan(((3, 1),))), Fading(0.8), (Loud(0.2), Loud(0.7)), {"ff": Taylor(1)}, {"ff": 0.3}
)


@pytest.fixture
def tables() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    before = {kind: dict(registered(kind)) for kind in KINDS}
    yield
    for kind, table in before.items():
        registered(kind).clear()
        registered(kind).update(table)


@pytest.fixture
def strangers(tables: None) -> None:
    for cls in STRANGERS:
        assert register(cls) is cls


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_strangers_plan_survives_a_file_and_runs_alike(
    strangers: None, tmp_path: Path, family: str, suffix: str
) -> None:
    transformer, inputs = TINY[family](), inputs_for(family, STEPS, batch_size=2)
    plan, path = METHOD.plan(transformer, STEPS), tmp_path / f"plan{suffix}"
    plan.save(path)
    loaded = Plan.load(path)
    assert loaded == plan and loaded.cost() == plan.cost()
    assert (loaded.fill, loaded.gate, loaded.selection) == (METHOD.fill, METHOD.gates[0], METHOD.by)
    outputs, summaries = [], []
    for choice in (METHOD, loaded):
        options: dict[str, Any] = {} if isinstance(choice, Plan) else {"num_inference_steps": STEPS}
        with toca.cached(transformer, choice, **options):
            outputs.append(run_steps(transformer, inputs))
            summaries.append(toca.summary(transformer))
    assert_equal(*outputs)
    assert summaries[0] == summaries[1] and {"F", "t"} <= set(summaries[0].steps)
    assert differ(outputs[0], run_steps(transformer, inputs))


def test_a_strangers_method_is_called_by_its_name(strangers: None) -> None:
    assert named("stranger-method") == Strange() and "stranger-method" in toca.methods()
    transformer, inputs = TINY["dit"](), inputs_for("dit", STEPS)
    outputs = []
    for method in ("stranger-method", Strange()):
        with toca.cached(transformer, method, num_inference_steps=STEPS):
            outputs.append(run_steps(transformer, inputs))
    assert_equal(*outputs)
    composed = toca.CacheMethod(when="fora", which="toca/pixart", fill="stranger-method")
    assert from_data(json.loads(json.dumps(to_data(METHOD)))) == METHOD
    assert composed.fill == Strange() and from_data(json.loads(json.dumps(to_data(composed)))) == composed
    with pytest.raises(ValueError, match="did you mean stranger-method"):
        named("stranger-methods")


@pytest.mark.parametrize("family", TINY)
def test_what_a_stranger_says_of_its_cost_is_measured(strangers: None, family: str) -> None:
    check(family, Strange(Striped(), Fading(), (Loud(1e9),)))


@pytest.mark.parametrize("missing", STRANGERS[:3], ids=lambda cls: cls.kind)
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_plan_whose_parts_are_not_known_says_so(strangers: None, tmp_path: Path, missing: Any, suffix: str) -> None:
    path = tmp_path / f"plan{suffix}"
    METHOD.plan(TINY["dit"](), STEPS).save(path)
    del registered(missing.kind)[missing.name]
    said = f"This version of toca has no {missing.kind} '{missing.name}'; one of another package is known once that"
    wanted = rf"plan\{suffix} is not a valid plan: {said} package has been imported\.$"
    with pytest.raises(ValueError, match=wanted) as error:
        Plan.load(path)
    assert "\n" not in str(error.value)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_name_that_is_taken(tables: None) -> None:
    @dataclass(frozen=True)
    class Mine(toca.FORA):
        pass

    with pytest.raises(ValueError, match=r"The method 'fora' is toca\.methods\.fora\.FORA: give yours another `name`"):
        register(Mine)

    @dataclass(frozen=True)
    class Taylor(toca.Fill):
        name: ClassVar[str] = "taylor"
        kept: ClassVar[int] = 0  # type: ignore[misc]

        def weights(self, step: int, history: Sequence[int], timeline: Timeline) -> list[float]:
            return [1.0]

    with pytest.raises(ValueError, match=r"The fill 'taylor' is toca\.axes\.fills\.expansions\.Taylor"):
        register(Taylor)
    assert registered("method")["fora"] is toca.FORA
    # A name is taken in its own kind only.
    Taylor.name = "fora"
    assert register(Taylor) is registered("fill")["fora"]


def test_a_family_that_is_taken(tables: None) -> None:
    family = registered("family")["dit"]
    assert register(family) is family
    with pytest.raises(ValueError, match="The family 'dit' is of DiTTransformer2DModel"):
        register(dataclasses.replace(family, transformer="Other"))


class Unsaid(toca.Fill):
    name: ClassVar[str] = "unsaid"


@dataclass(frozen=True)
class UnsaidGate(toca.Gate):
    name: ClassVar[str] = "unsaid"

    def opens(self, now: toca.Observation) -> torch.Tensor:
        return torch.ones(1)


class NoDataclass(toca.FORA):
    name: ClassVar[str] = "no-dataclass"
    depth: int = 3


@dataclass
class Thawed(toca.Method):
    name: ClassVar[str] = "thawed"

    def computes(self, site: toca.Site, step: int, sampling: toca.Sampling) -> bool:
        return True


@dataclass(frozen=True)
class Unreadable(toca.Method):
    depth: Nothing

    name: ClassVar[str] = "unreadable"

    def computes(self, site: toca.Site, step: int, sampling: toca.Sampling) -> bool:
        return True


@dataclass(frozen=True)
class NoKind:
    name: ClassVar[str] = "no-kind"


@dataclass(frozen=True)
class OwnKind:
    kind: ClassVar[str] = "method"
    name: ClassVar[str] = "own-kind"


@dataclass(frozen=True)
class Nameless(toca.FORA):
    name: ClassVar[str] = ""


REFUSED: list[tuple[Any, str]] = [
    (Unsaid, "Unsaid does not say kept, weights, which everything of its kind must"),
    (UnsaidGate, "UnsaidGate does not say bytes_kept, observe, which"),
    (toca.Method, "a `kind` and a `name`"),
    (NoDataclass, r"NoDataclass must be a frozen dataclass: put @dataclass\(frozen=True\) below @toca\.register"),
    (Thawed, "Thawed must be a frozen dataclass"),
    (Unreadable, "The types of the fields of Unreadable cannot be read: name 'Nothing' is not defined"),
    (NoKind, "a `kind` and a `name`"),
    (OwnKind, r"OwnKind must derive from toca\.Method, toca\.Fill, toca\.Gate or toca\.Selection"),
    (Nameless, "a `kind` and a `name`"),
    (toca.FORA(), r"A method is registered by its class, got FORA\("),
    (Taylor(), r"A fill is registered by its class, got Taylor\(order=2\)"),
    (types.SimpleNamespace(kind="method", name="neither"), "A method is registered by its class, got namespace"),
    ("fora", "a `kind` and a `name`"),
    (None, "a `kind` and a `name`"),
]


@pytest.mark.parametrize(("thing", "message"), REFUSED)
def test_what_is_no_method_fill_gate_or_selection(tables: None, thing: Any, message: str) -> None:
    before = {kind: dict(registered(kind)) for kind in KINDS}
    with pytest.raises(TypeError, match=message):
        register(thing)
    assert {kind: registered(kind) for kind in KINDS} == before


MODULE = """
from dataclasses import dataclass
from typing import ClassVar
import toca

@toca.register
@dataclass(frozen=True)
class Alternate(toca.Method):
    every: int = 2
    name: ClassVar[str] = "alternate"

    def computes(self, site, step, sampling):
        return step % self.every == 0
"""


def test_a_module_that_is_run_again(tables: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a cell of a notebook is: the new class takes the place of the old one."""
    (tmp_path / "a_strangers_module.py").write_text(MODULE)
    (tmp_path / "another_strangers_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("a_strangers_module")
    first = module.Alternate
    module = importlib.reload(module)
    assert registered("method")["alternate"] is module.Alternate is not first
    assert from_data(to_data(first(3))) == module.Alternate(3)
    with pytest.raises(ValueError, match=r"The method 'alternate' is a_strangers_module\.Alternate"):
        importlib.import_module("another_strangers_module")
    for name in ("a_strangers_module", "another_strangers_module"):
        sys.modules.pop(name, None)


# --- as data ---------------------------------------------------------------------------------------------------------

FILLS = st.sampled_from([cls() for cls in registered("fill").values() if not dataclasses.fields(cls)] + [Taylor(1)])
VALUES: dict[type, st.SearchStrategy] = {
    toca.Fill: FILLS,
    str: st.sampled_from(["0.ff", "1.block"]),
    toca.Method: st.sampled_from([toca.FORA(4), toca.EasyCache(0.5), toca.TaylorSeer(order=1)]),
}
"""Parts that are registered things themselves."""


def values_of(hint: Any) -> st.SearchStrategy:
    """Values of a field's type within its bounds."""
    bounds = hint.__metadata__[0] if typing.get_origin(hint) is Annotated else None
    hint = hint.__origin__ if bounds is not None else hint
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=4).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, arguments))
    if origin is Mapping:
        return st.dictionaries(st.sampled_from(["ff", "block"]), values_of(arguments[1]), max_size=2)
    if arguments:
        return st.one_of(*(values_of(argument) for argument in arguments if argument is not str))
    if hint is bool:
        return st.booleans()
    if hint is int:
        return st.integers(*((int(bounds.least), int(bounds.most)) if bounds else (-(2**63), 2**63 - 1)))
    if hint is float:
        least, most = (bounds.least, bounds.most) if bounds else (-1e12, 1e12)
        return st.floats(least, most, exclude_min=bool(bounds and bounds.open))
    return st.none() if hint is type(None) else VALUES[hint]


@st.composite
def things(draw: Any, cls: type) -> Registered:
    """One of a class: each field drawn, or as it is by default; words of which only some are known stay so."""
    drawn: dict[str, Any] = {}
    defaults = {field.name: field for field in dataclasses.fields(cls)}
    for name, hint in field_hints(cls, include_extras=True).items():
        field = defaults[name]
        required = field.default is field.default_factory is dataclasses.MISSING
        if hint not in (str, str | None) and (required or draw(st.booleans())):
            drawn[name] = draw(values_of(hint))
    try:
        return cls(**drawn)
    except ValueError:
        # Two that do not go together.
        assume(False)
        raise


@every_class
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_everything_of_ours_is_plain_data(cls: type, data: Any) -> None:
    thing = data.draw(things(cls))
    said = to_data(thing)
    assert from_data(json.loads(json.dumps(said)), cls.kind) == thing
    assert from_data(parse_yaml(yaml.safe_dump(json.loads(json.dumps(said)))), cls.kind) == thing
    assert list(said) == [cls.kind, "fields"] and said[cls.kind] == cls.name


@every_class
def test_its_fields_are_checked(cls: type) -> None:
    """Their types can be read, so that a wrong value is named."""
    assert list(field_types(cls)) == [field.name for field in dataclasses.fields(cls) if field.init]
    for name, hint in field_hints(cls, include_extras=True).items():
        if isinstance(getattr(hint, "__metadata__", [None])[0], Within):
            with pytest.raises(ValueError, match=f"`{name}` must"):
                cls(**{**_required(cls), name: float("nan")})


def _required(cls: type) -> dict[str, Any]:
    """Values of the fields that have none by default."""
    given = {
        "rows": ((1.0,),),
        "fills": (Taylor(),),
        "labels": (0,),
        "orders": ((0,),),
        "coefficients": (1.0,),
        "first": Taylor(),
        "second": Taylor(),
        "codebook": ((0.1, 2),),
        "sites": ("0.ff",),
        "slopes": (((1.0,),),),
    }
    missing = dataclasses.MISSING
    bare = [field.name for field in dataclasses.fields(cls) if field.default is field.default_factory is missing]
    return {name: given.get(name, 1) for name in bare}


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        ({"fill": "beauty", "fields": {}}, "fill", "This version of toca has no fill 'beauty'"),
        ({"method": "taylor", "fields": {}}, "fill", "no fill None"),
        ({"fill": "taylor", "fields": {"colour": 3}}, "fill", "settings of Taylor do not fit .*no field 'colour'"),
        ({"fill": "taylor", "fields": {"order": "two"}}, "fill", "'two' is no value of `order`"),
        ({"fill": "taylor", "fields": {"order": -1}}, "fill", "`order` must be non-negative, got -1"),
        ({"fill": "taylor", "fields": []}, "fill", r"`fields` must be a mapping, got \[\]"),
        ({"fill": "taylor"}, "fill", "`fields` must be a mapping, got None"),
        ({"fill": "fitted", "fields": {}}, "fill", "settings of Fitted .*a field is missing"),
        ({"fill": "taylor", "fields": {}, "order": 2}, "fill", "by its name and its fields, and not by 'order'"),
        ({"fill": "bands", "fields": {"low": {"fill": "beauty", "fields": {}}}}, "fill", "no fill 'beauty'"),
        ("taylor", "fill", "A fill is recorded as a mapping of its name and its fields, got 'taylor'"),
        (["taylor"], "fill", r"A fill is recorded as a mapping .* got \['taylor'\]"),
        (None, "gate", "A gate is recorded as a mapping .* got None"),
        ({"fill": "bands", "fields": {"low": 3}}, "fill", "3 is no value of `low`"),
        ({"fill": "bands", "fields": {"low": {"gate": "input", "fields": {}}}}, "fill", "no fill None"),
    ],
)
def test_data_that_are_none(data: Any, kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_data(data, kind)


@pytest.mark.parametrize("axis", ["selection", "fill", "gate"])
@pytest.mark.parametrize("said", ["selection", 3, ["taylor"]], ids=str)
def test_an_axis_of_a_plan_that_is_no_mapping(tmp_path: Path, axis: str, said: Any) -> None:
    path = tmp_path / "plan.yaml"
    toca.FORA().plan(TINY["dit"](), STEPS).save(path)
    data = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(data | {axis: said}))
    with pytest.raises(ValueError, match=rf"plan\.yaml is not a valid plan: A {axis} is recorded as a mapping"):
        Plan.load(path)


def test_a_part_may_be_said_by_its_name() -> None:
    said = {"fill": "bands", "fields": {"low": "taylor", "high": {"fill": "taylor", "fields": {"order": 1}}}}
    assert from_data(said, "fill").parts == (Taylor(), Taylor(1))


def test_what_groups_are_made_of_is_public() -> None:
    assert issubclass(RankedGroup, Group) and dataclasses.is_dataclass(Grouping)
