"""A voice without a speaker: a formant synthesiser that says a few syllables.

For tests and first tries, which must not need recordings. It has what a speech codec must deal
with, voiced and unvoiced sounds, pauses and a moving pitch, and no words.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter
from torch import Tensor

RATE = 16_000
_BLOCK = 160
_HISS = 0.08  # of unvoiced sounds, against pulses of 1
_ROOM = 3e-3  # noise of the room, against a peak of 1
# Seconds, voicing, noise, and formants in Hz (Peterson and Barney's vowels, roughly).
_PHONES = (
    (0.08, 0.0, 0.30, (1800, 2600, 3800, 5500)),
    (0.16, 1.0, 0.02, (530, 1840, 2480, 3500)),
    (0.10, 0.5, 0.01, (300, 1300, 2500, 3400)),
    (0.22, 1.0, 0.02, (570, 840, 2410, 3300)),
    (0.12, 0.0, 0.00, (500, 1500, 2500, 3500)),
    (0.10, 0.0, 0.22, (2500, 4200, 5800, 7000)),
    (0.20, 1.0, 0.02, (270, 2290, 3010, 3700)),
    (0.10, 0.6, 0.02, (300, 1100, 2300, 3300)),
    (0.26, 1.0, 0.03, (730, 1090, 2440, 3400)),
    (0.16, 0.0, 0.00, (500, 1500, 2500, 3500)),
)
_BANDWIDTHS = (70.0, 100.0, 150.0, 220.0)


def synthetic_voice(seconds: float = 3.0, *, seed: int = 0) -> Tensor:
    """(n,) float32 at 16 kHz with a peak of 0.5: the same samples for the same arguments."""
    random = np.random.default_rng(seed)
    blocks = int(np.ceil(seconds * RATE / _BLOCK))
    voicing, noise, formants = _tracks(blocks)
    seconds_of = np.arange(blocks * _BLOCK) / RATE
    pitch = 120 * (1 + 0.12 * np.sin(2 * np.pi * 0.7 * seconds_of) - 0.04 * (seconds_of % 1.5))
    phase = np.cumsum(pitch / RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    glottis = lfilter([1.0, -1.0], [1.0, -1.9, 0.9025], pulses)
    hiss = random.standard_normal(blocks * _BLOCK)
    source = np.repeat(voicing, _BLOCK) * glottis + _HISS * np.repeat(noise, _BLOCK) * hiss
    sound = source
    for number, bandwidth in enumerate(_BANDWIDTHS):
        sound = _resonate(sound, formants[:, number], bandwidth)
    sound = sound[: round(seconds * RATE)]
    sound = np.tanh(sound / (3 * sound.std()))  # as a throat limits itself
    sound += _ROOM * random.standard_normal(len(sound))
    return torch.from_numpy((0.5 * sound / np.abs(sound).max()).astype(np.float32))


def _tracks(blocks: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Voicing, noise (blocks,) and formants (blocks, 4), smoothed over 40 ms."""
    rows = [
        (voicing, noise, *formants)
        for length, voicing, noise, formants in _PHONES
        for _ in range(round(length * RATE / _BLOCK))
    ]
    values = np.array([rows[i % len(rows)] for i in range(blocks)])
    smooth = np.ones(4) / 4
    padded = np.pad(values, ((2, 1), (0, 0)), mode="edge")
    tracks = np.stack([np.convolve(column, smooth, "valid") for column in padded.T], axis=1)
    return tracks[:, 0], tracks[:, 1], tracks[:, 2:]


def _resonate(
    source: NDArray[np.float64], centres: NDArray[np.float64], bandwidth: float
) -> NDArray[np.float64]:
    """A two-pole resonator of unit gain at 0 Hz whose centre moves from block to block."""
    out, state = np.empty_like(source), np.zeros(2)
    radius = np.exp(-np.pi * bandwidth / RATE)
    for block, centre in enumerate(centres):
        poles = [1.0, -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2]
        part = slice(block * _BLOCK, (block + 1) * _BLOCK)
        out[part], state = lfilter([sum(poles)], poles, source[part], zi=state)
    return out
