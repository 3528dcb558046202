"""`toca calibrate`, and the calibrations that come with the embedded model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from diffusers import HeunDiscreteScheduler
from PIL import Image
from typer.testing import CliRunner

import toca
from tests.helpers import tiny_dit, tiny_pixart, tiny_pixart_pipeline
from toca.calibration.file import Calibration
from toca.methods.composed import CacheMethod
from toca.methods.magcache import MagCache
from toca.methods.presets import presets
from toca.methods.smoothcache import SmoothCache
from toca.methods.teacache import TeaCache
from toca.pipelines import calibration, loading
from toca.pipelines.calibration import calibrate, own_prompts, read_prompts, with_calibration
from toca.pipelines.cli import app
from toca.pipelines.config import GenerationConfig
from toca.pipelines.loading import load
from toca.pipelines.metadata import read_recipe
from toca.pipelines.method_options import find_method, from_record, method_name, recorded
from toca.pipelines.registry import EMBEDDED, find_model
from toca.pipelines.skeleton import load_skeleton

SHIPPED = ("smoothcache", "magcache", "teacache")
NAMES = (*SHIPPED, "scalingcache")
STEPS = 7
SMALL = ["--height", "64", "--width", "64", "--steps", str(STEPS)]
every_method = pytest.mark.parametrize("name", NAMES)
shipped_method = pytest.mark.parametrize("name", SHIPPED)


pytestmark = pytest.mark.usefixtures("quiet_libraries")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `toca` with these arguments in an empty directory: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "_best_device", lambda: "cpu")

    def run_toca(*arguments: object) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run_toca


@pytest.fixture
def calibrated(run, folders):
    """`toca calibrate` of a tiny pipeline."""

    def run_calibrate(name: str, *more: object, family: str = "pixart") -> tuple[int, str, str]:
        return run("calibrate", "--method", name, "--model", folders[family], "--prompt", "a red owl", *SMALL, *more)

    return run_calibrate


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*") if path.is_file()}


# --- the command ---------------------------------------------------------------------------------------------------


@every_method
def test_a_file_its_preview_and_its_use(run, calibrated, folders, name):
    code, stdout, stderr = calibrated(name, "--prompt", "a green cat", "--seed", 5)
    assert code == 0, stderr
    assert files() == {f"{name}-pixart.json"}
    made = Calibration.load(f"{name}-pixart.json")
    assert (made.method, made.num_inference_steps, len(made.timesteps)) == (name, STEPS, STEPS)
    assert made.scheduler.name == "DPMSolverMultistepScheduler"
    assert made.made_with == {
        "model": folders["pixart"], "prompts": ["a red owl", "a green cat"], "guidance_scale": None, "height": 64,
        "width": 64, "seed": 5,
    }  # fmt: skip
    method = type(find_method(name))(calibration=f"{name}-pixart.json")
    assert f"{STEPS} steps: {method.expected_plan(load(folders['pixart'], device='cpu').transformer).steps}" in stdout
    assert "FLOPs" in stdout and f"Saved {name}-pixart.json" in stdout

    # The last line, word for word but for the size: that is what it was calibrated at.
    line = stdout.strip().splitlines()[-1].removeprefix("Use it: toca ")
    assert line.startswith("generate 'a red owl' --model ")
    given = ["generate", "a red owl", *line.removeprefix("generate 'a red owl' ").split()]
    code, _, stderr = run(*given, "--height", 64, "--width", 64, "--output", "owl.png")
    assert code == 0, stderr
    assert read_recipe("owl.png").method == method
    assert read_recipe("owl.png").config.num_inference_steps == STEPS


@every_method
def test_the_picture(calibrated, name):
    code, stdout, stderr = calibrated(name, "--draw", "pictures/c.png", "--output", "files/c.json")
    assert code == 0, stderr
    assert files() == {"pictures/c.png", "files/c.json"} and "Saved pictures/c.png" in stdout
    with Image.open("pictures/c.png") as image:
        assert min(image.size) > 300


def test_a_class_conditional_model_takes_classes(calibrated):
    code, _, stderr = calibrated("magcache", "--prompt", "207", family="dit")
    assert code != 0 and "red owl" in stderr and files() == set()


def test_classes_by_name_and_number(run, folders):
    given = ["--model", folders["dit"], "--prompt", "207", "--prompt", "golden retriever", "--steps", STEPS]
    code, _, stderr = run("calibrate", "--method", "magcache", *given)
    assert code == 0, stderr
    first, second = Calibration.load("magcache-dit.json").made_with["prompts"]
    assert (first, second) == ("207", "golden retriever")


def test_fields_say_what_to_measure(calibrated):
    assert calibrated("smoothcache", "--set", "max_lag=5")[0] == 0
    curves = Calibration.load("smoothcache-pixart.json").curves
    assert {len(row) for curve in curves.values() for row in curve} == {5}
    assert SmoothCache("smoothcache-pixart.json", max_lag=5).max_lag == 5


def test_prompts_from_a_file(run, folders):
    Path("prompts.txt").write_text("a red owl\n\n  a green cat \n")
    code, _, stderr = run("calibrate", "--method", "magcache", "--model", folders["pixart"], "--prompts",
                          "prompts.txt", "--prompt", "a dog", *SMALL)  # fmt: skip
    assert code == 0, stderr
    assert Calibration.load("magcache-pixart.json").made_with["prompts"] == ["a red owl", "a green cat", "a dog"]


MISTAKES = [
    (["--method", "fora", "--prompt", "x"], "fora needs no calibration; methods that do are"),
    (["--method", "nothing", "--prompt", "x"], "Unknown method 'nothing'"),
    (["--method", "magcache"], "What should .* draw\\? Name prompts"),
    (["--method", "magcache", "--prompts", "gone.txt"], "There is no file gone.txt"),
    (["--method", "magcache", "--prompts", "empty.txt"], "empty.txt holds no prompt"),
    (["--method", "magcache", "--prompts", "binary.txt"], "binary.txt is no text file"),
    (["--method", "magcache", "--prompt", "x", "--output", "c.yaml"], "saved as .json, got 'c.yaml'"),
    (["--method", "magcache", "--prompt", "x", "--output", "empty.txt/c.json"], "empty.txt could not be made"),
    (["--method", "magcache", "--prompt", "x", "--draw", "empty.txt/c.png"], "empty.txt could not be made"),
    (["--method", "magcache", "--prompt", "x", "--set", "threshold=-1"], "`threshold` must be non-negative"),
    (["--method", "teacache", "--prompt", "x", *SMALL[:4], "--steps", "4"], "takes 6 steps or more, got 4"),
    (["--method", "magcache", "--prompt", "x", "--height", "65"], "height must be a multiple"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[message[:24] for _, message in MISTAKES])
def test_a_mistake_is_one_sentence_and_leaves_no_file(run, folders, arguments, message):
    Path("empty.txt").write_text("\n")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00")
    code, _, stderr = run("calibrate", "--model", folders["pixart"], *arguments)
    assert code != 0 and stderr.startswith("Error: ") and stderr.count("\n") == 1, stderr
    with pytest.raises(ValueError, match=message):
        raise ValueError(stderr)
    assert files() == {"empty.txt", "binary.txt"}


def test_a_run_that_is_stopped_leaves_no_file_and_no_hook(calibrated, monkeypatch):
    pipes = []
    real = calibration.generate

    def stopped(pipe, config, *more):
        pipes.append(pipe)
        if len(pipes) == 2:
            raise KeyboardInterrupt
        return real(pipe, config, *more)

    monkeypatch.setattr(calibration, "generate", stopped)
    code, _, _ = calibrated("smoothcache", "--prompt", "a green cat")
    assert code == 130 and len(pipes) == 2 and files() == set()
    assert not any(module._forward_hooks for module in pipes[0].transformer.modules())


def test_a_sampler_that_calls_twice_a_step_is_refused():
    pipe = tiny_pixart_pipeline()
    pipe.scheduler = HeunDiscreteScheduler()
    config = GenerationConfig(num_inference_steps=4, height=64, width=64)
    with pytest.raises(ValueError, match="HeunDiscreteScheduler calls the model 7 times in 4 steps"):
        calibrate(pipe, MagCache(), config, ["a red owl"], "tiny")


def test_prompts_of_the_model_itself():
    prompts = own_prompts("emoji")
    assert len(prompts) == len(set(prompts)) == 16
    assert set(prompts) <= set(json.loads((EMBEDDED / "prompts.json").read_text()))
    assert [len(read_prompts(Path(__file__)))] != [0]


# --- beside a model's weights --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A pipeline's folder with a calibration for one method."""
    pipe = tiny_pixart_pipeline()
    pipe.save_pretrained(tmp_path / "model")
    config = GenerationConfig(num_inference_steps=STEPS, height=64, width=64)
    made = calibrate(pipe, MagCache(), config, ["a red owl"], "tiny")
    made.save(tmp_path / "model" / "calibration" / "magcache.json")
    return tmp_path / "model"


