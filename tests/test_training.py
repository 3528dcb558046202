"""The training of the embedded models in examples/train: every script runs, and runs are repeatable."""

import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def training_path():
    """The scripts import their shared module as `common`, from beside them."""
    sys.path.insert(0, str(ROOT / "examples/train"))
    yield
    sys.path.remove(str(ROOT / "examples/train"))
    AcceleratorState._reset_state(reset_partial_state=True)


class Line(torch.nn.Module):
    """Learns to add: as small an objective as there can be, with batches drawn at random."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, share: float) -> torch.Tensor:
        x = torch.randn(16, 2)
        return (self.layer(x) - x.sum(1, keepdim=True)).square().mean()


def run(checkpoint: Path, steps: int, *, stop_after: int | None = None, seed: int = 0) -> torch.Tensor:
    """Trains a line and returns its weights; `stop_after` breaks the run off there, as a kill would."""
    from common.loop import Stage, accelerator, train

    model, count = Line(), 0

    def step(share: float) -> torch.Tensor:
        nonlocal count
        count += 1
        if stop_after is not None and count > stop_after:
            raise KeyboardInterrupt
        return Line.forward(model, share)

    model.forward = step
    stage = Stage("line", steps, lr=0.05, warmup=5, seed=seed, average=0.9, save_every=0.0, log_every=1e9)
    train(model, stage, accelerator(), checkpoint)
    return model.layer.weight.detach().clone()


def test_the_same_seed_gives_the_same_weights(tmp_path):
    first, second = run(tmp_path / "a.pt", 40), run(tmp_path / "b.pt", 40)
    assert torch.equal(first, second)
    assert not torch.equal(first, run(tmp_path / "c.pt", 40, seed=1))
    assert torch.allclose(first, torch.ones(1, 2), atol=0.2)


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    whole = run(tmp_path / "whole.pt", 40)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped.pt", 40, stop_after=17)
    assert torch.load(tmp_path / "stopped.pt", weights_only=True)["step"] == 17
    assert torch.equal(run(tmp_path / "stopped.pt", 40), whole)


def test_refining_patches_keeps_what_alike_latents_give():
    """Where the four latents of a patch are alike, each of its four tokens is embedded as the patch was."""
    import train_emoji
    from common.patches import refine

    coarse, fine = train_emoji.build(2), train_emoji.build(1)
    torch.nn.init.normal_(coarse.proj_out.weight)
    refine(coarse, fine, "proj_out")
    latents = torch.randn(1, 4, 8, 8).repeat_interleave(2, 2).repeat_interleave(2, 3)
    patches = coarse.pos_embed.proj(latents)
    tokens = fine.pos_embed.proj(latents)
    assert torch.allclose(tokens, patches.repeat_interleave(2, 2).repeat_interleave(2, 3), atol=1e-5)
    # A place in the picture has the same position in both: the coarse grid is every second point of the fine one.
    positions = fine.pos_embed.pos_embed.reshape(16, 16, -1)[::2, ::2].reshape(1, 64, -1)
    assert torch.allclose(positions, coarse.pos_embed.pos_embed, atol=1e-5)


def test_held_out_words_are_held_out(tmp_path):
    from common import emoji_data, emoji_parts, motion, smoke_data, subjects
    from common.contrast import held_out

    smoke_data.write(tmp_path)
    data = emoji_data.load(tmp_path / "emoji.npz")
    held = data.held_out()
    assert 0.01 < held.mean() < 0.1 and not held[:, 0].any()
    assert (held.sum(1) <= 1).all()
    assert (held_out(data) >= held).all(), "what a pipeline has not seen, emoji-clip has not seen either"
    shown = {(entry.label, style) for entry, style in emoji_parts.Pictures.of(data, subjects.COMMON).wording}
    styles = list(emoji_data.STYLES)
    for i, entry in enumerate(data.entries):
        for j, style in enumerate(styles):
            assert ((entry.label, style) in shown) != held[i, j]
    withheld = [(x, y) for x in subjects.MOVING for y in motion.MOTIONS if motion.held_out(x, y)]
    assert 4 <= len(withheld) <= 24


def test_frames_move_as_the_prompt_says():
    from common import motion

    picture = torch.ones(3, 64, 64)
    picture[:, 24:40, 20:36] = -1
    rows = torch.arange(64.0)[:, None]

    def centre(frame: torch.Tensor) -> tuple[float, float, float]:
        weight = 1 - frame.mean(0)
        mass = weight.sum()
        return (weight * rows).sum().div(mass).item(), (weight * rows.T).sum().div(mass).item(), mass.item()

    for name in motion.MOTIONS:
        frames = motion.animate(picture, name)
        assert frames.shape == (motion.FRAMES, 3, 64, 64)
        down, right, mass = zip(*(centre(frame) for frame in frames), strict=True)
        if name == "sliding":
            assert all(b > a + 2 for a, b in zip(right[:-1], right[1:], strict=True)) and max(down) - min(down) < 0.5
        if name == "growing":
            assert all(b > 1.1 * a for a, b in zip(mass[:-1], mass[1:], strict=True))
        if name == "bouncing":
            assert down.index(min(down)) == motion.FRAMES // 2 and max(right) - min(right) < 0.5
        if name == "spinning":
            assert max(mass) < 1.05 * min(mass) and max(right) - min(right) > 1


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path):
    from common.packages import PACKAGES, fetch

    (tmp_path / PACKAGES["labels"].file).write_bytes(b"something else")
    with pytest.raises(ValueError, match="emojibase-data-17.0.0.tgz has the SHA-256 .*: delete it"):
        fetch("labels", tmp_path)


def call(monkeypatch, script: str, *arguments: str) -> None:
    """Runs a script's `main` with a command line, in this process: importing torch anew takes longer than training."""
    import importlib

    monkeypatch.setattr(sys, "argv", [script, *arguments])
    importlib.import_module(script).main()


