"""Sequences that both ends know, and the order in which payload symbols are sent."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vqlink.air.arrays import Complex, Int

PREAMBLE_INIT = {"single-carrier": 1, "ofdm": 2}
PILOT_INIT, SCRAMBLING_INIT, POSTAMBLE_INIT = 3, 4, 5

_SKIP, _STEP = 1600, 28  # N_C; bits that a recurrence of degree 31 gives at once


def gold(length: int, init: int) -> npt.NDArray[np.uint8]:
    """(length,) bits of the Gold sequence c(n) with c_init = ``init`` (TS 38.211, 5.2.1)."""
    total = length + _SKIP
    first = _recurrence([1] + [0] * 30, (0, 3), total)
    second = _recurrence([init >> bit & 1 for bit in range(31)], (0, 1, 2, 3), total)
    return (first ^ second)[_SKIP:total]


def _recurrence(start: list[int], taps: tuple[int, ...], length: int) -> npt.NDArray[np.uint8]:
    """x(n + 31) = sum of x(n + tap) mod 2."""
    x = np.zeros(length + 31 + _STEP, dtype=np.uint8)
    x[:31] = start
    for n in range(0, length, _STEP):
        x[n + 31 : n + 31 + _STEP] = np.bitwise_xor.reduce(
            [x[n + tap : n + tap + _STEP] for tap in taps]
        )
    return x[:length]


@lru_cache(maxsize=32)
def qpsk(length: int, init: int) -> Complex:
    """(length,) complex128 of magnitude 1: ((1 - 2 c(2n)) + j (1 - 2 c(2n + 1))) / sqrt(2)."""
    bits = gold(2 * length, init).astype(np.float64)
    symbols = np.empty(length, dtype=np.complex128)
    symbols.real, symbols.imag = 1 - 2 * bits[0::2], 1 - 2 * bits[1::2]
    symbols /= math.sqrt(2)
    symbols.flags.writeable = False
    return symbols


def interleaver(length: int) -> Int:
    """(length,) int64, the symbol that each place of the payload carries.

    Symbol i goes to place (i s) mod length, where s is the largest number, prime to the length,
    that is at most 0.618 times it: neighbours in a message are far apart in the frame.
    """
    stride = max(1, int(0.618 * length))
    while math.gcd(stride, length) > 1:
        stride -= 1
    numbers = np.arange(length, dtype=np.int64)
    order = np.empty_like(numbers)
    order[numbers * stride % length] = numbers
    return order
