"""Ways to choose tokens: those of a plan, one by one, in models; and what older versions said of the others."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import toca
from toca.axes.gates import Gate
from toca.axes.sampling import Sampling
from toca.axes.selections import Selection
from toca.axes.selections.clustered import ByCluster
from toca.axes.selections.planned import ByPlan
from toca.axes.selections.ranked import ByAttention, ByChance
from toca.axes.selections.scores import SCORES
from toca.axes.selections.whole_stack import ByPrediction
from toca.hooks.tracing import can_compile
from toca.hooks.watch import Watch
from toca.models import Layout, Site
from toca.plan import Plan
from toca.registry import from_data, to_data

from .conformance.common import assert_close, assert_equal, cached_run, differ
from .conformance.test_batch import rows_of
from .conformance.test_cost import check
from .helpers import FAMILIES, FRAMES, TEXT_TOKENS, TINY, Inputs, inputs_for, run_steps
from .reference.patching import samples, visited
from .test_compile import BLOCK_CLASSES, build, compiled
from .test_fills import AtTimes

STEPS = 7
FULL = (0, 4)
SIDE = 8
TOKENS = SIDE * SIDE
BLACK = tuple(t for t in range(TOKENS) if (t // SIDE + t % SIDE) % 2 == 0)
WHITE = tuple(t for t in range(TOKENS) if (t // SIDE + t % SIDE) % 2 == 1)
CHESSBOARD = ByPlan((BLACK, WHITE))
REGION = ByPlan(((27, 28, 35, 36),))
every_family = pytest.mark.parametrize("family", FAMILIES)


@dataclass(frozen=True)
class Chosen(toca.Method):
    """Between full steps a share of the tokens in every module but self-attention."""

    by: Selection
    ratio: float = 0.5
    by_gate: bool = False

    name: ClassVar[str] = "chosen"

    def computes(self, site: Site, step: int, sampling: Sampling) -> bool:
        return step == 0 or (step in FULL and not self.by_gate)

    def gate(self) -> Gate | None:
        return AtTimes() if self.by_gate else None

    def share(self, site: Site, step: int, sampling: Sampling) -> float | None:
        return None if site.attends == "self" else self.ratio

    def selection(self) -> Selection:
        return self.by


def computed_tokens(family: str, transformer: nn.Module, method: Chosen, inputs: Inputs) -> list[dict[int, list[int]]]:
    """Of every step: the tokens, counted over the batch, that each site computed which chose some."""
    seen: list[dict[int, list[int]]] = []

    def tell(site: int, tokens: Tensor | None) -> None:
        if tokens is not None:
            seen[-1][site] = tokens.tolist()

    with toca.cached(transformer, method, num_inference_steps=len(inputs)), Watch(transformer, tell):
        for call in inputs:
            seen.append({})
            run_steps(transformer, [call])
    return seen


def kind_of(site: Site) -> str:
    """What stands in a row of a site: the text and then the image, the image, the text, or one position's frames."""
    return "frames" if site.rows == "position" else site.stream


def expected_tokens(kind: str, step: int, orders: Sequence[Sequence[int]], ratio: float) -> list[int]:
    """The first tokens of a row by the rule: those that the order names, then the others from the last one down; then
    the text, if it stands before the image. Where there is no image, from the first on."""
    named = list(orders[step % len(orders)])
    image = named + [t for t in range(TOKENS - 1, -1, -1) if t not in named]
    everything = {
        "image": image,
        "text+image": [TEXT_TOKENS + t for t in image] + list(range(TEXT_TOKENS)),
        "text": list(range(TEXT_TOKENS)),
        "frames": list(range(FRAMES)),
    }[kind]
    return everything[: int(ratio * len(everything))]


def layout_of(transformer: nn.Module, method: Any) -> Layout:
    return method.plan(transformer, STEPS).layout


# --- tokens of a plan ----------------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("selection", [CHESSBOARD, REGION], ids=["chessboard", "region"])
@pytest.mark.parametrize("ratio", [0.5, 0.0625, 0.9])
def test_exactly_the_tokens_of_the_plan_are_computed(family: str, selection: ByPlan, ratio: float) -> None:
    transformer, method = TINY[family](), Chosen(selection, ratio)
    seen = computed_tokens(family, transformer, method, inputs_for(family, STEPS, batch_size=2))
    sites = layout_of(transformer, method).sites
    sizes = {"image": TOKENS, "text+image": TEXT_TOKENS + TOKENS, "text": TEXT_TOKENS, "frames": FRAMES}
    for step, computed in enumerate(seen):
        for i, site in enumerate(sites):
            kind = kind_of(site)
            tokens = expected_tokens(kind, step, selection.orders, ratio)
            rows = 2 * {"frames": TOKENS, "image": FRAMES if family == "latte" else 1}.get(kind, 1)
            wanted = [row * sizes[kind] + token for row in range(rows) for token in tokens]
            if step in FULL or site.attends == "self" or not wanted:
                assert i not in computed
            else:
                assert computed[i] == wanted, (step, site.layer, site.module)


