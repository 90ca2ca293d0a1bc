"""The OFDM waveform, for channels with echoes: 256 carriers, a cyclic prefix of 32 chips.

After the preamble come two training symbols, known on all carriers but the one at zero frequency,
which is never used; then symbols with 8 pilots and 247 data carriers. The receiver opens its
windows 8 chips early, estimates the channel's impulse response from the training, as far as it fits
into the prefix, and follows frequency and phase by the pilots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vqlink.air.arrays import Complex, Float
from vqlink.air.sequences import PILOT_INIT, qpsk
from vqlink.air.tracking import residual_frequency, rotate, smooth_gain
from vqlink.air.waveform import PREAMBLE, Demodulated, preamble
from vqlink.units import to_db

CARRIERS, PREFIX, TRAINING = 256, 32, 2
_EARLY = 8
_SYMBOL = CARRIERS + PREFIX
_USED = np.arange(1, CARRIERS)
_PILOT = np.arange(16, CARRIERS, 32)
_DATA = np.setdiff1d(_USED, _PILOT)
_LEVEL = math.sqrt(CARRIERS / len(_USED))
"""Of each used carrier, so that chips have power 1."""
_SMOOTHING = 10.0 * _SYMBOL
_UNCERTAINTY = 6e-4


@dataclass(frozen=True)
class OFDM:
    """A channel that is constant over a frame, with echoes of up to 24 chips."""

    @property
    def name(self) -> str:
        return "ofdm"

    def chips(self, symbols: int) -> int:
        """Preamble, training and as many OFDM symbols as the stream needs."""
        return PREAMBLE + _SYMBOL * (TRAINING + -(-symbols // len(_DATA)))

    def modulate(self, stream: Complex) -> Complex:
        """(n,) -> (chips(n),); what the stream leaves free in the last symbol has ones."""
        count = -(-len(stream) // len(_DATA))
        carriers = np.zeros((TRAINING + count, CARRIERS), dtype=np.complex128)
        training, pilots = _known(count)
        filled = np.ones(count * len(_DATA), dtype=np.complex128)
        filled[: len(stream)] = stream
        carriers[:TRAINING, _USED] = training
        carriers[TRAINING:, _PILOT] = pilots
        carriers[TRAINING:, _DATA] = filled.reshape(count, -1)
        time = np.fft.ifft(carriers * _LEVEL, norm="ortho")
        body = np.concatenate([time[:, -PREFIX:], time], axis=1).ravel()
        return np.concatenate([preamble(self.name), body])

    def demodulate(self, chips: Complex, symbols: int) -> Demodulated:
        """Chips -> symbols by zero forcing on each carrier, with N0 / |h|^2 of that carrier."""
        count = -(-symbols // len(_DATA))
        body = chips[PREAMBLE : self.chips(symbols)]
        t = np.arange(len(body), dtype=np.float64)
        training, pilots = _known(count)
        centres = _SYMBOL * np.arange(TRAINING + count, dtype=np.float64)

        def phases(received: Complex, response: Complex) -> tuple[Complex, Float]:
            """Of each OFDM symbol beside the response, with their weights."""
            expected = response[_USED] * training
            first = (received[:TRAINING, _USED] * expected.conj()).sum(axis=1)
            weights = np.full(TRAINING + count, (np.abs(expected[0]) ** 2).sum())
            expected = response[_PILOT] * pilots
            rest = (received[TRAINING:, _PILOT] * expected.conj()).sum(axis=1)
            weights[TRAINING:] = (np.abs(expected) ** 2).sum(axis=1)
            return np.concatenate([first, rest]), weights

        received = _carriers(body)
        frequency = residual_frequency(
            phases(received, estimate_response(received, training)[0])[0], centres, _UNCERTAINTY
        )
        received = _carriers(rotate(body, frequency, t))
        response, noise = estimate_response(received, training)
        z, weight = phases(received, response)
        turn = smooth_gain(z, weight, centres, _SMOOTHING)
        scatter = received[TRAINING:, _PILOT] - turn[TRAINING:, None] * response[_PILOT] * pilots
        trained, piloted = len(_USED), scatter.size
        noise = (noise * trained + float(np.sum(np.abs(scatter) ** 2))) / (trained + piloted)
        gain = response[_DATA] * turn[TRAINING:, None]
        power = np.maximum(np.abs(gain) ** 2, 1e-12 * float(np.mean(np.abs(response) ** 2)))
        stream = received[TRAINING:, _DATA] * gain.conj() / power
        return Demodulated(
            symbols=stream.ravel()[:symbols],
            noise_var=(noise / power).ravel()[:symbols],
            frequency=frequency,
            snr_db=to_db(float(np.mean(np.abs(response) ** 2)) / noise),
        )


def _known(count: int) -> tuple[Complex, Complex]:
    """Training (TRAINING, 255) and pilots (count, 8), of magnitude 1."""
    first = TRAINING * len(_USED)
    known = qpsk(first + count * len(_PILOT), PILOT_INIT)
    return known[:first].reshape(TRAINING, -1), known[first:].reshape(count, -1)


def _carriers(body: Complex) -> Complex:
    """Chips after the preamble -> (symbols, CARRIERS)."""
    windows = body.reshape(-1, _SYMBOL)[:, PREFIX - _EARLY : -_EARLY]
    carriers: Complex = np.fft.fft(windows, norm="ortho") / _LEVEL
    return carriers


def estimate_response(received: Complex, training: Complex) -> tuple[Complex, float]:
    """The channel of each carrier from the training, and the noise variance on a carrier.

    The impulse response is no longer than the prefix, and each of its taps is weighed by
    max(0, 1 - 2 s / |tap|^2), where s is the noise on it: taps that are noise alone vanish.

    Args:
        received: (symbols, CARRIERS), the training first.
        training: (TRAINING, 255), as sent.

    Returns:
        (CARRIERS,) complex, and N0.
    """
    single = received[:TRAINING, _USED] * training.conj()
    noise = max(float(np.mean(np.abs(single[0] - single[1]) ** 2)) / 2, 1e-20)
    raw = np.zeros(CARRIERS, dtype=np.complex128)
    raw[_USED] = single.mean(axis=0)
    raw[0] = (raw[1] + raw[-1]) / 2
    impulse = np.fft.ifft(raw)
    impulse[PREFIX:] = 0
    floor = 2 * noise / (TRAINING * CARRIERS)
    impulse *= np.maximum(0.0, 1 - floor / np.maximum(np.abs(impulse) ** 2, 1e-30))
    response: Complex = np.fft.fft(impulse)
    return response, noise


def noiseless_gains(chips: Complex, symbols: int) -> Complex:
    """(symbols,) the channel that each symbol of a stream meets, from chips without noise.

    For comparison with a receiver that is told the channel.
    """
    count = -(-symbols // len(_DATA))
    training, _ = _known(count)
    response, _ = estimate_response(_carriers(chips[PREAMBLE : PREAMBLE + 2 * _SYMBOL]), training)
    return np.tile(response[_DATA], count)[:symbols]
