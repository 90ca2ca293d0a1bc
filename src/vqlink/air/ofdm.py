"""The OFDM waveform, for channels with echoes: 256 carriers, a cyclic prefix of 32 chips.

After the preamble come two training symbols, known on all carriers but the one at zero frequency,
which is never used; then symbols with 8 pilots and 247 data carriers. The receiver opens its
windows 8 chips early, estimates the channel's response from the training, keeps the part of it
that fits into the prefix, and follows frequency and phase by the pilots.
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
            phases(received, _response(received, training))[0], centres, _UNCERTAINTY
        )
        received = _carriers(rotate(body, frequency, t))
        response = _response(received, training)
        z, weight = phases(received, response)
        turn = smooth_gain(z, weight, centres, _SMOOTHING)
        difference = received[0, _USED] / training[0] - received[1, _USED] / training[1]
        noise = max(float(np.mean(np.abs(difference) ** 2)) / 2, 1e-20)
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


def _response(received: Complex, training: Complex) -> Complex:
    """(CARRIERS,) the channel, level included, as an impulse response no longer than the prefix."""
    raw = np.zeros(CARRIERS, dtype=np.complex128)
    raw[_USED] = (received[:TRAINING, _USED] * training.conj()).mean(axis=0)
    raw[0] = (raw[1] + raw[-1]) / 2
    impulse = np.fft.ifft(raw)
    impulse[PREFIX:] = 0
    response: Complex = np.fft.fft(impulse)
    return response
