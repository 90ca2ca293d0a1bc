"""Finding frames: correlation with the preambles at several frequencies, then a closer look."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import fft

from vqlink.air.arrays import Complex, Float
from vqlink.air.pulse import sample, taps
from vqlink.air.sequences import PREAMBLE_INIT
from vqlink.air.tracking import parabola, rotate
from vqlink.air.waveform import POSTAMBLE, PREAMBLE, postamble, preamble

THRESHOLD, SURE = 0.06, 0.1
"""Of the share of a window's energy that has the preamble's form. At Es/N0 = g it is about
g / (1 + g), and about 0.7 of that at worst between the grid's points. Noise exceeds 0.06 once in
e^15 windows, so that a header has to confirm the frame, and 0.1 once in e^25."""

_FREQUENCIES = np.arange(-2, 3) * 2e-3
"""Cycles a chip; half a step off, the preamble's ends are a quarter of a turn apart."""
MAX_FREQUENCY = 5e-3
MAX_DRIFT = 100e-6
"""100 ppm: twice what the clocks of two cheap radios may differ by."""

_SPAN_CHIPS = 128

_CHUNK = 1 << 17


@dataclass(frozen=True)
class Candidate:
    """A place where a preamble may be.

    Attributes:
        waveform: whose preamble.
        start: of the first chip's peak, in samples.
        frequency: offset in cycles a chip.
        likeness: share of the energy there that has the preamble's form, 0 to 1.
        amplitude: of the preamble.
        drift: by how much of their length chips last longer than the receiver's clock has it.
    """

    waveform: str
    start: float
    frequency: float
    likeness: float
    amplitude: float = 1.0
    drift: float = 0.0


Read = Callable[[int, int], Complex]
"""(first sample, count) -> samples; zeros outside the recording."""


def find_preambles(read: Read, length: int, sps: int) -> list[Candidate]:
    """All places of a recording that look like a preamble, in the order of time.

    Args:
        read: the recording.
        length: of the recording, in samples.
        sps: samples a chip.
    """
    rough = [place for name in PREAMBLE_INIT for place in _rough(read, length, sps, name)]
    found = [_refined(read, place, sps) for place in rough]
    return sorted(found, key=lambda candidate: candidate.start)


def _rough(read: Read, length: int, sps: int, name: str) -> Iterator[Candidate]:
    """The largest likeness in each neighbourhood, to the sample."""
    best: Candidate | None = None
    for start, likeness in _likeness(read, length, sps, name):
        above = np.argwhere(likeness > THRESHOLD)
        for row, at in above[np.argsort(above[:, 1], kind="stable")]:
            here = Candidate(
                name, float(start + at), float(_FREQUENCIES[row]), float(likeness[row, at])
            )
            if best is None:
                best = here
            elif here.start - best.start > PREAMBLE * sps / 2:
                yield best
                best = here
            elif here.likeness > best.likeness:
                best = here
    if best is not None:
        yield best


def _likeness(read: Read, length: int, sps: int, name: str) -> Iterator[tuple[int, Float]]:
    """(first sample, (frequencies, n) likeness of a preamble that starts there), by chunks."""
    window = PREAMBLE * sps
    margin = len(taps(sps)) // 2
    least = window + 2 * margin
    size = int(fft.next_fast_len(max(min(_CHUNK, length + window + least), 4 * least)))
    step = size - least
    pulse = fft.fft(np.roll(np.pad(taps(sps), (0, size - 2 * margin - 1)), -margin))
    chips = np.zeros(size, dtype=np.complex128)
    chips[:window:sps] = preamble(name)
    t = np.arange(size, dtype=np.float64) / sps
    wanted = [fft.fft(rotate(chips, -f, t)).conj() for f in _FREQUENCIES]
    for start in range(-window, length, step):
        spectrum = fft.fft(read(start - margin, size)) * pulse.conj()
        if not spectrum.any():
            continue
        filtered = fft.ifft(spectrum)
        running = np.concatenate([[0], np.cumsum(np.abs(filtered) ** 2)])
        places = np.arange(margin, margin + step)
        energy = (running[places + window] - running[places]) / sps
        floor = 1e-12 * float(running[-1]) / size * PREAMBLE + 1e-300
        levels = [np.abs(fft.ifft(spectrum * kernel)[places]) ** 2 for kernel in wanted]
        yield start, np.stack(levels) / (PREAMBLE * np.maximum(energy, floor))


