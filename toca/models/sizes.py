"""How a model's latents are cut into tokens: the sizes of a call, and those of the model's own default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .shape import CallShape

Config = Any
Others = tuple[tuple[str, int], ...]


def no_others(config: Config, call: Mapping[str, Any]) -> Others:
    """No further streams."""
    return ()


def times(config: Config, call: Mapping[str, Any]) -> Others:
    """The timesteps of a sample, as the stream `"times"`: one, or one for each of its frames or tokens."""
    timestep = call.get("timestep")
    several = isinstance(timestep, torch.Tensor) and timestep.ndim > 1
    return (("times", timestep[0].numel() if several else 1),)  # type: ignore[index]


@dataclass(frozen=True)
class Sizes:
    """Latents as a grid of pixels, of which a patch makes a token, or as moments of a sound.

    Its two methods are a family's `call_shape` and `default_shape`.

    Args:
        dims (`str`): The dimensions of the latents, of batch B, channels C, frames F, height H and width W. A list of
            samples has its first dimension in its length. `"BTC"` is packed: tokens that somebody else has cut. A
            sound has frames alone, `"BCF"` or `"BFC"`, the last of which may be padded to a whole token.
        patch (`Callable`): `config -> (frames, rows, columns)`: latent pixels of a token.
        latents (`Callable`): `config -> (frames, rows, columns)`: latent pixels of the model's default size.
        text_tokens (`int`, defaults to 0): Usual text tokens of a sample.
        text (`str` or `None`, defaults to `"encoder_hidden_states"`): The argument (B, T, C) with the text, or a list
            of (T, C); `None` where there is none.
        extra_text (`int`, defaults to 0): Tokens that the model puts to the text.
        others (`Callable`): `(config, arguments by name) -> tokens of further streams`; without arguments the usual
            ones.
        argument (`str`, defaults to `"hidden_states"`): The argument with the latents.
        packed_frames (`Callable` or `None`): `(arguments by name) -> frames` of packed latents.
    """

    dims: str
    patch: Callable[[Config], tuple[int, int, int]]
    latents: Callable[[Config], tuple[int, int, int]]
    text_tokens: int = 0
    text: str | None = "encoder_hidden_states"
    extra_text: int = 0
    others: Callable[[Config, Mapping[str, Any]], Others] = no_others
    argument: str = "hidden_states"
    packed_frames: Callable[[Mapping[str, Any]], int] | None = None

    def call_shape(self, transformer: Any, call: dict[str, Any]) -> CallShape:
        """The sizes of a call, from its arguments by name."""
        config, latents = transformer.config, call[self.argument]
        sizes = latents.shape if isinstance(latents, torch.Tensor) else (len(latents), *latents[0].shape)
        text, others = self._text_tokens(call), self.others(config, call)
        if self.dims == "BTC":
            frames = 1 if self.packed_frames is None else self.packed_frames(call)
            return CallShape(sizes[0], sizes[1] // frames, None, text, frames, others)
        size = {"F": 1, "H": 1, "W": 1, **dict(zip(self.dims, sizes, strict=True))}
        return self._cut(config, (size["F"], size["H"], size["W"]), text, others, size["B"])

    def default_shape(
        self,
        config: Config,
        height: int | None,
        width: int | None,
        num_frames: int | None,
        text_tokens: int | None,
    ) -> CallShape:
        """The sizes of one sample, where they are told, else the model's own."""
        own = self.latents(config)
        height, width = (None, None) if self.is_sound else (height, width)
        asked = (num_frames if self.has_frames else None, height, width)
        size = tuple(mine if given is None else given for given, mine in zip(asked, own, strict=True))
        text = self.text_tokens + self.extra_text if text_tokens is None else text_tokens
        return self._cut(config, size, text, self.others(config, {}), 1)

    @property
    def has_frames(self) -> bool:
        """Whether the latents have frames."""
        return "F" in self.dims or self.packed_frames is not None

    @property
    def is_sound(self) -> bool:
        """Whether the latents have frames alone."""
        return self.dims in ("BCF", "BFC")

    def _cut(self, config: Config, size: tuple[int, ...], text: int, others: Others, batch: int) -> CallShape:
        patch = self.patch(config)
        frames, rows, columns = (pixels // pixel for pixels, pixel in zip(size, patch, strict=True))
        if self.is_sound:
            frames = -(-size[0] // patch[0])
        return CallShape(batch, rows * columns, (rows, columns), text, max(frames, 1), others)

    def _text_tokens(self, call: Mapping[str, Any]) -> int:
        text = None if self.text is None else call.get(self.text)
        if text is None:
            return 0
        return (text[0].shape[0] if isinstance(text, (list, tuple)) else text.shape[1]) + self.extra_text
