"""A fixed block DCT, whitened: the coordinates in which image nets see and paint pixels.

Neighbouring pixels are so alike that a net on raw pixels is ill-conditioned: nearly all of its
gradient belongs to the mean of a block. In a luma-chroma DCT, each coefficient divided by its
standard deviation over natural images, every direction weighs the same, and training is several
times faster (benchmarks/README.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

# Standard deviations over imagenet_sample, pixels in [0, 1]: that of a coefficient at f cycles a
# pixel falls as 1 / f, within 15 % for f from 0.1 to 0.9, in blocks of 4 and of 8.
_AC_TIMES_FREQUENCY = (0.070, 0.0145, 0.0110)
_DC_PER_SIDE = (0.43, 0.115, 0.079)
# Luma, blue-yellow, red-green: orthonormal rows.
_COLOURS = ((1.0, 1.0, 1.0), (-1.0, -1.0, 2.0), (1.0, -1.0, 0.0))


class BlockDCT(nn.Module):
    """Orthonormal DCT-II of ``size`` x ``size`` blocks in luma and two chromas, and its inverse.

    Coefficients are ordered by falling standard deviation, so that the leading ones carry the
    most energy, and divided by it.

    Attributes:
        deviation: (3 * size * size,) standard deviations, falling.
    """

    basis: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        basis, deviation = _basis(size)
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels about zero (B, 3, H, W) -> coefficients (B, 3 size^2, H / size, W / size)."""
        weight = self.basis / self.deviation[:, None, None, None]
        return functional.conv2d(x, weight.to(x.dtype), stride=self.size)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, 3 size^2, h, w) -> pixels about zero (B, 3, h size, w size)."""
        weight = (self.basis * self.deviation[:, None, None, None]).flatten(1)
        # A product and a shuffle: quicker on CPU than a transposed convolution.
        blocks = functional.conv2d(coefficients, weight.T[:, :, None, None].to(coefficients.dtype))
        return functional.pixel_shuffle(blocks, self.size)


def _basis(size: int) -> tuple[Tensor, Tensor]:
    """((3 size^2, 3, size, size) orthonormal basis images, (3 size^2,) deviations), ordered."""
    n = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(torch.pi * (n[None, :] + 0.5) * n[:, None] / size)
    rows = rows / rows.norm(dim=1, keepdim=True)
    colours = torch.tensor(_COLOURS, dtype=torch.float64)
    colours = colours / colours.norm(dim=1, keepdim=True)
    basis = torch.einsum("kc,uy,vx->kuvcyx", colours, rows, rows).flatten(0, 2)
    deviation = torch.tensor(
        [
            _AC_TIMES_FREQUENCY[k] * size / math.hypot(u, v) if u or v else _DC_PER_SIDE[k] * size
            for k in range(3)
            for u in range(size)
            for v in range(size)
        ],
        dtype=torch.float64,
    )
    order = torch.argsort(deviation, descending=True, stable=True)
    return basis[order].float(), deviation[order].float()
