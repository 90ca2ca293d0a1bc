"""Many small pictures as one."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_GAP = 2


def picture_grid(images: Tensor, *, columns: int | None = None) -> Tensor:
    """(B, 3, H, W) -> (3, H', W'): rows of pictures on white, about as wide as high."""
    count, _, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    cells = functional.pad(images, (0, _GAP, 0, _GAP), value=1.0)
    blank = cells.new_ones(rows * columns - count, *cells.shape[1:])
    grid = torch.cat([cells, blank]).reshape(rows, columns, *cells.shape[1:])
    size = (3, rows * (height + _GAP), columns * (width + _GAP))
    whole: Tensor = grid.permute(2, 0, 3, 1, 4).reshape(size)
    return whole[:, :-_GAP, :-_GAP]
