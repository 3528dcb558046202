"""A small CLIP in the layout of OpenAI's, so that `clip.load(path)` of clip-anytorch reads it."""

import random
import zipfile
from pathlib import Path

import clip
import numpy as np
import torch
import torch.nn.functional as F
from clip.model import CLIP
from torch import nn

from .emoji_data import STYLES, Emoji

SIZE, PATCH, WIDTH, EMBEDDING = 64, 8, 128, 128
CONTEXT = 77  # what clip.tokenize makes
LENGTH = 20  # tokens that training reads; attention is causal, so what follows the end changes nothing
VOCABULARY = 49408
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""What clip.load's preprocessing takes away and divides by."""


def build(vision_layers: int = 4, text_layers: int = 2) -> CLIP:
    """64 x 64 pixels in patches of 8, width 128: about 1.3 M parameters without the vocabulary."""
    torch.manual_seed(3)
    return CLIP(EMBEDDING, SIZE, vision_layers, WIDTH, PATCH, CONTEXT, VOCABULARY, WIDTH, WIDTH // 64, text_layers)


def held_out(data: Emoji) -> np.ndarray:
    """bool, (emoji, styles): one drawing of most emoji is kept from CLIP's training, the pipelines' own included.

    The style is drawn by a generator that is seeded: about 540 of 906 emoji have one.
    """
    mask = data.held_out()
    draw = random.Random(0)
    for i in range(len(mask)):
        style, wanted = draw.randrange(1, len(STYLES)), draw.random() < 0.57
        if wanted and not mask[i].any() and data.present[i].all():
            mask[i, style] = True
    return mask


def wording(data: Emoji, i: int, style: str | None, draw: random.Random) -> str:
    """One caption of an emoji."""
    entry = data.entries[i]
    name = entry.label if not entry.names or draw.random() < 0.5 else draw.choice(entry.names)
    tags = draw.sample(entry.tags, min(2, len(entry.tags))) if draw.random() < 0.2 else []
    text = draw.choice(("{}", "a {}", "an emoji of a {}")).format(" ".join([*tags, name]))
    return f"{text}, {style} style" if style else text


class Objective(nn.Module):
    """The contrastive loss over a batch of emoji, each in two styles, with and without the style's name.

    A caption that names no style matches both drawings: its target is shared between them.
    """

    def __init__(self, model: CLIP, data: Emoji, batch: int, variants: int = 24):
        super().__init__()
        self.model, self.batch = model, batch
        allowed = data.present & ~held_out(data)
        self.register_buffer("allowed", torch.from_numpy(allowed).float(), persistent=False)
        self.register_buffer("images", torch.from_numpy(data.images), persistent=False)
        self.register_buffer("captions", caption_table(data, variants), persistent=False)
        for block in model.transformer.resblocks:
            block.attn_mask = block.attn_mask[:LENGTH, :LENGTH]

    def draw(self) -> tuple[torch.Tensor, ...]:
        """Images, token ids, and for each its emoji and its style; the caption's style is -1 where it names none."""
        device = self.images.device
        emoji = torch.randperm(len(self.images), device=device)[: self.batch].repeat_interleave(2)
        style = torch.multinomial(self.allowed[emoji[::2]], 2).flatten()
        variant = torch.randint(self.captions.shape[2], emoji.shape, device=device)
        named = torch.rand(len(emoji), device=device) < 0.6
        ids = self.captions[emoji, torch.where(named, style, len(STYLES)), variant]
        return augment(self.images[emoji, style]), ids, emoji, style, torch.where(named, style, -1)

    def forward(self, share: float) -> torch.Tensor:
        images, ids, emoji, style, said = self.draw()
        match = (emoji[:, None] == emoji) & ((said[:, None] == -1) | (said[:, None] == style))
        return contrastive_loss(self.model, images, ids, match)


def caption_table(data: Emoji, variants: int) -> torch.Tensor:
    """Token ids, (emoji, styles + 1, variants, LENGTH); the last of the second axis names no style."""
    draw = random.Random(1)
    texts = [
        wording(data, i, style, draw) for i in range(len(data.entries)) for style in (*STYLES, None)
        for _ in range(variants)
    ]  # fmt: skip
    ids = clip.tokenize(texts, context_length=LENGTH, truncate=True)
    return ids.reshape(len(data.entries), len(STYLES) + 1, variants, LENGTH)


def contrastive_loss(model: CLIP, images: torch.Tensor, ids: torch.Tensor, match: torch.Tensor) -> torch.Tensor:
    """Symmetric cross-entropy; `match`, bool, (captions, images), says which belong together."""
    pictures = F.normalize(model.encode_image(images).float(), dim=-1)
    words = F.normalize(model.encode_text(ids).float(), dim=-1)
    logits = model.logit_scale.clamp(max=4.6).exp() * words @ pictures.T
    target = match.float()
    by_text = F.cross_entropy(logits, target / target.sum(1, keepdim=True))
    by_image = F.cross_entropy(logits.T, target.T / target.T.sum(1, keepdim=True))
    return (by_text + by_image) / 2


def normalise(images: torch.Tensor) -> torch.Tensor:
    """(count, 3, size, size) in 0..1 as clip.load's preprocessing hands it on."""
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (MEAN, STD))
    return (images - mean) / std


