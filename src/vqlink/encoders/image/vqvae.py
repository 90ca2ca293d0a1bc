"""The encoder of the VQ-VAE (van den Oord et al., 2017), as papers 000, 002 and 003 build on it."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from vqlink.layers.blocks import to_channels_last
from vqlink.layers.residual import PlainResidualStack


class VQVAEEncoder(nn.Module):
    """Images -> latents at a quarter of their size, or at a half.

    Strided 4x4 convolutions, a 3x3 one, residual blocks, and a 1x1 one to the codebook's D.

    Args:
        dim: D, values of a latent vector.
        hidden: channels inside.
        residual_hidden: channels inside the residual blocks.
        depth: residual blocks.
        halvings: strided convolutions, 1 or 2.
    """

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
        self.stride = 2**halvings
        self.reach = 2 + 4 * (halvings - 1) + self.stride * (1 + depth)  # pixels
        second = [nn.Conv2d(hidden // 2, hidden, 4, stride=2, padding=1), nn.ReLU()]
        self.net = nn.Sequential(
            nn.Conv2d(3, hidden // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            *(second if halvings == 2 else ()),
            nn.Conv2d(hidden if halvings == 2 else hidden // 2, hidden, 3, padding=1),
            PlainResidualStack(hidden, residual_hidden, depth),
            nn.Conv2d(hidden, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float32 in [0, 1], sides multiples of the stride -> (B, h, w, dim)."""
        return to_channels_last(self.net(x - 0.5))
