"""Noise that depends on what is made, and on nothing else; and which prompts are made."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import tiny_dit_pipeline, tiny_pixart_pipeline
from toca.eval.samples.noise import generators, noise_seed
from toca.eval.samples.prompts import Item, Prompt, choose, find_prompts, items_of
from toca.eval.samples.running import run_items
from toca.eval.samples.subject import Subject
from toca.eval.variants import BASELINE
from toca.pipelines.config import GenerationConfig

PROMPTS = [Prompt(i, f"a red owl {i}") for i in range(3)]


def test_a_seed_is_the_same_on_every_machine_and_in_every_version():
    assert noise_seed(0, 0, 0) == 0x2A5AA384E8461C0A  # the first 63 bits of sha256("0/0/0")


def test_other_numbers_give_other_seeds_that_torch_takes():
    seeds = [noise_seed(*key) for key in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 11, 1), (0, 1, 11)]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_list_of_generators_draws_what_each_of_them_draws():
    a, b = generators(3, [(5, 0), (6, 1)])
    [alone] = generators(3, [(6, 1)])
    assert not torch.equal(torch.randn(4, generator=a), after := torch.randn(4, generator=b))
    assert torch.equal(torch.randn(4, generator=alone), after)


def first_latents(items: list[Item], batch_size: int, seed: int = 0) -> torch.Tensor:
    """What the transformer is first given of each sample: its noise."""
    pipe = tiny_pixart_pipeline()
    config = GenerationConfig(num_inference_steps=2, guidance_scale=1.0, height=64, width=64)
    subject = Subject("tiny", pipe, config, PROMPTS, "", "float32")
    seen: list[torch.Tensor] = []
    pipe.transformer.register_forward_pre_hook(
        lambda module, inputs, call: seen.append((inputs or [call["hidden_states"]])[0].clone()), with_kwargs=True
    )
    batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    for batch in batches:
        run_items(subject, BASELINE, batch, seed)
    return torch.cat(seen[::2])


def test_a_samples_noise_does_not_depend_on_the_batch_or_the_order():
    items = items_of(PROMPTS, 1)
    together = first_latents(items, 3)
    assert torch.equal(together, first_latents(items, 1))
    assert torch.equal(together, first_latents(items, 2))
    assert torch.equal(together, first_latents(items[::-1], 3).flip(0))
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(together, first_latents(items, 3, seed=1))


def test_more_prompts_hold_the_fewer():
    prompts = [Prompt(i, str(i)) for i in range(100)]
    few, more = choose(prompts, 8, 0), choose(prompts, 16, 0)
    assert more[:8] == few
    assert len(set(more)) == 16
    assert choose(prompts, 8, 1) != few
    assert few != prompts[:8]


def test_every_prompt_has_its_samples():
    items = items_of(PROMPTS, 2)
    assert [item.key for item in items] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]


def test_prompts_come_from_the_file_or_the_folder_or_the_classes(tmp_path):
    (tmp_path / "prompts.txt").write_text("an owl\n\n  a cat \n")
    named = find_prompts("emoji", None, tmp_path / "prompts.txt")
    assert named == [Prompt(0, "an owl"), Prompt(1, "a cat")]
    assert len(find_prompts("emoji", None)) > 100
    (tmp_path / "model_index.json").write_text("{}")
    classes = find_prompts(str(tmp_path), tiny_dit_pipeline())
    assert classes[7] == Prompt(7, "7")
    assert len(classes) == 1000


def test_a_model_without_prompts_says_how_to_give_them(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ValueError, match="--prompts-file"):
        find_prompts(str(tmp_path), tiny_pixart_pipeline())
