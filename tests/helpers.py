"""Tiny random models, inputs and pipelines that every test uses.

Nothing here imports toca. The models are stock diffusers classes with a few layers of width 32 and weights drawn so
that no block is idle: gates, modulations and attention maps are all well away from zero, from uniform and from each
other, and the outputs of two steps differ. Everything is a function of its seed and leaves the global generator alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LattePipeline,
    LatteTransformer3DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

FAMILIES = ("dit", "pixart", "flux", "latte")
NULL_CLASS = 1000  # the label DiTPipeline uses for the unconditional branch
TEXT_TOKENS = 8
TEXT_WIDTH = 16
FRAMES = 4
WORDS = "a an the of on in red green blue small big owl cat dog wire tree house star moon sun running".split()

Inputs = list[dict[str, Any]]


# --- weights -------------------------------------------------------------------------------------------------------


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every weight anew: unit gain for linear layers, double for queries and keys (peaked attention maps),
    modulation tables and biases well away from zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.copy_(_scaled(name, noise))
    return model.requires_grad_(False).eval()


def _scaled(name: str, noise: Tensor) -> Tensor:
    if "scale_shift_table" in name:
        return 0.5 * noise
    if noise.ndim == 1:
        return 1 + 0.1 * noise if "norm" in name and name.endswith("weight") else 0.1 * noise
    gain = 2.0 if any(part in name for part in ("to_q", "to_k", "add_q_proj", "add_k_proj")) else 1.0
    return gain * noise / math.sqrt(noise[0].numel())


def _build(cls: type, seed: int, defaults: dict[str, Any], overrides: dict[str, Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        model = cls(**{**defaults, **overrides})
    return randomize(model, seed)


# --- transformers --------------------------------------------------------------------------------------------------


def tiny_dit(seed: int = 0, **overrides: Any) -> DiTTransformer2DModel:
    """Class-conditional DiT: 3 layers, width 32, 64 tokens at 16x16 latents."""
    defaults = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 3,
        "sample_size": 16,
        "patch_size": 2,
        "num_embeds_ada_norm": NULL_CLASS,
    }
    return _build(DiTTransformer2DModel, seed, defaults, overrides)


def tiny_pixart(seed: int = 0, **overrides: Any) -> PixArtTransformer2DModel:
    """Text-conditional PixArt-alpha: 3 layers, width 32, 64 tokens at 16x16 latents, 8 text tokens of width 16."""
    defaults = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "cross_attention_dim": 32,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 3,
        "sample_size": 16,
        "patch_size": 2,
        "caption_channels": TEXT_WIDTH,
    }
    return _build(PixArtTransformer2DModel, seed, defaults, overrides)


def tiny_flux(seed: int = 0, **overrides: Any) -> FluxTransformer2DModel:
    """FLUX.1-dev in small: 2 dual-stream and 3 single-stream blocks, width 32, guidance embedding, RoPE."""
    defaults = {
        "patch_size": 1,
        "in_channels": 16,
        "num_layers": 2,
        "num_single_layers": 3,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "joint_attention_dim": TEXT_WIDTH,
        "pooled_projection_dim": TEXT_WIDTH,
        "guidance_embeds": True,
        "axes_dims_rope": (4, 6, 6),
    }
    return _build(FluxTransformer2DModel, seed, defaults, overrides)


def tiny_latte(seed: int = 0, **overrides: Any) -> LatteTransformer3DModel:
    """Text-to-video Latte: 2 spatial and 2 temporal blocks, width 32, 4 frames of 64 tokens at 16x16 latents."""
    defaults = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "cross_attention_dim": 32,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 2,
        "sample_size": 16,
        "patch_size": 2,
        "caption_channels": TEXT_WIDTH,
        "video_length": FRAMES,
        "attention_bias": True,
        "activation_fn": "gelu-approximate",
        "norm_type": "ada_norm_single",
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
    }
    return _build(LatteTransformer3DModel, seed, defaults, overrides)


TINY: dict[str, Callable[..., Any]] = {
    "dit": tiny_dit,
    "pixart": tiny_pixart,
    "flux": tiny_flux,
    "latte": tiny_latte,
}


# --- inputs of a whole generation ----------------------------------------------------------------------------------


def inputs_for(
    family: str,
    steps: int,
    batch_size: int = 1,
    seed: int = 0,
    height: int | None = None,
    width: int | None = None,
    dtype: torch.dtype = torch.float32,
    *,
    cfg: bool = False,
    mask: bool = True,
) -> Inputs:
    """The keyword arguments of each transformer call of one generation.

    Latents (16x16 unless told) turn slowly from one noise towards another; timesteps decrease. Sample b depends on
    `seed` and b only, so a batch of one is the first row of a batch of three. With `cfg` each call has 2 * batch_size
    rows: the same latents twice, with the unconditional half where the family's pipeline puts it (second for DiT,
    first for the others). `mask` gives PixArt its encoder_attention_mask (rows of different lengths).
    """
    height, width = height or 16, width or 16
    samples = [_sample(family, seed + 7919 * b, height, width) for b in range(batch_size)]
    if cfg:
        nulls = [{**s, **_null(family)} for s in samples]
        samples = samples + nulls if family == "dit" else nulls + samples
    return [_call(family, samples, i / steps, (height, width), dtype, mask) for i in range(steps)]


def _sample(family: str, seed: int, height: int, width: int) -> dict[str, Tensor]:
    """What one sample is made of: two noises and a condition."""
    generator = torch.Generator().manual_seed(seed)
    shape = {
        "flux": ((height // 2) * (width // 2), 16),
        "latte": (4, FRAMES, height, width),
    }.get(family, (4, height, width))
    keep = torch.arange(TEXT_TOKENS) < TEXT_TOKENS - seed % 3
    return {
        "start": torch.randn(shape, generator=generator),
        "end": torch.randn(shape, generator=generator),
        "label": torch.randint(0, NULL_CLASS, (), generator=generator),
        "text": torch.randn(TEXT_TOKENS, TEXT_WIDTH, generator=generator),
        "pooled": torch.randn(TEXT_WIDTH, generator=generator),
        "keep": keep.long(),
    }


def _null(family: str) -> dict[str, Tensor]:
    """The unconditional branch's condition; it is the same for every sample."""
    generator = torch.Generator().manual_seed(4242)
    return {
        "label": torch.tensor(NULL_CLASS),
        "text": torch.randn(TEXT_TOKENS, TEXT_WIDTH, generator=generator),
        "pooled": torch.randn(TEXT_WIDTH, generator=generator),
        "keep": (torch.arange(TEXT_TOKENS) < 3).long(),
    }