def test_a_method_takes_the_calibration_of_the_model(folder):
    path = str(folder / "calibration" / "magcache.json")
    assert with_calibration(MagCache(threshold=0.5), str(folder)) == MagCache(path, threshold=0.5)
    for method in (SmoothCache(), TeaCache(), toca.FORA(), MagCache(str(EMBEDDED / "calibration" / "magcache.json"))):
        assert with_calibration(method, str(folder)) is method
    assert with_calibration(MagCache(), "nobody/nothing") == MagCache()
    combined = with_calibration(CacheMethod(when=MagCache(), which="toca/pixart"), str(folder))
    assert combined.when == MagCache(path) and combined.which == toca.preset("toca/pixart")
    plan = toca.FORA().plan(tiny_pixart(), 4)
    assert with_calibration(plan, str(folder)) is plan


def test_and_so_does_the_command_line(run, folder):
    code, stdout, stderr = run("plan", "--method", "magcache", "--model", folder)
    assert code == 0, stderr
    assert f"{STEPS} steps: F" in stdout
    code, _, stderr = run("generate", "a red owl", "--method", "magcache", "--model", folder, "--height", 64,
                          "--width", 64, "--output", "owl.png")  # fmt: skip
    assert code == 0, stderr
    assert read_recipe("owl.png").config.num_inference_steps == STEPS
    code, _, stderr = run("plan", "--method", "smoothcache", "--model", folder)
    assert code == 1 and "smoothcache needs a calibration" in stderr


