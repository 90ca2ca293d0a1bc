"""Large images in overlapping tiles, without seams.

A convolutional net's output depends on its input within a fixed reach. A tile that is computed
with that much context on every side, and then trimmed, equals the whole image's result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """(B, C, H, W) with the last row and column repeated up to the next ``multiple``."""
    height, width = image.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return image
    return functional.pad(image, (0, right, 0, below), mode="replicate")


def tiled(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    scale: float,
    reach: int,
    tile: int,
    unit: int,
) -> Tensor:
    """``function(x)`` computed in tiles of at most ``tile`` x ``tile``, plus context.

    Args:
        function: (B, C, h, w) -> (B, C', scale * h, scale * w), translation-equivariant in steps
            of ``unit``.
        scale: output size over input size, such as 1/8 or 8.
        reach: how far, in input samples, an output depends on its input.
        tile: side of a tile in input samples, a multiple of ``unit``.
        unit: the step of equivariance in input samples.
    """
    height, width = x.shape[-2:]
    if height <= tile and width <= tile:
        return function(x)
    halo = math.ceil(reach / unit) * unit
    rows = []
    for top, bottom in _spans(height, tile):
        row = []
        for left, right in _spans(width, tile):
            y0, x0 = max(0, top - halo), max(0, left - halo)
            part = x[..., y0 : min(height, bottom + halo), x0 : min(width, right + halo)]
            out = function(part)
            vertical = slice(round((top - y0) * scale), round((bottom - y0) * scale))
            horizontal = slice(round((left - x0) * scale), round((right - x0) * scale))
            row.append(out[..., vertical, horizontal])
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)


def _spans(length: int, tile: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, tile):
        yield start, min(start + tile, length)
