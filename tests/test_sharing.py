"""Plans, fronts, calibrations and routers as folders with a card, and which of them a name means."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import toca
from toca.plan.front import Front
from toca.sharing.pretrained import Pretrained

from .calibrated import calibrated, routed
from .fronts import STEPS, front_of, tuned_plan
from .helpers import TINY, TINY_PIPELINES, pipeline_arguments

SHARED = ("plan", "front", "calibration", "router")


@pytest.fixture(scope="module")
def pipe() -> Any:
    return TINY_PIPELINES["dit"]()


@pytest.fixture(scope="module")
def shared(pipe: Any) -> dict[str, Any]:
    """One of each, for the tiny DiT; the calibration and the router are for bare transformers as well."""
    scheduler = pipe.scheduler
    return {
        "plan": tuned_plan("dit", scheduler, transformer=pipe.transformer),
        "front": front_of(pipe.transformer, scheduler),
        "calibration": calibrated("dit", "magcache", STEPS).measured,
        "router": routed("dit", STEPS, scheduler).trained,
    }


@pytest.fixture
def drawn_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of its own, and a hub that nobody may ask."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    return tmp_path


@pytest.fixture
def here(drawn_here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, without the time that pictures take."""

    def draw_nothing(*_: Any) -> None:
        raise ImportError

    for kind in Pretrained.kinds.values():
        monkeypatch.setattr(kind, "_draw_saved", draw_nothing)
    return drawn_here


