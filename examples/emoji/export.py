"""The trained parts as a standard diffusers folder, and its model card."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, PixArtAlphaPipeline, PixArtTransformer2DModel
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from .data import Entry

CARD = """---
license: mit
library_name: diffusers
pipeline_tag: text-to-image
---
# Emoji, 64 x 64

A text-to-image pipeline small enough to travel with the code ({size:.1f} MB): a PixArt transformer of {millions:.1f} M
parameters ({layers} layers, width {width}, 64 image tokens), an autoencoder that down-samples by 4, and a frozen word
encoder. Its weights are trained, not random, so that what a cache does to a picture can be seen and measured, on a
CPU, without a download.

```python
from diffusers import PixArtAlphaPipeline

pipe = PixArtAlphaPipeline.from_pretrained("pipelines/emoji")
pipe("a red apple", num_inference_steps=20, guidance_scale=4.0, use_resolution_binning=False).images[0]
```

`use_resolution_binning=False` is needed: the pipeline class knows size bins for pictures of 256 pixels and up only.

## What it knows
{count} pictures by name; `prompts.json` lists their main captions, which are also at the end of this page,
`names.json` every name. Articles, case, punctuation and plurals do not matter, many everyday names work too
("coffee", "a slice of pizza"), and words that it does not know are ignored ("a glossy red apple"). A word that
belongs to another picture pulls towards that one ("shiny" is a name of the ring). The order of words is not seen.

**It memorises.** Every picture it makes is, closely, one that it was trained on. It serves to test and to show
caching methods; it does not compose new scenes, and says nothing about the quality of large models.

## How it was made
Fluent 3D emoji on white (`@lobehub/fluent-emoji-3d` 1.1.0, MIT) with the English labels and tags of `emojibase-data`
17.0.0 (MIT). Autoencoder first, then the transformer by rectified flow on its latents, with 10 % empty captions; the
word encoder, a T5 encoder of fixed random embeddings, is not trained. `examples/train_emoji.py` repeats it.

## Figures
{figures}

## Prompts
{prompts}
"""


def name_tokenizer_class(folder: Path) -> None:
    """Writes the tokenizer's class name as every version of transformers reads it; version 5 writes another."""
    name = "PreTrainedTokenizerFast"
    for path, edit in (
        (folder / "tokenizer" / "tokenizer_config.json", {"tokenizer_class": name}),
        (folder / "model_index.json", {"tokenizer": ["transformers", name]}),
    ):
        path.write_text(json.dumps({**json.loads(path.read_text()), **edit}, indent=2) + "\n")


def save_pipeline(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    encoder: T5EncoderModel,
    vae: AutoencoderKL,
    transformer: PixArtTransformer2DModel,
    entries: list[Entry],
) -> None:
    """Writes the folder. The text encoder stays in fp32: loaded without a dtype, T5 alone would come back in fp16."""
    pipeline = PixArtAlphaPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder.float().cpu(),
        vae=vae.to("cpu", torch.float16),
        transformer=transformer.to("cpu", torch.float16),
        scheduler=DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0),
    )
    pipeline.save_pretrained(folder)
    name_tokenizer_class(folder)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)  # the library leaves them to their owner alone
    prompts = sorted(entry.label for entry in entries)
    names = sorted({name for entry in entries for name in (entry.label, *entry.names)})
    for file, texts in (("prompts.json", prompts), ("names.json", names)):
        (folder / file).write_text(json.dumps(texts, indent=0, ensure_ascii=False) + "\n")


def write_card(folder: Path, figures: dict[str, str]) -> None:
    """Writes README.md, with whatever was measured, from what lies in the folder."""
    config = json.loads((folder / "transformer" / "config.json").read_text())
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    prompts = json.loads((folder / "prompts.json").read_text())
    files = [path for path in folder.rglob("*") if path.is_file()]
    text = CARD.format(
        size=sum(path.stat().st_size for path in files) / 1e6,
        millions=weights.stat().st_size / 2e6,
        layers=config["num_layers"],
        width=config["num_attention_heads"] * config["attention_head_dim"],
        count=len(prompts),
        figures="\n".join(f"- {name}: {value}" for name, value in figures.items()),
        prompts=", ".join(prompts),
    )
    (folder / "README.md").write_text(text)
