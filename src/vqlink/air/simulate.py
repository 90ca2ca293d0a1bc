"""The simulated air between two processes: samples in, samples out.

    y(t) = exp(2 pi j f t) sum_i a_i x(t - d - tau_i), r[n] = y(n (1 + e) / rate) + noise

Delay and echoes are applied as a transfer function in the frequency domain, so they may be
fractions of a sample; the receiver's clock is off by e. Noise is white over the whole recording,
silence included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft

from vqlink.air.arrays import Complex, Float
from vqlink.errors import VqlinkError
from vqlink.rng import complex_normal
from vqlink.units import from_db, noise_variance

PROFILES = ("tdl-a", "tdl-b", "tdl-c", "tdl-d", "tdl-e")
_TAIL = 64
"""Chips of noise that a recording goes on after the signal."""


@dataclass(frozen=True)
class Air:
    """One state of the air.

    Attributes:
        snr_db: Es/N0 of a chip, before the echoes (which have E sum |a_i|^2 = 1); None: no noise.
        frequency: offset f in cycles a chip.
        delay: d in chips.
        phase: of all a_i, in radians.
        gain_db: of the signal; the noise is scaled along, so that the SNR stays.
        profile: one of :data:`PROFILES` (TR 38.901, 7.7.2), or None for a single path.
        delay_spread: of the profile, root mean square, in chips.
        clock: e, by which part the receiver's samples are further apart than the sender's.
    """

    snr_db: float | None = None
    frequency: float = 0.0
    delay: float = 0.0
    phase: float = 0.0
    gain_db: float = 0.0
    profile: str | None = None
    delay_spread: float = 1.0
    clock: float = 0.0

    def __call__(
        self, samples: Complex, *, sps: int, symbol_energy: float, generator: torch.Generator
    ) -> Complex:
        """Samples (n,) -> complex128 samples, more of them by the delays and a tail.

        Args:
            sps: samples a chip.
            symbol_energy: Es of the samples that come in.
            generator: draws the echoes, then the noise.
        """
        delays, amplitudes = self.paths(generator=generator)
        latest = (self.delay + float(delays.max())) * sps
        length = len(samples) + math.ceil(latest) + _TAIL * sps
        size = fft.next_fast_len(length + 2 * _TAIL * sps)
        frequencies = fft.fftfreq(size)
        response = np.zeros(size, dtype=np.complex128)
        for delay, amplitude in zip(delays, amplitudes, strict=True):
            response += amplitude * np.exp(-2j * np.pi * frequencies * (self.delay + delay) * sps)
        y = fft.ifft(fft.fft(samples, size) * response)[:length]
        y *= np.exp(2j * np.pi * self.frequency * np.arange(length) / sps + 1j * self.phase)
        if self.clock:
            y = _resampled(y, 1 + self.clock)
        if self.snr_db is not None:
            noise_var = noise_variance(self.snr_db, symbol_energy)
            noise = complex_normal((len(y),), generator=generator).numpy()
            y += math.sqrt(noise_var) * noise
        scaled: Complex = math.sqrt(from_db(self.gain_db)) * y
        return scaled

    def paths(self, *, generator: torch.Generator) -> tuple[Float, Complex]:
        """(delays in chips, complex amplitudes); E sum |a_i|^2 = 1.

        Delays and mean powers are Sionna's tables of TR 38.901; the scattered paths are Rayleigh,
        the line of sight of D and E has a constant power and a drawn phase.
        """
        if self.profile is None:
            return np.zeros(1), np.ones(1, dtype=np.complex128)
        if self.profile not in PROFILES:
            raise VqlinkError(f"unknown multipath {self.profile!r} (known: {', '.join(PROFILES)})")
        from sionna.phy.channel.tr38901 import TDL

        model = TDL(self.profile[-1].upper(), 1e-6, 1e9, device="cpu")  # for its tables alone
        delays = model.delays.numpy().astype(np.float64) / 1e-6 * self.delay_spread
        powers = model.mean_powers.numpy().astype(np.float64)
        powers = powers / powers.sum()
        drawn = complex_normal((len(powers) + 1,), generator=generator).numpy()
        amplitudes = np.sqrt(powers) * drawn[:-1]
        if model.los:
            factor = float(model.k_factor)
            sight = drawn[-1] / abs(drawn[-1])
            share = np.array([factor / (1 + factor), 1 / (1 + factor)]) * powers[0]
            amplitudes[0] = math.sqrt(share[0]) * sight + math.sqrt(share[1]) * drawn[0]
        return delays, amplitudes


_REACH, _BETA = 16, 10.0


def _resampled(y: Complex, pace: float) -> Complex:
    """y(n pace) for n = 0, 1, ...: a sinc of 32 samples under a Kaiser window.

    For signals oversampled by 1.6 or more; images lie 90 dB down.
    """
    t = np.arange(int((len(y) - 1) / pace) + 1) * pace
    whole = np.floor(t).astype(np.int64)
    fraction = t - whole
    padded = np.pad(y, (_REACH, _REACH + 1))
    result = np.zeros(len(t), dtype=np.complex128)
    for k in range(1 - _REACH, _REACH + 1):
        away = fraction - k
        window = np.i0(_BETA * np.sqrt(np.maximum(0.0, 1 - (away / _REACH) ** 2))) / np.i0(_BETA)
        result += padded[whole + k + _REACH] * np.sinc(away) * window
    return result
