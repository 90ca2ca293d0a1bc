"""The simplified attention module of Cheng et al. (2020), without its non-local block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Unit(nn.Module):
    """1x1, 3x3, 1x1 with half the channels between, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.net = nn.Sequential(
            nn.Conv2d(channels, half, 1),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(half, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.net(x))


class SimplifiedAttention(nn.Module):
    """x + trunk(x) * sigmoid(mask(x)), each branch of three residual units.

    Shape: (B, C, h, w) -> the same.
    """

    reach = 3
    """Positions to each side that an output depends on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(_Unit(channels) for _ in range(3)))
        self.mask = nn.Sequential(
            *(_Unit(channels) for _ in range(3)), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        weighted: Tensor = x + self.trunk(x) * torch.sigmoid(self.mask(x))
        return weighted
