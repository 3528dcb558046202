"""The command line from end to end, on tiny random pipelines."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from diffusers import DDPMPipeline, DDPMScheduler, PriorTransformer, UNet2DModel
from PIL import Image
from typer.testing import CliRunner

import toca
from tests.helpers import tiny_pixart
from tests.pipelines.folders import save_tiny
from toca.pipelines import generate as generation
from toca.pipelines import loading
from toca.pipelines.cli import app
from toca.pipelines.metadata import png_info, read_recipe
from toca.pipelines.registry import EMBEDDED, models

pytestmark = pytest.mark.usefixtures("quiet_libraries")
SMALL = ["--height", "64", "--width", "64", "--steps", "6"]


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    return {family: str(save_tiny(family, root / family)) for family in ("dit", "pixart", "flux", "latte")}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `toca` with these arguments in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "_best_device", lambda: "cpu")

    def run_toca(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run_toca


@pytest.fixture
def owl(run, folders):
    """`toca generate` of a small owl."""
    return lambda *more: run("generate", "a red owl", "--model", folders["pixart"], *SMALL, *more)


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def files(folder: Path = Path(".")) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_one_sentence(outcome: Outcome, *words: str) -> None:
    assert outcome.code != 0
    assert outcome.stderr.startswith("Error: ")
    assert outcome.stderr.count("\n") == 1
    for word in words:
        assert word in outcome.stderr, outcome.stderr


# --- generate ------------------------------------------------------------------------------------------------------


def test_a_picture_with_its_steps_its_speed_up_and_its_path(owl):
    outcome = owl()
    assert outcome.code == 0, outcome.stderr
    assert toca.preset("toca/pixart").plan(tiny_pixart(), 6).steps in outcome.stdout
    assert "FLOPs" in outcome.stdout
    assert "Saved outputs/a-red-owl.png" in outcome.stdout
    assert pixels("outputs/a-red-owl.png").shape == (64, 64, 3)


def test_a_second_run_overwrites_nothing(owl):
    owl()
    owl("--seed", 1)
    assert files(Path("outputs")) == {"a-red-owl.png", "a-red-owl-2.png"}


def test_compare_shows_both_side_by_side(owl):
    outcome = owl("--compare", "--num-images", 2, "--batch-size", 2, "--output", "out/owl.png")
    assert outcome.code == 0, outcome.stderr
    assert files(Path("out")) == {
        "owl-0.png", "owl-1.png", "owl-0-baseline.png", "owl-1-baseline.png", "owl-compare.png"
    }  # fmt: skip
    assert "x as fast" in outcome.stdout
    assert "PSNR" in outcome.stdout
    assert pixels("out/owl-compare.png").shape[1] > 800
    assert not np.array_equal(pixels("out/owl-0.png"), pixels("out/owl-0-baseline.png"))


def test_every_kind_of_method(owl, run, folders):
    run("plan", "--model", folders["pixart"], "--steps", 6, "--save", "plan.yaml")
    baseline = owl("--method", "none", "--output", "none.png")
    assert "FFFFFF" in baseline.stdout
    owl("--output", "preset.png")
    for option, name in (("--method", "plan.yaml"), ("--plan", "plan.yaml")):
        assert owl(option, name, "--output", "plan.png").code == 0
        assert np.array_equal(pixels("plan.png"), pixels("preset.png"))
    for method, options in (
        (toca.FORA(interval=2), ["fora", "--set", "interval=2"]),
        (toca.RandomTokens(), ["random"]),
    ):
        assert f" {method.plan(tiny_pixart(), 6).steps}\n" in owl("--method", *options).stdout


def test_settings_change_the_models_own_preset(owl):
    outcome = owl("--set", "interval=1")
    assert "FFFFFF" in outcome.stdout


def test_a_plan_brings_its_number_of_steps(run, folders):
    run("plan", "--model", folders["pixart"], "--steps", 4, "--save", "plan.json")
    outcome = run(
        "generate", "a red owl", "--model", folders["pixart"], "--height", 64, "--width", 64, "--plan", "plan.json"
    )
    assert outcome.code == 0, outcome.stderr
    assert read_recipe("outputs/a-red-owl.png").config.num_inference_steps == 4


def test_an_image_does_not_depend_on_the_batch_size(owl):
    owl("--num-images", 3, "--batch-size", 3, "--output", "a/owl.png")
    owl("--num-images", 3, "--output", "b/owl.png")
    owl("--seed", 2, "--output", "c/owl.png")
    for one, other in (("a/owl-1.png", "b/owl-1.png"), ("a/owl-2.png", "c/owl.png")):
        assert np.abs(pixels(one).astype(int) - pixels(other)).max() <= 1


@pytest.mark.parametrize("words", ["--class-label 207", "--class-label goldfish", "goldfish"])
def test_classes(run, folders, words):
    outcome = run("generate", *words.split(), "--model", folders["dit"], "--steps", 4)
    assert outcome.code == 0, outcome.stderr
    assert len(files(Path("outputs"))) == 1


def test_flux(run, folders):
    outcome = run("generate", "a red owl", "--model", folders["flux"], "--steps", 4, "--height", 32, "--width", 32)
    assert outcome.code == 0, outcome.stderr
    assert "FFFt" in outcome.stdout


def test_a_video_becomes_mp4_gif_and_a_still_that_makes_it_again(run, folders):
    size = ["--height", 32, "--width", 32, "--num-frames", 4]
    outcome = run("generate", "a red owl", "--model", folders["latte"], "--steps", 5, *size, "--compare")
    assert outcome.code == 0, outcome.stderr
    assert "Saved outputs/a-red-owl.mp4" in outcome.stdout
    for name in ("a-red-owl", "a-red-owl-compare"):
        assert len(iio.imread(f"outputs/{name}.mp4")) == len(iio.imread(f"outputs/{name}.gif")) == 4
    assert run("generate", "--from", "outputs/a-red-owl.png", "--yes", "--output", "again.png").code == 0
    assert np.array_equal(iio.imread("again.gif"), iio.imread("outputs/a-red-owl.gif"))


def test_words_the_model_does_not_know_are_named(run, folders, tmp_path):
    shutil.copytree(folders["pixart"], tmp_path / "model")
    (tmp_path / "model" / "prompts.json").write_text('["red owl", "blue cat"]')
    outcome = run("generate", "a red owll", "--model", "./model", *SMALL)
    assert outcome.code == 0
    assert "does not know owll" in outcome.stderr
    assert "red owl" in outcome.stderr
    assert run("generate", "a red owl", "--model", "./model", *SMALL).stderr == ""


@pytest.mark.skipif(not (EMBEDDED / "model_index.json").exists(), reason="the embedded model is not trained yet")
def test_the_embedded_model_works_at_once(run):
    outcome = run("generate", "a red apple", "--compare")
    assert outcome.code == 0, outcome.stderr
    assert pixels("outputs/a-red-apple.png").shape == (64, 64, 3)
    assert {"a-red-apple-baseline.png", "a-red-apple-compare.png"} <= files(Path("outputs"))


def test_every_picture_is_saved_when_it_is_made(owl, monkeypatch):
    made = generation.run_batch

    def stopped(pipe, config, batch):
        if batch.start >= 4:
            raise KeyboardInterrupt
        return made(pipe, config, batch)

    monkeypatch.setattr(generation, "run_batch", stopped)
    outcome = owl("--num-images", 6, "--batch-size", 2)
    assert outcome.code == 130
    assert files(Path("outputs")) == {f"a-red-owl-{i}.png" for i in range(4)}
    assert read_recipe("outputs/a-red-owl-3.png").config.first_index == 2


def test_where_files_cannot_go_nothing_is_loaded(owl, monkeypatch):
    Path("file").touch()
    monkeypatch.setattr(loading.DiffusionPipeline, "from_pretrained", None)
    for output in ("file", "file/owl.png", "owl.jpg"):
        assert_one_sentence(owl("--output", output), output.split("/")[0])


# --- lists of prompts ----------------------------------------------------------------------------------------------


def test_a_list_makes_each_prompt_as_if_it_were_asked_for_alone(run, owl, folders):
    Path("list.txt").write_text("a blue cat\n\na red owl\na red owl\n")
    made = run("generate", "--prompts-file", "list.txt", "--model", folders["pixart"], *SMALL, "--seed", 3)
    assert made.code == 0, made.stderr
    assert files(Path("outputs")) == {"a-blue-cat.png", "a-red-owl.png", "a-red-owl-2.png"}
    owl("--seed", 3, "--output", "alone.png")
    for name in ("a-red-owl", "a-red-owl-2"):
        assert np.array_equal(pixels(f"outputs/{name}.png"), pixels("alone.png"))
    assert made.stdout.count("FLOPs") == 1
    refused = run("generate", "--prompts-file", "list.txt", "--model", folders["pixart"], "--output", "one.png")
    assert_one_sentence(refused, "a picture for each prompt")
    assert_one_sentence(run("generate", "an owl", "--prompts-file", "list.txt"), "no two of them")
    assert_one_sentence(run("generate", "--prompts-file", "toca-2000"), "no file toca-2000")


def test_a_class_that_there_is_not_ends_a_list_before_its_first_picture(run, folders):
    Path("list.txt").write_text("goldfish\nGoldfishes\ngoldfsh\n")
    asked = ("generate", "--prompts-file", "list.txt", "--model", folders["dit"], "--steps", 4)
    assert_one_sentence(run(*asked), "no class 'goldfsh'", "goldfish")
    assert files() == {"list.txt"}


# --- --from --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [[], ["--method", "random"], ["--method", "fora", "--set", "interval=2"]])
def test_from_makes_the_very_same_images(run, owl, method):
    owl("--num-images", 3, "--batch-size", 2, "--seed", 5, "--compare", "--output", "owl.png", *method)
    for name in ("owl-0", "owl-1", "owl-2", "owl-1-baseline"):
        assert run("generate", "--from", f"{name}.png", "--yes", "--output", f"again/{name}.png").code == 0
        assert np.array_equal(pixels(f"again/{name}.png"), pixels(f"{name}.png"))


def test_from_works_with_a_plan_whose_file_is_gone(run, owl, folders):
    run("plan", "--model", folders["pixart"], "--steps", 6, "--method", "fora", "--save", "plan.yaml")
    owl("--plan", "plan.yaml", "--output", "owl.png")
    Path("plan.yaml").unlink()
    assert run("generate", "--from", "owl.png", "--yes", "--output", "again.png").code == 0
    assert np.array_equal(pixels("again.png"), pixels("owl.png"))


def test_options_beside_from_override(run, owl):
    owl("--num-images", 2, "--output", "owl.png")
    owl("--seed", 9, "--output", "nine.png")
    owl("--method", "none", "--output", "none.png")
    run("generate", "--from", "owl-1.png", "--yes", "--seed", 9, "--output", "seed.png")
    run("generate", "--from", "owl-0.png", "--yes", "--method", "none", "--output", "method.png")
    run("generate", "--from", "owl-1.png", "--yes", "--num-images", 2, "--output", "more.png")
    run("generate", "a blue cat", "--from", "owl-0.png", "--yes", "--output", "cat.png")
    assert np.array_equal(pixels("seed.png"), pixels("nine.png"))
    assert np.array_equal(pixels("method.png"), pixels("none.png"))
    assert np.array_equal(pixels("more-1.png"), pixels("owl-1.png"))
    assert not np.array_equal(pixels("cat.png"), pixels("owl-0.png"))
    assert read_recipe("more-2.png").index == 2


def test_a_model_that_only_the_picture_names_is_asked_for(run, owl, folders, monkeypatch):
    owl("--output", "owl.png")
    asked = "asks for the model '" + folders["pixart"] + "', which you did not name"
    assert_one_sentence(run("generate", "--from", "owl.png"), asked, "--yes", "--model")
    assert files() == {"owl.png"}
    assert run("generate", "--from", "owl.png", "--model", folders["pixart"], "--output", "named.png").stderr == ""
    agreed = run("generate", "--from", "owl.png", "--yes", "--output", "yes.png")
    assert agreed.code == 0 and asked in agreed.stderr
    monkeypatch.setattr("toca.pipelines.running.consent.is_terminal", lambda: True)
    refused = CliRunner().invoke(app, ["generate", "--from", "owl.png", "--output", "no.png"], input="n\n")
    assert refused.exit_code == 1 and "Go on?" in refused.stderr and "Nothing was made" in refused.stderr
    assert files() == {"owl.png", "named.png", "yes.png"}


def test_a_file_that_only_the_picture_names_is_not_read_unasked(run, owl, folders):
    shutil.copy(EMBEDDED / "calibration" / "teacache.json", "mine.json")
    recipe = replace(read_recipe(owl_png(owl)), method=toca.TeaCache(calibration="mine.json"))
    Image.new("RGB", (4, 4)).save("trap.png", pnginfo=png_info(recipe, (4, 4)))
    Path("mine.json").unlink()
    there = ["generate", "--from", "trap.png", "--model", folders["pixart"], "--output", "made.png"]
    assert_one_sentence(run(*there), "asks for the file 'mine.json', which you did not name")
    assert run(*there, "--method", "none").code == 0
    agreed = run(*there, "--yes")
    assert agreed.code == 1 and "'mine.json' cannot be read" in agreed.stderr.splitlines()[-1]


def owl_png(owl) -> str:
    owl("--output", "owl.png")
    return "owl.png"


# --- the other commands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["dit", "pixart", "flux", "latte"])
def test_plan_predicts_without_weights(run, folders, tmp_path, family):
    shutil.copytree(folders[family], tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    outcome = run("plan", "--model", "./bare", "--steps", 12, "--save", "p.yaml", "--draw", "p.png")
    assert outcome.code == 0, outcome.stderr
    assert toca.Plan.load("p.yaml").steps in outcome.stdout
    assert "GFLOPs" in outcome.stdout and "cache" in outcome.stdout
    assert pixels("p.png").size > 0


def test_plan_predicts_what_generate_measures(run, folders, owl):
    predicted = run("plan", "--model", folders["pixart"], *SMALL).stdout
    measured = owl().stdout
    speedup = measured.split("G: ")[1].split("x")[0]
    assert f"({speedup}x)" in predicted


def test_plan_says_what_a_narrower_cache_takes(run, folders):
    asked = ("plan", "--model", folders["pixart"], "--dtype", "float32", "--method", "fora")
    sizes = {
        name: float(run(*asked, *option).stdout.split(" MiB of cache")[0].rsplit(" ")[-1])
        for name, option in {"": (), "bf16": ("--cache-dtype", "bf16"), "fp8": ("--cache-dtype", "fp8")}.items()
    }
    assert sizes["bf16"] == pytest.approx(sizes[""] / 2, abs=0.01) and sizes["fp8"] < sizes["bf16"]
    assert "MiB of cache in fp8" in run(*asked, "--max-cache-bytes", int(sizes["fp8"] * 2**20) + 10_000).stdout
    assert "MiB of cache in float32" in run(*asked, "--max-cache-bytes", 2**30).stdout
    assert_one_sentence(run(*asked, "--cache-dtype", "int4"), "`cache_dtype` must be 'bf16'")
    refused = run(*asked, "--max-cache-bytes", 10)
    assert refused.code == 1 and "more than `max_cache_bytes`, 10 bytes" in " ".join(refused.stderr.split())


def test_a_picture_of_a_narrower_cache_is_made_again_with_it(run, owl):
    made = owl("--cache-dtype", "fp8", "--output", "narrow.png")
    assert " MiB, in fp8\n" in made.stdout, made.stderr
    assert " MiB\n" in owl("--output", "wide.png").stdout
    again = run("generate", "--from", "narrow.png", "--yes", "--output", "again.png")
    assert " MiB, in fp8\n" in again.stdout, again.stderr
    assert np.array_equal(pixels("again.png"), pixels("narrow.png"))
    assert not np.array_equal(pixels("wide.png"), pixels("narrow.png"))
    assert_one_sentence(owl("--cache-dtype", "fp4"), "`cache_dtype` must be 'bf16'")


def test_a_picture_of_a_cache_with_a_limit_is_made_again_without_one(run, owl):
    kept = float(owl("--output", "wide.png").stdout.split("  cache   ")[1].split(" MiB")[0]) * 2**20
    made = owl("--max-cache-bytes", int(0.6 * kept), "--output", "limited.png")
    assert " MiB, in bf16\n" in made.stdout, made.stderr
    again = run("generate", "--from", "limited.png", "--yes", "--output", "again.png")
    assert " MiB, in bf16\n" in again.stdout, again.stderr
    assert np.array_equal(pixels("again.png"), pixels("limited.png"))
    refused = owl("--max-cache-bytes", 10)
    assert refused.code == 1 and "more than `max_cache_bytes`, 10 bytes" in " ".join(refused.stderr.split())


def test_a_cache_in_the_machines_memory(run, folders, owl):
    """The plan says where it lies, and the picture is the same one."""
    planned = run("plan", "--model", folders["pixart"], "--method", "fora", "--cache-device", "cpu").stdout
    assert " MiB in RAM, at most " in planned and " copied in a generation" in planned
    made = owl("--cache-device", "cpu", "--output", "ram.png")
    assert " MiB in RAM, at most " in made.stdout, made.stderr
    owl("--output", "device.png")
    assert np.array_equal(pixels("ram.png"), pixels("device.png"))
    assert_one_sentence(owl("--cache-device", "disk"), "`cache_device` must be 'cpu'")


def test_plan_takes_sizes_in_pixels(run, folders):
    small, large = (
        run("plan", "--model", folders["pixart"], "--height", size, "--width", size).stdout for size in (64, 256)
    )
    assert small != large
    assert_one_sentence(run("plan", "--model", folders["pixart"], "--height", 60), "60")
    assert_one_sentence(run("plan", "--model", folders["pixart"], "--num-frames", 4), "does not take --num-frames")
    assert_one_sentence(run("plan", "--model", folders["dit"], "--height", 32), "does not take --height")


def test_the_lists(run):
    listed = run("methods").stdout
    assert all(name in listed for name in [*toca.methods(), *toca.presets()])
    listed = run("models").stdout
    assert all(name in listed for name in models())
    assert toca.__version__ in run("env").stdout


def test_help_and_no_command(run):
    assert "generate" in run("--help").stdout
    nothing = run()
    assert nothing.code != 0
    assert "generate" in nothing.stdout + nothing.stderr


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate"], ["--class-label", "--from"]),
        (["generate", "  "], ["Give a prompt"]),
        (["generate", "owl", "--bogus"], ["--bogus"]),
        (["generate", "owl", "cat"], ["cat"]),
        (["generate", "owl", "--steps", "0"], ["--steps"]),
        (["generate", "owl", "--steps", "many"], ["--steps", "integer"]),
        (["generate", "owl", "--seed", "-1"], ["--seed"]),
        (["generate", "owl", "--dtype", "int8"], ["int8", "bfloat16"]),
        (["generate", "owl", "--device", "warp"], ["warp", "toca env"]),
        (["paint"], ["paint"]),
        (["generate", "owl", "--model", "emojy"], ["emojy': did you mean emoji", "`toca models` lists all names"]),
        (["generate", "owl", "--model", "./gone"], ["no folder ./gone"]),
        (["generate", "owl", "--model", "."], ["model_index.json"]),
        (["plan", "--model", "./gone"], ["no folder ./gone"]),
        (["generate", "owl", "--method", "tocca"], ["'tocca': did you mean toca", "`toca methods`"]),
        (["generate", "owl", "--method", "toca/pixar"], ["toca/pixar", "toca/pixart"]),
        (["generate", "owl", "--plan", "gone.yaml"], ["no plan file gone.yaml"]),
        (["generate", "owl", "--plan", "gone.yaml", "--method", "fora"], ["not both"]),
        (["generate", "owl", "--method", "fora", "--set", "speed=9"], ["speed", "interval"]),
        (["generate", "owl", "--method", "fora", "--set", "interval=x"], ["interval", "'x'"]),
        (["generate", "owl", "--method", "fora", "--set", "interval=0"], ["interval", "0"]),
        (["generate", "--from", "gone.png"], ["no file gone.png"]),
    ],
)
def test_a_mistake_is_one_sentence(run, arguments, words):
    assert_one_sentence(run(*arguments), *words)
    assert files() == set()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--height", "100"], ["height", "32", "100"]),
        (["--num-frames", "4"], ["--num-frames"]),
        (["--class-label", "1"], ["class label"]),
        (["--output", "owl.jpg"], [".png"]),
        (["--method", "fora", "--plan", "p.yaml"], ["not both"]),
    ],
)
def test_what_a_model_cannot_do_is_one_sentence(run, folders, arguments, words):
    assert_one_sentence(run("generate", "a red owl", "--model", folders["pixart"], *arguments), *words)
    assert files() == set()


def test_a_class_of_a_model_of_prompts_is_refused_and_not_advised_on(run):
    assert_one_sentence(run("generate", "--class-label", "1", "--steps", 2), "takes a prompt, not a class label")


def test_a_class_model_of_one_size(run, folders):
    assert_one_sentence(run("generate", "1", "--model", folders["dit"], "--height", 32), "does not take --height")
    assert_one_sentence(run("generate", "goldfsh", "--model", folders["dit"]), "goldfsh", "goldfish")


@pytest.mark.parametrize("text", ["not a plan", "{", "format: toca-plan\nversion: 99"])
def test_a_corrupt_plan(owl, text):
    Path("plan.yaml").write_text(text)
    assert_one_sentence(owl("--plan", "plan.yaml"), "plan.yaml")


def test_a_plan_for_another_model_or_another_number_of_steps(run, owl, folders):
    run("plan", "--model", folders["dit"], "--steps", 6, "--save", "dit.yaml")
    run("plan", "--model", folders["pixart"], "--steps", 5, "--save", "five.yaml")
    assert_one_sentence(owl("--plan", "dit.yaml"), "plan")
    assert_one_sentence(owl("--plan", "five.yaml"), "5 steps, not for 6")
    assert_one_sentence(owl("--plan", "five.yaml", "--set", "interval=2"), "A plan is fixed")


def test_a_plan_of_another_format(run, folders):
    assert_one_sentence(run("plan", "--model", folders["pixart"], "--save", "plan.txt"), ".yaml")
    assert files() == set()


def test_models_that_cannot_be_cached(run, folders, tmp_path):
    unet = UNet2DModel(
        sample_size=8, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / "unet")
    for command in (["generate", "owl"], ["plan"]):
        assert_one_sentence(run(*command, "--model", "./unet"), "DDPMPipeline", "no transformer", "a convolution")

    shutil.copytree(folders["pixart"], tmp_path / "prior")
    shutil.rmtree(tmp_path / "prior" / "transformer")
    prior = PriorTransformer(num_attention_heads=2, attention_head_dim=8, num_layers=1, embedding_dim=16)
    prior.save_pretrained(tmp_path / "prior" / "transformer")
    index = tmp_path / "prior" / "model_index.json"
    index.write_text(index.read_text().replace("PixArtTransformer2DModel", "PriorTransformer"))
    said = ("PixArtAlphaPipeline has a PriorTransformer", "81 tokens")
    assert_one_sentence(run("generate", "owl", "--model", "./prior", *SMALL), *said)


def test_a_full_disk_leaves_nothing_behind(owl, monkeypatch):
    def full(self, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    assert_one_sentence(owl("--output", "owl.png"), "no space left on the disk", "owl.png")
    assert files() == set()


def test_a_folder_that_is_a_file(owl):
    Path("file").touch()
    assert_one_sentence(owl("--output", "file/owl.png"), "could not be made")
    assert_one_sentence(owl("--output", "file"), "could not be made")


def test_compare_needs_a_method(run, owl):
    owl("--compare", "--output", "owl.png")
    outcome = run("generate", "--from", "owl-baseline.png", "--yes", "--compare")
    assert outcome.code != 0 and outcome.stderr.splitlines()[-1].startswith("Error: --compare needs a method")
    outcome = run("generate", "--from", "owl-baseline.png", "--yes", "--set", "interval=2")
    assert outcome.code != 0 and "--set needs --method" in outcome.stderr.splitlines()[-1]
    assert_one_sentence(run("generate", "--from", "owl-compare.png"), "does not say how it was made")


def test_a_bug_keeps_its_traceback(owl, monkeypatch):
    monkeypatch.setattr(toca, "cached", None)
    with pytest.raises(TypeError):
        owl()


def test_the_installed_command_in_a_process_of_its_own(folders, tmp_path):
    command = [Path(sys.executable).parent / "toca", "generate", "a red owl", "--model", folders["pixart"], *SMALL]
    command += ["--device", "cpu"]
    good = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert good.returncode == 0, good.stderr
    assert good.stderr == ""
    assert files(tmp_path) == {"outputs/a-red-owl.png"}
    # A limit on the size of files is the nearest thing to a full disk that a process can give itself.
    limited = ["bash", "-c", 'ulimit -f 8; exec "$@"', "bash", *command]
    full = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert full.returncode == 1
    assert full.stderr.count("\n") == 1 and "a-red-owl-2.png could not be written" in full.stderr
    assert files(tmp_path) == {"outputs/a-red-owl.png"}
