"""Which labels a search is worth."""

from __future__ import annotations

import pytest

from toca.tuning import search
from toca.tuning.labels import Draft, Label
from toca.tuning.promising import calls, promising
from toca.tuning.refinement import WORST

ONE = [Label("reuse the output", "output"), Label("reuse the residual", "residual"), Label("modules", "sites")]
SEVERAL = [Label("fitted", "output", fitted=4), Label("fitted to two", "output", fitted=2)]


class Told:
    """Trials whose losses are known: by the label's number, in every run."""

    def __init__(self, losses: dict[int, float], forced: frozenset[int] = frozenset()):
        self.labels, self._losses, self.runs = ONE + SEVERAL, losses, []
        self.full = type("Full", (), {"steps": 10, "must_be_full": forced})

    def loss(self, draft: Draft) -> float:
        self.runs.append(draft)
        return self._losses[draft.labels[0]]


@pytest.mark.parametrize(
    "losses, seconds, kept",
    [
        ((-3, -3.5, -2, -5, -4), (0.1, 0.2, 0.3, 0.1, 0.1), {0, 1, 3}),  # slower and worse goes, of its like
        ((-3, -3.5, -2, -5, -5.1), (0.1, 0.1, 0.3, 0.1, 0.5), {1, 3, 4}),  # better and slower stays
        ((-3, WORST, -2, -5, -4), (0.1, 0.2, 0.3, 0.105, 0.1), {0, 3}),  # about as fast is as fast; the worst goes
    ],
)
def test_labels_stay_of_which_none_is_faster_and_better(losses, seconds, kept):
    trials = Told(dict(enumerate(losses)))
    assert promising(trials, seconds, lambda *_: None) == tuple(trials.labels[n] for n in sorted(kept))


def test_steps_that_must_be_full_are():
    trials, told = Told(dict.fromkeys(range(5), -1.0), frozenset({3, 7})), []
    promising(trials, [0.1] * 5, lambda what, count: told.append(count))
    assert all({0, 3, 7} <= set(draft.full) for draft in trials.runs)
    assert told == [len(draft.full) for draft in trials.runs] and len(set(told)) == 2


def test_its_runs_are_counted_beforehand(monkeypatch):
    trials, told = Told(dict.fromkeys(range(5), -1.0)), []
    promising(trials, [0.1] * 5, lambda what, count: told.append(count))
    assert sum(told) == calls(5, 10) > 0
    asked = type("Asked", (), {"prompts": ("a", "b")})
    made = search.Search(asked, asked, 10, None, lambda share, what: None, {}, labels=tuple(trials.labels))
    with_them = made._expected(10)
    monkeypatch.setattr(search, "calls", lambda labels, steps: 0)
    assert with_them - made._expected(10) == calls(5, 10)