def test_a_chessboard_computes_every_token_in_two_steps() -> None:
    transformer = TINY["pixart"]()
    seen = computed_tokens("pixart", transformer, Chosen(CHESSBOARD), inputs_for("pixart", STEPS))
    assert all(set(tokens) == set((WHITE, BLACK)[step - 1]) for step in (1, 2) for tokens in seen[step].values())
    assert set(seen[1]) == set(seen[2]) != set()


@every_family
@pytest.mark.parametrize("selection", [CHESSBOARD, REGION], ids=["chessboard", "region"])
def test_step_by_step_as_written_out(family: str, selection: ByPlan) -> None:
    """Every module computes whole, and of what it returns the chosen rows are taken over."""
    transformer, inputs = TINY[family](1), inputs_for(family, STEPS, batch_size=2, seed=1)
    kept: dict[tuple, Any] = {}
    now = {"step": 0}
    kinds = {"fused": "text+image", "ff_context": "text"}

    def visit(layer: int, kind: str, compute: Callable) -> Any:
        place = layer, kind
        if now["step"] in FULL:
            kept[place] = compute()
        elif kind not in ("spatial", "temporal"):
            over_time = family == "latte" and layer % 2 == 1
            tokens = expected_tokens(
                "frames" if over_time else kinds.get(kind, "image"), now["step"], selection.orders, 0.5
            )
            renewed = kept[place].clone()
            renewed[:, tokens] = compute()[:, tokens]
            kept[place] = renewed
        return kept[place]

    with visited(transformer, visit):
        wanted = samples(transformer, inputs, lambda step: now.update(step=step))
    assert differ(wanted, run_steps(transformer, inputs))
    assert_close(cached_run(transformer, Chosen(selection), inputs), wanted)


@every_family
@pytest.mark.parametrize("selection", [CHESSBOARD, REGION], ids=["chessboard", "region"])
def test_predicted_is_measured(family: str, selection: ByPlan) -> None:
    check(family, Chosen(selection))
    check(family, Chosen(selection, 0.3), batch_size=1, cfg=False)


@every_family
def test_tokens_that_are_not_there_are_named(family: str) -> None:
    """The size is known when the model is called; nothing is left of the generation that was refused."""
    transformer, inputs = TINY[family](), inputs_for(family, STEPS)
    stock = run_steps(transformer, inputs)
    method = Chosen(ByPlan(((3, TOKENS),)))
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"`orders` must name tokens below 64, of which .* got 64\.$"):
                run_steps(transformer, inputs)
    assert_equal(run_steps(transformer, inputs), stock)


def test_a_larger_image_has_them() -> None:
    transformer, inputs = TINY["pixart"](), inputs_for("pixart", STEPS, height=16, width=20)
    seen = computed_tokens("pixart", transformer, Chosen(ByPlan(((79, TOKENS),)), 0.03), inputs)
    assert all(tokens == [79, TOKENS] for step in (1, 2, 3) for tokens in seen[step].values())


@pytest.mark.parametrize("family", ["dit", "flux"])
def test_images_that_decide_for_themselves_compute_the_same_tokens(family: str) -> None:
    transformer, inputs = TINY[family](1), inputs_for(family, STEPS, batch_size=3, seed=1)
    method = Chosen(CHESSBOARD, by_gate=True)
    with toca.cached(transformer, method, num_inference_steps=STEPS):
        together, summary = run_steps(transformer, inputs), toca.summary(transformer)
    assert len({summary.steps_of(image) for image in range(3)}) > 1
    for image in range(3):
        alone = cached_run(transformer, method, rows_of(inputs, [image]))
        assert_close([output[image : image + 1] for output in together], alone)


