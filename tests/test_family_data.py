"""What a family may say of costs, positions and sizes: each on the smallest model that it holds for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from toca.engine.block_span import by_itself
from toca.hooks.classes import HANDLE, swap_class
from toca.hooks.feed_forward import make_forward
from toca.hooks.handle import Handle
from toca.models import CallShape, Site
from toca.models.dialect import Present
from toca.models.linears import last_width
from toca.models.positions import Positions
from toca.models.prediction import SOUND, SOUND_CHANNELS_LAST, VIDEO_CHANNELS_LAST, Prediction
from toca.models.sizes import Sizes, times

SHAPE = CallShape(2, 6, (2, 3), 5, others=(("picture", 4), ("cached", 7)))
SITE = Site(
    layer=0,
    module="cross_attn",
    stack="main",
    index=0,
    depth=1,
    stream="image",
    rows="sample",
    inside=None,
    attends="cross",
    width=8,
    attention_width=8,
    token_flops=100,
    text_flops=10,
    context="picture+text",
)


def test_a_part_of_the_context_may_have_layers_of_its_own() -> None:
    whole = SITE.flops(SHAPE, 6)
    apart = replace(SITE, apart_flops=(("picture", 13),)).flops(SHAPE, 6)
    assert apart - whole == 2 * 4 * (13 - 10)


def test_only_the_map_that_is_measured_costs() -> None:
    assert SITE.measuring_flops(SHAPE, 3) == 2 * 2 * 3 * (4 + 5) * 8
    assert replace(SITE, measured="text").measuring_flops(SHAPE, 3) == 2 * 2 * 3 * 5 * 8


def test_a_tile_pads_queries_and_keys_alike() -> None:
    site = replace(SITE, attends="self", context="cached", text_flops=0, token_flops=0, tile=8)
    assert site.flops(SHAPE, 6) == 2 * 2 * (6 + 2) * (7 + 6 + 2) * 2 * 8


def test_what_all_samples_share_has_one_row() -> None:
    assert replace(SITE, rows="call", stream="text").geometry(SHAPE) == (1, 5)


def test_positions_may_be_counted_from_the_last_dimension() -> None:
    """Of tokens 0 and 2 of a row, whether heads stand before the tokens or not."""
    present = Present(torch.tensor([[0, 2]]), 3, 0, 3)
    plain = torch.arange(6.0).view(1, 3, 2)
    for value in (plain, plain[:, None].expand(1, 4, 3, 2)):
        (cut,) = Positions("rotary", dim=-2).of({"rotary": (value,)}, present)
        assert torch.equal(cut, value[..., [0, 2], :])


def test_positions_may_mean_something_else_beside_another_argument() -> None:
    mask = Positions("mask", dim=1, unless="text")
    assert mask.is_in({"mask": 1})
    assert not mask.is_in({"mask": 1, "text": 2}) and not mask.is_in({"mask": None})


SOUND_SIZES = Sizes("BCF", lambda config: (2, 1, 1), lambda config: (8, 1, 1), text=None)


def test_a_sound_is_frames_of_one_token() -> None:
    """The last of which may be padded; a height is nothing that it has."""
    transformer = nn.Module()
    transformer.config = None
    shape = SOUND_SIZES.call_shape(transformer, {"hidden_states": torch.zeros(3, 4, 7)})
    assert (shape.batch, shape.frames, shape.tokens, shape.grid) == (3, 4, 1, (1, 1))
    assert SOUND_SIZES.default_shape(None, 64, 64, None, None).frames == 4


@pytest.mark.parametrize(("layout", "dim"), [(SOUND, 2), (SOUND_CHANNELS_LAST, 1)])
def test_each_token_is_found_in_a_sound(layout: Prediction, dim: int) -> None:
    """Three tokens of two moments, of which the last one is cut."""
    shape = CallShape(1, 1, (1, 1), frames=3)
    moments = torch.tensor([0.0, 0, 1, 1, 2])
    prediction = moments.expand(1, 4, 5) if dim == 2 else moments[:, None].expand(5, 4)[None]
    by_token = layout.by_token(prediction, shape)
    assert by_token.shape == (1, 3, 4, 2)
    assert torch.equal(by_token[0, :, 0, 0], torch.tensor([0.0, 1, 2]))
    assert torch.equal(layout.over(torch.tensor([[0.0, 1, 2]]), shape, prediction).squeeze(), moments)


def test_each_token_is_found_where_channels_come_last() -> None:
    shape = CallShape(1, 6, (2, 3), frames=2)
    values = torch.arange(12.0)[None]
    prediction = torch.zeros(1, 2, 4, 6, 3)
    over = VIDEO_CHANNELS_LAST.over(values, shape, prediction)
    tokens = VIDEO_CHANNELS_LAST.by_token(over.expand(1, 2, 4, 6, 3), shape)
    assert torch.equal(tokens, values[..., None, None].expand(1, 12, 3, 4))


@pytest.mark.parametrize(
    ("timestep", "count"), [(torch.zeros(2), 1), (torch.zeros(2, 3), 3), (torch.zeros(2, 1, 3, 1, 1), 3), (None, 1)]
)
def test_timesteps_of_a_sample_are_counted(timestep: torch.Tensor | None, count: int) -> None:
    assert times(None, {"timestep": timestep}) == (("times", count),)


def test_a_transposed_convolution_makes_several_places_of_a_token() -> None:
    assert last_width(nn.ConvTranspose1d(4, 3, kernel_size=2, stride=2)) == 6
    assert last_width(nn.Conv1d(4, 3, kernel_size=2, stride=2)) == 3


def test_a_lone_last_layer_hands_back_as_many_channels_as_it_makes() -> None:
    """Where a feed-forward has no module of its own, and is not to run."""
    layer, handle = nn.Linear(6, 4), Handle()
    handle.action = "skip"
    swap_class(layer, make_forward, handle, "forward", HANDLE)
    assert layer(torch.zeros(1, 2, 6)).shape == (1, 2, 4)


def test_tokens_to_be_kept_hold_no_others() -> None:
    row = torch.zeros(1, 5, 2)
    assert by_itself(row) is row
    assert by_itself(row[:, 3:]).untyped_storage().nbytes() == 2 * 2 * 4
