"""The multi-scale decoder of VQ-DeepSC with feature fusion (004, Fig. 2 and eq. 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqlink.layers.prelu_blocks import Norm, conv3x3, start_without_norm, up_block

_FAINT = 0.1  # of the picture's range about mid-grey, at the start


class MultiscaleDecoder(nn.Module):
    """Features of several scales -> images; each scale joins where its size is reached.

        F4 -- conv, PReLU -- up -- concat F3 -- up -- concat F2 -- ... -- up -- conv -- x

    Args:
        width, stem, first, norm: as of the encoder.
    """

    def __init__(
        self, width: Sequence[int], *, stem: int = 64, first: int = 1, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        self.depth, self.first = len(width), first
        # In image pixels: 3 positions at each block's input and 1 at its output, and both ends.
        self.reach = 2**self.depth + 1
        self.reach += sum(3 * 2 ** (scale + 1) + 2**scale for scale in range(self.depth))
        self.entry = nn.Sequential(conv3x3(width[-1], width[-1]), nn.PReLU())
        blocks = []
        for scale in range(self.depth, 0, -1):
            joined = scale < self.depth and scale >= first
            inputs = width[scale - 1] * (2 if joined else 1)
            blocks.append(up_block(inputs, width[scale - 2] if scale > 1 else stem, norm))
        self.blocks = nn.ModuleList(blocks)
        # Only up-sampling layers change the size: the last transposed convolution has stride 1.
        self.exit = nn.ConvTranspose2d(stem, 3, 3, padding=1)
        if norm == "none":
            start_without_norm(self)
            nn.init.normal_(self.exit.weight, std=_FAINT / math.sqrt(9 * stem))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, h, w, width) of each scale sent, the largest first -> (B, 3, H, W), not clamped."""
        scales = [z.permute(0, 3, 1, 2) for z in features]
        x = self.entry(scales[-1])
        for scale, block in zip(range(self.depth, 0, -1), self.blocks, strict=True):
            if self.first <= scale < self.depth:
                x = torch.cat([x, scales[scale - self.first]], dim=1)
            x = block(x)
        image: Tensor = self.exit(x)
        return image + 0.5
