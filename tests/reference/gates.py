"""The methods that decide while the model runs, for one image at a time. Notes, section 4.

Everything is done on the stock model through plain forward hooks. Nothing is saved: every step runs all blocks, and
where the method leaves some out, what they return is put right afterwards. A call holds one image: a row, or its two
rows under batched guidance. Each function returns the samples and a letter a step: F computed, a cached, y forecast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Streams = tuple[Tensor, ...]
Run = tuple[list[Tensor], str]


def mean_change(now: Tensor, before: Tensor) -> float:
    """Mean absolute difference."""
    return (now - before).abs().mean().item()


def relative_change(now: Tensor, before: Tensor) -> float:
    """The same, over the mean absolute value before."""
    return mean_change(now, before) / before.abs().mean().item()


class Step:
    """One run of a stock model: what enters and what leaves each block, image tokens last among the streams, all laid
    out alike; the input of block 0's attention; the sample."""

    def __init__(self, transformer: nn.Module, call: dict[str, Any], replaced: dict[int, Callable] | None = None):
        self.call, self.replaced = call, replaced or {}
        self.entered: list[Streams] = []
        self.left: list[Streams] = []
        blocks = blocks_of(transformer)
        hooks = [block.register_forward_hook(self._watch(layer), with_kwargs=True) for layer, block in blocks]
        attention = getattr(blocks[0][1], "attn1", None) or blocks[0][1].attn
        hooks.append(attention.register_forward_pre_hook(self._note_attention, with_kwargs=True))
        try:
            with torch.no_grad():
                self.sample = transformer(**call).sample
        finally:
            for hook in hooks:
                hook.remove()

    def _note_attention(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        self.attention_input = args[0] if args else kwargs["hidden_states"]

    def _watch(self, layer: int) -> Callable:
        def hook(block: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
            named = dict(zip(("hidden_states",), args, strict=False)) | kwargs
            names = ("encoder_hidden_states", "hidden_states") if isinstance(output, tuple) else ("hidden_states",)
            self.entered.append(tuple(self.by_frame(layer, named[name]) for name in names))
            outputs = output if isinstance(output, tuple) else (output,)
            if layer in self.replaced:
                filled = self.replaced[layer](self)
                # What nobody filled (the text after the last block) nobody reads.
                outputs = (*outputs[: len(outputs) - len(filled)], *(self.by_block(layer, part) for part in filled))
            self.left.append(tuple(self.by_frame(layer, part) for part in outputs))
            return outputs if isinstance(output, tuple) else outputs[0]

        return hook

    def by_frame(self, layer: int, x: Tensor) -> Tensor:
        """(samples, frames, tokens, C) for a video; else as it is."""
        if self.call["hidden_states"].ndim != 5:
            return x
        x = x.reshape(self.call["hidden_states"].shape[0], -1, *x.shape[1:])
        return x.transpose(1, 2) if layer % 2 else x

    def by_block(self, layer: int, x: Tensor) -> Tensor:
        """The way back: Latte's even layers have a row a frame, its odd ones a row a token."""
        if self.call["hidden_states"].ndim != 5:
            return x
        return (x.transpose(1, 2) if layer % 2 else x).flatten(0, 1)


def blocks_of(transformer: nn.Module) -> list[tuple[int, nn.Module]]:
    """(layer, block) in the order of execution."""
    first = list(transformer.transformer_blocks)
    if hasattr(transformer, "temporal_transformer_blocks"):
        pairs = zip(first, transformer.temporal_transformer_blocks, strict=True)
        return list(enumerate(block for pair in pairs for block in pair))
    return list(enumerate([*first, *getattr(transformer, "single_transformer_blocks", [])]))


def minus(a: Streams, b: Streams) -> Streams:
    return tuple(x - y for x, y in zip(a, b, strict=True))


def plus(a: Streams, b: Streams) -> Streams:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def run_dbcache(
    transformer: nn.Module,
    inputs: list[dict],
    *,
    threshold: float,
    first: int = 1,
    last: int = 0,
    warmup: int = 1,
    most: int = 0,
) -> Run:
    """FBCache is the case of one first block. `most`: cached steps in a row, 0 for any number."""
    samples, letters, row = [], "", 0
    end = len(blocks_of(transformer)) - last
    # Of the last block's outputs only the image is read on.
    streams = slice(None) if last else slice(-1, None)
    reference = tail = None
    for i, call in enumerate(inputs):
        step = Step(transformer, call)
        residual = step.left[first - 1][-1] - step.entered[0][-1]
        cached = i >= warmup and relative_change(residual, reference) < threshold and not (most and row >= most)
        if cached:
            step = Step(transformer, call, {end - 1: lambda s, r=tail: plus(s.entered[first][streams], r)})
            row += 1
        else:
            reference, row = residual, 0
            tail = minus(step.left[end - 1][streams], step.entered[first][streams])
        samples.append(step.sample)
        letters += "a" if cached else "F"
    return samples, letters


def run_teacache(transformer: nn.Module, inputs: list[dict], *, coefficients: list[float], threshold: float) -> Run:
    samples, letters, sum_ = [], "", 0.0
    end = len(blocks_of(transformer)) - 1
    before = residual = None
    for i, call in enumerate(inputs):
        step = Step(transformer, call)
        modulated = step.attention_input
        cached = False
        if 0 < i < len(inputs) - 1:
            x = relative_change(modulated, before)
            sum_ += sum(c * x**p for p, c in enumerate(reversed(coefficients)))
            cached = sum_ < threshold
        before = modulated
        if cached:
            step = Step(transformer, call, {end: lambda s, r=residual: (s.entered[0][-1] + r,)})
        else:
            sum_, residual = 0.0, step.left[end][-1] - step.entered[0][-1]
        samples.append(step.sample)
        letters += "a" if cached else "F"
    return samples, letters


def sea_filtered(x: Tensor, sigma: float, p: float) -> Tensor:
    """(samples, frames, rows, columns, C) through SeaCache's filter, by explicit Fourier matrices in float64."""
    a, b = (min(max(level, 1e-6), 1 - 1e-6) for level in (1 - sigma, sigma))
    y, gain = x.double().numpy().astype(complex), np.ones(1)
    matrices = []
    for axis, size in enumerate(x.shape[1:4], start=1):
        places = np.arange(size)
        matrices.append(np.exp(-2j * np.pi * np.outer(places, places) / size))
        f = np.minimum(places, size - places) / size
        P = 1 / (f**p + 1e-16)
        gain = np.multiply.outer(gain, a * P / (a * a * P + b * b + 1e-16))
        y = np.moveaxis(np.tensordot(matrices[-1], y, (1, axis)), 0, axis)
    y *= (gain[0] / gain.mean())[None, ..., None]
    for axis, matrix in enumerate(matrices, start=1):
        y = np.moveaxis(np.tensordot(matrix.conj() / len(matrix), y, (1, axis)), 0, axis)
    return torch.from_numpy(y.real)


def run_seacache(
    transformer: nn.Module,
    inputs: list[dict],
    *,
    threshold: float,
    p: float | None = None,
    latents: bool = False,
    line: bool = False,
    most: int = 0,
) -> Run:
    """Without a scheduler sigma is the timestep over 1000; FLUX is told sigma itself."""
    samples, letters, sum_, row = [], "", 0.0, 0
    end = len(blocks_of(transformer)) - 1
    before, residuals = None, []
    for i, call in enumerate(inputs):
        step = Step(transformer, call)
        x = call["hidden_states"] if latents else step.attention_input
        sigma = float(call["timestep"][0]) / (1 if "guidance" in call else 1000)
        grid = _grid(call, x, latents)
        y = sea_filtered(grid, sigma, p or (2 if grid.shape[1] == 1 else 3))
        cached = False
        if 0 < i < len(inputs) - 1:
            sum_ += relative_change(y, before)
            cached = sum_ < threshold and not (most and row >= most)
        before = y
        if cached:
            row += 1
            (last, kept), *older = residuals[::-1]
            if line and older:
                kept = kept + (kept - older[0][1]) * (i - last) / (last - older[0][0])
            step = Step(transformer, call, {end: lambda s, r=kept: (s.entered[0][-1] + r,)})
        else:
            sum_, row = 0.0, 0
            residuals.append((i, step.left[end][-1] - step.entered[0][-1]))
        samples.append(step.sample)
        letters += ("y" if line else "a") if cached else "F"
    return samples, letters


def _grid(call: dict, x: Tensor, latents: bool) -> Tensor:
    """(samples, frames, rows, columns, C) of latents, or of the tokens that enter block 0's attention."""
    shape = call["hidden_states"].shape
    if "img_ids" in call:
        rows, columns = (int(last) + 1 for last in call["img_ids"][:, 1:3].amax(dim=0))
        return x.reshape(shape[0], 1, rows, columns, x.shape[-1])
    if latents:
        x = x.movedim(1, -1)
        return x if x.ndim == 5 else x[:, None]
    frames = shape[2] if len(shape) == 5 else 1
    return x.reshape(shape[0], frames, shape[-2] // 2, shape[-1] // 2, x.shape[-1])


def run_easycache(transformer: nn.Module, inputs: list[dict], *, threshold: float, warmup: int) -> Run:
    """The model as a black box. A learned variance among the outputs has no part in the input, and is reused."""
    samples, letters, sum_, k = [], "", 0.0, math.inf
    x_before = x_computed = y_computed = None
    for i, call in enumerate(inputs):
        x = call["hidden_states"]
        cached = False
        if warmup <= i < len(inputs) - 1:
            sum_ += k * mean_change(x, x_before) / y_computed.abs().mean().item()
            cached = sum_ < threshold
        x_before = x
        if cached:
            channels = x.shape[1]
            y = torch.cat([y_computed[:, :channels] - x_computed + x, y_computed[:, channels:]], dim=1)
        else:
            sum_ = 0.0
            with torch.no_grad():
                y = transformer(**call).sample
            if y_computed is not None:
                k = mean_change(y, y_computed) / mean_change(x, x_computed)
            x_computed, y_computed = x, y
        samples.append(y)
        letters += "a" if cached else "F"
    return samples, letters


def run_adacache(
    transformer: nn.Module,
    inputs: list[dict],
    *,
    threshold: float,
    codebook: list[tuple[float, int]],
    depth: float,
    motion: bool,
    window: tuple[float, float] = (0.1, 0.9),
) -> Run:
    """The modules are those of the drafts below, at order 0. The codebook is looked up as the authors do it: step by
    step, counted from 1, and the block's residual with all frames in a row."""
    samples, letters, S = [], "", len(inputs)
    layer = int(depth * (len(blocks_of(transformer)) - 1))
    drafter = Drafter(transformer, 0)
    rate, at, before, moreg = 1, 0, None, 1.0
    for i, call in enumerate(inputs):
        computed = i + 1 == at + rate or i + 1 in (1, S - 1, S)
        if computed:
            drafter.drafting = False
            step = Step(transformer, call)
            now = step.left[layer][-1] - step.entered[layer][-1]
            if before is not None:
                c = relative_change(now, before) / rate
                if motion and now.ndim == 4:
                    was, moreg = moreg, 1.0
                    if window[0] * S <= i + 1 <= window[1] * S:
                        late, early = now[:, 1:], now[:, :-1]
                        moved = (late - early).abs().sum() / (late.abs().sum() + early.abs().sum())
                        moreg = (1 / 0.385 * moved.item()) ** 8
                    c *= moreg + abs(10 * (moreg - was) / rate)
                rate = next((r for bound, r in codebook if c < threshold * bound), codebook[-1][1])
            before, at = now, i + 1
        samples.append(drafter.run(call, i, drafting=not computed))
        letters += "F" if computed else "r"
    drafter.close()
    return samples, letters


def run_dicache(
    transformer: nn.Module, inputs: list[dict], *, threshold: float, probe: int = 1, warmup: int = 1
) -> Run:
    samples, letters, sum_ = [], "", 0.0
    end = len(blocks_of(transformer)) - 1
    whole: list[Tensor] = []
    shallow: list[Tensor] = []
    h_before = p_before = None
    for i, call in enumerate(inputs):
        step = Step(transformer, call)
        h, p = step.entered[0][-1], step.left[probe - 1][-1]
        cached = False
        if warmup <= i < len(inputs) - 1:
            sum_ += abs(relative_change(p, p_before) - relative_change(h, h_before))
            cached = sum_ < threshold
        h_before, p_before = h, p
        if cached:
            added = whole[-1]
            if len(whole) > 1:
                gamma = mean_change(p - h, shallow[-2]) / mean_change(shallow[-1], shallow[-2])
                added = whole[-2] + min(max(gamma, 1.0), 1.5) * (whole[-1] - whole[-2])
            step = Step(transformer, call, {end: lambda s, r=added: (s.entered[0][-1] + r,)})
        else:
            sum_ = 0.0
            whole.append(step.left[end][-1] - h)
            shallow.append(p - h)
        samples.append(step.sample)
        letters += "y" if cached else "F"
    return samples, letters


class Taylor:
    """One module's forecast: each order divided by the latest gap between full steps."""

    def __init__(self) -> None:
        self.terms: list[Tensor] = []
        self.last = 0

    def learn(self, step: int, value: Tensor, order: int) -> None:
        terms = [value]
        for old in self.terms[:order]:
            terms.append((terms[-1] - old) / (step - self.last))
        self.terms, self.last = terms, step

    def at(self, step: int) -> Tensor:
        return sum(term * (step - self.last) ** i / math.factorial(i) for i, term in enumerate(self.terms))


def relational(taylor: Taylor, step: int, length: float, rows: int) -> Tensor:
    """In the direction of the series, `length` of the first derivative's norms, each of the call's rows by itself."""
    if len(taylor.terms) < 2:
        return taylor.terms[0]
    value, first = taylor.terms[:2]
    course = (taylor.at(step) - value).reshape(rows, -1)
    norms = first.reshape(rows, -1).norm(dim=1, keepdim=True)
    return value + (length * norms * course / course.norm(dim=1, keepdim=True)).reshape(value.shape)


MODULES = ("attn1", "attn2", "attn", "ff", "ff_context")


class Drafter:
    """A stock model whose attention and feed-forward outputs (of FLUX's single-stream blocks the fused output) are
    learned in full steps and forecast in drafts; the last block can be run once more on what entered it."""

    def __init__(self, transformer: nn.Module, order: int):
        self.transformer, self.order = transformer, order
        self.step, self.drafting, self.off = 0, False, False
        self.fill: Callable[[Taylor, int], Tensor] = Taylor.at
        blocks = [block for _, block in blocks_of(transformer)]
        self.last = blocks[-1]
        modules = []
        for block in blocks:
            names = ("proj_out",) if hasattr(block, "proj_mlp") else MODULES
            modules += [getattr(block, name) for name in names if getattr(block, name, None) is not None]
        self.hooks = [module.register_forward_hook(self._module_hook(Taylor(), Taylor())) for module in modules]
        self.hooks.append(self.last.register_forward_hook(self._last_hook, with_kwargs=True))

    def _module_hook(self, *taylors: Taylor) -> Callable:
        def hook(module: nn.Module, args: tuple, output: Any) -> Any:
            if self.off:
                return None
            if self.drafting:
                filled = tuple(self.fill(taylor, self.step) for taylor in taylors if taylor.terms)
                return filled if isinstance(output, tuple) else filled[0]
            for taylor, part in zip(taylors, output if isinstance(output, tuple) else (output,), strict=False):
                taylor.learn(self.step, part, self.order)
            return None

        return hook

    def _last_hook(self, block: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        if not self.off:
            self.arguments = args, kwargs
            self.entered, self.left = args[0] if args else kwargs["hidden_states"], _image(output)

    @torch.no_grad()
    def run(self, call: dict, step: int, drafting: bool) -> Tensor:
        self.step, self.drafting = step, drafting
        return self.transformer(**call).sample

    @torch.no_grad()
    def verified(self) -> Tensor:
        self.off = True
        args, kwargs = self.arguments
        output = self.last(*args, **kwargs)
        self.off = False
        return _image(output)

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()


def _image(output: Any) -> Tensor:
    return output[-1] if isinstance(output, tuple) else output


def run_speca(
    transformer: nn.Module,
    inputs: list[dict],
    *,
    threshold: float,
    decay: float,
    floor: float,
    min_drafts: int,
    max_drafts: int,
    order: int,
    warmup: int,
    residual: bool = False,
    elements: bool = False,
) -> Run:
    samples, letters, drafts = [], "", 0
    error = None
    drafter = Drafter(transformer, order)
    for s, call in enumerate(inputs):
        too_large = error is not None and error > max(floor, threshold * decay ** (s / len(inputs)))
        full = s < warmup or drafts >= max_drafts or too_large
        samples.append(drafter.run(call, s, drafting=not full))
        error = None
        if not full and drafts >= min_drafts:
            start = drafter.entered if residual else 0
            draft, verified = drafter.left - start, drafter.verified() - start
            error = relative_change(draft, verified)
            if elements:
                error = ((draft - verified).abs() / (verified.abs() + 1e-10)).mean().item()
        drafts = 0 if full else drafts + 1
        letters += "F" if full else "y"
    drafter.close()
    return samples, letters


def run_rfc(
    transformer: nn.Module, inputs: list[dict], *, threshold: float, order: int, warmup: int, stack: bool = False
) -> Run:
    """The first module's input is forecast as a module's output is, and tells the length for all modules; or for the
    residual of all blocks."""
    samples, letters, sum_, length = [], "", 0.0, 0.0
    drafter, given, residual = Drafter(transformer, order), Taylor(), Taylor()
    drafter.fill = lambda taylor, step: relational(taylor, step, length, rows)
    end = len(blocks_of(transformer)) - 1
    for s, call in enumerate(inputs):
        rows = len(call["hidden_states"])
        drafter.off = True
        step = Step(transformer, call)
        drafter.off = stack
        x = step.attention_input
        full = s < warmup
        if not full:
            guess = given.at(s)
            sum_ += mean_change(x, guess) / x.abs().mean().item()
            full = sum_ > threshold
        if full:
            sum_ = 0.0
            given.learn(s, x, order)
            residual.learn(s, step.left[end][-1] - step.entered[0][-1], order)
        elif len(given.terms) > 1:
            length = ((x - given.terms[0]).norm() / given.terms[1].norm()).item()
        if stack and not full:
            added = relational(residual, s, length, rows)
            samples.append(Step(transformer, call, {end: lambda run, r=added: (run.entered[0][-1] + r,)}).sample)
        else:
            samples.append(drafter.run(call, s, drafting=not full))
        letters += "F" if full else "y"
    drafter.close()
    return samples, letters
