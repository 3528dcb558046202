"""Trains the autoencoder that all emoji pipelines share: 64 x 64 pixels to 16 x 16 latents.

python examples/train/train_vae.py
"""

import json

from common import emoji_data, vae
from common.loop import Stage, accelerator, train
from common.options import parse


def main() -> None:
    options = parse(__doc__, out="pipelines/emoji/vae", steps=6000, batch=16, lr=2e-3)
    machine = accelerator()
    data = emoji_data.load(options.data / "emoji.npz")
    pixels = vae.to_pixels(data.images[data.present & ~data.held_out()], machine.device)
    pixels = pixels[:16] if options.smoke else pixels
    model = vae.build().to(machine.device)
    stage = Stage("vae", options.steps, options.lr, seed=options.seed)
    result = train(vae.Objective(model, pixels, options.batch), stage, machine, options.checkpoints / "vae.pt")
    vae.standardise(model.eval(), pixels)
    if machine.is_main_process:
        held_out = vae.to_pixels(data.images[data.held_out()], machine.device)
        figures = {**result, "psnr": vae.psnr(model, pixels), "psnr of held-out pictures": vae.psnr(model, held_out)}
        model.cpu().half().save_pretrained(options.out)
        print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
