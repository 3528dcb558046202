"""The denoiser: a small PixArt transformer, trained by rectified flow on the autoencoder's latents."""

import torch
import torch.nn.functional as F
from diffusers import PixArtTransformer2DModel
from torch import nn

SHIFT = 1.5  # training times lean towards the noisy end, where the picture is decided
DROP = 0.1  # share of empty captions, for classifier-free guidance


@torch.no_grad()
def build(caption_width: int, layers: int = 6, heads: int = 4) -> PixArtTransformer2DModel:
    """64 tokens, width `64 * heads`; at the start every block passes its input on and the output is zero.

    The cross-attention's output is the exception: zero there as well, the captions would get no gradient for long.
    """
    torch.manual_seed(2)
    model = PixArtTransformer2DModel(
        num_attention_heads=heads, attention_head_dim=64, in_channels=4, out_channels=4, num_layers=layers,
        cross_attention_dim=64 * heads, sample_size=16, patch_size=2, caption_channels=caption_width,
        use_additional_conditions=False,
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for block in model.transformer_blocks:
        nn.init.xavier_uniform_(block.attn2.to_out[0].weight, gain=0.5)
    for layer in (model.adaln_single.linear, model.proj_out):
        nn.init.zeros_(layer.weight)
    nn.init.zeros_(model.scale_shift_table)
    return model


class Objective(nn.Module):
    """Rectified flow: the model sees `(1 - t) * latents + t * noise` and predicts `noise - latents`.

    Args:
        transformer (`PixArtTransformer2DModel`): what is trained.
        latents (`torch.Tensor`): (pictures, 4, 16, 16), standardised.
        captions (`torch.Tensor`): token ids, (pictures, wordings, length); 0 is padding, 1 the end.
        states (`torch.Tensor`): the text encoder's output for every token, (vocabulary, width).
        batch (`int`): pictures a step.
    """

    def __init__(self, transformer, latents: torch.Tensor, captions: torch.Tensor, states: torch.Tensor, batch: int):
        super().__init__()
        self.transformer, self.batch = transformer, batch
        empty = torch.zeros_like(captions[0, 0])
        empty[0] = 1
        for name, value in {"latents": latents, "captions": captions, "states": states, "empty": empty}.items():
            self.register_buffer(name, value, persistent=False)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """A batch of latents, token ids, times and noise, drawn on the device."""
        device = self.latents.device
        index = torch.randint(len(self.latents), (self.batch,), device=device)
        wording = torch.randint(self.captions.shape[1], (self.batch,), device=device)
        ids = self.captions[index, wording]
        ids = torch.where(torch.rand(self.batch, 1, device=device) < DROP, self.empty, ids)
        t = torch.randn(self.batch, device=device).sigmoid()
        return self.latents[index], ids, SHIFT * t / (1 + (SHIFT - 1) * t), torch.randn_like(self.latents[index])

    def errors(self, predict, x: torch.Tensor, ids: torch.Tensor, t: torch.Tensor, noise: torch.Tensor):
        """The squared error of every sample."""
        mix = t[:, None, None, None]
        output = predict(
            (1 - mix) * x + mix * noise, encoder_hidden_states=self.states[ids], timestep=1000 * t,
            encoder_attention_mask=(ids != 0).to(x.dtype), return_dict=False,
        )[0]  # fmt: skip
        return F.mse_loss(output.float(), noise - x, reduction="none").mean((1, 2, 3))

    def forward(self, share: float) -> torch.Tensor:
        return self.errors(self.transformer, *self.draw()).mean()

    @torch.no_grad()
    def caption_gap(self, count: int = 256) -> tuple[float, float]:
        """The loss with the right captions and with other pictures' captions: the same means: text is ignored."""
        with torch.random.fork_rng(devices=[self.latents.device] if self.latents.is_cuda else []):
            torch.manual_seed(0)
            index = torch.randperm(len(self.latents))[:count].to(self.latents.device)
            t = torch.linspace(0.05, 0.95, len(index), device=self.latents.device)
            x, ids = self.latents[index], self.captions[index, 0]
            noise = torch.randn_like(x)
        with torch.compiler.set_stance("force_eager"):  # without gradients the blocks would compile anew
            return tuple(self.errors(self.transformer, x, i, t, noise).mean().item() for i in (ids, ids.roll(1, 0)))
