from __future__ import annotations

import pytest
import torch

from tests.helpers import tiny_flux_pipeline
from toca.pipelines.arguments import call_arguments, class_id, makes_video, size_unit
from toca.pipelines.config import GenerationConfig

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


@pytest.mark.parametrize(("label", "number"), [("1", 1), ("999", 999), ("goldfish", 1), ("golden retriever", 207)])
def test_classes_go_by_number_and_by_name(dit, label, number):
    assert class_id(dit, label) == number
    assert call_arguments(dit, GenerationConfig(class_label=label), range(2))["class_labels"] == [number] * 2


def test_a_prompt_names_the_class_of_a_class_conditional_pipeline(dit):
    assert call_arguments(dit, GenerationConfig("goldfish"), ONE)["class_labels"] == [1]


@pytest.mark.parametrize(
    ("label", "words"), [("goldfsh", ["'goldfsh'", "goldfish"]), ("1000", ["0 to 999"]), ("", ["class label"])]
)
def test_an_unknown_class_names_similar_ones(dit, label, words):
    with pytest.raises(ValueError) as error:
        class_id(dit, label)
    assert all(word in str(error.value) for word in words)


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
