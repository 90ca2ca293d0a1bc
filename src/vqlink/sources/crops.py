"""Random training crops, held in memory, each batch a function of (seed, step, rank) alone."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vqlink import rng
from vqlink.protocols import VqlinkError
from vqlink.sources.images import to_bytes8

COPIES = 4
"""Sizes at which each image is kept where ``scales`` is a range."""


class RandomCrops:
    """Random square crops with random flips, for training.

    Decodes the images once and keeps them as 8-bit pixels (3 bytes a pixel). A batch is drawn
    from ``rng.stream(seed, "crops", step, rank)`` and nothing else, so a resumed run needs no
    state and no two ranks see the same crops. Every image is as likely as every other; every
    position within it, too.

    Args:
        images: (id, float32 (3, H, W) in [0, 1]), such as ``open_images(...)``.
        size: side of the crops in pixels.
        seed: of all draws.
        rank: this process's number among those that train together.
        scales: (lowest, highest) factor by which images are made smaller before the crop, in
            (0, 1]. A range is realised as :data:`COPIES` sizes of each image, evenly spaced, made
            at the start; sizes into which the crop doesn't fit are left out.
        flip_horizontal: mirror left and right with probability 1/2.
        flip_vertical: mirror top and bottom with probability 1/2.

    Raises:
        VqlinkError: there are no images, or one is smaller than the crop (at its highest scale).
        ValueError: ``size`` is not positive or ``scales`` is no range in (0, 1].
    """

    def __init__(
        self,
        images: Iterable[tuple[str, Tensor]],
        size: int,
        *,
        seed: int,
        rank: int = 0,
        scales: tuple[float, float] = (1.0, 1.0),
        flip_horizontal: bool = True,
        flip_vertical: bool = False,
    ) -> None:
        low, high = scales
        if size < 1 or not 0.0 < low <= high <= 1.0:
            raise ValueError(f"need size >= 1 and 0 < low <= high <= 1, not {size} and {scales}")
        self.size = size
        self.seed = seed
        self.rank = rank
        self.flip_horizontal = flip_horizontal
        self.flip_vertical = flip_vertical
        count = COPIES if low < high else 1
        factors = torch.linspace(high, low, count, dtype=torch.float64).tolist()
        self._images = [_copies(name, image, size, factors) for name, image in images]
        if not self._images:
            raise VqlinkError("there are no images to train on")

    def __len__(self) -> int:
        """The number of images."""
        return len(self._images)

    def batch(self, step: int, count: int) -> Tensor:
        """Crops of training step ``step``: float32 (count, 3, size, size), channels-last, [0, 1].

        The same (seed, step, rank) and ``count`` always give the same crops.
        """
        generator = rng.stream(self.seed, "crops", step, self.rank)
        # float64: with 24-bit fractions the last of many images would be drawn less often
        draws = torch.rand((count, 6), generator=generator, dtype=torch.float64).tolist()
        crops = torch.empty((count, self.size, self.size, 3), dtype=torch.uint8)
        for crop, (which, scale, top, left, horizontal, vertical) in zip(crops, draws, strict=True):
            copies = self._images[int(which * len(self._images))]
            image = copies[int(scale * len(copies))]
            y = int(top * (image.shape[0] - self.size + 1))
            x = int(left * (image.shape[1] - self.size + 1))
            window = image[y : y + self.size, x : x + self.size]
            axes = [0] * (self.flip_vertical and vertical < 0.5)
            axes += [1] * (self.flip_horizontal and horizontal < 0.5)
            crop.copy_(window.flip(axes) if axes else window)
        return crops.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def _copies(name: str, image: Tensor, size: int, factors: list[float]) -> list[Tensor]:
    """``image`` (3, H, W) at every factor at which the crop fits, as uint8 (H', W', 3)."""
    height, width = image.shape[-2:]
    copies = []
    for factor in factors:
        shape = (round(height * factor), round(width * factor))
        if min(shape) < size:
            break  # the factors fall
        copies.append(_resized(image, shape))
    if not copies:
        at_scale = "" if factors[0] == 1.0 else f" at scale {factors[0]:g}"
        raise VqlinkError(
            f"{name}: {width}x{height}{at_scale} is smaller than the {size}x{size} training crop"
        )
    return copies


def _resized(image: Tensor, shape: tuple[int, int]) -> Tensor:
    if tuple(image.shape[-2:]) != shape:
        image = interpolate(image[None], shape, mode="bicubic", antialias=True)[0]
    return to_bytes8(image).permute(1, 2, 0).contiguous()
