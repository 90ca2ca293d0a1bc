"""Transformer blocks for sequences (Vaswani et al., 2017), normalised in front of each part.

Every block takes and gives (B, L, D). Decoding step by step keeps the keys and values of what came
before in a :class:`Cache`, so that a step costs one position and not all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_LONGEST_WAVE = 1000.0


@dataclass(frozen=True)
class TransformerSize:
    """How large a transformer over sequences is; the defaults are paper 000's.

    Attributes:
        width: D.
        heads: H, a divisor of D.
        depth: layers.
        dropout: probability.
        longest: most positions.
    """

    width: int = 768
    heads: int = 6
    depth: int = 2
    dropout: float = 0.1
    longest: int = 64


@dataclass
class Cache:
    """Keys and values of one attention, (B, H, L, D / H) each, or None before the first step."""

    keys: Tensor | None = None
    values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append new positions and return all of them."""
        if self.keys is not None and self.values is not None:
            keys = torch.cat([self.keys, keys], dim=2)
            values = torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values

    def reorder(self, rows: Tensor) -> None:
        """Keep the given rows of the batch, in that order: a beam search's survivors."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (eq. 6 to 10 of paper 000).

    Args:
        width: D.
        heads: H, a divisor of D.
        aligned: start with equal query and key maps, so that equal positions attend to each other.
    """

    def __init__(self, width: int, heads: int, dropout: float, *, aligned: bool = False) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        if aligned:
            self.key.load_state_dict(self.query.state_dict())

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, L, D / H) of a memory (B, L, D)."""
        return self._split(self.key(memory)), self._split(self.value(memory))

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """(B, L, D) attends to keys and values; ``mask`` is True where it may look."""
        mixed = functional.scaled_dot_product_attention(
            self._split(self.query(x)),
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        heads = x.reshape(*x.shape[:-1], self.heads, x.shape[-1] // self.heads)
        return heads.transpose(1, 2)


class EncoderLayer(nn.Module):
    """Self-attention over all positions, then a feed-forward net of four times the width."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.feed = feed_forward(width, dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D); ``mask`` (B, 1, 1, L) is True at real positions."""
        seen = self.norm1(x)
        x = x + self.drop(self.attention(seen, *self.attention.project(seen), mask=mask))
        out: Tensor = x + self.drop(self.feed(self.norm2(x)))
        return out


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to a memory, then the feed-forward net."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attention = Attention(width, heads, dropout)
        self.cross = Attention(width, heads, dropout, aligned=True)
        self.feed = feed_forward(width, dropout)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, memory: tuple[Tensor, Tensor], mask: Tensor, cache: Cache | None = None
    ) -> Tensor:
        """(B, L, D) -> (B, L, D).

        Args:
            x: all positions, or, with ``cache``, the one after those that the cache holds.
            memory: keys and values of :meth:`Attention.project` of ``cross``.
            mask: (B, 1, 1, M), True where the memory may be looked at.
        """
        seen = self.norm1(x)
        keys, values = self.attention.project(seen)
        if cache is not None:
            keys, values = cache.extend(keys, values)
        x = x + self.drop(self.attention(seen, keys, values, causal=cache is None))
        x = x + self.drop(self.cross(self.norm2(x), *memory, mask=mask))
        out: Tensor = x + self.drop(self.feed(self.norm3(x)))
        return out


def feed_forward(width: int, dropout: float) -> nn.Sequential:
    """Two linear maps round a GELU; as attention, it starts by adding nothing."""
    last = nn.Linear(4 * width, width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), last)


def positions(length: int, width: int, *, clear: int = 0) -> Tensor:
    """(length, width) sines and cosines of size 0.3, wavelengths 2 pi to 2 pi * 1000 positions.

    Args:
        clear: the first so many dimensions are left 0.
    """
    if clear:
        rest = positions(length, width - clear)
        return functional.pad(rest, (clear, 0))
    waves = torch.exp(-math.log(_LONGEST_WAVE) * torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * waves
    return 0.3 * torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


def length_mask(lengths: Tensor, longest: int) -> Tensor:
    """(B, longest) bool, True at the first ``lengths`` positions of each row."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]
