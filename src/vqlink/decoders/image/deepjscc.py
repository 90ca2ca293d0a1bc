"""The decoder of DeepJSCC-Q (001, Fig. 3): the mirror of its encoder."""

from __future__ import annotations

from torch import Tensor, nn

from vqlink.layers.attention import SimplifiedAttention
from vqlink.layers.blocks import to_channels_first
from vqlink.layers.gdn_blocks import PlainBlock, UpBlock


class DeepJSCCDecoder(nn.Module):
    """Received latents -> images four times as large. Arguments as the encoder's.

    y -- conv, attention, block (1/4) -- up, attention, block (1/2) -- up -- conv -- x
    """

    reach = 4 * (1 + 3 + 2 + 2) + 2 * (1 + 3 + 2 + 2) + 2  # pixels

    def __init__(self, channels: int, *, width: int = 256) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            SimplifiedAttention(width),
            PlainBlock(width),
            UpBlock(width, width),
            SimplifiedAttention(width),
            PlainBlock(width),
            UpBlock(width, width),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def statistics(self, latents: tuple[Tensor, ...]) -> Tensor:
        """Received (B, h, w, channels) -> (B, 0): this net takes no statistics."""
        return latents[0].new_zeros(latents[0].shape[0], 0)

    def forward(self, latents: tuple[Tensor, ...], snr_db: Tensor, statistics: Tensor) -> Tensor:
        """One tensor (B, h, w, channels) -> (B, 3, 4h, 4w), not clamped."""
        images: Tensor = self.net(to_channels_first(latents[0])) + 0.5
        return images
