"""Additive white Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vqlink.channels.symbol import PointKind, fade_and_add_noise, unit_gains
from vqlink.protocols import ChannelOutput, Point
from vqlink.rng import Generators


@dataclass(frozen=True)
class AWGN:
    """y = x + n, n ~ CN(0, N0), N0 = 10^(-snr_db / 10): P = 1 is assumed, never measured.

    A gain that is passed in makes it the static channel y = h x + n of a known constant h.
    """

    @property
    def point_kind(self) -> PointKind:
        return "snr_db"

    def gains(self, x: Tensor, *, generator: Generators) -> Tensor:
        """Ones (B, 1); draws nothing from ``generator``."""
        return unit_gains(x)

    def __call__(
        self, x: Tensor, point: Point, *, generator: Generators, gain: Tensor | None = None
    ) -> ChannelOutput:
        """Complex64 (B, n) -> y (B, n), gain (B, 1) and noise_var (B, 1).

        Raises:
            ValueError: for shapes that do not fit, or a point without ``snr_db``.
            TypeError: for real symbols.
        """
        h = self.gains(x, generator=generator) if gain is None else gain
        return fade_and_add_noise(x, h, point, generator=generator)
