"""What a search saw is not evaluated on, and a tuned plan runs in the steps that it was found for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import toca
from tests.helpers import tiny_dit_pipeline
from toca.eval.config.settings import Settings
from toca.eval.labels import VariantRecipe
from toca.eval.samples.held_out import named_fronts, unseen_prompts
from toca.eval.samples.prompts import Prompt, choose
from toca.eval.samples.subject import Subject
from toca.eval.variants import Variant, in_own_steps
from toca.methods.tuned import Tuned
from toca.pipelines.config import GenerationConfig

TEXTS = tuple(f"an owl, {number}" for number in range(20))


class Pipe:
    def __call__(self, prompt: str) -> None: ...


def subject(pipe: Any = None, texts: tuple[str, ...] = TEXTS) -> Subject:
    prompts = [Prompt(number, text) for number, text in enumerate(texts)]
    config = GenerationConfig(num_inference_steps=20, guidance_scale=1.0)
    return Subject("tiny", pipe or Pipe(), config, prompts, "weights", "float32")


def unseen(variants: list[Variant], subject: Subject) -> tuple[list[Prompt], list[str]]:
    return unseen_prompts(subject.prompts, type(subject.pipe), variants)


def tuned(steps: int = 20, best: int = 12, **made_with: Any) -> Variant:
    """With a front at hand instead of in a file."""
    method = Tuned()
    entry = SimpleNamespace(num_inference_steps=best)
    front = SimpleNamespace(made_with=made_with, num_inference_steps=steps, at=lambda **bounds: entry)
    vars(method).update(front="tuned.json", found=front)
    return Variant("tuned", "tuned", method)


def test_what_a_search_saw_is_never_chosen() -> None:
    searched, held_out = TEXTS[::6], TEXTS[1::6]
    left, notes = unseen([tuned(prompts=list(searched), held_out=list(held_out))], subject())
    assert {prompt.text for prompt in left} == {*TEXTS} - {*searched, *held_out}
    assert all(TEXTS[prompt.id] == prompt.text for prompt in left), "each keeps its number, and so its noise"
    assert notes == ["No prompt is among the 8 that the search of the tuned plans saw."]
    for count in (1, 5, 12):
        assert not {prompt.text for prompt in choose(left, count, 0)} & {*searched, *held_out}


def test_the_first_variant_of_each_front_names_it() -> None:
    variants = [replace(tuned(), recipe=VariantRecipe("tuned", (f"speedup={speedup}",))) for speedup in (2.0, 3.0)]
    assert named_fronts([Variant("fora", "fora", toca.FORA()), *variants]) == {"tuned.json": "tuned:speedup=2.0"}


def test_a_plan_that_is_not_run_is_one_that_a_search_found() -> None:
    [variant] = Settings(unseen_by=("tuned",)).searched("emoji").variants
    assert variant.method.front is not None
    for text, model in (("fora", "emoji"), ("tuned", "a/folder")):
        with pytest.raises(ValueError, match=f"{text}' is no plan that a search found for '{model}'"):
            Settings(unseen_by=(text,)).searched(model)


def test_without_a_search_every_prompt_is_there() -> None:
    assert unseen([Variant("tuned", "tuned", Tuned())], subject()) == (subject().prompts, [])


def test_a_front_that_does_not_tell_is_named() -> None:
    left, (note,) = unseen([tuned()], subject())
    assert len(left) == len(TEXTS) and note.startswith("tuned.json does not tell its prompts")


def test_where_nothing_is_left_it_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="saw every prompt there is: name others with --prompts-file"):
        unseen([tuned(prompts=list(TEXTS))], subject())


def test_classes_are_the_same_with_other_noise() -> None:
    left, (note,) = unseen([tuned(prompts=["1", "2"])], subject(tiny_dit_pipeline(), ("1", "2")))
    assert len(left) == 2 and "other noise" in note


def test_a_plan_of_fewer_steps_runs_in_these() -> None:
    assert in_own_steps(tuned(best=12), 20).steps == 12
    assert in_own_steps(tuned(best=12), 50).steps is None, "found for another full run: the method says so"
    assert in_own_steps(Variant("tuned", "tuned", Tuned()), 20).steps is None
