"""The command line that every training script has."""

import argparse
from pathlib import Path


def parse(
    about: str, *, out: str, steps: int, batch: int, lr: float, text_steps: int = 0, init_from: bool = False
) -> argparse.Namespace:
    """Options with a part's own defaults; `--smoke` trades them for a trial of seconds in `/tmp`-like folders.

    Args:
        about (`str`): the script's docstring.
        out (`str`): the folder of the result.
        steps, batch, lr: of the main stage, as the shipped weights were trained.
        text_steps: of the text encoders' lessons, for pipelines that have some; they need emoji-clip and the VAE.
        init_from (`bool`): whether training can start from what an earlier run made.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(".data"), help="the folder that prepare.py filled")
    parser.add_argument("--out", type=Path, default=Path(out), help="where the result goes")
    parser.add_argument("--checkpoints", type=Path, default=Path(".data/checkpoints"), help="to resume from")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch, help="per step and process")
    parser.add_argument("--lr", type=float, default=lr, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="torch.compile the model's blocks")
    parser.add_argument("--smoke", action="store_true", help="a few steps on a few pictures: does everything run?")
    if text_steps:
        parser.add_argument("--text-steps", type=int, default=text_steps, help="of the text encoders' lessons")
        parser.add_argument("--clip", type=Path, default=Path("pipelines/emoji-clip/emoji-clip.pt"))
        parser.add_argument("--vae", type=Path, default=Path("pipelines/emoji/vae"), help="the emoji autoencoder")
    if init_from:
        parser.add_argument("--init-from", type=Path, help="what an earlier run made, to go on from")
    options = parser.parse_args()
    if options.smoke:
        options.steps, options.batch = 2, min(options.batch, 4)
    return options
