"""Spectra of speech frames <-> bytes, a fixed number for each frame.

A frame holds, range-coded: its level, a codeword number of each stage, which of :data:`OFFSETS`
separates its step from the one that the envelope predicts, and 320 integers. Each frame is decoded
by itself, so that a lost one costs only itself. All that a decoder needs up to the integers is
integer arithmetic (:mod:`vqlink.digital.laplace`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from vqlink.digital.laplace import (
    COST_UNIT,
    LARGEST,
    THRESHOLD,
    Floats,
    FrameError,
    FrameReader,
    FrameWriter,
    Ints,
    costs,
    dequantise,
    entropies,
    quantise,
    row_of,
)
from vqlink.errors import VqlinkError
from vqlink.layers.mdct import HOP
from vqlink.systems.speech_envelope import LEVELS, UNIT, EnvelopeModel

FRAME_BYTES = {8.0: 20, 9.6: 24, 13.2: 33, 16.4: 41, 24.4: 61, 32.0: 80}
"""kbit/s -> bytes of a 20 ms frame: the modes of EVS that 002 was measured at."""
RATES_KBPS = tuple(FRAME_BYTES)
OFFSETS = (-8, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 10, 16, 32, 80)
"""Eighths of a factor of two (0.75 dB) by which a step may differ from the predicted one.

Envelopes are never quite right, so coarser ones are needed more often than finer ones; the last are
for spectra with lines, such as pure tones.
"""
OVERHEAD_BITS = 6 + 4
"""Level and offset of a frame."""

_STEP = UNIT // 8  # of an offset, in the tables' unit
_FINEST, _COARSEST = -64, 192  # eighths of log2 of a step
_THRESHOLDS = (THRESHOLD, 0.72, 0.84)
_CHUNK = 512  # frames at a time
_SIGNS = np.random.default_rng(0).choice(np.array([-1, 1], dtype=np.float32), (61, HOP))


def frame_bytes(kbps: float) -> int:
    """Bytes of a frame.

    Raises:
        VqlinkError: for a rate that there isn't.
    """
    if kbps not in FRAME_BYTES:
        known = ", ".join(f"{rate:g}" for rate in FRAME_BYTES)
        raise VqlinkError(f"no speech rate of {kbps:g} kbit/s (known: {known})")
    return FRAME_BYTES[kbps]


def encode_frames(spectra: Tensor, model: EnvelopeModel, size: int, *, stages: int) -> list[bytes]:
    """(F, HOP) in steps of 16-bit sound -> F frames of ``size`` bytes each."""
    frames: list[bytes] = []
    for part in torch.split(spectra, _CHUNK):
        levels, indices = model.encode(part, stages=stages)
        scales, shapes = model.decode(levels, indices)
        bits = 8 * size - OVERHEAD_BITS - sum(model.bits[:stages])
        predicted = _predict(scales - shapes, bits)
        values = part.numpy()
        chosen, thresholds = _choose(values, scales, shapes, predicted, bits)
        for i in range(len(values)):
            side = (int(levels[i]), indices[i], model.bits[:stages])
            frame = (values[i], scales[i], shapes[i], int(predicted[i]))
            frames.append(_write(side, frame, int(chosen[i]), float(thresholds[i]), size))
    return frames


def decode_frames(
    frames: Sequence[bytes | None], model: EnvelopeModel, *, stages: int, filling: float
) -> tuple[Floats, list[bool]]:
    """F frames, None where lost -> spectra (F, HOP) and which of them came from their bytes.

    A frame that is lost, or that no encoder wrote, is concealed by the one before with other
    signs, fading out.

    Args:
        filling: loudness of the noise in place of zeros, 1 that of what was rounded to zero.
    """
    spectra = np.zeros((len(frames), HOP), dtype=np.float32)
    good = []
    for number, spectrum in enumerate(_read_all(frames, model, stages, filling)):
        good.append(spectrum is not None)
        if spectrum is not None:
            spectra[number] = spectrum
        elif number:
            fade = 0.8 if good[number - 1] else 0.6
            spectra[number] = fade * np.abs(spectra[number - 1]) * _SIGNS[number % len(_SIGNS)]
    return spectra, good


def _read_all(
    frames: Sequence[bytes | None], model: EnvelopeModel, stages: int, filling: float
) -> Iterator[Floats | None]:
    for number, data in enumerate(frames):
        try:
            yield None if data is None else _read(data, model, stages, filling, number)
        except FrameError:
            yield None


def _read(data: bytes, model: EnvelopeModel, stages: int, filling: float, number: int) -> Floats:
    reader = FrameReader(data)
    levels = reader.uniform(1, LEVELS)
    indices = np.array([[int(reader.uniform(1, size)[0]) for size in model.sizes[:stages]]])
    offset = OFFSETS[int(reader.uniform(1, len(OFFSETS))[0])]
    scales, shapes = model.decode(levels, indices)
    bits = 8 * len(data) - OVERHEAD_BITS - sum(model.bits[:stages])
    steps = shapes + _STEP * (_predict(scales - shapes, bits)[:, None] + offset)
    rows = row_of(scales - steps, UNIT)
    q = reader.laplace(rows[0])
    values = dequantise(q, rows[0])
    if filling:
        scale = np.exp2((scales - steps)[0] / UNIT)
        below = scale - THRESHOLD / np.expm1(np.minimum(THRESHOLD / scale, 60.0))
        noise = filling * below * _SIGNS[number % len(_SIGNS)]
        values = np.where(q == 0, noise, values).astype(np.float32)
    return values * _exp2(steps[0], UNIT)


def _predict(ratios: Ints, bits: int) -> Ints:
    """(N,) the finest steps at which the model expects at most ``bits``, by bisection."""
    low = np.full(len(ratios), _FINEST)
    high = np.full(len(ratios), _COARSEST)
    budget = round(bits / COST_UNIT)
    while (high - low > 0).any():
        middle = (low + high) // 2
        dear = entropies(row_of(ratios - _STEP * middle[:, None], UNIT)).sum(axis=1) > budget
        low, high = np.where(dear, middle + 1, low), np.where(dear, high, middle)
    return low


def _choose(
    values: Floats, scales: Ints, shapes: Ints, predicted: Ints, bits: int
) -> tuple[Ints, Floats]:
    """The offset and the zero threshold of each frame: the finest offset that fits for each
    threshold, and of these the one with the least error beside the step's shape."""
    budget = round(bits / COST_UNIT)
    shaped = values / _exp2(shapes, UNIT)
    loudest = np.abs(shaped).max(axis=1)
    ratios = scales - shapes
    offsets = np.array(OFFSETS)
    best = np.full(len(values), np.inf)
    chosen = np.full(len(values), len(OFFSETS) - 1)
    thresholds = np.full(len(values), THRESHOLD, dtype=np.float32)
    for threshold in _THRESHOLDS:
        low, high = np.zeros(len(values), dtype=np.int64), np.full(len(values), len(OFFSETS) - 1)
        while (high - low > 0).any():
            middle = (low + high) // 2
            step = predicted + offsets[middle]
            rows, q = _quantise(shaped, ratios, step, threshold)
            clipped = loudest > (LARGEST + 0.5) * _exp2(step, 8)
            dear = (costs(q, rows).sum(axis=1) > budget) | clipped
            low, high = np.where(dear, middle + 1, low), np.where(dear, high, middle)
        step = predicted + offsets[low]
        rows, q = _quantise(shaped, ratios, step, threshold)
        size = _exp2(step, 8)[:, None]
        error = np.square(shaped - dequantise(q, rows) * size).sum(axis=1)
        better = error < best
        best = np.where(better, error, best)
        chosen = np.where(better, low, chosen)
        thresholds = np.where(better, threshold, thresholds).astype(np.float32)
    return chosen, thresholds