def _call(
    family: str,
    samples: Sequence[dict[str, Tensor]],
    progress: float,
    size: tuple[int, int],
    dtype: torch.dtype,
    mask: bool,
) -> dict[str, Any]:
    """One call's keyword arguments; progress runs from 0 to just below 1."""
    angle = progress * math.pi / 3
    rows = [math.cos(angle) * s["start"] + math.sin(angle) * s["end"] for s in samples]
    call: dict[str, Any] = {"hidden_states": torch.stack(rows).to(dtype)}
    if family == "flux":
        return call | _flux_extras(samples, 1 - progress, size, dtype)
    call["timestep"] = torch.full((len(samples),), round(999 * (1 - progress)))
    if family == "dit":
        return call | {"class_labels": torch.stack([s["label"] for s in samples])}
    call["encoder_hidden_states"] = torch.stack([s["text"] for s in samples]).to(dtype)
    if family == "pixart":
        call["added_cond_kwargs"] = {"resolution": None, "aspect_ratio": None}
        if mask:
            call["encoder_attention_mask"] = torch.stack([s["keep"] for s in samples])
    return call


def _flux_extras(
    samples: Sequence[dict[str, Tensor]], timestep: float, size: tuple[int, int], dtype: torch.dtype
) -> dict[str, Tensor]:
    rows, columns = size[0] // 2, size[1] // 2
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1] = torch.arange(rows)[:, None]
    ids[..., 2] = torch.arange(columns)[None, :]
    return {
        "timestep": torch.full((len(samples),), timestep, dtype=dtype),
        "guidance": torch.full((len(samples),), 3.5),
        "pooled_projections": torch.stack([s["pooled"] for s in samples]).to(dtype),
        "encoder_hidden_states": torch.stack([s["text"] for s in samples]).to(dtype),
        "img_ids": ids.reshape(-1, 3).to(dtype),
        "txt_ids": torch.zeros(TEXT_TOKENS, 3, dtype=dtype),
    }


def still(call: dict[str, Any], steps: int) -> Inputs:
    """The same call in every step. Timesteps fall by less than a model can see, which takes them as float32, so that
    they tell the steps apart and change nothing."""
    timestep = call["timestep"].double()
    return [call | {"timestep": timestep - 1e-9 * i * (timestep > 0)} for i in range(steps)]


