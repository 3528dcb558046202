"""The products of an attention: the calls of `scaled_dot_product_attention`, seen and changed on their way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from .dialect import Forward, Output, Present, Projected, over_batch, renewed, speaker_of

PRODUCT = F.scaled_dot_product_attention


class Product(NamedTuple):
    """The arguments of `scaled_dot_product_attention`, by their names there."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    attn_mask: torch.Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False


class Watch(TorchFunctionMode):
    """While it is on, every product is noted, and run as `change` makes it.

    Compiled blocks trace it whole, as long as it has no base class to initialise and its list comes from outside.
    """

    def __init__(self, seen: list[Product], change: Callable[[Product], Product] | None = None):
        self.seen, self.change = seen, change

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is not PRODUCT:
            return function(*args, **(kwargs or {}))
        product = Product(*args, **(kwargs or {}))
        self.seen.append(product)
        if self.change is None:
            return function(*args, **(kwargs or {}))
        return function(**self.change(product)._asdict())


def watched(stock: Forward, attn: Any, call: dict[str, Any], *numbers: int) -> tuple[Output, list[list[Product]]]:
    """The output of a module, and for each number the products that it counts: one, or one after another for the rows
    of the batch."""
    seen: list[Product] = []
    with Watch(seen):
        output = stock(attn, **call)
    queries = next(iter(call.values()))
    rows = queries.shape[0] if queries.ndim > 2 else 1
    batches: list[list[Product]] = []
    batch = rows
    for product in seen:
        if batch >= rows:
            batches.append([])
            batch = 0
        batches[-1].append(product)
        batch += len(product.query)
    if not batches:
        raise unseen(attn)
    counted = [batches[number] for number in numbers]
    for products in counted:
        made = sum(len(product.query) for product in products)
        if made != rows:
            raise ValueError(f"{speaker_of(attn).__name__} attended in {made} rows to what came in {rows}.")
    return output, counted


def projected(product: Product) -> Projected:
    """A product as the statistics take it: as many key heads as query heads, the usual scale, an additive mask."""
    query, key, value = product[:3]
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    usual = 1 / math.sqrt(query.shape[-1])
    if product.scale is not None and not math.isclose(product.scale, usual, rel_tol=1e-6):
        query = query * (product.scale / usual)
    mask = product.attn_mask
    if product.is_causal:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=query.dtype, device=query.device).masked_fill(~mask, -math.inf)
    if mask is not None:
        mask = mask[(None,) * (4 - mask.ndim)]
    return Projected(query, key, value, mask)


class Completing:
    """Makes of the product of the tokens that are there one with the keys and values of all. It is the first product
    of a module; others, to other keys, stay what they are.

    Args:
        present (`Present`): The tokens that are there.
        held (`tuple[torch.Tensor, ...]`): Keys and values (B, keys, heads x head_dim), contiguous; renewed in place.
        own_keys (`str`): As in `Intercepted`.
    """

    def __init__(self, present: Present, held: tuple[torch.Tensor, ...], own_keys: str):
        self.present, self.held, self.own_keys, self.done = present, held, own_keys, 0

    def __call__(self, product: Product) -> Product:
        rows = slice(self.done, self.done + len(product.query))
        self.done = rows.stop
        if rows.start >= len(self.present.places):
            return product
        if product.is_causal:
            raise ValueError("Tokens cannot be dropped where attention is causal.")
        whole = len(product.query) == len(self.present.places)
        present = self.present if whole else self.present.of_rows(rows)
        places, keys = self._keys(present, product.key.shape[2])
        held = [each[rows] for each in self.held]
        tokens = held[0].shape[1]
        own = places is present.places and tokens == present.tokens
        index = present.over_batch if own else over_batch(places, tokens)
        key, value = (
            renewed(each, index, fresh)[:, :, :keys]
            for each, fresh in zip(held, (product.key, product.value), strict=True)
        )
        mask = product.attn_mask
        if mask is not None:
            before = product.key.shape[2] - present.places.shape[1] if self.own_keys == "last" else 0
            mask = _whole_mask(mask, present, places, keys, before + present.first_image)
        return product._replace(key=key, value=value, attn_mask=mask)

    def _keys(self, present: Present, count: int) -> tuple[torch.Tensor, int]:
        """Where `count` keys of the tokens that are there (B, count) stand among all, and how many those are: beside
        the queries' own tokens some that have no queries, or without the last of them, which are padding."""
        places, more = present.places, count - present.places.shape[1]
        if more < 0:
            places = places[:, :count]
        elif more:
            others = torch.arange(more, device=places.device).expand(len(places), -1)
            last = self.own_keys == "last"
            pieces = (others, places + more) if last else (places, others + present.tokens)
            places = torch.cat(pieces, dim=1)
        return places, present.tokens + more


def _whole_mask(
    mask: torch.Tensor, present: Present, places: torch.Tensor, keys: int, first_image: int
) -> torch.Tensor:
    """A mask of the tokens that are there, or of all, as one of their queries and all keys (B, 1 or heads, 1 or k,
    `keys`). A token that is not there is seen by whom the first one of the image is seen, at `first_image`."""
    rows = len(present.places)
    if mask.ndim == 2 and mask.shape[0] == rows:
        mask = mask[:, None, None]
    mask = mask[(None,) * (4 - mask.ndim)].expand(rows, -1, -1, -1)
    if mask.shape[2] == present.tokens:
        mask = mask.gather(2, present.places[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3]))
    if mask.shape[3] == keys:
        return mask
    if mask.shape[3] != places.shape[1]:
        raise ValueError(
            f"An attention mask of {mask.shape[3]} keys is neither for the {places.shape[1]} that are there nor for "
            f"all {keys}."
        )
    whole = mask[..., first_image : first_image + 1].expand(-1, -1, -1, keys).contiguous()
    return whole.scatter(3, places[:, None, None].expand_as(mask), mask)


def joined_rows(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Keys or values (1, keys, C) of one row after another as one tensor; shorter ones are padded at their end."""
    if len(rows) == 1:
        return rows[0]
    longest = max(row.shape[1] for row in rows)
    return torch.cat([F.pad(row, (0, 0, 0, longest - row.shape[1])) for row in rows])


def unseen(attn: Any) -> ValueError:
    """What to raise where a module made no product that could be seen."""
    return ValueError(
        f"{speaker_of(attn).__name__} made no call of `scaled_dot_product_attention`, into which this library looks: "
        'its attention runs on another backend, or makes no map. Call `set_attention_backend("native")` on the model, '
        'or use a method that measures none and drops no tokens, such as "fora" or "random".'
    )
