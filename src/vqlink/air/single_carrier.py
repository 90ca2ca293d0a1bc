"""The single-carrier waveform: after the preamble, 4 pilots in front of every 124 symbols.

The receiver takes the frequency offset from all known symbols at once, the gain from means over
2,048 chips each way, so that it may drift, and the noise from the scatter inside each group of
known symbols, which no drift between groups disturbs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vqlink.air.arrays import Complex, Int
from vqlink.air.sequences import PILOT_INIT, qpsk
from vqlink.air.tracking import interpolate, residual_frequency, rotate, smooth_gain
from vqlink.air.waveform import PREAMBLE, Demodulated, preamble
from vqlink.units import to_db

PILOTS, DATA = 4, 124
_PERIOD = PILOTS + DATA
_SMOOTHING = 2048.0
_UNCERTAINTY = 6e-4
"""Cycles a chip that the preamble's estimate may be wrong; 4 deviations at -3 dB."""


@dataclass(frozen=True)
class SingleCarrier:
    """A flat channel: y = g exp(2 pi j f t) x + n."""

    @property
    def name(self) -> str:
        return "single-carrier"

    def chips(self, symbols: int) -> int:
        """Preamble, symbols, and pilots in front of each block of them and after the last."""
        return PREAMBLE + symbols + PILOTS * (-(-symbols // DATA) + 1)

    def modulate(self, stream: Complex) -> Complex:
        """(n,) -> (chips(n),)."""
        known, data = _places(len(stream), self.chips(len(stream)))
        chips = np.empty(self.chips(len(stream)), dtype=np.complex128)
        chips[known] = _known(len(known))
        chips[data] = stream
        return chips

    def demodulate(self, chips: Complex, symbols: int) -> Demodulated:
        """Chips -> equalised symbols, with one noise variance over |g|^2 for all."""
        length = self.chips(symbols)
        known, data = _places(symbols, length)
        t = np.arange(length, dtype=np.float64)
        reference = _known(len(known)).conj()
        frequency = residual_frequency(chips[known] * reference, t[known], _UNCERTAINTY)
        flat = rotate(chips[:length], frequency, t)
        z = (flat[known] * reference).reshape(-1, PILOTS)
        centres = t[known].reshape(-1, PILOTS).mean(axis=1)
        weight = np.full(len(centres), float(PILOTS))
        gain = smooth_gain(z.sum(axis=1), weight, centres, _SMOOTHING)
        scatter = np.abs(z - z.mean(axis=1, keepdims=True)) ** 2
        noise = float(scatter.sum() / (scatter.size - len(centres)))
        here = interpolate(t[data], centres, gain)
        power = np.maximum(np.abs(here) ** 2, 1e-20)
        return Demodulated(
            symbols=flat[data] * here.conj() / power,
            noise_var=np.maximum(noise, 1e-20) / power,
            frequency=frequency,
            snr_db=to_db(float(np.mean(np.abs(gain) ** 2)) / max(noise, 1e-20)),
        )


def _known(count: int) -> Complex:
    pilots = qpsk(count - PREAMBLE, PILOT_INIT)
    return np.concatenate([preamble("single-carrier"), pilots])


def _places(symbols: int, length: int) -> tuple[Int, Int]:
    """Chips that are known, and chips that carry the stream."""
    body = np.arange(length - PREAMBLE)
    pilot = body % _PERIOD < PILOTS
    pilot[-PILOTS:] = True
    known = np.concatenate([np.arange(PREAMBLE), PREAMBLE + body[pilot]])
    return known, PREAMBLE + body[~pilot]
