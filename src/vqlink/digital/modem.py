"""BPSK and Gray-labelled square QAM (TS 38.211, 5.1) through Sionna's mapper and demapper."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def map_bits(bits: Tensor, bits_per_symbol: int) -> Tensor:
    """(..., n) float32 bits -> (..., n / bits_per_symbol) complex64 symbols, mean power 1."""
    symbols: Tensor = _mapper(bits_per_symbol)(bits.reshape(-1, bits.shape[-1]))
    return symbols.reshape(*bits.shape[:-1], -1)


def demap_symbols(symbols: Tensor, noise_var: Tensor, bits_per_symbol: int) -> Tensor:
    """Exact log-likelihood ratios log P(1) / P(0) of each bit.

    Args:
        symbols: (..., n) complex64, equalised.
        noise_var: (..., n) float32, the total variance of the complex noise after equalisation.

    Returns:
        (..., n * bits_per_symbol) float32, clamped to +-50.
    """
    flat, variance = (
        symbols.reshape(-1, symbols.shape[-1]),
        noise_var.reshape(-1, symbols.shape[-1]),
    )
    llr: Tensor = _demapper(bits_per_symbol)(flat, variance)
    return torch.nan_to_num(llr).clamp(-50, 50).reshape(*symbols.shape[:-1], -1)


@lru_cache(maxsize=8)
def _mapper(bits_per_symbol: int) -> Any:
    from sionna.phy.mapping import Mapper

    return Mapper(*_constellation(bits_per_symbol), device="cpu")


@lru_cache(maxsize=8)
def _demapper(bits_per_symbol: int) -> Any:
    from sionna.phy.mapping import Demapper

    return Demapper("app", *_constellation(bits_per_symbol), device="cpu")


def _constellation(bits_per_symbol: int) -> tuple[str, int]:
    return ("pam" if bits_per_symbol == 1 else "qam"), bits_per_symbol