def _exp2(log2: Ints, unit: int) -> Floats:
    result: Floats = np.exp2(log2 / unit).astype(np.float32)
    return result


def _quantise(shaped: Floats, ratios: Ints, step: Ints, threshold: float) -> tuple[Ints, Ints]:
    rows = row_of(ratios - _STEP * step[:, None], UNIT)
    return rows, quantise(shaped / _exp2(step, 8)[:, None], threshold)


def _write(
    side: tuple[int, Ints, tuple[int, ...]],
    frame: tuple[Floats, Ints, Ints, int],
    chosen: int,
    threshold: float,
    size: int,
) -> bytes:
    """One frame: coarser steps are taken until it fits, in the end without any coefficient."""
    values, scales, shapes, predicted = frame
    for number in range(chosen, len(OFFSETS)):
        steps = shapes + _STEP * (predicted + OFFSETS[number])
        rows = row_of(scales - steps, UNIT)
        q = quantise(values / _exp2(steps, UNIT), threshold)
        data = _pack(side, number, q, rows, size)
        if data is not None:
            return data
    data = _pack(side, len(OFFSETS) - 1, np.zeros_like(q), rows, size)
    assert data is not None, "zeros at the coarsest step fit any frame"
    return data


def _pack(
    side: tuple[int, Ints, tuple[int, ...]], number: int, q: Ints, rows: Ints, size: int
) -> bytes | None:
    level, indices, bits = side
    writer = FrameWriter()
    writer.uniform(np.array([level]), LEVELS)
    for index, width in zip(indices, bits, strict=True):
        writer.uniform(np.array([index]), 1 << width)
    writer.uniform(np.array([number]), len(OFFSETS))
    writer.laplace(q, rows)
    return writer.finish(size)
