from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
import torch
from diffusers import DiTPipeline, FluxPipeline, LattePipeline, PixArtAlphaPipeline

from tests.helpers import tiny_flux_pipeline
from toca.pipelines import registry
from toca.pipelines.arguments import call_arguments, class_id, makes_video, size_unit
from toca.pipelines.config import GenerationConfig
from toca.pipelines.generate import generate
from toca.pipelines.loading import load
from toca.pipelines.request import own_sizes

ONE = range(1)


def test_a_prompt_is_repeated_for_the_batch(pixart):
    arguments = call_arguments(pixart, GenerationConfig("a red owl", num_inference_steps=3), range(2, 5))
    assert arguments["prompt"] == ["a red owl"] * 3
    assert arguments["num_inference_steps"] == 3
    assert "guidance_scale" not in arguments


def test_each_image_has_a_cpu_generator_of_its_own_seed(pixart):
    generators = call_arguments(pixart, GenerationConfig("a red owl", seed=7), range(2, 4))["generator"]
    assert [generator.initial_seed() for generator in generators] == [9, 10]
    assert all(generator.device == torch.device("cpu") for generator in generators)


def test_the_size_asked_for_is_not_binned_and_the_prompt_not_cleaned(pixart, dit):
    arguments = call_arguments(pixart, GenerationConfig("a red owl", height=64, width=96), ONE)
    assert (arguments["height"], arguments["width"]) == (64, 96)
    assert arguments["use_resolution_binning"] is False
    assert arguments["clean_caption"] is False
    assert "use_resolution_binning" not in call_arguments(dit, GenerationConfig("1"), ONE)


@pytest.mark.parametrize(("label", "number"), [("1", 1), ("207", 207), ("goldfish", 1), ("golden retriever", 207)])
def test_classes_go_by_number_and_by_name(dit, label, number):
    assert class_id(dit, label) == number
    assert call_arguments(dit, GenerationConfig(class_label=label), range(2))["class_labels"] == [number] * 2


def test_a_prompt_names_the_class_of_a_class_conditional_pipeline(dit):
    assert call_arguments(dit, GenerationConfig("goldfish"), ONE)["class_labels"] == [1]


def test_without_names_every_class_of_the_transformer_counts(dit):
    dit.labels = {}
    assert class_id(dit, "999") == 999
    with pytest.raises(ValueError, match="'1000': give a number from 0 to 999"):
        class_id(dit, "1000")


@pytest.mark.parametrize("label", ["9" * 5000, "owl", "5000"])
def test_a_class_that_the_transformer_has_no_row_for_is_none(dit, label):
    dit.labels = {"owl": 5000}
    with pytest.raises(ValueError, match="has no class .*: give a number from 0 to 999") as caught:
        class_id(dit, label)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("label", ["White Shark", "white sharks", "WHITE_SHARK", "white-shark", " white  shark"])
def test_a_class_is_known_in_any_case_and_number(dit, label):
    dit.labels = {"white shark": 2, "goldfish": 1, "Berries": 3, "sandals": 4, "dress": 5}
    assert class_id(dit, label) == 2
    assert [class_id(dit, name) for name in ("goldfishes", "berry", "sandal", "Dresses")] == [1, 3, 4, 5]
    dit.labels["White Sharks"] = 6
    with pytest.raises(ValueError, match="has no class"):
        class_id(dit, "WHITE SHARK")


def test_of_few_classes_all_are_named_and_no_others_count(dit):
    dit.labels = {"t-shirt": 0, "sneaker": 1, "bag": 2}
    for label in ("snaeker", "3"):
        with pytest.raises(ValueError, match=f"no class '{label}': .* from 0 to 2 .*: t-shirt, sneaker, bag"):
            class_id(dit, label)
    with pytest.raises(ValueError, match="needs a class label"):
        class_id(dit, "")


