"""The decoder of the VQ-VAE: the mirror of :mod:`vqlink.encoders.image.vqvae`."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from vqlink.layers.blocks import to_channels_first
from vqlink.layers.residual import PlainResidualStack


class VQVAEDecoder(nn.Module):
    """Latents -> images four times as large, or twice. Arguments as the encoder's."""

    def __init__(
        self,
        dim: int = 64,
        *,
        hidden: int = 128,
        residual_hidden: int = 32,
        depth: int = 2,
        halvings: Literal[1, 2] = 2,
    ) -> None:
        super().__init__()
        self.reach = 2**halvings * (2 + depth) + 2 * (halvings - 1)  # pixels
        first = [nn.ConvTranspose2d(hidden, hidden // 2, 4, stride=2, padding=1), nn.ReLU()]
        self.net = nn.Sequential(
            nn.Conv2d(dim, hidden, 3, padding=1),
            PlainResidualStack(hidden, residual_hidden, depth),
            *(first if halvings == 2 else ()),
            nn.ConvTranspose2d(hidden // 2 if halvings == 2 else hidden, 3, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """(B, h, w, dim) -> (B, 3, 4h, 4w) or (B, 3, 2h, 2w), not clamped."""
        images: Tensor = self.net(to_channels_first(z)) + 0.5
        return images
