"""The encoder of DeepJSCC-Q (001, Fig. 3)."""

from __future__ import annotations

from torch import Tensor, nn

from vqlink.layers.attention import SimplifiedAttention
from vqlink.layers.blocks import to_channels_last
from vqlink.layers.gdn_blocks import DownBlock, PlainBlock


class DeepJSCCEncoder(nn.Module):
    """Images -> one scale of latents at a quarter of their size.

        x -- down, block, attention (1/2) -- down, block, attention (1/4) -- conv -- z

    The text doesn't give the figure's sizes; two down-samplings and C = 256 are taken. The net is
    told nothing but the image: the paper trains one for each SNR.

    Args:
        channels: real latent values per 4x4 block; rho = channels / 2 / (4 * 4 * 3).
        width: C, channels inside.
    """

    stride = 4
    reach = 2 * (1 + 1 + 2 + 3) + 4 * (1 + 2 + 3 + 1) + 1  # pixels

    def __init__(self, channels: int, *, width: int = 256) -> None:
        super().__init__()
        self.channels = channels
        self.net = nn.Sequential(
            DownBlock(3, width),
            PlainBlock(width),
            SimplifiedAttention(width),
            DownBlock(width, width),
            PlainBlock(width),
            SimplifiedAttention(width),
            nn.Conv2d(width, channels, 3, padding=1),
        )

    def statistics(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 0): this net takes no statistics."""
        return x.new_zeros(x.shape[0], 0)

    def forward(self, x: Tensor, snr_db: Tensor, statistics: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) in [0, 1], sides multiples of 4 -> one tensor (B, H/4, W/4, channels)."""
        return (to_channels_last(self.net(x - 0.5)),)
