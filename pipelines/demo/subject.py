"""One model of the demo: its pipeline, the lock that goes with it, and what it offers."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import toca
from toca.methods import NoCache, Tuned
from toca.methods.presets import made_for, presets
from toca.models import known_family
from toca.pipelines.arguments import takes_argument
from toca.pipelines.config import GenerationConfig
from toca.pipelines.demo.limits import LARGEST_SIDE, Wish
from toca.pipelines.demo.positions import Position, positions_of
from toca.pipelines.generate import generate, progress_bar
from toca.pipelines.loading import load, no_transformer, resolve_source
from toca.pipelines.prompts import advice, known_names, known_prompts
from toca.pipelines.request import Request, own_config
from toca.tuning.saved import find_front

FIRST_WISHES = ("a red apple", "sneaker")
"""What a page that is opened asks for, where the model knows it."""


@dataclass(frozen=True)
class Subject:
    """A model and what it offers.

    Args:
        model (`str`): a name, a folder, or a hub id.
        pipe: the diffusers pipeline.
        positions (`tuple[Position, ...]`): of the slider; none where the model has no front.
        full_steps (`int`): of the run that tuned plans are compared to, or the model's own.
        lock (`threading.Lock`): whoever runs the pipeline holds it.
    """

    model: str
    pipe: Any
    positions: tuple[Position, ...]
    full_steps: int
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def load(cls, model: str) -> Subject:
        """A model that is loaded and warm.

        Raises:
            ValueError, OSError: as `toca.pipelines.load`; also for a model larger than what the demo makes.
        """
        pipe: Any = load(model)
        if not hasattr(pipe, "transformer"):
            raise no_transformer(model, type(pipe), [type(part).__name__ for part in pipe.components.values()])
        own = own_config(Request("", model=model), model, type(pipe), None)
        if max(own.height or 0, own.width or 0) > LARGEST_SIDE:
            raise ValueError(f"{model} makes pictures of more than {LARGEST_SIDE} pixels, the most of the demo.")
        try:
            front = find_front(pipe, usual_steps=own.num_inference_steps).front
        except ValueError:
            made = cls(model, pipe, (), own.num_inference_steps)
        else:
            made = cls(model, pipe, positions_of(front), front.num_inference_steps)
        made._warm_up()
        return made

    def _warm_up(self) -> None:
        """What only a first run takes is no matter of the method that runs second."""
        with self.lock, progress_bar(self.pipe, None):
            generate(self.pipe, self.config(Wish(self.model, self.prompts[0], method="none"), steps=2))

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The names of presets and methods that can be put on the model, presets made for others left out."""
        family = known_family(self.pipe.transformer, self.pipe).name
        named = {name: preset for name, preset in presets().items() if made_for(name) in (None, family)}
        named |= {name: cls() for name, cls in toca.methods().items()}
        with self.lock:
            return tuple(name for name, method in named.items() if self._takes(method))

    def _takes(self, method: toca.Method) -> bool:
        # The slider is the tuned plans, and the full model stands beside every picture.
        if isinstance(method, (Tuned, NoCache)):
            return False
        try:
            with toca.cached(self.pipe, method):
                return True
        except (ValueError, NotImplementedError):
            return False

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of classes; none for a model that reads prompts."""
        if self.condition == "prompt":
            return ()
        rows = range(self.pipe.transformer.config.num_embeds_ada_norm)
        labels: Mapping[str, int] = getattr(self.pipe, "labels", {})
        return tuple(name for name, number in labels.items() if number in rows) or tuple(map(str, rows))

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """Some that the model is known to draw, the first for a page that is opened."""
        known = self.classes or tuple(known_prompts(resolve_source(self.model)))
        first = tuple(wish for wish in FIRST_WISHES if wish in known)
        return tuple(dict.fromkeys(first + known)) or FIRST_WISHES[:1]

    @property
    def condition(self) -> str:
        """The argument of the pipeline's call that a prompt is."""
        return "class_labels" if takes_argument(type(self.pipe), "class_labels") else "prompt"

    @property
    def takes_size(self) -> bool:
        return takes_argument(type(self.pipe), "height")

    @property
    def is_video(self) -> bool:
        return takes_argument(type(self.pipe), "num_frames")

    def config(self, wish: Wish, steps: int) -> GenerationConfig:
        """What to generate for a wish, in so many steps."""
        asked = Request(wish.prompt, seed=wish.seed, steps=steps, height=wish.height, width=wish.width)
        return own_config(asked, self.model, type(self.pipe), None)

    def plan(self, wish: Wish) -> Any:
        """What a wish puts on the pipeline: the plan of a position, or the name of a method.

        Raises:
            ValueError: for what the model does not offer.
        """
        if wish.method is None:
            plan = next((each.entry.plan for each in self.positions if each.speedup == wish.speedup), None)
            if plan is None:
                raise ValueError(f"{self.model} has no tuned plan of this speed.")
            return plan
        if wish.method not in self.methods:
            raise ValueError(f"{self.model} takes no method of this name.")
        return wish.method

    def advice(self, prompt: str) -> str | None:
        """One sentence on what the model does not know of a prompt."""
        if self.classes:
            return None
        source = resolve_source(self.model)
        tokenizer = getattr(self.pipe, "tokenizer", None)
        return advice(prompt, known_prompts(source), tokenizer, known_names(source))


class Subjects:
    """The models of the demo, each loaded when somebody first asks for it. Safe to use from any thread.

    Args:
        models (`Iterable[str]`): that are offered, the first at once.
    """

    def __init__(self, models: Iterable[str]) -> None:
        self.offered = tuple(models)
        self._loaded: dict[str, Subject] = {}
        self._lock = threading.Lock()
        self[self.offered[0]]

    def __getitem__(self, model: str) -> Subject:
        """A model by its name. Raises `ValueError` for one that is not offered: a visitor loads nothing else."""
        if model not in self.offered:
            raise ValueError("There is no such model here.")
        with self._lock:
            if model not in self._loaded:
                self._loaded[model] = Subject.load(model)
            return self._loaded[model]

