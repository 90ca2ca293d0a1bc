"""Pictures that the manifests' figures are measured on; they ship."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from vqlink.sources.images import open_image

SMALL = "sample:astronaut"
"""Where :func:`small_pictures` come from."""


def small_pictures() -> Tensor:
    """16 pictures of 32 x 32 from the astronaut at a quarter of its size, (16, 3, 32, 32)."""
    small = functional.avg_pool2d(open_image(SMALL)[None], 4)[0, :, :128, :128]
    tiles = small.unfold(1, 32, 32).unfold(2, 32, 32)
    return tiles.permute(1, 2, 0, 3, 4).reshape(16, 3, 32, 32)
