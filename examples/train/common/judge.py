"""Is a sample what was asked for? emoji-clip and the nearest real picture say so; the eye has the last word."""

from pathlib import Path

import clip
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import contrast


class Judge:
    """emoji-clip, from its file."""

    def __init__(self, path: Path):
        self.model, _ = clip.load(str(path), device="cpu")

    def pictures(self, images: np.ndarray) -> torch.Tensor:
        """Unit vectors of uint8 pictures, (count, size, size, 3), or the mean ones of videos with a frame axis."""
        frames = images.reshape(-1, *images.shape[-3:])
        if frames.shape[1] != contrast.SIZE:
            small = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
            small = F.interpolate(small, contrast.SIZE, mode="bicubic", antialias=True).clamp(0, 255)
            frames = small.round().byte().permute(0, 2, 3, 1).numpy()
        vectors = contrast.embed_images(self.model, frames)
        if images.ndim == 5:
            vectors = F.normalize(vectors.unflatten(0, images.shape[:2]).mean(1), dim=-1)
        return vectors

    def captions(self, images: np.ndarray, wanted: list[int], captions: list[str]) -> dict[str, float]:
        """How often the caption asked for is the best, or among the best five, of all captions."""
        logits = self.pictures(images) @ contrast.embed_texts(self.model, captions).T
        own = logits.gather(1, torch.tensor(wanted)[:, None])
        place = (logits > own).sum(1)
        others = (logits.sum(1) - own[:, 0]) / (logits.shape[1] - 1)
        return {
            "captions to choose from": len(captions),
            "emoji-clip, right caption first": (place < 1).float().mean().item(),
            "emoji-clip, right caption among five": (place < 5).float().mean().item(),
            "right caption above a random other": (logits < own).float().sum(1).div(logits.shape[1] - 1).mean().item(),
            "cosine, right caption": own.mean().item(),
            "cosine, other captions": others.mean().item(),
        }

    def classes(self, real: tuple, held_out: tuple, samples: tuple) -> dict[str, float]:
        """A linear read-out of the picture tower, trained on real pictures: its accuracy on held-out ones and samples.

        Args:
            real, held_out, samples: pictures and labels each.
        """
        vectors, labels = self.pictures(real[0]), torch.as_tensor(real[1]).long()
        torch.manual_seed(0)
        probe = nn.Sequential(nn.Linear(vectors.shape[1], 512), nn.GELU(), nn.Linear(512, int(labels.max()) + 1))
        optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3, weight_decay=1e-3)
        for _ in range(1500):
            index = torch.randint(len(vectors), (512,))
            F.cross_entropy(probe(10 * vectors[index]), labels[index]).backward()
            optimizer.step()
            optimizer.zero_grad()
        figures = {}
        for name, (images, asked) in {"held-out pictures": held_out, "samples": samples}.items():
            with torch.no_grad():
                right = probe(10 * self.pictures(images)).argmax(1) == torch.as_tensor(asked).long()
            figures[f"read-out of emoji-clip, {name}"] = right.float().mean().item()
        return figures


def nearest(images: np.ndarray, wanted: list[int], real: np.ndarray) -> dict[str, float]:
    """Share of samples whose nearest real picture or video is the one asked for, and the PSNR to that one in dB.

    Args:
        images, real (`np.ndarray`): uint8, (count, ...).
        wanted (`list[int]`): indices into `real`.
    """
    made, kept = (torch.from_numpy(x).flatten(1).float() / 255 for x in (images, real))
    right = (torch.cdist(made, kept).argmin(1) == torch.tensor(wanted)).float().mean().item()
    errors = (made - kept[wanted]).square().mean(1).clamp(min=1e-8)
    return {"nearest real one is the right one": right, "PSNR to it": (-10 * errors.log10()).mean().item()}
