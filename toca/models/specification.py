"""The specification of a model of no known family, as far as it can be read from its modules: Python to be pasted."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from torch import nn

from .linears import CONVOLUTIONS
from .recognition import stacks_of

_QUERIES = ("to_q", "q_proj", "to_query", "q_linear", "q", "wq", "to_qkv", "qkv", "qkv_proj")
_KEYS = ("to_k", "to_v", "k_proj", "v_proj", "to_key", "to_value", "k", "v", "wk", "wv", "kv_linear", "to_kv")
_OUTPUTS = ("to_out", "out_proj", "proj", "out_layer", "o", "wo", "proj_out")
_LATENTS = ("hidden_states", "x", "sample", "latents", "img")
_TEXTS = ("encoder_hidden_states", "context", "y", "text", "txt", "encoder_hidden_state")


def specification_of(transformer: nn.Module) -> str | None:
    """A call of `toca.register` that describes a model, to be looked through; `None` where it has no stack of blocks
    with attention and a feed-forward in them."""
    stacks = [stack for path, blocks in stacks_of(transformer) if (stack := _stack(path, blocks[0])) is not None]
    if not stacks:
        return None
    takes = list(inspect.signature(type(transformer).forward).parameters)[1:]
    latents = next((name for name in _LATENTS if name in takes), takes[0] if takes else "hidden_states")
    text = next((name for name in _TEXTS if name in takes and name != latents), None)
    timestep = next((name for name in takes if re.fullmatch(r"t|time.*", name)), "timestep")
    ends = _ends(transformer)
    cls = type(transformer).__name__
    name = re.sub(r"(transformer|model|\d?d(?=model))", "", cls.lower()) or "mine"
    dims, patch = _cut(transformer, ends[0])
    size = "config.sample_size" if hasattr(getattr(transformer, "config", None), "sample_size") else "64"
    whole = ", ".join(stacks)
    argument = "" if latents == "hidden_states" else f", argument={latents!r}"
    given = "" if text == "encoder_hidden_states" else f", text={text!r}"
    extra = "".join(
        f"    {key}={value!r},\n"
        for key, value, usual in (("latents", latents, "hidden_states"), ("timestep", timestep, "timestep"))
        if value != usual
    )
    condition = "" if text in (None, "encoder_hidden_states") else f"    condition={text!r},\n"
    batched = tuple(name for name in (latents, timestep, text) if name is not None)
    return (
        "import toca\n"
        "from toca.models.intercepted import Intercepted\n"
        "from toca.models.sizes import Sizes\n\n"
        f"SIZES = Sizes({dims!r}, patch=lambda config: {patch}, latents=lambda config: (1, {size}, {size}){given}"
        f"{argument})\n"
        "toca.register(toca.FamilySpec(\n"
        f"    name={name!r},\n"
        f"    transformer={cls!r},\n"
        f"    stacks=({whole},),\n"
        "    call_shape=SIZES.call_shape,\n"
        "    default_shape=SIZES.default_shape,\n"
        "    attention=Intercepted(),\n"
        f"    around=({_around(transformer, ends)}),\n"
        f"{extra}"
        f"    batched={batched!r},\n"
        f"{condition}"
        f"    input={ends[0]!r},\n"
        f"    output={ends[1]!r},\n"
        "))"
    )


def _stack(path: str, block: nn.Module) -> str | None:
    """A `BlockSpec` of a stack, with its sites in the order in which the block has them."""
    sites = [site for name, child in block.named_children() if (site := _site(name, child)) is not None]
    modules = [re.search(r'"(\w+)"', site)[1] for site in sites]  # type: ignore[index]
    if "self_attn" not in modules or len(set(modules)) < len(modules):
        return None
    takes = list(inspect.signature(type(block).forward).parameters)[1:]
    main = next((name for name in _LATENTS if name in takes), takes[0] if takes else "hidden_states")
    streams = "" if main == "hidden_states" else f", streams=({main!r},), main={main!r}"
    stack = path.rpartition(".")[2]
    return f"toca.BlockSpec({stack!r}, {path!r}, ({', '.join(sites)},){streams})"


def _site(name: str, module: nn.Module) -> str | None:
    linears = [child for child, _ in module.named_children()]
    queries = [linear for linear in linears if linear in _QUERIES]
    if queries:
        cross = re.search("cross|attn2|context", name) is not None
        keys = tuple(linear for linear in linears if linear in _KEYS)
        out = tuple(linear for linear in linears if linear in _OUTPUTS)
        own, other = ((queries[0], *out), keys) if cross else ((queries[0], *keys, *out), ())
        module_name = "cross_attn" if cross else "self_attn"
        output = f", output={out[0]!r}" if out else ""
        text = f", text_linears={other!r}" if other else ""
        width = out[0] if "qkv" in queries[0] and out else queries[0]
        return (
            f'toca.SiteSpec("{module_name}", {name!r}, "attention", query_linears={own!r}{text}, width={width!r}'
            f"{output})"
        )
    is_feed_forward = re.search("ff|mlp|feed_forward", name) is not None
    if is_feed_forward and any(isinstance(child, nn.Linear) for child in module.modules()):
        return f'toca.SiteSpec("ff", {name!r}, "feed_forward")'
    return None


def _ends(transformer: nn.Module) -> tuple[str, str]:
    """The layers that read the model's input and make its output: the first convolution, or layer, and the last."""
    layers = [name for name, child in transformer.named_children() if any(_is_layer(part) for part in child.modules())]
    stacks = {path.partition(".")[0] for path, _ in stacks_of(transformer)}
    outer = [name for name in layers if name not in stacks]
    convolutions = [name for name in outer if any(isinstance(m, CONVOLUTIONS) for m in _module(transformer, name))]
    embedders = [name for name in outer if re.search("embed|patch|proj_in|input", name)]
    first = next(iter([*convolutions, *embedders, *outer]), "")
    return first, next(iter([name for name in reversed(outer) if re.search("out|final|head", name)] + outer[-1:]), "")


def _around(transformer: nn.Module, ends: tuple[str, str]) -> str:
    """What runs beside the blocks: the ends on tokens, embedders of the text on its tokens, all else once a sample."""
    stacks = {path.partition(".")[0] for path, _ in stacks_of(transformer)}
    units = []
    for name, child in transformer.named_children():
        if name in stacks or not any(_is_layer(part) for part in child.modules()):
            continue
        text = re.search("context|caption|text_emb|txt|y_embed", name) is not None
        unit = "token" if name in ends else "text_token" if text else "sample"
        units.append(f"({name!r}, {unit!r})")
    return ", ".join([*units, ""]).rstrip(" ")


def _cut(transformer: nn.Module, first: str) -> tuple[str, str]:
    """The dimensions of the latents and the patch, from the layer that reads them."""
    for layer in _module(transformer, first) if first else ():
        if isinstance(layer, nn.Conv3d):
            return "BCFHW", str(tuple(layer.stride))
        if isinstance(layer, nn.Conv2d):
            return "BCHW", f"(1, {layer.stride[0]}, {layer.stride[1]})"
    return "BTC", "(1, 1, 1)"


def _module(transformer: nn.Module, name: str) -> Iterator[nn.Module]:
    return transformer.get_submodule(name).modules()


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, *CONVOLUTIONS))