def head_of(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def steps_of(pipe: Any, *method: Any, **options: Any) -> str:
    """What a generation does under a method, as `toca.enable_cache` takes it."""
    with toca.cached(pipe, *method, **options):
        pipe(**pipeline_arguments("dit", STEPS))
        return toca.summary(pipe).steps


# --- folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SHARED)
def test_what_is_saved_comes_back(shared: dict[str, Any], drawn_here: Path, kind: str) -> None:
    made = shared[kind]
    assert made.save_pretrained("owner/mine") is None
    back = type(made).from_pretrained("owner/mine")
    assert back == made and type(made).from_pretrained(Path("owner/mine"), revision="v1") == made
    files = sorted(str(path.relative_to("owner/mine")) for path in Path("owner/mine").rglob("*") if path.is_file())
    place = {"plan": "plan", "calibration": "calibration/magcache", "router": "calibration/learned"}.get(
        kind, "calibration/tuned"
    )
    written = "yaml" if kind == "plan" else "json"
    assert files == sorted(["README.md", f"{place}.{written}", f"{place}.png"])
    head, text = head_of(Path("owner/mine")), Path("owner/mine/README.md").read_text()
    assert head["library_name"] == "toca" and {"toca", f"toca-{kind}", "dit"} <= set(head["tags"])
    assert f"]({place}.png)" in text and 'toca.enable_cache(pipe, "mine"' in text and str(drawn_here) not in text
    Image.open(f"owner/mine/{place}.png").verify()


def test_a_card_has_the_figures(shared: dict[str, Any], here: Path) -> None:
    """Held-out PSNR by speed-up, for people and for the hub; the model, where its name is one of the hub's."""
    front = replace(shared["front"], made_with={"model": "owner/model", "call": {"guidance_scale": 4.0}})
    front.save_pretrained("front")
    head, text = head_of(Path("front")), Path("front/README.md").read_text()
    assert head["base_model"] == "owner/model"
    assert 'DiffusionPipeline.from_pretrained("owner/model")' in text and "`guidance_scale=4.0`" in text
    measured = [metric for result in head["model-index"][0]["results"] for metric in result["metrics"]]
    assert [(metric["type"], metric["value"]) for metric in measured] == [("psnr", 60), ("psnr", 55), ("psnr", 45)]
    assert "1.60x" in measured[0]["name"]
    # The full run, what nothing beats, and fewer steps; not what another one beats.
    assert "| 1.60x | 60.0 dB [59.0, 61.0] | `FFrFrF` | 4 |" in text and "| 2.10x | 55.0 dB" in text
    assert "| 1.00x | identical |" in text and "2.05x" not in text
    assert "| 3 | 2.00x | 44.0 dB |" in text

    shared["plan"].save_pretrained("plan", base_model="owner/other")
    head, text = head_of(Path("plan")), Path("plan/README.md").read_text()
    assert head["base_model"] == "owner/other" and "52.1 dB [51.0, 53.2] on 8 others at 2.03x" in text
    shared["front"].save_pretrained("named-by-no-hub")
    assert "base_model" not in head_of(Path("named-by-no-hub"))


def test_a_table_has_few_rows_of_many_plans(shared: dict[str, Any], here: Path) -> None:
    front = shared["front"]
    slow = front.entries[0]
    entries = [replace(slow, speedup=1 + i / 100, psnr=90.0 - i, psnr_low=0.0, psnr_high=99.0) for i in range(60)]
    replace(front, entries=tuple(entries)).save_pretrained("many")
    rows = [line for line in Path("many/README.md").read_text().splitlines() if line.startswith("| 1.")]
    assert len(rows) == 12 and rows[0].startswith("| 1.00x | 90.0") and rows[-1].startswith("| 1.59x | 31.0")


def test_somebody_elses_readme_stays(shared: dict[str, Any], here: Path) -> None:
    """A front may lie in a pipeline's folder, where `speedup` finds it. A head without a text is no readme yet, and
    what was added to the head of a card of ours stays."""
    theirs = "---\nlibrary_name: diffusers\n---\nA model.\n"
    for folder, text in (
        ("model", theirs),
        ("odd", "--- no: [head\n---\nText."),
        ("new", "---\nlicense: mit\ntags: [owl]\n---\n"),
    ):
        Path(folder).mkdir()
        Path(folder, "README.md").write_text(text)
        shared["front"].save_pretrained(folder)
        assert (Path(folder, "README.md").read_text() == text) == (folder != "new")
    for _ in range(2):
        head = head_of(Path("new"))
        assert head["license"] == "mit" and "owl" in head["tags"] and head["library_name"] == "toca"
        shared["plan"].save_pretrained("new")
    assert head["model-index"][0]["results"][0]["metrics"][0]["value"] == 52.1
    assert Path("model/calibration/tuned.json").is_file()


def test_without_matplotlib_a_card_has_no_picture(
    shared: dict[str, Any], drawn_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    shared["front"].save_pretrained("plain")
    assert not list(Path("plain").rglob("*.png")) and "![" not in Path("plain/README.md").read_text()


def test_a_calibration_writes_only_into_its_folder(shared: dict[str, Any], here: Path) -> None:
    with pytest.raises(ValueError, match="`method` must be the name of a method"):
        replace(shared["calibration"], method="../../elsewhere").save_pretrained("mine")
    assert not list(here.rglob("*.json"))
    # One of a package that is not there has no picture.
    replace(shared["calibration"], method="of-another-package").save_pretrained("mine")
    assert Path("mine/calibration/of-another-package.json").is_file() and not list(here.rglob("*.png"))


# --- names ---------------------------------------------------------------------------------------------------------


def test_models_that_come_with_toca_are_known_by_name(here: Path) -> None:
    front = Front.from_pretrained("emoji")
    assert front.made_with["model"] == "emoji"
    plan = toca.Plan.from_pretrained("emoji", speedup=2)
    assert plan == front.plan(speedup=2) and plan.origin is not None
    assert toca.Calibration.from_pretrained("emoji", method="teacache").method == "teacache"
    assert toca.Router.from_pretrained("emoji-flux").model.family == "flux"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: toca.Plan.from_pretrained("emoji"), r"emoji holds no plan \(plan.yaml\), but .*tuned"),
        (lambda: toca.Calibration.from_pretrained("emoji"), "magcache, smoothcache, teacache: say which by `method`"),
        (lambda: toca.Calibration.from_pretrained("fashion"), "fashion holds no calibration .*, but tuned"),
        (lambda: toca.Router.from_pretrained("fashion"), "fashion holds no router"),
        (lambda: Front.from_pretrained("emjoi"), "There is no folder emjoi"),
        (lambda: Front.from_pretrained("./owner/name"), "There is no folder ./owner/name"),
        (lambda: Front.from_pretrained("/owner/name"), "There is no folder /owner/name"),
        (lambda: Front.from_pretrained("a/b/c"), "There is no folder a/b/c"),
        (lambda: Front.from_pretrained(Path("owner/name")), "There is no folder owner/name"),
        (lambda: Front.from_pretrained(""), "There is no folder"),
        (lambda: Front.from_pretrained("x\0/y"), "There is no folder"),
        (lambda: Front.from_pretrained("x" * 5000), "There is no folder"),
        (lambda: Front.from_pretrained("empty"), "empty holds no front .*, but neither a plan nor a file"),
        (lambda: Front.from_pretrained("file.json"), "file.json is a file, and a folder .*`load`"),
        (lambda: Front.from_pretrained("damaged"), "is not a valid front"),
        (lambda: toca.Plan.from_pretrained("emoji", speedup=99), "No plan is 99 times as fast"),
    ],
)
def test_what_leads_nowhere_is_refused_without_the_hub(here: Path, make: Any, why: str) -> None:
    Path("empty").mkdir()
    Path("file.json").write_text("{}")
    Path("damaged/calibration").mkdir(parents=True)
    Path("damaged/calibration/tuned.json").write_text('{"format": "toca-router"}')
    with pytest.raises(ValueError, match=why):
        make()


