"""Writes the reference features of real pictures that evaluation compares samples with, and their SHA-256.

python examples/train/reference.py
"""

import argparse
import json
from pathlib import Path

import numpy as np
from common import emoji_data, fashion_data, motion, reference, subjects, vae
from common.judge import Judge
from train_emoji_video import videos

FASHION = 4096
EVERY = 2  # of a video's frames one in two is taken: neighbours hardly differ


def emoji(folder: Path) -> tuple[np.ndarray, str]:
    """Every drawing, held-out ones too: what a pipeline ought to be able to draw."""
    data = emoji_data.load(folder / "emoji.npz")
    return data.images[data.present], f"{len(data.entries)} emoji in the styles {', '.join(emoji_data.STYLES)}"


def fashion(folder: Path) -> tuple[np.ndarray, str]:
    """Test pictures, which no pipeline was trained on."""
    images = fashion_data.load(folder / "fashion.npz")["held_out_images"][:FASHION]
    return fashion_data.in_colour(images), f"the first {FASHION} test pictures of Fashion-MNIST, inverted"


def emoji_video(folder: Path) -> tuple[np.ndarray, str]:
    """Frames of every emoji in every motion."""
    data = emoji_data.load(folder / "emoji.npz").only(subjects.MOVING)
    pairs = [(i, name) for i in range(len(data.entries)) for name in motion.MOTIONS]
    frames = videos(data, pairs, seed=1)[:, ::EVERY].flatten(0, 1)
    return vae.to_images(frames), f"every second frame of {len(data.entries)} emoji in {len(motion.MOTIONS)} motions"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(".data"), help="the folder that prepare.py filled")
    parser.add_argument("--clip", type=Path, default=Path("pipelines/emoji-clip/emoji-clip.pt"))
    parser.add_argument("--out", type=Path, default=Path("pipelines"))
    options = parser.parse_args()
    judge = Judge(options.clip)
    for name, pictures in {"emoji": emoji, "fashion": fashion, "emoji-video": emoji_video}.items():
        images, about = pictures(options.data)
        path = options.out / name / "reference.safetensors"
        digest = reference.write(path, judge, options.clip, images, about)
        path.with_suffix(".json").write_text(json.dumps({"file": path.name, "sha256": digest}, indent=2) + "\n")
        print(f"{path}: {len(images)} pictures, sha256 {digest}")


if __name__ == "__main__":
    main()
