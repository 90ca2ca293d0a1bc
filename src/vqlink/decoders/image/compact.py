"""The compact image decoder: the mirror of :mod:`vqlink.encoders.image.compact`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqlink.layers.blocks import ResidualStage, SnrEmbedding, dct_basis, to_channels_first


class CompactDecoder(nn.Module):
    """Received latents -> images eight times as large.

        y --+-- conv -- stage (1/8) -- up -- stage (1/4) -- conv -- shuffle 4 --+-- + 1/2 -- x
            +-- linear 8x8 block synthesis (starts as an inverse DCT) -----------+

    Args:
        channels: real latent values per 8x8 block.
        width: channels at a quarter of the size and at an eighth of it, as the encoder's.
        depth: residual blocks at each.
    """

    def __init__(
        self, channels: int, *, width: tuple[int, int], depth: tuple[int, int], features: int = 64
    ) -> None:
        super().__init__()
        self.condition = SnrEmbedding(features)
        self.stem = nn.Conv2d(channels, width[1], 3, padding=1)
        self.coarse = ResidualStage(width[1], features, depth[1])
        self.up = nn.Sequential(nn.Conv2d(width[1], 4 * width[0], 1), nn.PixelShuffle(2))
        self.fine = ResidualStage(width[0], features, depth[0])
        self.head = nn.Sequential(nn.Conv2d(width[0], 48, 3, padding=1), nn.PixelShuffle(4))
        self.linear = nn.ConvTranspose2d(channels, 3, 8, stride=8)
        with torch.no_grad():
            # The power constraint sets the latents' scale, so the synthesis starts at the mean
            # deviation of a DCT coefficient of natural images rather than at 1.
            self.linear.weight.copy_(0.5 * dct_basis(8, channels))
            head = self.head[0]
            assert isinstance(head, nn.Conv2d)
            nn.init.zeros_(head.weight)
            for layer in (self.linear, head):
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, latents: tuple[Tensor, ...], snr_db: Tensor) -> Tensor:
        """One tensor (B, h, w, channels) in a tuple, and (B,) dB -> (B, 3, 8h, 8w) float32.

        The output is not clamped: the loss needs the gradient there, the metrics clamp.
        """
        (received,) = latents
        received = to_channels_first(received)
        condition = self.condition(snr_db)
        hidden = self.coarse(self.stem(received), condition)
        hidden = self.fine(self.up(hidden), condition)
        return self.head(hidden) + self.linear(received) + 0.5
