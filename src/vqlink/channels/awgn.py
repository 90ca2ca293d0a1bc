"""Additive white Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vqlink.protocols import ChannelOutput, Point
from vqlink.rng import Generators, complex_normal
from vqlink.units import noise_variance


@dataclass(frozen=True)
class AWGN:
    """y = x + n, n ~ CN(0, N0), N0 = 10^(-snr_db / 10): P = 1 is assumed, never measured."""

    def __call__(self, x: Tensor, point: Point, *, generator: Generators) -> ChannelOutput:
        """Complex64 (B, n) -> y (B, n), gain 1 and noise_var (B, 1)."""
        noise_var = noise_variance(point.snr(x.shape[0], x.device))[:, None]
        noise = complex_normal(x.shape, generator=generator, like=x) * noise_var.sqrt()
        return ChannelOutput(x + noise, torch.ones_like(noise_var), noise_var)
