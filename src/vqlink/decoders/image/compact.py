"""The compact image decoder: the mirror of :mod:`vqlink.encoders.image.compact`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqlink.layers.blocks import Condition, ResidualStage, to_channels_first
from vqlink.layers.dct import BlockDCT


class CompactDecoder(nn.Module):
    """Received latents -> images eight times as large.

        y --+-- conv -- stage (1/8) -- up -- stage (1/4) -- conv -- inverse DCT 4 --+-- + 1/2 -- x
            +-- 1x1 conv -- inverse DCT 8 ------------------------------------------+

    Args:
        channels: real latent values per 8x8 block.
        width: channels at a quarter of the size and at an eighth of it, as the encoder's.
        depth: residual blocks at each.
    """

    def __init__(
        self, channels: int, *, width: tuple[int, int], depth: tuple[int, int], features: int = 64
    ) -> None:
        super().__init__()
        self.reach = 4 * (2 * depth[0] + 1) + 8 * (2 * depth[1] + 1)  # pixels
        self.condition = Condition(features, statistics=channels)
        self.stem = nn.Conv2d(channels, width[1], 3, padding=1)
        self.coarse = ResidualStage(width[1], features, depth[1])
        self.up = nn.Sequential(nn.Conv2d(width[1], 4 * width[0], 1), nn.PixelShuffle(2))
        self.fine = ResidualStage(width[0], features, depth[0])
        self.head = nn.Conv2d(width[0], 48, 3, padding=1)
        self.linear = nn.Conv2d(channels, 192, 1)
        self.fine_dct, self.block_dct = BlockDCT(4), BlockDCT(8)
        with torch.no_grad():
            # Undo the encoder's amplitudes; the power constraint has scaled all of them.
            sent = self.block_dct.deviation[:channels]
            scale = (2 * sent.mean()).sqrt()
            nn.init.zeros_(self.linear.weight)
            self.linear.weight[:channels, :, 0, 0] = (scale / sent.sqrt()).diag()
            nn.init.zeros_(self.head.weight)
            for layer in (self.linear, self.head):
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def statistics(self, latents: tuple[Tensor, ...]) -> Tensor:
        """Received (B, h, w, channels) -> (B, channels) mean squares, to average over a message."""
        return latents[0].square().mean(dim=(1, 2))

    def forward(self, latents: tuple[Tensor, ...], snr_db: Tensor, statistics: Tensor) -> Tensor:
        """Received latents to images; not clamped, since the loss needs the gradient there.

        Args:
            latents: one tensor (B, h, w, channels).
            snr_db: (B,) in dB.
            statistics: (B, channels), :meth:`statistics` of the whole message.

        Returns:
            (B, 3, 8h, 8w) float32.
        """
        (received,) = latents
        received = to_channels_first(received)
        condition = self.condition(snr_db, statistics)
        hidden = self.coarse(self.stem(received), condition)
        hidden = self.fine(self.up(hidden), condition)
        fine = self.fine_dct.inverse(self.head(hidden))
        return fine + self.block_dct.inverse(self.linear(received)) + 0.5