def run_steps(transformer: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Call the transformer on every step's inputs; the samples it returns."""
    with torch.no_grad():
        return [transformer(**call).sample for call in inputs]


def placed(value: Any, device: str, dtype: torch.dtype | None = None) -> Any:
    """The same with all tensors in dictionaries and lists on a device; floating-point ones of another dtype too."""
    if isinstance(value, dict):
        return {name: placed(each, device, dtype) for name, each in value.items()}
    if isinstance(value, list):
        return [placed(each, device, dtype) for each in value]
    if not isinstance(value, Tensor):
        return value
    return value.to(device, dtype) if value.is_floating_point() else value.to(device)


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference over the largest absolute value wanted."""
    return ((got - wanted).abs().max() / wanted.abs().max()).item()


# --- pipelines -----------------------------------------------------------------------------------------------------


def tiny_tokenizer(max_length: int = 120) -> PreTrainedTokenizerFast:
    """Words of WORDS, one token each; everything else is <unk>; </s> closes a prompt, <pad> fills it."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=max_length,
    )


def tiny_t5(seed: int = 0) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(WORDS) + 3,
        d_model=TEXT_WIDTH,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=1,
    )
    return _text_encoder(T5EncoderModel, config, seed)


def tiny_clip(seed: int = 0) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(WORDS) + 3,
        hidden_size=TEXT_WIDTH,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=1,
    )
    return _text_encoder(CLIPTextModel, config, seed)


def _text_encoder(cls: type, config: Any, seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        model = cls(config)
    return randomize(model, seed)


def tiny_vae(seed: int = 0, levels: int = 2) -> AutoencoderKL:
    """Four latent channels; 2 ** (levels - 1) pixels per latent."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderKL(
            block_out_channels=(8,) * levels,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=16 * 2 ** (levels - 1),
            shift_factor=0.0,
        )
    return vae.requires_grad_(False).eval()


def _quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_dit_pipeline(seed: int = 0, **overrides: Any) -> DiTPipeline:
    """`pipe(class_labels=[1, 2], num_inference_steps=10)`; 32x32 pixels."""
    names = {label: f"class {label}" for label in range(NULL_CLASS)}
    return _quiet(
        DiTPipeline(transformer=tiny_dit(seed, **overrides), vae=tiny_vae(), scheduler=DDIMScheduler(), id2label=names)
    )


def tiny_pixart_pipeline(seed: int = 0, **overrides: Any) -> PixArtAlphaPipeline:
    """`pipe("a red owl", num_inference_steps=10)`; 256x256 pixels, 32x32 latents, 64 tokens; sizes are binned as in
    the real 256 model unless `use_resolution_binning=False`."""
    transformer = tiny_pixart(seed, **{"sample_size": 32, "patch_size": 4, **overrides})
    return _quiet(
        PixArtAlphaPipeline(
            tokenizer=tiny_tokenizer(),
            text_encoder=tiny_t5(),
            vae=tiny_vae(levels=4),
            transformer=transformer,
            scheduler=DPMSolverMultistepScheduler(),
        )
    )


def tiny_flux_pipeline(seed: int = 0, **overrides: Any) -> FluxPipeline:
    """`pipe("a red owl", num_inference_steps=10, max_sequence_length=8)`; 32x32 pixels, 64 image tokens."""
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=tiny_vae(),
        text_encoder=tiny_clip(),
        tokenizer=tiny_tokenizer(max_length=16),
        text_encoder_2=tiny_t5(),
        tokenizer_2=tiny_tokenizer(),
        transformer=tiny_flux(seed, **overrides),
    )
    pipe.default_sample_size = 16
    return _quiet(pipe)


def tiny_latte_pipeline(seed: int = 0, **overrides: Any) -> LattePipeline:
    """`pipe("a red owl", num_inference_steps=10, **LATTE_SIZE)`; 4 frames of 32x32 pixels."""
    return _quiet(
        LattePipeline(
            tokenizer=tiny_tokenizer(),
            text_encoder=tiny_t5(),
            vae=tiny_vae(),
            transformer=tiny_latte(seed, **overrides),
            scheduler=DDIMScheduler(),
        )
    )


LATTE_SIZE = {"height": 32, "width": 32, "video_length": FRAMES}  # Latte's pipeline has fixed defaults of its own

TINY_PIPELINES: dict[str, Callable[..., Any]] = {
    "dit": tiny_dit_pipeline,
    "pixart": tiny_pixart_pipeline,
    "flux": tiny_flux_pipeline,
    "latte": tiny_latte_pipeline,
}


def pipeline_arguments(family: str, steps: int = 4) -> dict[str, Any]:
    """Arguments for one small generation with that family's tiny pipeline: latents or arrays out, fixed noise."""
    common = {"num_inference_steps": steps, "generator": torch.Generator().manual_seed(0)}
    if family == "dit":
        return common | {"class_labels": [1, 207], "output_type": "pt"}
    common |= {"prompt": "a red owl on a wire", "output_type": "latent"}
    if family == "flux":
        return common | {"max_sequence_length": TEXT_TOKENS}
    extra = LATTE_SIZE if family == "latte" else {}
    return common | {"clean_caption": False} | extra
