"""JoyImage-Edit Plus: JoyImage-Edit on the patches of several items of any size, one after the other, padded."""

from __future__ import annotations

from typing import Any

from ...registry import register
from ..intercepted import Intercepted
from ..positions import Positions
from ..prediction import Prediction
from ..shape import CallShape
from ..spec import FamilySpec
from .joyimageedit import AROUND, BLOCKS, SIZES


def _call_shape(transformer: Any, call: dict[str, Any]) -> CallShape:
    batch, patches = call["hidden_states"].shape[:2]
    return CallShape(batch, patches, text_tokens=call["encoder_hidden_states"].shape[1])


def _grid(call: dict[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of the items, `None` where these differ in size."""
    sizes = {(rows, columns) for items in call["shape_list"] for _, rows, columns in items}
    return sizes.pop() if len(sizes) == 1 else None


JOYIMAGEEDITPLUS = FamilySpec(
    name="joyimageeditplus",
    transformer="JoyImageEditPlusTransformer3DModel",
    stacks=(BLOCKS,),
    call_shape=_call_shape,
    default_shape=SIZES.default_shape,
    attention=Intercepted(positions=(Positions("image_rotary_emb", dim=1),)),
    around=AROUND,
    batched=("hidden_states", "timestep", "encoder_hidden_states", "encoder_hidden_states_mask"),
    listed=("shape_list",),
    channel_dim=2,
    batched_cfg=True,
    grid=_grid,
    input="img_in",
    # (B, patches, channels, frames, rows and columns of a patch).
    prediction=Prediction(
        by_token=lambda prediction, shape: prediction.flatten(3),
        over=lambda values, shape, prediction: values[..., None, None, None, None],
    ),
)

register(JOYIMAGEEDITPLUS)
