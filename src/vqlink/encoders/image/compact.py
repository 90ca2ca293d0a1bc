"""The compact image encoder: residual GELU stages beside a linear block transform."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqlink.layers.blocks import Condition, ResidualStage, to_channels_last
from vqlink.layers.dct import BlockDCT


class CompactEncoder(nn.Module):
    """Images -> one scale of latents at an eighth of their size.

        x - 1/2 --+-- DCT 4 -- conv -- stage (1/4) -- down -- stage (1/8) -- conv --+-- z
                  +-- DCT 8 -- 1x1 conv --------------------------------------------+

    The linear branch starts by sending the leading DCT coefficients at the amplitudes that are
    best for a linear code, the square roots of their deviations; what the residual stages learn
    comes on top.

    Args:
        channels: real latent values per 8x8 block; rho = channels / 2 / (8 * 8 * 3).
        width: channels at a quarter of the size and at an eighth of it.
        depth: residual blocks at each.
    """

    stride = 8

    def __init__(
        self, channels: int, *, width: tuple[int, int], depth: tuple[int, int], features: int = 64
    ) -> None:
        super().__init__()
        self.channels = channels
        self.reach = 4 * (2 + 2 * depth[0]) + 8 * (2 * depth[1] + 1)  # pixels
        self.condition = Condition(features, statistics=192)
        self.fine_dct, self.block_dct = BlockDCT(4), BlockDCT(8)
        self.stem = nn.Conv2d(48, width[0], 3, padding=1)
        self.fine = ResidualStage(width[0], features, depth[0])
        self.down = nn.Conv2d(width[0], width[1], 3, stride=2, padding=1)
        self.coarse = ResidualStage(width[1], features, depth[1])
        self.head = nn.Conv2d(width[1], channels, 3, padding=1)
        self.linear = nn.Conv2d(192, channels, 1)
        with torch.no_grad():
            nn.init.zeros_(self.linear.weight)
            amplitude = self.block_dct.deviation[:channels].sqrt()
            self.linear.weight[:, :channels, 0, 0] = amplitude.diag()
            nn.init.zeros_(self.head.weight)
            for layer in (self.linear, self.head):
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def statistics(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 192) mean squares of the whitened DCT, to average over a message."""
        coefficients: Tensor = self.block_dct(x - 0.5)
        return coefficients.square().mean(dim=(2, 3))

    def forward(self, x: Tensor, snr_db: Tensor, statistics: Tensor) -> tuple[Tensor, ...]:
        """Images, or windows of one, to latents.

        Args:
            x: (B, 3, H, W) float32 in [0, 1], H and W multiples of 8.
            snr_db: (B,) in dB.
            statistics: (B, 192), :meth:`statistics` of the whole message.

        Returns:
            One tensor (B, H/8, W/8, channels).
        """
        centred = x - 0.5
        condition = self.condition(snr_db, statistics)
        hidden = self.fine(self.stem(self.fine_dct(centred)), condition)
        hidden = self.coarse(self.down(hidden), condition)
        return (to_channels_last(self.head(hidden) + self.linear(self.block_dct(centred))),)
