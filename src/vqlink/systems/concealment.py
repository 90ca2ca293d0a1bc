"""What stands in for codeword numbers that were lost, made from those that arrived.

The choices, measured: docs/packets.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional

from vqlink.quantizers.vector import VectorQuantizer

Concealment = Literal["zero", "mean", "nearest", "blend"]
"""See :func:`conceal`."""
CONCEALMENTS: tuple[Concealment, ...] = get_args(Concealment)

_REACH = 2  # of a blend, in cells
_CHUNK = 1 << 15  # cells at a time
_AROUND = tuple(
    (i, j)
    for i in range(-_REACH, _REACH + 1)
    for j in range(-_REACH, _REACH + 1)
    if (i, j) != (0, 0)
)


@dataclass(frozen=True)
class Concealed:
    """Index maps without gaps.

    Attributes:
        indices: (1, h, w) int64 of each scale; K + i, with K codewords, is row i of ``stand_ins``.
        stand_ins: (n, D) of each scale.
    """

    indices: tuple[Tensor, ...]
    stand_ins: tuple[Tensor, ...]


@torch.no_grad()
def conceal(
    indices: Sequence[Tensor], quantizers: Sequence[VectorQuantizer], how: Concealment
) -> Concealed:
    """Fill the gaps, -1, of the index maps (1, h, w) of one picture.

    ``zero``: a feature of zeros. ``mean``: the mean of the codewords that arrived. ``nearest``:
    the codeword of the nearest cell that arrived. ``blend``: the mean of the codewords of those of
    the 24 cells around that arrived, weighted by 1 / distance^4; where none did, the nearest.

    A scale of which nothing arrived is filled with the mean of its codebook.
    """
    filled = [
        _filled(found[0], quantizer.codebook.detach(), how)
        for found, quantizer in zip(indices, quantizers, strict=True)
    ]
    return Concealed(
        tuple(numbers[None] for numbers, _ in filled), tuple(table for _, table in filled)
    )


def _filled(flat: Tensor, codebook: Tensor, how: Concealment) -> tuple[Tensor, Tensor]:
    """(h, w) -> the same without gaps, and its stand-ins."""
    size, lost = codebook.shape[0], flat < 0
    if not bool(lost.any()):
        return flat, codebook[:0]
    if bool(lost.all()):
        return torch.full_like(flat, size), codebook.mean(dim=0, keepdim=True)
    match how:
        case "zero":
            return torch.where(lost, size, flat), torch.zeros_like(codebook[:1])
        case "mean":
            return torch.where(lost, size, flat), codebook[flat[~lost]].mean(dim=0, keepdim=True)
        case "nearest":
            return _nearest(flat), codebook[:0]
        case "blend":
            arrived = functional.max_pool2d(
                (~lost).float()[None], 2 * _REACH + 1, stride=1, padding=_REACH
            )[0]
            blended = lost & (arrived > 0)
            numbers, places = _nearest(flat), blended.nonzero()
            numbers[blended] = size + torch.arange(len(places))
            padded = functional.pad(flat, (_REACH,) * 4, value=-1)
            parts = [_blend(padded, codebook, part) for part in torch.split(places, _CHUNK)]
            return numbers, torch.cat(parts)
        case _:
            assert_never(how)


def _nearest(flat: Tensor) -> Tensor:
    rows, columns = distance_transform_edt(
        (flat < 0).numpy(), return_distances=False, return_indices=True
    )
    return flat[torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]


def _blend(padded: Tensor, codebook: Tensor, places: Tensor) -> Tensor:
    """(n, 2) places -> (n, D) weighted means of the codewords around them."""
    rows = torch.arange(len(places))
    weights = torch.zeros(len(places), len(codebook) + 1)  # the last column is that of -1
    for i, j in _AROUND:
        found = padded[places[:, 0] + i + _REACH, places[:, 1] + j + _REACH]
        weights[rows, found] += 1 / (i * i + j * j) ** 2
    weights = weights[:, :-1]
    return weights / weights.sum(dim=1, keepdim=True) @ codebook