# --- the embedded model --------------------------------------------------------------------------------------------


@shipped_method
def test_the_embedded_model_has_a_calibration_at_its_own_steps(name):
    transformer = load_skeleton("emoji").transformer
    method, entry = presets()[f"{name}/emoji"], find_model("emoji")
    plan = method.expected_plan(transformer)
    assert plan.num_inference_steps == entry.steps and 1.3 < plan.cost().flops_speedup < 3
    assert method.measured.made_with["guidance_scale"] == entry.guidance_scale
    assert method.measured.made_with["prompts"] == own_prompts("emoji")
    config = json.loads((EMBEDDED / "scheduler" / "scheduler_config.json").read_text())
    mark = method.measured.scheduler
    assert mark.name == config["_class_name"]
    assert all(
        mark.config[key] == value for key, value in config.items() if key in mark.config and value != -float("inf")
    )
    with pytest.raises(ValueError, match="was made for"):
        method.plan(tiny_dit(), entry.steps)


def test_the_embedded_calibrations_are_of_the_embedded_weights():
    """Three prompts: their curve is near the mean of the others'. That of the model before was 0.35 away."""
    pipe = load("emoji", device="cpu")
    config = GenerationConfig(num_inference_steps=20, guidance_scale=4.0)
    prompts = ["a red apple", "an owl, noto style", "a rocket"]
    got = calibrate(pipe, MagCache(), config, prompts, "emoji").curves["ratio"]
    kept = presets()["magcache/emoji"].measured.curves["ratio"]
    assert max(abs(a - b) for a, b in zip(got, kept, strict=True)) < 0.05


@shipped_method
def test_a_preset_of_the_embedded_model_is_a_preset(name):
    preset = find_method(f"{name}/emoji")
    assert method_name(preset) == f"{name}/emoji"
    assert toca.presets()[f"{name}/emoji"] == preset
    assert method_name(replace(preset, calibration=None)) == name


@shipped_method
def test_a_picture_does_not_say_where_the_package_lies(name):
    method = CacheMethod(when=find_method(f"{name}/emoji"), which="toca/pixart")
    data = json.loads(json.dumps(recorded(method)))
    assert str(EMBEDDED.parent) not in json.dumps(data)
    assert "toca.pipelines:emoji/calibration" in json.dumps(data)
    assert from_record(data) == method
    own = MagCache(str(EMBEDDED / "calibration" / "magcache.json"))
    assert from_record(recorded(own)) == own


def test_generate_with_a_preset_of_the_embedded_model_again_and_again(run):
    code, stdout, stderr = run("generate", "a red apple", "--method", "smoothcache", "--output", "a.png")
    assert code == 0, stderr
    assert "smoothcache, 20 steps" in stdout
    code, _, stderr = run("generate", "--from", "a.png", "--output", "b.png")
    assert code == 0, stderr
    with Image.open("a.png") as first, Image.open("b.png") as second:
        assert first.tobytes() == second.tobytes()
    code, _, stderr = run("generate", "a red apple", "--method", "smoothcache/emoji", "--steps", 10)
    assert code == 1 and "made for 20 steps, and not for 10" in stderr
