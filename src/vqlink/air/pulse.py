"""Root-raised-cosine pulses: chips -> samples, and samples -> chips at any fractional time."""

from __future__ import annotations

import math

import numpy as np
from scipy.signal import upfirdn

from vqlink.air.arrays import Complex, Float

ROLL_OFF = 0.25
SPAN = 24
"""Chips on either side after which a pulse is cut off."""


def root_raised_cosine(t: Float, roll_off: float = ROLL_OFF) -> Float:
    """h(t) of unit energy, t in chips.

    h(t) = (sin(pi t (1 - a)) + 4 a t cos(pi t (1 + a))) / (pi t (1 - (4 a t)^2)), with the limits
    1 - a + 4 a / pi at t = 0 and, at |t| = 1 / (4 a),
    a / sqrt(2) ((1 + 2 / pi) sin(pi / (4 a)) + (1 - 2 / pi) cos(pi / (4 a))).
    """
    a, t = roll_off, np.asarray(t, dtype=np.float64)
    zero, edge = np.abs(t) < 1e-8, np.abs(np.abs(4 * a * t) - 1) < 1e-8
    safe = np.where(zero | edge, 0.1234, t)
    h = np.sin(np.pi * safe * (1 - a)) + 4 * a * safe * np.cos(np.pi * safe * (1 + a))
    h = h / (np.pi * safe * (1 - (4 * a * safe) ** 2))
    angle = math.pi / (4 * a)
    limit = (1 + 2 / math.pi) * math.sin(angle) + (1 - 2 / math.pi) * math.cos(angle)
    h = np.where(zero, 1 - a + 4 * a / math.pi, h)
    return np.where(edge, a / math.sqrt(2) * limit, h)


def taps(sps: int, fraction: float = 0.0) -> Float:
    """(2 SPAN sps + 1,) pulse of a chip at ``fraction``: h((m - fraction) / sps) / sqrt(sps)."""
    m = np.arange(-SPAN * sps, SPAN * sps + 1)
    return root_raised_cosine((m - fraction) / sps) / math.sqrt(sps)


def shape(chips: Complex, sps: int) -> Complex:
    """(n,) chips -> complex64 samples, ``sps`` a chip; chip k peaks at sample (SPAN + k) sps.

    A chip of energy 1 has energy 1 over its samples, so samples have 1 / sps of its power.
    """
    samples: Complex = upfirdn(taps(sps), chips, up=sps).astype(np.complex64)
    return samples


def sample(samples: Complex, start: float, count: int, sps: int) -> Complex:
    """The matched filter's output at ``start``, ``start + sps``, ...: (count,) complex128.

    Args:
        start: in samples, fractional; what lies outside ``samples`` is taken as 0.
    """
    whole = math.floor(start)
    reach = SPAN * sps
    first, last = whole - reach, whole + (count - 1) * sps + reach + 1
    part = np.zeros(last - first, dtype=np.complex128)
    low, high = max(first, 0), min(last, len(samples))
    if low < high:
        part[low - first : high - first] = samples[low:high]
    kernel = taps(sps, start - whole)[::-1]
    filtered: Complex = upfirdn(kernel, part, down=sps)[2 * SPAN : 2 * SPAN + count]
    return filtered
