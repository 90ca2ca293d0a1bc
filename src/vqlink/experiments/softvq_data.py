"""The pictures that paper 000's image half is trained and measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vqlink.rng import stream
from vqlink.sources.datasets import open_images
from vqlink.sources.images import to_bytes8

Source = Literal["cifar10", "imagenet", "celeba"]


def load_source(source: Source, cache: Path) -> tuple[Tensor, Tensor]:
    """Training and test pictures as uint8 (N, 3, side, side), decoded once and kept in ``cache``.

    ``cifar10``: 32x32, the test pictures lossless. ``imagenet``: 64x64, eight crops of each
    training picture and the middle of each validation picture. ``celeba``: the paper's faces from
    the Hugging Face hub, the middle square at 64x64 (the paper doesn't give its size); the first
    40,000 of its training split and 1,000 of its test split.
    """
    places: dict[Source, tuple[tuple[str, int, int, int], ...]] = {
        "cifar10": (
            ("data/cifar10/train.parquet", 32, 1, 100_000),
            ("data/cifar10/validation_exact.parquet", 32, 1, 250),
        ),
        "imagenet": (
            ("data/imagenet_sample/train.parquet", 64, 8, 100_000),
            ("data/imagenet_sample/validation.parquet", 64, 1, 100),
        ),
        "celeba": (
            ("hf:flwrlabs/celeba:train", 64, 1, 40_000),
            ("hf:flwrlabs/celeba:test", 64, 1, 1000),
        ),
    }
    train_set, test_set = (
        _load_squares(*place, whole=source == "celeba", cache=cache / f"{source}-{part}.npy")
        for part, place in zip(("train", "test"), places[source], strict=True)
    )
    return train_set, test_set


def _load_squares(
    location: str, side: int, crops: int, most: int, *, whole: bool, cache: Path
) -> Tensor:
    """``crops`` windows of each picture (one: its middle), or its middle square made smaller."""
    if cache.exists():
        return torch.from_numpy(np.load(cache, allow_pickle=False))
    squares = []
    for name, picture in open_images(location)[:most]:
        height, width = picture.shape[-2:]
        if whole:
            square = min(height, width)
            top, left = (height - square) // 2, (width - square) // 2
            middle = picture[None, :, top : top + square, left : left + square]
            squares.append(functional.interpolate(middle, (side, side), mode="area")[0])
            continue
        draws = torch.rand(crops, 2, generator=stream(0, "windows", name)).tolist()
        for down, across in draws if crops > 1 else ((0.5, 0.5),):
            top, left = int(down * (height - side + 1)), int(across * (width - side + 1))
            squares.append(picture[:, top : top + side, left : left + side])
    pixels = torch.stack([to_bytes8(square) for square in squares])
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, pixels.numpy(), allow_pickle=False)
    partial.replace(cache)
    return pixels
