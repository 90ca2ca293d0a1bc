"""The decoder of paper 000, Table 2: the mirror of :mod:`vqlink.encoders.image.pooled`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from vqlink.layers.blocks import to_channels_first

WIDTHS = (256, 128, 64, 32)


class PooledDecoder(nn.Module):
    """Latents -> images sixteen times as large, in (0, 1) (they leave a sigmoid).

    Each stage is a 2x2 transposed convolution of stride 2 and a 3x3 convolution, both with batch
    normalisation and ReLU; a last transposed convolution gives the colours.

    Args:
        widths: channels of the latents, then of the stages; Table 2's by default.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, width in itertools.pairwise(widths):
            stages += [
                nn.ConvTranspose2d(before, width, 2, stride=2),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        self.net = nn.Sequential(
            *stages, nn.ConvTranspose2d(widths[-1], 3, 2, stride=2), nn.Sigmoid()
        )

    def forward(self, z: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, 3, H, W)."""
        images: Tensor = self.net(to_channels_first(z))
        return images
