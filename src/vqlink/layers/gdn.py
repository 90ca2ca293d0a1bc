"""Generalised divisive normalisation (Balle et al., 2016, eq. 3), and its inverse."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_FLOOR = 1e-6


class GDN(nn.Module):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2), or x_i times it for the inverse.

    beta and gamma are squares of the parameters, so they stay positive under any optimiser; gamma
    starts as 0.1 on the diagonal and 1e-4 elsewhere, for the square of 0 would never learn.

    Shape: (B, C, h, w) -> the same.
    """

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.root_beta = nn.Parameter(torch.ones(channels))
        gamma = torch.full((channels, channels), 1e-4) + 0.1 * torch.eye(channels)
        self.root_gamma = nn.Parameter(gamma.sqrt())

    def forward(self, x: Tensor) -> Tensor:
        # In float32 also under autocast: squares of bfloat16 values lose what the root needs.
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float()
            gamma = self.root_gamma.square()[:, :, None, None]
            norm = functional.conv2d(wide.square(), gamma, self.root_beta.square() + _FLOOR)
            result = wide * (norm.sqrt() if self.inverse else norm.rsqrt())
        return result.to(x.dtype)
