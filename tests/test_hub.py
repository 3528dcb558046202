"""Pushing to a repository and getting back from it, against a stand-in of the hub on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, file_download

import toca
from toca.pipelines import load
from toca.plan.front import Front
from toca.sharing.pretrained import Pretrained

from .fronts import STEPS, front_of, tuned_plan
from .helpers import TINY_PIPELINES, pipeline_arguments
from .local_hub import TOKEN, Hub, Repository, local_hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, as `HF_ENDPOINT` would name it to a process that has not begun, with nothing fetched yet."""
    monkeypatch.chdir(tmp_path)
    with local_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the time that pictures take."""

    def draw_nothing(*_: Any) -> None:
        raise ImportError

    for kind in Pretrained.kinds.values():
        monkeypatch.setattr(kind, "_draw_saved", draw_nothing)


@pytest.fixture(scope="module")
def pipe() -> Any:
    return TINY_PIPELINES["dit"]()


@pytest.fixture(scope="module")
def front(pipe: Any) -> Front:
    return front_of(pipe.transformer, pipe.scheduler)


@pytest.fixture(scope="module")
def plan(pipe: Any) -> toca.Plan:
    return tuned_plan("dit", pipe.scheduler, transformer=pipe.transformer)


def put(hub: Hub, repo_id: str, files: dict[str, str], private: bool = False) -> None:
    """A repository of somebody's."""
    hub.repositories[repo_id] = Repository(private=private)
    hub.repositories[repo_id].commit("main", {name: text.encode() for name, text in files.items()})


def test_what_is_pushed_comes_back(hub: Hub, front: Front, plan: toca.Plan) -> None:
    """In one commit, with a card and a picture; and nothing is fetched but what is read."""
    address = front.push_to_hub("me/fast", token=TOKEN, commit_message="A front", private=True)
    assert address.startswith(f"{hub.endpoint}/me/fast/commit/")
    files, repository = hub.files("me/fast"), hub.repositories["me/fast"]
    assert set(files) == {".gitattributes", "README.md", "calibration/tuned.json", "calibration/tuned.png"}
    assert repository.messages[1:] == ["A front"] and repository.private
    card = files["README.md"].decode()
    assert 'toca.enable_cache(pipe, "me/fast", speedup=2)' in card and "library_name: toca" in card
    assert files["calibration/tuned.png"].startswith(b"\x89PNG")

    hub.requests.clear()
    assert Front.from_pretrained("me/fast", token=TOKEN) == front
    assert not any("README" in asked or "png" in asked for asked in hub.requests)
    assert toca.Plan.from_pretrained("me/fast", token=TOKEN, speedup=2) == front.plan(speedup=2)
    # A second thing beside the first, by the other way to say it.
    plan.save_pretrained("fast", push_to_hub=True, repo_id="me/fast", token=TOKEN, base_model="owner/model")
    assert {"plan.yaml", "plan.png", "calibration/tuned.json"} <= set(hub.files("me/fast"))
    assert "base_model: owner/model" in hub.files("me/fast")["README.md"].decode()
    assert toca.Plan.from_pretrained("me/fast", token=TOKEN) == plan


@pytest.mark.usefixtures("undrawn")
def test_the_code_of_the_page_runs_in_its_order(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody who has logged in."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    page = (Path(__file__).parents[1] / "docs" / "sharing.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"pipe": load("emoji", device="cpu")}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(code, "sharing.md", "exec", dont_inherit=True), names)
    assert names["again"] == names["front"] and names["plan"] == names["front"].plan(speedup=2)
    assert "tuned for 2x, by the front of owner/emoji-fast" in str(toca.summary(names["pipe"]))


@pytest.mark.usefixtures("undrawn")
def test_revisions(hub: Hub, front: Front, plan: toca.Plan) -> None:
    plan.push_to_hub("me/plan", token=TOKEN)
    first = hub.repositories["me/plan"].branches["main"]
    hub.repositories["me/plan"].branches["tried"] = first
    other = toca.FORA(interval=3).plan_layout(plan.layout, STEPS)
    other.push_to_hub("me/plan", token=TOKEN)
    assert toca.Plan.from_pretrained("me/plan") == other
    for revision in ("tried", first):
        assert toca.Plan.from_pretrained("me/plan", revision=revision) == plan
    front.push_to_hub("me/plan", token=TOKEN, branch="tried")
    assert "calibration/tuned.json" not in hub.files("me/plan")
    assert Front.from_pretrained("me/plan", revision="tried") == front
    with pytest.raises(ValueError, match="The repository me/plan has no revision 'v9'"):
        toca.Plan.from_pretrained("me/plan", revision="v9")


@pytest.mark.usefixtures("undrawn")
def test_somebody_elses_card_stays(hub: Hub, plan: toca.Plan) -> None:
    """A plan may be pushed into a model's own repository."""
    put(hub, "me/model", {"README.md": "---\nlibrary_name: diffusers\n---\n# My model\n", "model_index.json": "{}"})
    put(hub, "me/new", {"README.md": "---\nlicense: mit\n---\n"})
    plan.push_to_hub("me/model", token=TOKEN)
    assert hub.files("me/model")["README.md"].endswith(b"# My model\n") and "plan.yaml" in hub.files("me/model")
    plan.push_to_hub("me/new", token=TOKEN)
    assert {b"license: mit", b"library_name: toca"} <= set(hub.files("me/new")["README.md"].splitlines())


