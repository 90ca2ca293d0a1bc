"""Spectra of speech -> what goes on the air: every coefficient by a gain of its own."""

from __future__ import annotations

from torch import Tensor, nn

from vqlink.layers.band_gains import BandGains


class Compander(nn.Module):
    """(B, F, C) coefficients of about unit RMS over the message -> latents (B, F, C).

    It lifts what is weak and matters to the ear above the noise: as a compander does, but learned,
    and by what surrounds a coefficient in time and frequency.

    Args:
        coefficients, hidden: as of :class:`vqlink.layers.band_gains.BandGains`.
    """

    def __init__(self, coefficients: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.gains = BandGains(coefficients, hidden=hidden)

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        latents: Tensor = x * self.gains(x, snr_db) * _start(x)
        return latents


def _start(x: Tensor) -> Tensor:
    """(B, F, 1) gains that take half the loudness in dB off each frame to begin with."""
    return (x.square().mean(dim=-1, keepdim=True) + 1e-4) ** -0.25
