"""What arrived -> spectra of speech: every coefficient by a gain of its own."""

from __future__ import annotations

from torch import Tensor, nn

from vqlink.layers.band_gains import BandGains


class Expander(nn.Module):
    """Received latents (B, F, C) -> coefficients (B, F, C).

    It undoes the sender's gains as far as the noise lets it see them, and takes noise away where
    there is nothing else: a learned Wiener filter.

    Args:
        coefficients, hidden: as of :class:`vqlink.layers.band_gains.BandGains`.
    """

    def __init__(self, coefficients: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.gains = BandGains(coefficients, hidden=hidden)

    def forward(self, latents: Tensor, snr_db: Tensor) -> Tensor:
        expanded: Tensor = latents * self.gains(latents, snr_db)
        return expanded
