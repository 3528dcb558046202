"""Text encoders learn beside emoji-clip what words look like, and are frozen then."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, T5EncoderModel


def build_pooled(vocabulary: int, width: int, length: int) -> CLIPTextModel:
    """A CLIP text model whose pooled output sums a caption up, as FLUX wants it."""
    torch.manual_seed(5)
    config = CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=length, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    return CLIPTextModel(config).eval()


class Objective(nn.Module):
    """Captions find their picture by its emoji-clip embedding.

    Args:
        encoder: a T5 encoder, whose states are averaged, or a CLIP text model, whose pooled output counts.
        captions (`torch.Tensor`): token ids, (pictures, variants, length); 0 is padding.
        pictures (`torch.Tensor`): emoji-clip's unit vectors, (pictures, width).
        masked (`bool`): whether the pipeline hides padding from the encoder, as PixArt and Latte do and FLUX does not.
        anchor (`float`): what keeps states near their words' own vectors, so that all words stay apart.
    """

    def __init__(
        self, encoder, captions: torch.Tensor, pictures: torch.Tensor, masked: bool, anchor: float, batch: int = 128
    ):
        super().__init__()
        self.encoder, self.masked, self.anchor = encoder, masked, anchor
        self.batch = min(batch, len(captions))
        self.head = nn.Linear(encoder.config.hidden_size, pictures.shape[1])
        self.scale = nn.Parameter(torch.tensor(2.5))
        self.register_buffer("captions", captions, persistent=False)
        self.register_buffer("pictures", pictures, persistent=False)
        words = torch.arange(encoder.config.vocab_size)[:, None]
        with torch.no_grad():
            start = encoder(words).last_hidden_state[:, 0] if isinstance(encoder, T5EncoderModel) else None
        self.register_buffer("start", start, persistent=False)

    def summary(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One vector a caption, and how far its states are from the dictionary's."""
        mask = (ids != 0).long() if self.masked else None
        output = self.encoder(input_ids=ids, attention_mask=mask)
        if self.start is None:
            return output.pooler_output, ids.new_zeros((), dtype=torch.float32)
        real = (ids != 0).unsqueeze(-1).float()
        states = output.last_hidden_state
        strayed = ((states - self.start[ids]).square() * real).sum() / (real.sum() * states.shape[-1])
        return (states * real).sum(1) / real.sum(1), strayed

    def forward(self, share: float) -> torch.Tensor:
        index = torch.randperm(len(self.captions), device=self.captions.device)[: self.batch]
        variant = torch.randint(self.captions.shape[1], (len(index),), device=index.device)
        vectors, strayed = self.summary(self.captions[index, variant])
        logits = self.scale.exp() * F.normalize(self.head(vectors), dim=-1) @ self.pictures[index].T
        target = torch.arange(len(index), device=index.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2 + self.anchor * strayed