def augment(images: torch.Tensor) -> torch.Tensor:
    """uint8 pictures, (count, size, size, 3), moved, scaled, turned, tinted and blurred a little; white around."""
    x = images.permute(0, 3, 1, 2).float() / 255
    count, device = len(x), x.device
    scale = torch.empty(count, device=device).uniform_(0.95, 1.25)
    angle = torch.empty(count, device=device).uniform_(-0.2, 0.2)
    shift = torch.empty(count, 2, device=device).uniform_(-0.1, 0.1)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    affine = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    x = 1 - F.grid_sample(1 - x, F.affine_grid(affine, x.shape, align_corners=False), align_corners=False)
    soft = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    x = torch.where(torch.rand(count, 1, 1, 1, device=device) < 0.3, soft, x)
    x = x * torch.empty(count, 3, 1, 1, device=device).uniform_(0.85, 1.0)
    return normalise((x + 0.03 * torch.randn_like(x)).clamp(0, 1))


@torch.no_grad()
def embed_images(model: CLIP, images: np.ndarray, batch: int = 256) -> torch.Tensor:
    """Unit vectors of uint8 pictures, (count, 64, 64, 3)."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    parts = [model.encode_image(normalise(part).to(model.dtype)).float() for part in x.split(batch)]
    return F.normalize(torch.cat(parts), dim=-1)


@torch.no_grad()
def embed_texts(model: CLIP, texts: list[str]) -> torch.Tensor:
    """Unit vectors of captions."""
    length = model.transformer.resblocks[0].attn_mask.shape[0]
    ids = clip.tokenize(texts, context_length=length, truncate=True).to(model.token_embedding.weight.device)
    return F.normalize(model.encode_text(ids).float(), dim=-1)


def recalls(words: torch.Tensor, pictures: torch.Tensor, ranks: tuple[int, ...] = (1, 5)) -> dict[str, float]:
    """Share of captions whose picture is among the nearest, and the other way round; row i belongs to row i."""
    figures = {}
    for name, logits in (("text to image", words @ pictures.T), ("image to text", pictures @ words.T)):
        place = (logits > logits.diagonal()[:, None]).sum(1)
        figures |= {f"{name}, recall@{rank}": (place < rank).float().mean().item() for rank in ranks}
    return figures


def save(model: CLIP, used: torch.Tensor, path: Path) -> None:
    """Writes the state dict as fp16, compressed: of the vocabulary only the trained words' rows are not zero."""
    state = {name: value.detach().cpu().half() for name, value in model.state_dict().items()}
    kept = torch.zeros_like(state["token_embedding.weight"])
    kept[used] = state["token_embedding.weight"][used]
    state["token_embedding.weight"] = kept
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    with zipfile.ZipFile(path) as archive:
        records = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in records:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)
