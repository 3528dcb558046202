"""Generates what a pipeline is asked for through its stock class, judges it, and draws a sheet of samples.

python examples/train/evaluate.py emoji-flux
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from common import sheet
from common.cases import CASES, Case
from common.judge import Judge
from diffusers import DiffusionPipeline

from toca.pipelines.borrowed_models import borrowed_models

STEPS = 20


@torch.no_grad()
def generate(folder: Path, case: Case, limit: int | None, batch: int = 16) -> np.ndarray:
    """One sample a prompt, uint8, (prompts, [frames,] size, size, 3); noise by the prompt's place alone."""
    borrowed = borrowed_models(folder, torch.float32)
    pipe = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, **borrowed)
    pipe.set_progress_bar_config(disable=True)
    parts, prompts = [], case.prompts[:limit]
    for first in range(0, len(prompts), batch):
        part = prompts[first : first + batch]
        noise = [torch.Generator().manual_seed(first + i) for i in range(len(part))]
        made = pipe(**{case.key: part}, **case.arguments, num_inference_steps=STEPS, generator=noise, output_type="np")
        parts.append(np.asarray(made.frames if hasattr(made, "frames") else made.images))
        print(f"{first + len(part)}/{len(prompts)}", flush=True)
    return (np.concatenate(parts) * 255).round().astype(np.uint8)


def draw(case: Case, samples: np.ndarray) -> "sheet.Image.Image":
    """The first 64 samples; held-out combinations have a star. A video's frames stand side by side."""
    pictures = [np.concatenate(list(sample), 1) if sample.ndim == 4 else sample for sample in samples[:64]]
    captions = [
        f"{caption} *" if held else caption for caption, held in zip(case.captions, case.held_out, strict=True)
    ]
    return sheet.sheet([sheet.enlarged(p, case.scale) for p in pictures], captions[: len(pictures)], case.columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(CASES))
    parser.add_argument("--data", type=Path, default=Path(".data"), help="the folder that prepare.py filled")
    parser.add_argument("--out", type=Path, help="the pipeline's folder; pipelines/<name>, if not given")
    parser.add_argument("--clip", type=Path, default=Path("pipelines/emoji-clip/emoji-clip.pt"))
    parser.add_argument("--limit", type=int, help="so many prompts only, drawn and not judged")
    options = parser.parse_args()
    folder = options.out or Path("pipelines") / options.name
    case = CASES[options.name](options.data)
    samples = generate(folder, case, options.limit)
    sheet.save(draw(case, samples), folder / "samples.png")
    if options.limit:
        return
    figures = {"samples": len(samples), "of combinations held out": sum(case.held_out), "steps": STEPS}
    figures |= {name: round(value, 4) for name, value in case.judge(Judge(options.clip), samples).items()}
    (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
