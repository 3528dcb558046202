"""The attention dialect of whatever stock processor ends in `scaled_dot_product_attention`: it runs as it is, and the
query, key, value and mask of its call are seen on their way into the softmax.

Nothing is re-stated, so nothing can be mis-stated: the output is the stock processor's, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F

from .dialect import (
    AttentionDialect,
    Forward,
    Measure,
    Output,
    Present,
    Remembered,
    is_stock,
    processor_of,
    speaker_of,
    tokens_first,
)
from .positions import Positions, joined, row_of
from .products import Completing, Product, Watch, joined_rows, projected, unseen, watched

ADVICE = 'Use a method that measures none and drops no tokens, such as "fora" or "random", or the default processor.'
MIXING = "PAG"
"""How the names of those processors of diffusers begin that mix the rows of a batch."""
MAPLESS = (
    *("AttnProcessor", "SlicedAttnProcessor", "XFormersAttnProcessor", "XFormersJointAttnProcessor"),
    *("CustomDiffusionAttnProcessor", "CustomDiffusionXFormersAttnProcessor"),
    *("SanaLinearAttnProcessor2_0", "SanaLinearAttnProcessor3_0", "SanaMultiscaleAttnProcessor2_0"),
    *("SanaWMBidirectionalGDNAttention", "AnyFlowCausalAttnProcessor", "Kandinsky6SRAttnProcessor"),
)
"""What of diffusers attends without a product that can be seen: by sums of its own, linearly, or in blocks."""


@dataclass(frozen=True)
class Intercepted(AttentionDialect):
    """Any stock processor that ends in `scaled_dot_product_attention`.

    Where what tells tokens their positions has no row a sample, and the tokens that are there differ from sample to
    sample, the module runs sample by sample: the same products, in more calls.

    Args:
        positions (`tuple`, defaults to `()`): What tells tokens their positions: a `Positions`, or just the name of an
            argument whose tensors' first dimension is the tokens.
        whole (`tuple[str, ...]`, defaults to `()`): Other arguments that have no row a sample.
        product (`int`, defaults to -1): Which product counts where a module makes several for one output.
        own_keys (`str`, defaults to `"first"`): Where the keys are more than the queries, those of the queries' own
            tokens are the `"first"` or the `"last"`.
        mapless (`tuple[str, ...]`, defaults to `()`): Processors, or modules without one, that make no such product,
            beside those of diffusers that are known for it.
        trusted (`tuple[str, ...]`, defaults to `()`): Processors, or modules without one, that are not of diffusers,
            and make one, each row of a batch by itself.
        measures, drops, probed, chooses: As in every dialect.
    """

    positions: tuple[Positions | str, ...] = ()
    whole: tuple[str, ...] = ()
    product: int = -1
    own_keys: Literal["first", "last"] = "first"
    mapless: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    measures: bool = True
    drops: bool = True
    probed: str | None = None
    chooses: bool = True

    def why_not(self, attn: Any) -> str | None:
        speaker, processor = speaker_of(attn), processor_of(attn)
        if speaker.__name__ in (*MAPLESS, *self.mapless):
            return f"uses {speaker.__name__}, which makes no attention map that could be measured. {ADVICE}"
        if not self._knows(speaker):
            known = " and ".join(("those of diffusers", *self.trusted))
            return f"uses {speaker.__name__}, which this library cannot measure (it knows {known}). {ADVICE}"
        if not self.by_row(attn):
            return f"uses {speaker.__name__}, which mixes the samples of a batch. {ADVICE}"
        # An enumeration's member, or its value.
        backend = getattr(processor, "_attention_backend", None)
        backend = getattr(backend, "value", backend) or "native"
        if not backend.lstrip("_").startswith("native"):
            return (
                f"runs on the attention backend {backend!r}, into which this library cannot look. Call "
                f"`set_attention_backend('native')` on the model. {ADVICE}"
            )
        if getattr(processor, "_parallel_config", None) is not None:
            return f"runs in parallel over several devices, which this library cannot measure. {ADVICE}"
        return None

    def by_row(self, attn: Any) -> bool:
        speaker = speaker_of(attn)
        return self._knows(speaker) and not speaker.__name__.startswith(MIXING)

    def _knows(self, speaker: type) -> bool:
        return is_stock(speaker) or speaker.__name__ in self.trusted

    def measured(
        self, stock: Forward, attn: Any, call: dict[str, Any], measure: Measure, tokens: int
    ) -> tuple[Output, torch.Tensor]:
        output, (products,) = watched(stock, attn, call, self.product)
        return output, torch.cat([self._fitted(measure(projected(product)), tokens) for product in products])

    def remembered(
        self, stock: Forward, attn: Any, call: dict[str, Any], measure: Measure | None = None, tokens: int = 0
    ) -> Remembered:
        numbers = (0,) if measure is None else (0, self.product)
        output, (own, *others) = watched(stock, attn, call, *numbers)
        keys, values = [tokens_first(product.key) for product in own], [tokens_first(product.value) for product in own]
        statistic = None
        if measure is not None:
            statistic = torch.cat([self._fitted(measure(projected(product)), tokens) for product in others[0]])
        return Remembered(output, joined_rows(keys), joined_rows(values), statistic)

    def with_dropped(
        self, stock: Forward, attn: Any, call: dict[str, Any], present: Present, held: tuple[torch.Tensor, ...]
    ) -> Output:
        outputs, first = [], 0
        for part, here in self._parts(call, present):
            rows = slice(first, first + len(here.places))
            completing = Completing(here, tuple(each[rows] for each in held), self.own_keys)
            seen: list[Product] = []
            with Watch(seen, completing):
                outputs.append(stock(attn, **part))
            if not seen:
                raise unseen(attn)
            first = rows.stop
        return joined(outputs)

    def for_queries(
        self, stock: Forward, attn: Any, call: dict[str, Any], present: Present, measure: Measure | None
    ) -> tuple[Output, torch.Tensor | None]:
        parts = [part for part, _ in self._parts(call, present)]
        if measure is None:
            return joined([stock(attn, **part) for part in parts]), None
        pairs = [self.measured(stock, attn, part, measure, present.places.shape[1]) for part in parts]
        return joined([output for output, _ in pairs]), torch.cat([statistic for _, statistic in pairs])

    def _fitted(self, statistic: torch.Tensor, tokens: int) -> torch.Tensor:
        """The statistic (rows, `tokens`) of the queries' own tokens. Keys that were left out, for they are padding,
        stand last and get nothing."""
        more = statistic.shape[1] - tokens
        if more < 0:
            return F.pad(statistic, (0, -more))
        return statistic[:, :tokens] if self.own_keys == "first" else statistic[:, more:]

    def _parts(self, call: dict[str, Any], present: Present) -> list[tuple[dict[str, Any], Present]]:
        """A call, with positions for the tokens that are there; or one for each sample."""
        given = [each if isinstance(each, Positions) else Positions(each) for each in self.positions]
        given = [each for each in given if each.is_in(call)]
        rows = len(present.places)
        if rows == 1 or all(each.dim for each in given):
            return [({**call, **{each.argument: each.of(call, present) for each in given}}, present)]
        whole = (*self.whole, *(each.argument for each in given if not each.dim))
        parts = []
        for row in range(rows):
            here = present.of_rows(slice(row, row + 1))
            part = {name: value if name in whole else row_of(value, row, rows) for name, value in call.items()}
            parts.append(({**part, **{each.argument: each.of(part, here) for each in given}}, here))
        return parts
