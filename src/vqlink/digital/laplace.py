"""Integers under a Laplace model, and their range coder: what a transform codec does to spectra.

A value x with the scale b (mean |x|), both in steps of the quantizer, becomes the integer q: 0 for
|x| < t, else +-j with j = 1 + floor(|x| - t), t = :data:`THRESHOLD`. All probabilities come from
one table with a row for each eighth of log2 b, rounded to multiples of 2^-20, and all that a
decoder needs to find its row is integer: so it decodes the same on every machine.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqlink.protocols import VqlinkError

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

LARGEST = 127
"""Largest |q|; larger values are clipped."""
THRESHOLD = 0.62
"""Half the width of the zero cell; the rate loop may take a wider one (:func:`quantise`)."""
PER_OCTAVE = 8
"""Rows of the table for a factor of two in b."""
FIRST_OCTAVE, LAST_OCTAVE = -6, 7
ROWS = (LAST_OCTAVE - FIRST_OCTAVE) * PER_OCTAVE + 1

_GRID = 1 << 20
_COST = 1 << 8  # costs are integers, in 1/256 bit


def row_of(log2_scale: Ints, per_octave: int) -> Ints:
    """Row of the table for integers log2(b) * per_octave; beyond the table, its first or last."""
    shifted = log2_scale * PER_OCTAVE + per_octave // 2
    return np.clip(shifted // per_octave - FIRST_OCTAVE * PER_OCTAVE, 0, ROWS - 1)


def quantise(values: Floats, threshold: float = THRESHOLD) -> Ints:
    """Values in steps -> integers in +-LARGEST, zero below ``threshold`` >= THRESHOLD."""
    size = np.abs(values)
    q = np.floor(size - THRESHOLD).astype(np.int64) + 1
    q = np.where(size < threshold, 0, np.minimum(q, LARGEST))
    return np.where(values < 0, -q, q)


def dequantise(q: Ints, rows: Ints) -> Floats:
    """The centroid of each integer's cell, in steps (float32)."""
    size = np.abs(q)
    inner = size - 1 + THRESHOLD + tables().centroid[rows]
    return np.where(size == 0, 0.0, np.sign(q) * inner).astype(np.float32)


def costs(q: Ints, rows: Ints) -> Ints:
    """Bits that each integer takes, in 1/256 bit."""
    return tables().cost[rows, q + LARGEST]


def entropies(rows: Ints) -> Ints:
    """Bits that an integer of that row takes on average, in 1/256 bit."""
    return tables().entropy[rows]


class _Tables:
    """Probabilities (ROWS, 2 LARGEST + 1), their costs, mean costs, and centroids."""

    def __init__(self) -> None:
        octaves = np.arange(ROWS, dtype=np.float64) / PER_OCTAVE + FIRST_OCTAVE
        scale = np.exp2(octaves)[:, None]
        j = np.arange(1, LARGEST + 1, dtype=np.float64)[None]
        near = np.exp(-(j - 1 + THRESHOLD) / scale)
        tail = 0.5 * (near - np.exp(-(j + THRESHOLD) / scale))
        tail[:, -1] = 0.5 * near[:, -1]
        zero = 1 - np.exp(-THRESHOLD / scale)
        exact = np.concatenate([tail[:, ::-1], zero, tail], axis=1)
        counts = np.maximum(np.round(exact * _GRID), 1.0)
        counts[:, LARGEST] += _GRID - counts.sum(axis=1)
        assert counts[:, LARGEST].min() >= 1
        probability = counts / _GRID
        self.probability: Floats = probability.astype(np.float32)
        bits = -np.log2(probability)
        self.cost: Ints = np.round(bits * _COST).astype(np.int64)
        self.entropy: Ints = np.round((probability * bits).sum(axis=1) * _COST).astype(np.int64)
        self.centroid = (scale - 1 / np.expm1(np.minimum(1 / scale, 60.0)))[:, 0]


@lru_cache(maxsize=1)
def tables() -> _Tables:
    """The tables that encoder and decoder share."""
    return _Tables()


COST_UNIT = 1 / _COST
"""Bits in a unit of :func:`costs`."""


class FrameWriter:
    """The range coder of one frame, which ends up in exactly so many bytes or not at all."""

    def __init__(self) -> None:
        self._coder = _queue().RangeEncoder()

    def uniform(self, values: Ints, size: int) -> None:
        """Integers in [0, size), equally probable."""
        self._coder.encode(values.astype(np.int32), _model().Uniform(size))

    def categorical(self, values: Ints, probabilities: Floats) -> None:
        """Integers in [0, K) of one distribution (K,)."""
        model = _model().Categorical(probabilities, perfect=False)
        self._coder.encode(values.astype(np.int32), model)

    def laplace(self, q: Ints, rows: Ints) -> None:
        """Integers in +-LARGEST with the given rows of the table."""
        self._coder.encode(
            (q + LARGEST).astype(np.int32),
            _model().Categorical(perfect=False),
            tables().probability[rows],
        )

    def finish(self, size: int) -> bytes | None:
        """The frame in ``size`` bytes; None where it doesn't fit.

        Any number in the coder's interval will do. Its ends are what the coder says when the
        smallest or the largest of further symbols follow.
        """
        low, high = self._end(0), self._end(_FILLER - 1)
        unit = 1 << max(0, 8 * (len(low) - size))
        first, last = int.from_bytes(low, "big"), int.from_bytes(high, "big")
        if len(high) != len(low):
            return None
        chosen = -(-first // unit) * unit
        if chosen > last:
            return None
        try:
            return chosen.to_bytes(len(low), "big")[:size].ljust(size, b"\0")
        except OverflowError:
            return None

    def _end(self, filler: int) -> bytes:
        coder = self._coder.clone()
        coder.encode(np.full(6, filler, dtype=np.int32), _model().Uniform(_FILLER))
        words = coder.get_compressed()
        return bytes(words.astype(">u4").tobytes())


class FrameReader:
    """The mirror of :class:`FrameWriter`.

    Raises:
        FrameError: from any method, where the bytes can't come from a writer.
    """

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(-len(data) % 4 + 8)
        self._coder = _queue().RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))

    def uniform(self, count: int, size: int) -> Ints:
        """``count`` integers in [0, size)."""
        return self._decode(_model().Uniform(size), count)

    def categorical(self, probabilities: Floats) -> int:
        """One integer in [0, K)."""
        return int(self._decode(_model().Categorical(probabilities, perfect=False), 1)[0])

    def laplace(self, rows: Ints) -> Ints:
        """Integers in +-LARGEST with the given rows of the table."""
        model = _model().Categorical(perfect=False)
        return self._decode(model, tables().probability[rows]) - LARGEST

    def _decode(self, *arguments: Any) -> Ints:
        try:
            return np.asarray(self._coder.decode(*arguments), dtype=np.int64)
        except (AssertionError, ValueError) as error:
            raise FrameError(str(error)) from None


class FrameError(Exception):
    """Bytes that no encoder wrote."""


_FILLER = 1 << 16


def _model() -> Any:
    return _constriction().stream.model


def _queue() -> Any:
    return _constriction().stream.queue


@lru_cache(maxsize=1)
def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        raise VqlinkError(
            "the speech codec needs constriction: pip install 'vqlink[speech]'"
        ) from None
    return constriction
