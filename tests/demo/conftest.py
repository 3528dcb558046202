from __future__ import annotations

import pytest

from toca.pipelines.demo import running
from toca.pipelines.demo.kept import Kept
from toca.pipelines.demo.limits import Wish
from toca.pipelines.demo.running import Made, make
from toca.pipelines.demo.subject import Subject, Subjects


@pytest.fixture(scope="session", autouse=True)
def once():
    """A run is timed once: only few here ask how long it takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "SHORT_SECONDS", 0)
        yield


@pytest.fixture(scope="session")
def subjects() -> Subjects:
    return Subjects(("fashion", "emoji-video"))


@pytest.fixture(scope="session")
def fashion(subjects) -> Subject:
    return subjects["fashion"]


@pytest.fixture(scope="session")
def tuned(fashion) -> Made:
    """A wish for a plan of fewer steps than the full model's, some of which compute some tokens."""
    position = next(each for each in fashion.positions if each.entry.num_inference_steps == 15)
    return make(fashion, Wish("fashion", "sneaker", 3, speedup=position.speedup), Kept(), lambda *_: None)


@pytest.fixture(scope="session")
def token_wise(fashion) -> Made:
    return make(fashion, Wish("fashion", "bag", method="toca/dit-ddim50", steps=6), Kept(), lambda *_: None)