@pytest.mark.usefixtures("undrawn")
def test_a_cache_by_a_repository(hub: Hub, pipe: Any, front: Front, plan: toca.Plan) -> None:
    def steps_of(*method: Any, **options: Any) -> str:
        with toca.cached(pipe, *method, **options):
            pipe(**pipeline_arguments("dit", STEPS))
            return toca.summary(pipe).steps

    front.push_to_hub("me/fast", token=TOKEN)
    plan.push_to_hub("me/plan", token=TOKEN)
    assert steps_of("me/fast", speedup=3) == front.plan(speedup=3).steps
    assert steps_of("me/plan") == plan.steps
    # A folder of this name goes first, and then nobody is asked.
    hub.requests.clear()
    plan.save_pretrained("me/fast")
    assert steps_of("me/fast") == plan.steps and not hub.requests
    with pytest.raises(ValueError, match="did you mean fora/dit"):
        toca.enable_cache(pipe, "fora/ditt")
    assert not hub.requests
    with pytest.raises(ValueError, match="The hub has no repository foraa/dit, .* did you mean fora/dit"):
        toca.enable_cache(pipe, "foraa/dit")
    with pytest.raises(ValueError, match="The hub has no repository someone/none, or none that may be read [^.]*.$"):
        toca.enable_cache(pipe, "someone/none")
    assert hub.requests


@pytest.mark.usefixtures("undrawn")
def test_what_a_stranger_may_have_put_there_is_refused(hub: Hub, pipe: Any, plan: toca.Plan) -> None:
    """With the reasons that a file is refused with; and no file of another kind is looked at."""
    other = TINY_PIPELINES["pixart"]()
    other_plan = tuned_plan("pixart", other.scheduler, transformer=other.transformer)
    other_plan.push_to_hub("them/pixart", token=TOKEN)
    put(hub, "them/yaml", {"plan.yaml": "!!python/object/apply:os.system [ls]"})
    put(hub, "them/json", {"calibration/tuned.json": '{"format": "toca-plan"}'})
    put(hub, "them/pickle", {"plan.pkl": "cos\nsystem\n", "calibration/tuned.bin": "", "plan.py": "import os"})
    for name, why in (
        ("them/pixart", "The plan is for a pixart model .* and not for this dit model"),
        ("them/yaml", r"is not a valid plan: .*tag.* is not read here"),
        ("them/json", "is not a valid front"),
        ("them/pickle", "them/pickle holds no plan, front, calibration or router"),
    ):
        with pytest.raises(ValueError, match=why):
            toca.enable_cache(pipe, name)
    assert not any(asked.endswith(("plan.pkl", "plan.py", "tuned.bin")) for asked in hub.requests)
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, beta_end=0.5)
    tuned_plan("dit", scheduler, transformer=pipe.transformer).push_to_hub("them/scheduler", token=TOKEN)
    with pytest.raises(ValueError, match="The plan was made with DDIMScheduler with `beta_end` 0.5, and here"):
        toca.enable_cache(pipe, "them/scheduler")


@pytest.mark.usefixtures("undrawn")
def test_who_may_not_is_told_in_a_sentence(hub: Hub, plan: toca.Plan) -> None:
    with pytest.raises(PermissionError, match="^me/plan is not pushed: the hub does not know who you are[^.]*\\.$"):
        plan.push_to_hub("me/plan")
    put(hub, "them/secret", {}, private=True)
    with pytest.raises(ValueError, match="^The hub has no repository them/secret, or none that may be read [^.]*\\.$"):
        toca.Plan.from_pretrained("them/secret")


@pytest.mark.usefixtures("undrawn")
def test_without_the_hub_there_is_a_sentence_and_what_was_fetched(
    hub: Hub, pipe: Any, plan: toca.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.push_to_hub("me/plan", token=TOKEN)
    assert toca.Plan.from_pretrained("me/plan") == plan
    with local_hub() as gone:
        pass
    monkeypatch.setattr(constants, "ENDPOINT", gone.endpoint)
    assert toca.Plan.from_pretrained("me/plan") == plan
    assert toca.Plan.from_pretrained("me/plan", local_files_only=True) == plan
    what = "^me/other is no folder here, and could not be fetched from the hub: [^\n]*\\.$"
    for ask in (
        lambda: toca.Plan.from_pretrained("me/other"),
        lambda: toca.Plan.from_pretrained("me/other", local_files_only=True),
        lambda: toca.enable_cache(pipe, "me/other"),
    ):
        with pytest.raises(ConnectionError, match=what):
            ask()
    with pytest.raises(ConnectionError, match="^me/plan could not be pushed to the hub: [^\n]*\\.$"):
        plan.push_to_hub("me/plan", token=TOKEN)
