"""Blocks that encoders and decoders share. Images inside are (B, C, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SnrEmbedding(nn.Module):
    """The operating SNR as features, for a net that serves a whole range of it.

    Shape: (B,) dB -> (B, width). The SNR is clamped to ``low..high``, the trained range, so that a
    point outside is treated as the nearest one inside.
    """

    def __init__(self, width: int, *, low: float = 0.0, high: float = 20.0) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.layers = nn.Sequential(nn.Linear(1, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, snr_db: Tensor) -> Tensor:
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        scaled = (snr_db.clamp(self.low, self.high) - middle) / half
        return functional.gelu(self.layers(scaled[:, None]))


class ResidualBlock(nn.Module):
    """Pre-activated residual block whose middle is scaled and shifted by the SNR (FiLM).

    The second convolution and the modulation start at zero: the block is the identity at first.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(features, 2 * channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.modulation.weight)
        for layer in (self.first, self.second, self.modulation):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
        hidden = self.first(functional.gelu(x)) * (1 + scale) + shift
        return x + self.second(functional.gelu(hidden))


class ResidualStage(nn.Module):
    """A chain of :class:`ResidualBlock` under one condition."""

    def __init__(self, channels: int, features: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(channels, features) for _ in range(depth))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, condition)
        return x


def to_channels_last(x: Tensor) -> Tensor:
    """(B, C, h, w) feature maps -> (B, h, w, C) latents."""
    return x.permute(0, 2, 3, 1)


def to_channels_first(z: Tensor) -> Tensor:
    """(B, h, w, C) latents -> (B, C, h, w) feature maps."""
    return z.permute(0, 3, 1, 2)


def dct_basis(size: int, count: int) -> Tensor:
    """The ``count`` lowest 2-D DCT-II basis images of a ``size`` x ``size`` RGB block.

    Luma and chroma (JPEG's YCbCr directions, made orthonormal) are ranked together by the spectral
    weight of natural images, chroma counted at an eighth of luma's variance.

    Returns:
        (count, 3, size, size) float32, orthonormal rows.
    """
    n = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(torch.pi * (n[None, :] + 0.5) * n[:, None] / size)
    rows = rows / rows.norm(dim=1, keepdim=True)
    colours = torch.tensor(
        [[1.0, 1.0, 1.0], [-1.0, -1.0, 2.0], [1.0, -1.0, 0.0]], dtype=torch.float64
    )
    colours = colours / colours.norm(dim=1, keepdim=True)
    ranked = sorted(
        ((1.0 if c == 0 else 0.125) / (1.0 + u * u + v * v), -c, -u, -v)
        for c in range(3)
        for u in range(size)
        for v in range(size)
    )[::-1][:count]
    basis = [
        colours[-c][:, None, None] * (rows[-u][:, None] * rows[-v][None, :])
        for _, c, u, v in ranked
    ]
    return torch.stack(basis).float()