def test_of_many_classes_those_are_named_that_come_near(dit):
    dit.labels = {"goldfish": 0} | {f"unlike {chr(97 + i) * 9}": i for i in range(1, 25)}
    with pytest.raises(ValueError, match="no class 'goldfsh': .*; names that come near: goldfish.$"):
        class_id(dit, "goldfsh")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GenerationConfig("a red owl", class_label="1"), "not a class label"),
        (GenerationConfig(""), "needs a prompt"),
        (GenerationConfig("a red owl", num_frames=4), "--num-frames"),
        (GenerationConfig("a red owl", height=100), "height must be a multiple of 32 .* got 100"),
    ],
)
def test_what_a_text_to_image_pipeline_does_not_take(pixart, config, message):
    with pytest.raises(ValueError, match=message):
        call_arguments(pixart, config, ONE)


@pytest.mark.parametrize("name", ["height", "width"])
def test_a_pipeline_of_one_size_takes_no_size(dit, name):
    with pytest.raises(ValueError, match=f"DiTPipeline does not take --{name}"):
        call_arguments(dit, GenerationConfig("1", **{name: 32}), ONE)


def test_frames_go_by_the_name_the_pipeline_has_for_them(latte):
    arguments = call_arguments(latte, GenerationConfig("a red owl", num_frames=4, height=32, width=32), ONE)
    assert arguments["video_length"] == 4


def test_a_number_of_frames_that_the_model_has_not_learned_is_refused(latte):
    config = GenerationConfig("a red owl", height=32, width=32)
    with pytest.raises(ValueError, match="videos of 4 frames, got 5"):
        call_arguments(latte, replace(config, num_frames=5), ONE)
    assert call_arguments(latte, replace(config, num_frames=1), ONE)["video_length"] == 1


def test_a_named_model_is_called_as_its_entry_says(folders, monkeypatch):
    config = GenerationConfig("a red owl", num_inference_steps=1, height=32, width=32)
    plain = load(folders["flux"], device="cpu")
    assert "max_sequence_length" not in call_arguments(plain, config, ONE)
    entry = replace(registry.find_model("emoji-flux"), source=folders["flux"])
    monkeypatch.setattr(registry, "_ENTRIES", [entry])
    pipe = load("emoji-flux", device="cpu")
    assert call_arguments(pipe, config, ONE)["max_sequence_length"] == 16
    lengths = []
    pipe.transformer.register_forward_pre_hook(
        lambda _, __, given: lengths.append(given["encoder_hidden_states"].shape[1]), with_kwargs=True
    )
    assert generate(pipe, config).samples[0].image.size == (32, 32)
    assert lengths == [16]


PIPELINES = {"emoji": PixArtAlphaPipeline, "emoji-flux": FluxPipeline, "fashion": DiTPipeline,
             "emoji-video": LattePipeline}  # fmt: skip


@pytest.mark.parametrize(("name", "cls"), PIPELINES.items())
def test_the_entries_of_embedded_models_say_nothing_that_the_pipeline_does_not_take(name, cls):
    entry = registry.find_model(name)
    assert entry.embedded
    assert set(entry.call) <= set(inspect.signature(cls.__call__).parameters)
    sizes = {"height": entry.height, "width": entry.width}
    expected = {"fashion": {}, "emoji-video": sizes | {"num_frames": 8}}
    assert own_sizes(name, cls) == expected.get(name, sizes)


def test_which_pipelines_make_videos(latte, pixart):
    assert makes_video(type(latte))
    assert not makes_video(type(pixart))


def test_the_unit_of_sizes_is_a_token(pixart, latte):
    assert size_unit(pixart) == 32
    assert size_unit(latte) == 4
    assert size_unit(tiny_flux_pipeline()) == 4


@pytest.mark.parametrize("field", ["num_inference_steps", "height", "width", "num_frames", "num_images", "batch_size"])
def test_numbers_out_of_range_are_named(field):
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0"):
        GenerationConfig("a red owl", **{field: 0})


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(ValueError, match="seed"):
        GenerationConfig("a red owl", seed=seed)


def test_batches_cover_all_images():
    config = GenerationConfig("a red owl", first_index=3, num_images=5, batch_size=2)
    assert list(config.batches()) == [range(3, 5), range(5, 7), range(7, 8)]