def _refined(read: Read, rough: Candidate, sps: int) -> Candidate:
    """Maximum likelihood of time and frequency together, from the preamble."""
    reach = len(taps(sps)) // 2 + 2 * sps
    whole = int(rough.start)
    samples = read(whole - reach, PREAMBLE * sps + 2 * reach)
    t = np.arange(PREAMBLE, dtype=np.float64)
    reference = preamble(rough.waveform).conj()
    size = 16 * PREAMBLE
    bins = np.fft.fftfreq(size)
    allowed = np.abs(bins) <= MAX_FREQUENCY + 1 / size

    def look(start: float) -> tuple[float, float, float]:
        """(squared amplitude, frequency, likeness) of a preamble at ``start``."""
        chips = sample(samples, start - whole + reach, PREAMBLE, sps)
        spectrum = np.abs(np.fft.fft(chips * reference, size)) ** 2
        best = int(np.where(allowed, spectrum, -1.0).argmax())
        around = spectrum[[best - 1, best, (best + 1) % size]]
        frequency = float(bins[best]) + parabola(around) / size
        level = float(np.abs((rotate(chips, frequency, t) * reference).mean()) ** 2)
        return level, frequency, level / max(float(np.mean(np.abs(chips) ** 2)), 1e-300)

    start, step = rough.start, sps / 4
    while step > sps / 400:
        levels = np.array([look(start + k * step)[0] for k in (-2, -1, 0, 1, 2)])
        best = int(levels.argmax())
        start += (best - 2) * step
        step /= 3
    levels = np.array([look(start + k * sps / 50)[0] for k in (-1, 0, 1)])
    start += parabola(levels) * sps / 50
    level, frequency, likeness = look(start)
    return Candidate(rough.waveform, start, frequency, likeness, math.sqrt(level))


def received_chips(read: Read, candidate: Candidate, first: int, count: int, sps: int) -> Complex:
    """Chips ``first`` to ``first + count``, freed of frequency offset, amplitude and drift."""
    pace = sps * (1 + candidate.drift)
    if candidate.drift == 0:
        return _span(read, candidate, candidate.start + first * pace, count, sps)
    # The drift inside a span of 128 chips is a hundredth of a chip at 100 ppm.
    parts = []
    for at in range(first, first + count, _SPAN_CHIPS):
        chips = min(_SPAN_CHIPS, first + count - at)
        middle = candidate.drift * sps * (at + (chips - 1) / 2)
        parts.append(_span(read, candidate, candidate.start + at * sps + middle, chips, sps))
    return np.concatenate(parts)


def _span(read: Read, candidate: Candidate, begin: float, count: int, sps: int) -> Complex:
    reach = len(taps(sps)) // 2 + 2
    whole = math.floor(begin)
    samples = read(whole - reach, count * sps + 2 * reach)
    t = (np.arange(len(samples)) + whole - reach - candidate.start) / sps
    chips = sample(rotate(samples, candidate.frequency, t), begin - whole + reach, count, sps)
    return chips / max(candidate.amplitude, 1e-150)


def measure_drift(read: Read, candidate: Candidate, first: int, sps: int) -> float | None:
    """The drift, from where the postamble is instead of at chip ``first``; None: it is not there.

    It is looked for within :data:`MAX_DRIFT`, to a quarter of a chip and then ever closer.
    """
    reference = postamble().conj()
    nominal = candidate.start + first * sps

    def level(shift: float) -> float:
        """As the likeness of a preamble; a small error of the frequency takes little away."""
        chips = _span(read, candidate, nominal + shift * sps, POSTAMBLE, sps) * reference
        quarters = np.abs(chips.reshape(4, -1).mean(axis=1)) ** 2
        return float(quarters.mean() / max(float(np.mean(np.abs(chips) ** 2)), 1e-300))

    reach = max(1, math.ceil(4 * MAX_DRIFT * first))
    shifts = np.arange(-reach, reach + 1) / 4
    shift, step = float(shifts[np.argmax([level(value) for value in shifts])]), 0.1
    while step > 0.003:
        levels = np.array([level(shift + k * step) for k in (-1, 0, 1)])
        shift += step * parabola(levels) if levels.argmax() == 1 else step * (levels.argmax() - 1)
        step /= 2
    return shift / first if level(shift) > SURE else None
