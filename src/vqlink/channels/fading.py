"""Flat fading: Rayleigh and Rician gains, slow or fast, with E|h|^2 = 1.

Slow (block) fading draws one h for a whole message, so that a deep fade loses all of it; fast
fading draws one h for each symbol. The noise is not scaled by the fade: ``snr_db`` is the mean
SNR, E|h|^2 P / N0 (DeepJSCC-Q, eq. 5). The output's gain is what the receiver may know (CSI).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from vqlink.channels.symbol import PointKind, check_symbols, fade_and_add_noise
from vqlink.protocols import ChannelOutput, Point
from vqlink.rng import Generators, complex_normal

Fading = Literal["slow", "fast"]
"""``slow``: one h a message; ``fast``: one h a symbol."""


def _scattered(x: Tensor, fading: Fading, generator: Generators) -> Tensor:
    """CN(0, 1), complex64: (B, 1) when slow, (B, n) when fast."""
    check_symbols(x)
    shape = (x.shape[0], 1) if fading == "slow" else tuple(x.shape)
    return complex_normal(shape, generator=generator, like=x)


def _check_fading(fading: str) -> None:
    if fading not in get_args(Fading):
        raise ValueError(f"fading is 'slow' or 'fast', not {fading!r}")


@dataclass(frozen=True)
class Rayleigh:
    """y = h x + n, h ~ CN(0, 1), n ~ CN(0, N0): no line of sight.

    |h|^2 is exponential with mean 1, so P(|h|^2 < t) = 1 - exp(-t).

    Attributes:
        fading: ``slow``, one h a message, or ``fast``, one h a symbol.
    """

    fading: Fading = "slow"

    def __post_init__(self) -> None:
        _check_fading(self.fading)

    @property
    def point_kind(self) -> PointKind:
        return "snr_db"

    def gains(self, x: Tensor, *, generator: Generators) -> Tensor:
        """Draw h for ``x`` (B, n): complex64 (B, 1) when slow, (B, n) when fast."""
        return _scattered(x, self.fading, generator)

    def __call__(
        self, x: Tensor, point: Point, *, generator: Generators, gain: Tensor | None = None
    ) -> ChannelOutput:
        """Complex64 (B, n) -> y (B, n), its gain, and noise_var (B, 1).

        Args:
            x: the symbols.
            point: with ``snr_db``, the mean SNR.
            generator: h is drawn from it first (unless given), then the noise.
            gain: h, (B, 1) or (B, n), where the transmitter or a test knows it.

        Raises:
            ValueError: for shapes that do not fit, or a point without ``snr_db``.
            TypeError: for real symbols.
        """
        h = self.gains(x, generator=generator) if gain is None else gain
        return fade_and_add_noise(x, h, point, generator=generator)


@dataclass(frozen=True)
class Rician:
    """y = h x + n, h = sqrt(K / (K + 1)) + sqrt(1 / (K + 1)) CN(0, 1), n ~ CN(0, N0).

    The line of sight has phase 0; a receiver or transmitter with CSI cannot tell the difference.
    2 (K + 1) |h|^2 is noncentral chi-squared with 2 degrees of freedom and noncentrality 2 K.
    K = 0 is :class:`Rayleigh`, draw for draw.

    Attributes:
        k_factor: K >= 0, power of the line of sight over that of the scatter, linear (not dB).
        fading: ``slow``, one h a message, or ``fast``, one h a symbol.
    """

    k_factor: float
    fading: Fading = "slow"

    def __post_init__(self) -> None:
        _check_fading(self.fading)
        if not 0 <= self.k_factor < math.inf:
            raise ValueError(f"the K factor is a finite power ratio >= 0, not {self.k_factor}")

    @property
    def point_kind(self) -> PointKind:
        return "snr_db"

    def gains(self, x: Tensor, *, generator: Generators) -> Tensor:
        """Draw h for ``x`` (B, n): complex64 (B, 1) when slow, (B, n) when fast."""
        scatter = math.sqrt(1.0 / (self.k_factor + 1.0))
        line_of_sight = math.sqrt(self.k_factor / (self.k_factor + 1.0))
        return line_of_sight + scatter * _scattered(x, self.fading, generator)

    def __call__(
        self, x: Tensor, point: Point, *, generator: Generators, gain: Tensor | None = None
    ) -> ChannelOutput:
        """As :meth:`Rayleigh.__call__`: h first (unless given), then the noise."""
        h = self.gains(x, generator=generator) if gain is None else gain
        return fade_and_add_noise(x, h, point, generator=generator)