def test_a_name_that_is_a_models_and_a_folders_is_the_models(
    shared: dict[str, Any], here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("emoji").mkdir()
    Front.from_pretrained("emoji")
    assert not caplog.records
    shared["front"].save_pretrained("emoji")
    assert Front.from_pretrained("emoji") != shared["front"]
    assert "emoji is a model that comes with toca, which is meant, and a folder here: write ./emoji" in caplog.text
    assert Front.from_pretrained("./emoji") == Front.from_pretrained(Path("emoji")) == shared["front"]


# --- enable_cache --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SHARED)
def test_a_cache_by_a_folder(pipe: Any, shared: dict[str, Any], here: Path, kind: str) -> None:
    shared[kind].save_pretrained("owner/mine")
    if kind == "calibration":  # which knows no scheduler's timesteps, and is for bare transformers
        with toca.cached(pipe.transformer, "owner/mine") as transformer:
            assert "magcache, by the file of owner/mine" in str(toca.summary(transformer))
        return
    wanted = {
        "plan": lambda: steps_of(pipe, shared["plan"]),
        "front": lambda: steps_of(pipe, shared["front"].plan(speedup=2)),
        "router": lambda: steps_of(pipe, toca.LearnedRouter(router="owner/mine/calibration/learned.json")),
    }[kind]()
    assert steps_of(pipe, "owner/mine") == steps_of(pipe, Path("owner/mine")) == wanted


def test_a_speedup_by_a_folder(pipe: Any, shared: dict[str, Any], here: Path) -> None:
    for kind in SHARED:
        shared[kind].save_pretrained("all")
    assert steps_of(pipe, "all", speedup=3) == shared["front"].plan(speedup=3).steps
    with pytest.raises(ValueError, match="all holds several things.*toca.Plan.load.*LearnedRouter|'learned'"):
        toca.enable_cache(pipe, "all")
    with toca.cached(pipe, "all", speedup=3):
        assert "tuned for 3x, by the front of all" in str(toca.summary(pipe))
    shared["plan"].save_pretrained("only-a-plan")
    with pytest.raises(ValueError, match="A plan is as fast as it is: 'only-a-plan' goes without a `speedup`"):
        toca.enable_cache(pipe, "only-a-plan", speedup=2)


def test_what_was_made_for_another_is_refused(pipe: Any, shared: dict[str, Any], here: Path) -> None:
    """With the reasons that a file of one's own is refused with."""
    others = TINY_PIPELINES["dit"]()
    others.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, beta_end=0.5)
    for kind in ("plan", "front", "router"):
        shared[kind].save_pretrained(kind)
        with pytest.raises(ValueError, match="(The plan is for a dit model|(made|trained) for a dit model)"):
            toca.enable_cache(TINY["pixart"](), kind, num_inference_steps=STEPS)
        if kind != "router":
            with pytest.raises(ValueError, match="made with .*`beta_end`"):
                toca.enable_cache(others, kind)
    with pytest.raises(ValueError, match="is for magcache, and not for teacache|is not a valid"):
        data = json.loads(Path(str(calibrated("dit", "magcache", STEPS).calibration)).read_text())
        Path("wrong/calibration").mkdir(parents=True)
        Path("wrong/calibration/teacache.json").write_text(json.dumps(data))
        toca.enable_cache(pipe.transformer, "wrong")


def test_a_preset_wins_over_a_folder(
    pipe: Any, shared: dict[str, Any], here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    Path("fora").mkdir()
    shared["plan"].save_pretrained("fora/dit")
    assert steps_of(pipe, "fora") == toca.FORA().plan(pipe.transformer, STEPS).steps
    assert not caplog.records
    assert steps_of(pipe, "fora/dit") == toca.preset("fora/dit").plan(pipe.transformer, STEPS).steps
    Path("toca").write_text("a file is in nobody's way")
    assert steps_of(pipe, "toca") == steps_of(pipe)
    assert "fora/dit is a preset, which is meant, and a folder here: write ./fora/dit" in caplog.text
    assert steps_of(pipe, "./fora/dit") == shared["plan"].steps


@pytest.mark.parametrize("name", ["forra", "fora/ditt", "toca/nobody", "./nothing", "a/b/c", "", "~/x"])
def test_a_name_that_means_nothing_is_no_reason_to_ask_the_hub(pipe: Any, here: Path, name: str) -> None:
    """Nor is a misspelt preset."""
    with pytest.raises(ValueError, match="There is no method, preset or folder '"):
        toca.enable_cache(pipe, name)
    with pytest.raises(ValueError, match="There is no folder"):
        toca.enable_cache(pipe, Path(name or "none"))


def test_an_embedded_models_name_holds_several_things(pipe: Any, here: Path) -> None:
    with pytest.raises(ValueError, match="emoji holds several things.*teacache.*calibration="):
        toca.enable_cache(pipe, "emoji")
    with pytest.raises(ValueError, match="made for a pixart"):
        toca.enable_cache(pipe, "emoji", speedup=2)