def few(patch) -> None:
    """Four emoji are enough to see whether everything runs."""
    from common import cases, subjects

    for module, name in ((subjects, "COMMON"), (subjects, "MOVING"), (cases, "SHOWN")):
        patch.setattr(module, name, subjects.MOVING[:4])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every part, trained for two steps on blots, by its own script."""
    folder = tmp_path_factory.mktemp("smoke")
    common = ["--smoke", "--data", str(folder), "--checkpoints", str(folder / "checkpoints")]
    parts = ["--clip", str(folder / "emoji-clip/emoji-clip.pt"), "--vae", str(folder / "emoji/vae")]
    with pytest.MonkeyPatch.context() as patch:
        few(patch)
        call(patch, "prepare", "--smoke", "--out", str(folder))
        call(patch, "train_vae", *common, "--out", str(folder / "emoji/vae"))
        call(patch, "train_clip", *common, "--out", str(folder / "emoji-clip"))
        for script in ("train_emoji", "train_emoji_flux", "train_emoji_video"):
            name = script.removeprefix("train_").replace("_", "-")
            call(patch, script, *common, *parts, "--out", str(folder / name))
        call(patch, "train_fashion", *common, "--out", str(folder / "fashion"))
        call(patch, "reference", "--data", str(folder), "--clip", parts[1], "--out", str(folder))
    return folder


PIPELINES = {
    "emoji": "PixArtAlphaPipeline",
    "emoji-flux": "FluxPipeline",
    "fashion": "DiTPipeline",
    "emoji-video": "LattePipeline",
}


@pytest.mark.matrix  # every script trains, if only a little: more than a minute
@pytest.mark.parametrize("name", PIPELINES)
def test_every_script_makes_a_folder_that_its_stock_class_loads(trained, name, monkeypatch):
    import diffusers

    pipe = getattr(diffusers, PIPELINES[name]).from_pretrained(trained / name)
    assert type(pipe).__name__ == PIPELINES[name]
    few(monkeypatch)
    monkeypatch.setattr("evaluate.STEPS", 2)
    call(
        monkeypatch, "evaluate", name, "--data", str(trained), "--out", str(trained / name), "--limit", "4",
        "--clip", str(trained / "emoji-clip/emoji-clip.pt"),
    )  # fmt: skip
    assert (trained / name / "samples.png").stat().st_size <= 300_000


def test_weights_that_another_pipeline_has_are_left_out(tmp_path, monkeypatch):
    from card import store_once

    from toca.pipelines import borrowing

    mine, lender = tmp_path / "mine", tmp_path / "lender"
    for name, content in (("mine/vae", b"same"), ("lender", b"same"), ("mine/transformer", b"same")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.safetensors").write_bytes(content)
    monkeypatch.setattr(borrowing, "lenders", lambda folder: {"vae": lender} if folder == mine else {})
    (lender / "model.safetensors").write_bytes(b"else")
    store_once(mine)
    assert (mine / "vae" / "model.safetensors").exists()
    (lender / "model.safetensors").write_bytes(b"same")
    store_once(mine)
    assert not (mine / "vae" / "model.safetensors").exists()
    assert (lender / "model.safetensors").exists() and (mine / "transformer" / "model.safetensors").exists()


@pytest.mark.matrix
def test_emoji_clip_is_read_by_clip_and_reference_by_its_digest(trained):
    import hashlib
    import json

    import clip
    from safetensors.torch import load_file

    model, _ = clip.load(str(trained / "emoji-clip/emoji-clip.pt"), device="cpu")
    assert model.encode_text(clip.tokenize(["a red apple, noto style"])).shape == (1, 128)
    record = json.loads((trained / "fashion/reference.json").read_text())
    path = trained / "fashion" / record["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"]
    assert load_file(path)["features"].shape == (64, 128)


@pytest.mark.matrix
def test_a_card_says_what_was_measured(trained, monkeypatch, tmp_path):
    import json
    import shutil

    from toca.pipelines import checksums

    shutil.copytree(trained / "fashion", tmp_path / "fashion")
    (tmp_path / "fashion/figures.json").write_text(json.dumps({"samples": 200, "accuracy": 0.87654}))
    call(monkeypatch, "card", "fashion", "--out", str(tmp_path), "--recognised", "61")
    card = (tmp_path / "fashion/README.md").read_text()
    assert "- accuracy: 0.8765" in card and "- recognised by eye on the sheet: 61 of 64" in card
    assert "| fine | " in card and "{" not in card.replace("{class", "")
    checksums.check(tmp_path / "fashion")
