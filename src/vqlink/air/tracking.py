"""Frequency and gain from known symbols: y(t) = g exp(2 pi j f t) p(t) + n, slowly changing g."""

from __future__ import annotations

import math

import numpy as np

from vqlink.air.arrays import Complex, Float

_GRID, _OVERSAMPLING, _GROWTH = 24, 4.0, 3.0


def residual_frequency(z: Complex, t: Float, within: float) -> float:
    """The f that maximises |sum z exp(-2 pi j f t)|, the least-squares frequency of one tone.

    It is searched on the first symbols alone and then ever closer on three times as many, so that
    the whole length counts and no sidelobe is taken.

    Args:
        z: (n,) y p*, by rising time.
        t: (n,) times in chips.
        within: |f| is at most this, in cycles a chip; 1 / (4 within) chips are looked at first.
    """
    length, whole = 0.25 / within, float(t[-1] - t[0])
    f, half_width = 0.0, within
    while True:
        length = min(length, whole)
        near = t - t[0] <= length
        if np.count_nonzero(near) > 1 and length > 0:
            f = _peak(z[near], t[near], f, half_width)
            half_width = min(half_width, 0.75 / length)
        if length >= whole:
            return f
        length *= _GROWTH


def _peak(z: Complex, t: Float, centre: float, half_width: float) -> float:
    """Two grids, the second as wide as two steps of the first, and a parabola."""
    for _ in range(2):
        grid = centre + np.linspace(-half_width, half_width, _GRID + 1)
        levels = np.abs(np.exp(-2j * np.pi * np.outer(grid, t)) @ z)
        best = int(levels.argmax())
        step = 2 * half_width / _GRID
        centre, half_width = float(grid[best]), step
    if 0 < best < _GRID:
        centre += step * parabola(levels[best - 1 : best + 2])
    return centre


def parabola(values: Float) -> float:
    """Where the parabola through three values, the middle one the largest, has its top.

    Returns:
        In steps from the middle, in [-1/2, 1/2].
    """
    left, middle, right = (float(value) for value in values)
    curvature = left - 2 * middle + right
    return 0.0 if curvature >= 0 else min(0.5, max(-0.5, 0.5 * (left - right) / curvature))


def smooth_gain(z: Complex, weight: Float, t: Float, half_width: float) -> Complex:
    """g at each t: means of z = weight g + n over a triangle of ``half_width`` chips each way.

    Args:
        z, weight, t: (n,), by rising time.
    """
    low = np.searchsorted(t, t - half_width)
    high = np.searchsorted(t, t + half_width, side="right")
    # sum (1 - |t_i - t| / half_width) z_i from running sums of z_i and t_i z_i, left and right
    sums = [np.concatenate([[0], np.cumsum(v)]) for v in (z, t * z, weight, t * weight)]
    at = np.arange(1, len(t) + 1)

    def triangle(zero: Complex, first: Complex) -> Complex:
        left, right = zero[at] - zero[low], zero[high] - zero[at]
        slope = (first[at] - first[low] - t * left) - (first[high] - first[at] - t * right)
        return left + right + slope / half_width

    share = np.maximum(triangle(sums[2], sums[3]).real, 1e-12)
    gain: Complex = triangle(sums[0], sums[1]) / share
    return gain


def interpolate(t: Float, at: Float, gain: Complex) -> Complex:
    """``gain``, known at the times ``at``, at the times t, linearly in both parts."""
    return np.interp(t, at, gain.real) + 1j * np.interp(t, at, gain.imag)


def rotate(values: Complex, frequency: float, t: Float) -> Complex:
    """values exp(-2 pi j frequency t): a frequency offset taken off."""
    turned: Complex = values * np.exp(-2j * math.pi * frequency * t)
    return turned
