"""Blocks that encoders and decoders share. Images inside are (B, C, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Condition(nn.Module):
    """What holds for a whole message, as features: the SNR, and the message's own statistics.

    The statistics matter because the power constraint scales each message by a factor that the
    receiver isn't told: a net that sees a window at a time could not tell a faint picture from a
    vivid one. Mean squares over the whole message give that away, at no channel use.

    The SNR is clamped to ``low..high``, the trained range, so that a point outside is treated as
    the nearest one inside.

    Shape: (B,) dB and (B, statistics) mean squares -> (B, width).
    """

    def __init__(
        self, width: int, statistics: int, *, low: float = 0.0, high: float = 20.0
    ) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.first = nn.Linear(1 + statistics, width)
        self.second = nn.Linear(width, width)

    def forward(self, snr_db: Tensor, mean_squares: Tensor) -> Tensor:
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        scaled = (snr_db.clamp(self.low, self.high) - middle) / half
        levels = torch.log(mean_squares.float() + 1e-4)
        hidden = functional.gelu(self.first(torch.cat([scaled[:, None], levels], dim=1)))
        return functional.gelu(self.second(hidden))


class ChannelNorm(nn.Module):
    """Each position's channel vector scaled to unit mean square: (B, C, h, w) -> the same.

    It looks at one position alone, so an image in tiles still equals the whole.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        square = x.float().square().mean(dim=1, keepdim=True)
        scale = (square + 1e-6).rsqrt() * self.weight[:, None, None]
        normed: Tensor = x * scale.to(x.dtype)
        return normed


class ResidualBlock(nn.Module):
    """Pre-normalised residual block whose middle is scaled and shifted by the SNR (FiLM).

    The second convolution and the modulation start at zero: the block is the identity at first.
    Without the norm, Adam at useful rates makes the residual stages explode within 100 steps.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
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
        hidden = self.first(self.norm(x)) * (1 + scale) + shift
        change: Tensor = self.second(functional.gelu(hidden))
        return x + change


class ResidualStage(nn.Module):
    """A chain of :class:`ResidualBlock` under one condition, and a last norm."""

    def __init__(self, channels: int, features: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(channels, features) for _ in range(depth))
        self.norm = ChannelNorm(channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, condition)
        normed: Tensor = self.norm(x)
        return normed


def to_channels_last(x: Tensor) -> Tensor:
    """(B, C, h, w) feature maps -> (B, h, w, C) latents."""
    return x.permute(0, 2, 3, 1)


def to_channels_first(z: Tensor) -> Tensor:
    """(B, h, w, C) latents -> (B, C, h, w) feature maps."""
    return z.permute(0, 3, 1, 2)
