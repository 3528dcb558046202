"""Low frequencies of tokens, along a line or over a grid."""

from __future__ import annotations

import torch


def low_pass(tensor: torch.Tensor, cutoff: float) -> torch.Tensor:
    """The low frequencies of the discrete Fourier transform along the tokens of (rows, tokens, C), or of one row
    (tokens, C), or the pixels of (B, C, ..., rows, columns), in the tensor's dtype."""
    if tensor.ndim == 2:
        return low_pass(tensor[None], cutoff)[0]
    if tensor.ndim > 3:
        lines = tensor.flatten(-2).flatten(0, -2).unsqueeze(-1)
        return low_pass(lines, cutoff).reshape(tensor.shape)
    spectrum = torch.fft.rfft(tensor.float(), dim=1)
    frequencies = torch.arange(spectrum.shape[1], device=tensor.device)
    passes = frequencies <= cutoff * (spectrum.shape[1] - 1)
    return torch.fft.irfft(spectrum * passes[None, :, None], n=tensor.shape[1], dim=1).to(tensor.dtype)


def low_pass_of_grids(tensor: torch.Tensor, cutoff: float, grids: tuple[int, int, int] | None) -> torch.Tensor:
    """The low frequencies of the cosine transform over each grid, in the tensor's dtype.

    Args:
        tensor (`torch.Tensor`): (rows, tokens, C), or of one row (tokens, C), or pixels (B, C, ..., rows, columns),
            which are a grid themselves.
        cutoff (`float`): The share of the highest frequency up to which all are low.
        grids (`tuple[int, int, int]` or `None`): How many there are in all, and their rows and columns. Tokens that
            are not as many are a line, and so are those of a row that is less than a grid.
    """
    if tensor.ndim == 2:
        return low_pass_of_grids(tensor[None], cutoff, grids)[0]
    if tensor.ndim > 3:
        return _cosine_low_pass(tensor, cutoff, tensor.ndim - 2)
    rows, tokens, _ = tensor.shape
    number, height, width = grids or (rows, tokens, 1)
    if rows * tokens != number * height * width or tokens % (height * width):
        number, height, width = rows, tokens, 1
    frames = tensor.reshape(number, height, width, -1)
    return _cosine_low_pass(frames, cutoff, 1).reshape(tensor.shape)


def _cosine_low_pass(tensor: torch.Tensor, cutoff: float, dim: int) -> torch.Tensor:
    """Over the dimensions `dim` and the one after it. A signal and its mirror image have the Fourier transform that
    the cosine transform of the signal is, so that both keep the same of it."""
    mirrored, dims = tensor.float(), (dim, dim + 1)
    for each in dims:
        mirrored = torch.cat([mirrored, mirrored.flip(each)], dim=each)
    spectrum = torch.fft.rfft2(mirrored, dim=dims)
    height, width = tensor.shape[dim], tensor.shape[dim + 1]
    down = torch.fft.fftfreq(2 * height, 0.5, device=tensor.device)[:, None]
    across = torch.fft.rfftfreq(2 * width, 0.5, device=tensor.device)
    highest = ((1 - 1 / height) ** 2 + (1 - 1 / width) ** 2) ** 0.5
    # A little more, for rounding: a frequency at the bound itself is low.
    passes = (down.square() + across.square()).sqrt() <= cutoff * highest + 1e-6
    passes = passes.reshape(*passes.shape, *[1] * (tensor.ndim - dim - 2))
    kept = torch.fft.irfft2(spectrum * passes, s=mirrored.shape[dim : dim + 2], dim=dims)
    return kept.narrow(dim, 0, height).narrow(dim + 1, 0, width).to(tensor.dtype)
