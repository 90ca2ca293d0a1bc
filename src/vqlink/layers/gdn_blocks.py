"""Residual blocks round GDN, after Cheng et al. (2020): those of DeepJSCC-Q's Fig. 3."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from vqlink.layers.gdn import GDN


class PlainBlock(nn.Module):
    """Two 3x3 convolutions with leaky ReLUs, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.first(x))
        return x + functional.leaky_relu(self.second(hidden))


class DownBlock(nn.Module):
    """Half the size: a strided 3x3, a 3x3 and GDN, beside a strided 1x1."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, stride=2, padding=1)
        self.second = nn.Conv2d(out, out, 3, padding=1)
        self.norm = GDN(out)
        self.skip = nn.Conv2d(channels, out, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.second(functional.leaky_relu(self.first(x)))
        result: Tensor = self.norm(hidden) + self.skip(x)
        return result


class UpBlock(nn.Module):
    """Twice the size: a 3x3 with pixel shuffle, a 3x3 and inverse GDN, beside a shuffled 3x3."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, 4 * out, 3, padding=1), nn.PixelShuffle(2))
        self.second = nn.Conv2d(out, out, 3, padding=1)
        self.norm = GDN(out, inverse=True)
        self.skip = nn.Sequential(nn.Conv2d(channels, 4 * out, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.second(functional.leaky_relu(self.first(x)))
        result: Tensor = self.norm(hidden) + self.skip(x)
        return result
