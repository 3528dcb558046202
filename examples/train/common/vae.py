"""The autoencoder: pixels to standardised latents of four channels and back."""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

CROP_UNTIL = 0.6  # of the time the autoencoder sees quarters of the pictures: four times as many steps
WHITE = 1.05  # where white is to be: a little too bright, so that clamping makes the background exactly white


def build(channels: tuple[int, ...] = (32, 64, 64), size: int = 64) -> AutoencoderKL:
    """One layer a block; every block but the last halves the picture. With three blocks 0.9 M parameters."""
    torch.manual_seed(1)
    count = len(channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * count, up_block_types=("UpDecoderBlock2D",) * count,
        block_out_channels=channels, layers_per_block=1, latent_channels=4, norm_num_groups=8, sample_size=size,
        scaling_factor=1.0, force_upcast=False, mid_block_add_attention=False,
    )  # fmt: skip


def gradients(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences between neighbouring pixels."""
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def to_pixels(images, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 pictures, (count, size, size, 3), as (count, 3, size, size) in -1..1."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_images(pixels: torch.Tensor):
    """(count, 3, size, size) in -1..1 as uint8 pictures, (count, size, size, 3)."""
    return ((pixels + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


class Objective(nn.Module):
    """L1 + L2 + edges + a little KL, on random mirrored crops of `images`, (pictures, 3, size, size) in -1..1."""

    def __init__(self, vae: AutoencoderKL, images: torch.Tensor, batch: int):
        super().__init__()
        self.vae, self.batch = vae, batch
        self.register_buffer("images", images, persistent=False)

    def draw(self, share: float) -> torch.Tensor:
        """A batch: crops at first, four times as many of them, then whole pictures."""
        size = self.images.shape[-1]
        crop = size // 2 if share < CROP_UNTIL else size
        count = self.batch * (size // crop) ** 2
        index = torch.randint(len(self.images), (count,), device=self.images.device)
        top, left = torch.randint(size - crop + 1, (2,)).tolist()
        x = self.images[index, :, top : top + crop, left : left + crop]
        mirrored = torch.rand(count, 1, 1, 1, device=x.device) < 0.5
        return torch.where(mirrored, x.flip(-1), x).to(memory_format=torch.channels_last)

    def forward(self, share: float) -> torch.Tensor:
        x = self.draw(share)
        posterior = self.vae.encode(x).latent_dist
        y = self.vae.decode(posterior.sample()).sample.float()
        white = x > 0.995
        target = torch.where(white, WHITE, x)
        y = torch.where(white, y.clamp(max=WHITE), y)
        edges = sum(F.l1_loss(a, b) for a, b in zip(gradients(y), gradients(target), strict=True))
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        return F.l1_loss(y, target) + F.mse_loss(y, target) + 0.25 * edges + 1e-3 * kl


@torch.no_grad()
def encode(vae: AutoencoderKL, images: torch.Tensor, batch: int = 128) -> torch.Tensor:
    """The mean latents of all images."""
    return torch.cat([vae.encode(x).latent_dist.mean.float() for x in images.split(batch)])


@torch.no_grad()
def standardise(vae: AutoencoderKL, images: torch.Tensor) -> None:
    """Folds the latents' mean and deviation into the 1 x 1 convolutions: the pipeline's scaling factor stays 1."""
    latents = encode(vae, images)
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, out = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= std[None, :, None, None]
    into.bias[:channels] -= mean
    into.weight[:channels] /= std[:, None, None, None]
    into.bias[:channels] /= std
    into.bias[channels:] -= 2 * std.log()


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: torch.Tensor, batch: int = 128) -> float:
    """Mean PSNR in dB of the pictures after encoding and decoding."""
    values = []
    for x in images.split(batch):
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1).float()
        values.append(-10 * ((x - y) / 2).square().mean((1, 2, 3)).clamp(min=1e-8).log10())
    return torch.cat(values).mean().item()
