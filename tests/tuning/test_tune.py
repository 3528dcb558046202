"""`toca.tune`, from a tiny pipeline to a front, on a made-up clock."""

from __future__ import annotations

import itertools
import json

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import toca
from tests.helpers import tiny_dit_pipeline, tiny_flux_pipeline, tiny_pixart_pipeline
from toca.plan import Plan
from toca.plan.front import Front
from toca.tuning import correction, kinds, search
from toca.tuning.candidates import Graph, single_label
from toca.tuning.kinds import StepTimes
from toca.tuning.labels import Draft, standard_labels
from toca.tuning.ladder import Ladder
from toca.tuning.notes import Notes
from toca.tuning.outlook import Outlook
from toca.tuning.prompts import parted, prompts_beside
from toca.tuning.prospect import Prospect
from toca.tuning.quality import decibels, interval
from toca.tuning.refinement import Trials
from toca.tuning.rehearsal import Rehearsal
from toca.tuning.saved import find_front

STEPS = 6
PROMPTS = ["a red owl", "two owls", "red", "an owl"]
CALL = {"max_sequence_length": 8}


def made_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(search, "time_kinds", lambda run, plans: {name: StepTimes(1.0, 0.1, 0.0, 0.5) for name in plans})
    patch.setattr(Rehearsal, "step_seconds", seconds_of)


