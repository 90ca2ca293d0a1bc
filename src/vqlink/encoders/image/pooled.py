"""The encoder of paper 000, Table 1: four convolutions, each halved by max pooling."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from vqlink.layers.blocks import to_channels_last

WIDTHS = (32, 64, 128, 256)


class PooledEncoder(nn.Module):
    """Images -> latents at 1/16 of their size, never negative (they leave a ReLU).

    Each stage is a 3x3 convolution, batch normalisation, ReLU and 2x2 max pooling.

    Args:
        widths: channels of the stages; Table 1's by default. The last are the latents'.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.stride: int = 2 ** len(widths)
        self.channels = widths[-1]
        stages: list[nn.Module] = []
        for before, width in itertools.pairwise((3, *widths)):
            stages += [
                nn.Conv2d(before, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            ]
        self.net = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], sides multiples of the stride -> (B, h, w, channels)."""
        return to_channels_last(self.net(x))
