"""Decibels, signal-to-noise ratios, power and bandwidth ratio.

The only place with ``10 ** (x / 10)``. Conventions (docs/conventions.md): ``snr_db`` is Es/N0 per
complex channel use, with average power P = 1 and N0 the total complex noise variance, so N0/2 per
real dimension.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import overload

import torch
from torch import Tensor


@overload
def from_db(value_db: float) -> float: ...
@overload
def from_db(value_db: Tensor) -> Tensor: ...
def from_db(value_db: float | Tensor) -> float | Tensor:
    """Power ratio of a level in dB: ``10 ** (value_db / 10)``.

    >>> from_db(3.0103)
    2.0000...
    """
    if isinstance(value_db, Tensor):
        return torch.pow(10.0, value_db / 10.0)
    return float(10.0 ** (value_db / 10.0))


@overload
def to_db(ratio: float) -> float: ...
@overload
def to_db(ratio: Tensor) -> Tensor: ...
def to_db(ratio: float | Tensor) -> float | Tensor:
    """Level in dB of a power ratio; a ratio of 0 is -inf dB.

    >>> to_db(100.0)
    20.0
    """
    if isinstance(ratio, Tensor):
        return 10.0 * torch.log10(ratio)
    return 10.0 * math.log10(ratio) if ratio > 0 else -math.inf


@overload
def noise_variance(snr_db: float, power: float = 1.0) -> float: ...
@overload
def noise_variance(snr_db: Tensor, power: float = 1.0) -> Tensor: ...
def noise_variance(snr_db: float | Tensor, power: float = 1.0) -> float | Tensor:
    """N0, the total variance of the complex noise, at Es/N0 = ``snr_db`` and Es = ``power``.

    >>> noise_variance(10.0)
    0.1
    """
    return from_db(-snr_db) * power


def esn0_to_ebn0_db(esn0_db: float, bits_per_symbol: int, code_rate: float = 1.0) -> float:
    """Eb/N0 in dB of a symbol that carries ``bits_per_symbol * code_rate`` information bits.

    >>> round(esn0_to_ebn0_db(10.0, bits_per_symbol=4, code_rate=0.5), 2)
    6.99
    """
    return esn0_db - to_db(bits_per_symbol * code_rate)


def ebn0_to_esn0_db(ebn0_db: float, bits_per_symbol: int, code_rate: float = 1.0) -> float:
    """Es/N0 in dB; the inverse of :func:`esn0_to_ebn0_db`."""
    return ebn0_db + to_db(bits_per_symbol * code_rate)


def bandwidth_ratio(uses: int, height: int, width: int, colours: int = 3) -> float:
    """rho: complex channel uses per source value, ``uses / (height * width * colours)``.

    >>> bandwidth_ratio(98_304, 512, 768) == 1 / 12
    True
    """
    return uses / (height * width * colours)


def parse_ratio(text: str | float | Fraction) -> Fraction:
    """A bandwidth ratio as written by a person: ``"1/12"``, ``"0.0833"`` or a number.

    Raises:
        ValueError: when it is no number, or lies outside ``0 < rho <= 1``.

    >>> parse_ratio("1/12")
    Fraction(1, 12)
    """
    if isinstance(text, str) and not 0 < len(text) <= 40:
        raise ValueError("rho must be a fraction such as 1/12, in a few digits")
    try:
        # Fraction("1e-999999999") would write all these digits; a float of it is 0.
        exact = text if not isinstance(text, str) or "/" in text else str(float(text))
        ratio = Fraction(exact).limit_denominator(10_000)
    except (ValueError, ZeroDivisionError, OverflowError, TypeError) as error:
        raise ValueError(f"rho must be a fraction such as 1/12, not {text!r}") from error
    if not 0 < ratio <= 1:
        raise ValueError(f"rho must lie in (0, 1], not {text}")
    return ratio