def seconds_of(rehearsal: Rehearsal, plan: Plan) -> list[float]:
    first, *others = plan.steps
    assert first == "F"
    return [1.5, *(1.0 if step == "F" else 0.1 for step in others)]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A full step takes a second, and any other a tenth of one."""
    made_up(monkeypatch)


@pytest.fixture
def brief(monkeypatch):
    """A search with two labels and next to no whole runs."""
    monkeypatch.setattr("toca.tuning.labels.standard_labels", lambda: (standard_labels()[0], standard_labels()[4]))
    monkeypatch.setattr(search, "STARTS", 1)
    monkeypatch.setattr(search, "TRIES", 1)


def tuned(pipe=None, **settings) -> Front:
    pipe = tiny_flux_pipeline() if pipe is None else pipe
    return toca.tune(pipe, PROMPTS, num_inference_steps=STEPS, **CALL, **settings)


@pytest.fixture(scope="module")
def made():
    """A front, its pipeline, and what the search told on the way."""
    with pytest.MonkeyPatch.context() as patch:
        made_up(patch)
        pipe, told = tiny_flux_pipeline(), []
        front = tuned(pipe, progress=lambda share, what: told.append((share, what)))
    return pipe, front, told


def test_a_front_goes_from_slow_and_good_to_fast_and_less_good(made):
    _, front, _ = made
    speeds, losses = [e.speedup for e in front.entries], [e.psnr for e in front.entries]
    assert len(front.entries) >= 3 and speeds == sorted(speeds)
    assert front.entries[0].plan.steps == "F" * STEPS and losses[0] > 100
    assert max(speeds) > 2.2 and front.at(speedup=2).speedup >= 2
    # As they are shown: a plan of 2.4999x would stand in tables as 2.50x, and not be found by who asks for 2.5.
    assert speeds == [round(each, 2) for each in speeds]
    assert {entry.plan.layout.family for entry in front.entries} == {"flux"}


def test_the_full_run_is_as_fast_as_itself_whatever_the_clock_says(brief, monkeypatch):
    """It is timed by itself, and once more among the plans."""
    moments = itertools.count(1.0, -0.001)
    monkeypatch.setattr(Rehearsal, "step_seconds", lambda self, plan: [next(moments)] * plan.num_inference_steps)
    full = tuned().at(speedup=1)
    assert full.speedup == 1.0 and full.plan.steps == "F" * STEPS


def test_the_speed_of_a_plan_is_that_of_its_steps(made):
    _, front, _ = made
    assert front.full_seconds == pytest.approx(0.5 + STEPS)
    for entry in front.entries:
        full = entry.plan.full_steps
        filled = entry.num_inference_steps - full
        # To the two places that a speed-up is told with.
        assert entry.measured and front.full_seconds / entry.speedup == entry.seconds
        assert entry.speedup == round(front.full_seconds / (0.5 + full + 0.1 * filled), 2)


def test_a_plan_does_to_other_prompts_what_the_front_says(made):
    pipe, front, _ = made
    entry = front.at(speedup=1.5)
    held_out = parted(PROMPTS).held_out
    generators = lambda: [torch.Generator("cpu").manual_seed(seed) for seed in (2, 3)]  # noqa: E731
    call = {"num_inference_steps": entry.num_inference_steps, "output_type": "np", **CALL}
    reference = pipe(held_out, generator=generators(), **{**call, "num_inference_steps": STEPS}).images
    with toca.cached(pipe, entry.plan):
        pictures = pipe(held_out, generator=generators(), **call).images
        summary = toca.summary(pipe)
    assert np.mean(decibels(pictures, reference)) == pytest.approx(entry.psnr, abs=1e-3)
    assert summary.steps == entry.plan.steps and summary.cache_bytes == entry.cache_bytes * 2


def test_plans_are_better_than_fewer_steps(made):
    """Plans of as many steps, that is, at the same number of full steps."""
    _, front, _ = made
    for each in front.fewer:
        assert front.at(speedup=each.speedup).psnr >= each.psnr
    fewer = {each.num_inference_steps: each.psnr for each in front.fewer}
    for count, psnr in fewer.items():
        best = [e.psnr for e in front.entries if e.full_steps <= count and e.num_inference_steps == STEPS]
        assert not best or max(best) > psnr - 3


def test_progress_is_told_from_nothing_to_everything(made):
    _, _, told = made
    shares = [share for share, _ in told]
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)


def test_a_front_is_found_again_in_its_file(made, tmp_path):
    _, front, _ = made
    front.save(tmp_path / "front.json")
    again = Front.load(tmp_path / "front.json")
    assert again == front and again.plan(speedup=2) == front.plan(speedup=2)


def test_a_search_that_was_stopped_goes_on(tmp_path, monkeypatch, brief):
    class Stopped(Exception):
        pass

    def stop(share, what):
        if share > 0.3:
            raise Stopped

    path = tmp_path / "search.json"
    monkeypatch.setattr("toca.tuning.notes.EVERY", 0.0)
    with pytest.raises(Stopped):
        tuned(progress=stop, checkpoint=path)
    kept = json.loads(path.read_text())
    found, spent = kept["found"], kept["spent"]
    measured = []
    get = Notes.get

    def watching(self, name, measure):
        return get(self, name, lambda: measured.append(name) or measure())

    monkeypatch.setattr(Notes, "get", watching)
    resumed = tuned(checkpoint=path)
    assert found and measured and not set(measured) & set(found)
    # What it took is told of the whole search, and not of its end alone.
    last = json.loads(path.read_text())["spent"]
    assert 0 < spent["model_calls"] < resumed.made_with["model_calls"] == round(last["model_calls"])
    assert resumed.made_with["seconds"] > spent["seconds"] > 0
    assert [entry.plan for entry in resumed.entries] == [entry.plan for entry in tuned().entries]


def test_all_that_was_measured_is_kept_of_a_search_that_its_user_stops(tmp_path, brief):
    def stop(share, what):
        if share > 0.3:
            raise KeyboardInterrupt

    path = tmp_path / "search.json"
    with pytest.raises(KeyboardInterrupt):
        tuned(progress=stop, checkpoint=path)
    assert json.loads(path.read_text())["found"]


def test_notes_of_another_search_are_refused(tmp_path):
    path = tmp_path / "search.json"
    Notes(path, {"seed": 1}).write()
    with pytest.raises(ValueError, match="`seed` is 1, and here it is 2"):
        Notes(path, {"seed": 2})
    path.write_text("{}")
    with pytest.raises(ValueError, match="no file of a search"):
        Notes(path, {"seed": 2})


def test_a_bound_that_nothing_meets_is_refused_with_the_nearest(brief):
    with pytest.raises(ValueError, match="fastest"):
        tuned(speedup=50)


@pytest.mark.parametrize("bound", [{"speedup": 0.5}, {"full_steps": 0}, {"seconds": -1}])
def test_a_bound_out_of_range_is_refused_before_the_search(bound, monkeypatch):
    monkeypatch.setattr(search.Search, "front", lambda self: pytest.fail("it has searched"))
    with pytest.raises(ValueError, match=next(iter(bound))):
        tuned(**bound)


@pytest.mark.parametrize(("method", "reason"), [("fora", "has no threshold"), ("telepathy", "telepathy")])
def test_a_method_without_a_threshold_is_refused_before_the_search(method, reason, monkeypatch):
    monkeypatch.setattr(search.Search, "front", lambda self: pytest.fail("it has searched"))
    with pytest.raises(ValueError, match=reason):
        tuned(methods=["fbcache", method])


def test_a_front_is_kept_though_thresholds_are_not_found(brief, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no threshold is so fast")

    monkeypatch.setattr("toca.tuning.api.tune_rules", fail)
    pipe = tiny_flux_pipeline()
    with pytest.raises(ValueError, match="so fast"):
        tuned(pipe, methods=["fbcache"])
    assert find_front(pipe).front.num_inference_steps == STEPS


def test_notes_are_of_a_device_and_of_a_scheduler_as_it_is_set_up(tmp_path, brief):
    pipe, path = tiny_flux_pipeline(), tmp_path / "search.json"
    tuned(pipe, checkpoint=path)
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, shift=7.0)
    data = json.loads(path.read_text())
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text(json.dumps(data | {"of": data["of"] | {"device": "cuda"}}))
    with pytest.raises(ValueError, match="its `device` is 'cuda', and here it is 'cpu'"):
        tuned(pipe, checkpoint=elsewhere)
    with pytest.raises(ValueError, match="of another search: its `scheduler`"):
        tuned(pipe, checkpoint=path)


def candidate(seconds: float) -> search.Candidate:
    """The slower the better."""
    return search.Candidate(plan=None, seconds=seconds, loss=-seconds)


def test_of_plans_that_are_about_as_fast_the_best_is_kept_and_none_beyond():
    """Each is 2 % slower than the one before: one would make room for the next, up to the slowest."""
    kept = search.undominated([candidate(1.02**i) for i in range(60)])
    seconds = [each.seconds for each in kept]
    assert seconds[0] == 1 and seconds[-1] == 1.02**59
    gaps = [slow / fast for fast, slow in itertools.pairwise(seconds)]
    assert max(gaps) < search.ALIKE**2 and min(gaps[:-1]) > 1.03


def test_a_plan_that_something_faster_is_as_good_as_is_dropped():
    fast, slow = candidate(1.0), search.Candidate(plan=None, seconds=2.0, loss=-1.0)
    assert search.undominated([slow, fast]) == [fast]


@pytest.mark.parametrize("steps", [1, 3])
def test_too_few_steps_are_refused_before_the_search(steps, monkeypatch):
    monkeypatch.setattr(search.Search, "front", lambda self: pytest.fail("it has searched"))
    with pytest.raises(ValueError, match=f"`num_inference_steps` must be at least 4 .*, got {steps}"):
        toca.tune(tiny_flux_pipeline(), PROMPTS, num_inference_steps=steps, **CALL)


def test_four_steps_are_enough(brief, monkeypatch):
    """To time kinds of steps, too, of which there must be one each between the first and the last."""
    monkeypatch.setattr(search, "time_kinds", kinds.time_kinds)
    monkeypatch.setattr(Rehearsal, "step_seconds", lambda self, plan: [1.0 if s == "F" else 0.1 for s in plan.steps])
    front = toca.tune(tiny_flux_pipeline(), PROMPTS, num_inference_steps=4, **CALL)
    assert front.num_inference_steps == 4 and front.at(speedup=1).full_steps == 4


def test_what_is_no_list_of_methods_is_refused():
    with pytest.raises(ValueError, match="`methods` must be a list of methods, got 'fbcache'"):
        tuned(methods="fbcache")


def test_generators_are_the_searchs_own():
    with pytest.raises(ValueError, match="`generator`"):
        tuned(generator=torch.Generator())


def test_two_calls_a_step_are_refused_for_what_they_are_where_nobody_says_a_number_of_steps():
    pipe = tiny_pixart_pipeline()
    pipe.scheduler = diffusers.HeunDiscreteScheduler()
    with pytest.raises(ValueError, match="HeunDiscreteScheduler calls the model"):
        toca.tune(pipe, ["a red owl", "two owls"])


def test_a_pipeline_whose_runs_differ_is_refused():
    pipe = tiny_dit_pipeline()
    pipe.scheduler = diffusers.EulerAncestralDiscreteScheduler()  # DiT's pipeline gives it no generator
    with pytest.raises(ValueError, match="Two full runs"):
        toca.tune(pipe, [1, 2, 3], num_inference_steps=4)


def test_guidance_that_starts_late_is_computed_where_it_starts():
    pipe = tiny_flux_pipeline()
    full = Rehearsal(pipe, PROMPTS[:1], [0], CALL).full(STEPS)
    assert full.must_be_full == {0}
    late = {
        **full.returned,
        **{(step, "late"): full.returned[step, branch] for step, branch in full.returned if step > 2},
    }
    object.__setattr__(full, "returned", late)
    assert full.must_be_full == {0, 3}
    graph = Graph(
        Rehearsal(pipe, PROMPTS[:1], [0], CALL), full, standard_labels()[:1], 1.0, [0.1], Notes(), lambda *_: None
    )
    assert all(not edge.start < 3 < edge.stop for edge in graph.edges())


def test_prompts_are_parted_and_found_beside_a_model():
    few = parted(list("abcdef"))
    assert (few.searched, few.held_out) == (["a", "b", "c"], ["d", "e", "f"])
    parts = list(vars(parted(list(range(40)))).values())
    assert [len(part) for part in parts] == [4, 8] and len(set().union(*parts)) == 12
    pipe = tiny_dit_pipeline()
    assert len(set(prompts_beside(pipe))) == 12
    with pytest.raises(ValueError, match="No prompts lie"):
        prompts_beside(tiny_flux_pipeline())


def test_an_interval_holds_its_mean():
    mean, low, high = interval([50.0, 52.0, 57.0])
    assert low < mean < high and interval([50.0, 52.0, 57.0]) == (mean, low, high)
    assert interval([40.0]) == (40.0, 40.0, 40.0)


def test_refining_comes_near_the_best_of_all_plans():
    """Of every way to place three full steps in six with two labels the search ends among the best few."""
    subject = Rehearsal(tiny_flux_pipeline(), PROMPTS[:2], [0, 1], CALL)
    full = subject.full(STEPS)
    labels = standard_labels()[:2]
    graph = Graph(subject, full, labels, 1.0, [0.1, 0.1], Notes(), lambda *_: None)
    edges = graph.edges()
    trials = Trials(subject, full, full.end, labels, Notes())
    told: list[int] = []

    def learn(losses, known):
        right = correction.corrected(edges, losses, STEPS, labels)
        return Prospect.of(right, labels, STEPS, 1.0, [0.0, 0.0], known)

    losses = Ladder(trials, learn, 4, 8, lambda _, count: told.append(count)).climb(range(2, 5))
    assert set(told) == {2, 3, 4} == {len(draft.full) for draft in losses}
    best = min((draft for draft in losses if len(draft.full) == 3), key=losses.__getitem__)
    every = []
    for places in itertools.combinations(range(1, STEPS), 2):
        for chosen in itertools.product(range(2), repeat=3):
            draft = Draft((0, *places), chosen)
            if all(stop > start + 1 or not label for start, stop, label in draft.segments(STEPS)):
                every.append(trials.loss(draft))
    assert trials.loss(best) == losses[best] <= sorted(every)[2]


def test_a_draft_grows_by_one_full_step():
    grown = Draft((0, 1, 4), (0, 2, 1)).grown(6)
    assert grown == [
        Draft((0, 1, 2, 4), (0, 0, 2, 1)),
        Draft((0, 1, 3, 4), (0, 2, 0, 1)),
        Draft((0, 1, 4, 5), (0, 2, 0, 0)),
    ]


def test_a_draft_shrinks_by_one_full_step():
    assert Draft((0, 1, 4), (0, 2, 1)).shrunk(6) == [
        Draft((0, 4), (2, 1)),
        Draft((0, 1), (0, 2)),
        Draft((0, 1), (0, 1)),
    ]
    assert Draft((0, 1, 2), (0, 0, 3)).shrunk(4)[0] == Draft((0, 2), (3, 3))
    assert Draft((0, 1), (0, 0)).shrunk(2) == [Draft((0,), (0,))]


@given(st.data())
def test_growing_and_shrinking_undo_each_other(data):
    steps = data.draw(st.integers(3, 8))
    full = (0, *sorted(data.draw(st.sets(st.integers(1, steps - 1), min_size=1, max_size=steps - 2))))
    fills = [stop > start + 1 for start, stop in zip(full, (*full[1:], steps), strict=True)]
    draft = Draft(full, tuple(data.draw(st.integers(0, 2)) if filled else 0 for filled in fills))
    for smaller in draft.shrunk(steps):
        assert len(smaller.full) == len(full) - 1
        assert full in {grown.full for grown in smaller.grown(steps)}
    for larger in draft.grown(steps):
        assert full in {shrunk.full for shrunk in larger.shrunk(steps)}


def test_a_corrected_graph_thinks_of_a_label_what_runs_of_it_say(monkeypatch):
    monkeypatch.setattr(correction, "SHARES", (0.5,))
    subject = Rehearsal(tiny_flux_pipeline(), PROMPTS[:2], [0, 1], CALL)
    full, labels = subject.full(STEPS), standard_labels()[:2]
    trials = Trials(subject, full, full.end, labels, Notes())
    edges = Graph(subject, full, labels, 1.0, [0.1, 0.1], Notes(), lambda *_: None).edges()
    runs = correction.first_runs(edges, trials, 1.0, lambda *_: None)
    right = Outlook(correction.corrected(edges, runs, STEPS, labels))
    for label in range(2):
        draft = single_label(edges, label, STEPS, 1.0)[STEPS // 2]
        assert Outlook(edges).of(draft, STEPS) != pytest.approx(10 ** trials.loss(draft), rel=0.02)
        assert right.of(draft, STEPS) == pytest.approx(10 ** trials.loss(draft), rel=0.05)