@pytest.mark.skipif(not can_compile(), reason="this torch cannot trace classes made on the fly")
@pytest.mark.parametrize("family", BLOCK_CLASSES)
def test_compiled_blocks(family: str) -> None:
    torch._dynamo.reset()
    transformer, inputs = build(family)
    wanted = cached_run(transformer, Chosen(CHESSBOARD), inputs)
    counter = compiled(transformer)
    with toca.cached(transformer, Chosen(CHESSBOARD), num_inference_steps=len(inputs)):
        assert_close(run_steps(transformer, inputs), wanted)
    assert 0 < counter.frame_count <= 3 * BLOCK_CLASSES[family]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 63), unique=True), min_size=1, max_size=3), st.sampled_from([".yaml", ".json"])
)
def test_its_plan_survives_a_file(tmp_path_factory: Any, orders: list[list[int]], suffix: str) -> None:
    selection = ByPlan(tuple(map(tuple, orders)))
    plan = Chosen(selection).plan(TINY["dit"](), STEPS)
    path = tmp_path_factory.mktemp("plans") / f"plan{suffix}"
    plan.save(path)
    assert Plan.load(path) == plan and Plan.load(path).selection == selection
    assert sorted(selection.order(5, TOKENS)) == list(range(TOKENS))


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ((), "`orders` must name at least one order of tokens"),
        (((1, 2, 1),), r"`orders` must name each token once, got \[\(1, 2, 1\)\]"),
        (((1, -1),), r"`orders.* must be non-negative, got -1"),
        (((1.5,),), r"`orders.* must be a whole number, got 1.5"),
        ((3,), r"`orders.* must be several values, got 3"),
    ],
)
def test_wrong_orders_are_named(orders: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ByPlan(orders)


def test_self_attention_stays_whole() -> None:
    plan = Chosen(CHESSBOARD).plan(TINY["dit"](), STEPS)
    half = toca.Action("partial", 0.5)
    with pytest.raises(ValueError, match="Self-attention is computed or reused whole: step 1"):
        Plan(plan.method, STEPS, plan.layout, (plan.full_row, *[(half,) * len(plan.layout.sites)] * 6), CHESSBOARD)


# --- what older versions said --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def older() -> ModuleType:
    sys.modules.pop("toca.selection", None)
    with pytest.warns(DeprecationWarning, match=r"`toca\.selection` is `toca\.axes\.selections\.older` now"):
        return importlib.import_module("toca.selection")


bonuses = st.fixed_dictionaries(
    {},
    optional={
        "interval": st.integers(1, 50),
        "staleness_weight": st.floats(0, 10),
        "bonus_patch": st.integers(0, 64),
        "bonus_weight": st.floats(0, 10),
        "shared_cfg": st.booleans(),
    },
)


@settings(max_examples=40, deadline=None)
@given(fields=bonuses, seed=st.integers(0, 2**40), score=st.sampled_from(sorted(SCORES)))
def test_a_score_says_the_class(older: ModuleType, fields: dict[str, Any], seed: int, score: str) -> None:
    assert older.Selection(score="random", seed=seed, **fields) == ByChance(seed=seed, **fields)
    assert older.Selection(score=score, **fields) == ByAttention(rated_by=score, **fields)
    # A seed says nothing of attention, nor clusters of chance.
    assert older.Selection(score=score, seed=seed, clusters=9, **fields) == ByAttention(rated_by=score, **fields)
    assert older.Selection("cluster", clusters=7, smoothing=0.5, seed=seed, **fields) == ByCluster(7, 0.5, seed)
    assert older.Selection("prediction", starvation=0.25, **fields) == ByPrediction(0.25)


def test_what_is_not_said_is_as_it_was(older: ModuleType) -> None:
    assert older.Selection() == ByAttention() == ByAttention(1, 0.0, 0, 0.0, False, "cross_attention")
    names = ["score", "interval", "staleness_weight", "bonus_patch", "bonus_weight", "shared_cfg", "seed"]
    assert list(inspect.signature(older.Selection).parameters)[:7] == names
    assert older.Selection("random", 3, 0.25, 2, 0.4, True, 5) == ByChance(3, 0.25, 2, 0.4, True, 5)
    assert older.SCORES is SCORES


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score": "beauty"}, "`score` must be one of .*cross_attention.*random, cluster, prediction, got 'beauty'"),
        ({"interval": 0}, "`interval` must .* got 0"),
        ({"score": "random", "seed": -1}, "`seed` must .* got -1"),
        ({"score": "cluster"}, "`clusters` must .* got 0"),
        ({"score": "prediction", "starvation": -1.0}, "`starvation` must .* got -1.0"),
    ],
)
def test_older_words_are_checked(older: ModuleType, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        older.Selection(**values)


@pytest.mark.parametrize("score", [*sorted(SCORES), "random"])
def test_it_chooses_as_the_class_does(older: ModuleType, score: str) -> None:
    transformer, inputs = TINY["pixart"](), inputs_for("pixart", STEPS, batch_size=2)
    fields = {"interval": 3, "staleness_weight": 0.25, "bonus_patch": 2, "bonus_weight": 0.4}
    new = ByChance(**fields) if score == "random" else ByAttention(rated_by=score, **fields)
    old = older.Selection(score=score, **fields)
    mine = computed_tokens("pixart", transformer, Chosen(new, 0.3), inputs)
    assert computed_tokens("pixart", transformer, Chosen(old, 0.3), inputs) == mine
    others = {"random", *SCORES} - {score, "cross_attention" if score == "self_attention" else "self_attention"}
    for other in others:
        theirs = computed_tokens("pixart", transformer, Chosen(older.Selection(score=other, **fields), 0.3), inputs)
        assert theirs != mine


@pytest.mark.parametrize("selection", [CHESSBOARD, ByChance(seed=3), ByAttention(rated_by="value_norm"), ByCluster(4)])
def test_selections_as_data(selection: Selection) -> None:
    assert from_data(json.loads(json.dumps(to_data(selection))), "selection") == selection
