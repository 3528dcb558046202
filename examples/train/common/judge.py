"""Is a sample what was asked for? emoji-clip and the nearest real picture say so; the eye has the last word."""

from collections.abc import Sequence
from pathlib import Path

import clip
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import contrast

Figures = dict[str, float]
Labelled = tuple[np.ndarray, Sequence[int]]  # uint8 pictures, (count, size, size, 3), and their classes


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

    def captions(self, images: np.ndarray, real: np.ndarray, wanted: list[int], captions: list[str]) -> Figures:
        """How often the caption asked for is the best, or among the best five, of all captions.

        Args:
            images (`np.ndarray`): samples, uint8, (count, ...).
            real (`np.ndarray`): the real pictures that were asked for, which show how far emoji-clip can be trusted.
            wanted (`list[int]`): indices into `captions`.
        """
        words = contrast.embed_texts(self.model, captions)
        logits, ceiling = (self.pictures(pictures) @ words.T for pictures in (images, real))
        own = logits.gather(1, torch.tensor(wanted)[:, None])
        others = (logits.sum(1) - own[:, 0]) / (logits.shape[1] - 1)
        below = (logits < own).float().sum(1) / (logits.shape[1] - 1)
        return {
            "captions to choose from": len(captions),
            "emoji-clip puts the right caption first": share(logits, wanted, 1),
            "the same for the real pictures": share(ceiling, wanted, 1),
            "emoji-clip puts the right caption among five": share(logits, wanted, 5),
            "the same five for the real pictures": share(ceiling, wanted, 5),
            "right caption above a random other": below.mean().item(),
            "cosine, right caption": own.mean().item(),
            "cosine, other captions": others.mean().item(),
        }

    def classes(self, real: Labelled, held_out: Labelled, samples: Labelled) -> Figures:
        """A read-out of the picture tower, trained on real pictures: its accuracy on held-out ones and on samples."""
        vectors = 10 * self.pictures(real[0])
        probe = fit(nn.Sequential(nn.Linear(vectors.shape[1], 512), nn.GELU(), nn.Linear(512, 10)), vectors, real[1])
        return {
            f"read-out of emoji-clip, {name}": accuracy(probe, 10 * self.pictures(images), labels)
            for name, (images, labels) in {"held-out pictures": held_out, "samples": samples}.items()
        }


def share(logits: torch.Tensor, wanted: list[int], rank: int) -> float:
    """How often the wanted column is among the `rank` highest of its row."""
    own = logits.gather(1, torch.tensor(wanted)[:, None])
    return ((logits > own).sum(1) < rank).float().mean().item()


def fit(model: nn.Module, inputs: torch.Tensor, labels: np.ndarray, steps: int = 1500, batch: int = 128) -> nn.Module:
    """A classifier, trained."""
    torch.manual_seed(0)
    targets = torch.as_tensor(labels).long()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for _ in range(steps):
        index = torch.randint(len(inputs), (batch,))
        F.cross_entropy(model(inputs[index]), targets[index]).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, inputs: torch.Tensor, labels) -> float:
    """Share of inputs whose label the classifier names."""
    right = torch.cat([model(part).argmax(1) for part in inputs.split(256)]) == torch.as_tensor(labels).long()
    return right.float().mean().item()


def grey(images: np.ndarray) -> torch.Tensor:
    """uint8 pictures, (count, size, size, 3), as (count, 1, size, size) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(images[..., 0])).float()[:, None] / 127.5 - 1


def convolutional_judge(real: Labelled, held_out: Labelled, samples: Labelled) -> Figures:
    """A small convolutional classifier, trained on real pictures: its accuracy on held-out ones and on samples."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2),
        nn.Flatten(), nn.LazyLinear(128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10),
    )  # fmt: skip
    model(grey(real[0][:1].repeat(2, 0)))
    fit(model, grey(real[0]), real[1])
    return {
        f"convolutional classifier, {name}": accuracy(model, grey(images), labels)
        for name, (images, labels) in {"held-out pictures": held_out, "samples": samples}.items()
    }


def nearest(images: np.ndarray, wanted: list[int], real: np.ndarray) -> Figures:
    """Share of samples whose nearest real picture or video is the one asked for, and the PSNR to that one in dB.

    Args:
        images, real (`np.ndarray`): uint8, (count, ...).
        wanted (`list[int]`): indices into `real`.
    """
    made, kept = (torch.from_numpy(x).flatten(1).float() / 255 for x in (images, real))
    right = (torch.cdist(made, kept).argmin(1) == torch.tensor(wanted)).float().mean().item()
    errors = (made - kept[wanted]).square().mean(1).clamp(min=1e-8)
    return {"nearest real one is the right one": right, "PSNR to it": (-10 * errors.log10()).mean().item()}
