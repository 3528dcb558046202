"""Trains emoji-clip, a small CLIP on captioned emoji, and reports how it finds pictures it has not seen.

python examples/train/train_clip.py
"""

import json

import numpy as np
import torch
from common import contrast, emoji_data
from common.flow import compile_blocks
from common.loop import Stage, accelerator, train
from common.options import parse


def main() -> None:
    options = parse(__doc__, out="pipelines/emoji-clip", steps=2600, batch=128, lr=1.5e-3, init_from=True)
    machine = accelerator()
    data = emoji_data.load(options.data / "emoji.npz")
    model = contrast.build()
    if options.init_from:
        model.load_state_dict(torch.load(options.init_from, weights_only=True))
    objective = contrast.Objective(model, data, options.batch).to(machine.device)
    if options.compile:
        for tower in (model.transformer, model.visual.transformer):
            compile_blocks(tower.resblocks)
    stage = Stage("clip", options.steps, options.lr, seed=options.seed, weight_decay=0.05)
    trained = train(objective, stage, machine, options.checkpoints / "clip.pt", lambda: found(objective, data))
    if machine.is_main_process:
        contrast.save(objective.model.cpu(), objective.captions.cpu().unique(), options.out / "emoji-clip.pt")
        figures = {**trained, "batch": 2 * options.batch, "held out": retrieval(objective, data)}
        (options.out / "training.json").write_text(json.dumps(figures, indent=2) + "\n")
        print(json.dumps(figures, indent=2))


def retrieval(objective: contrast.Objective, data: emoji_data.Emoji) -> dict[str, float]:
    """Captions against the drawings that were kept from training."""
    model = objective.model
    places = np.argwhere(contrast.held_out(data))
    styles = list(emoji_data.STYLES)
    texts = [f"{data.entries[i].label}, {styles[j]} style" for i, j in places]
    images = data.images[places[:, 0], places[:, 1]]
    figures = contrast.recalls(contrast.embed_texts(model, texts), contrast.embed_images(model, images))
    return {"pictures": len(places), **{name: round(value, 4) for name, value in figures.items()}}


def found(objective: contrast.Objective, data: emoji_data.Emoji) -> str:
    """The held-out recall, for the log."""
    with torch.autocast("cpu", enabled=False):
        return ", ".join(f"{name} {value:.3f}" for name, value in list(retrieval(objective, data).items())[1:3])


if __name__ == "__main__":
    main()
