"""Small pictures with classes, such as CIFAR-10's, from parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from vqlink.protocols import VqlinkError
from vqlink.rng import stream
from vqlink.sources.datasets import open_images
from vqlink.sources.images import to_bytes8


class LabelledPictures:
    """Pictures of one size and their classes, kept as 8-bit pixels; batches with random mirroring.

    Args:
        location: a parquet file with the columns of images and ``column``, whole numbers from 0.
        column: of the classes.
        size: side of the pictures.
        classes: how many there are.
        seed: of all draws, as of :class:`vqlink.sources.crops.RandomCrops`.

    Raises:
        VqlinkError: for another kind of file, a missing column, or pictures of another size.
    """

    def __init__(self, location: str, column: str, size: int, classes: int, *, seed: int) -> None:
        import pyarrow
        import pyarrow.parquet

        if Path(location).suffix != ".parquet":
            raise VqlinkError(f"classes come from a .parquet file, not {location}")
        pictures = open_images(location)
        try:
            table = pyarrow.parquet.read_table(location, columns=[column])
            labels = torch.tensor(table[column].to_pylist(), dtype=torch.int64)
        except (pyarrow.ArrowException, KeyError, TypeError, ValueError):
            raise VqlinkError(f"{location} has no column {column!r} of whole numbers") from None
        if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise VqlinkError(f"{location}: {column!r} has classes beyond 0 to {classes - 1}")
        held = [to_bytes8(pictures[i][1]) for i in range(len(pictures))]
        if any(picture.shape != (3, size, size) for picture in held):
            raise VqlinkError(f"{location}: pictures with classes are all {size} x {size}")
        self._pictures, self._labels, self._seed = torch.stack(held), labels, seed

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Of step ``step``: float32 (count, 3, size, size) in [0, 1], and (count,) int64."""
        generator = stream(self._seed, "labelled", step)
        chosen = torch.randint(len(self), (count,), generator=generator)
        mirrored = torch.rand(count, generator=generator) < 0.5
        pictures = self._pictures[chosen]
        pictures = torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)
        return pictures.float() / 255, self._labels[chosen]

    def parts(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All pictures as they are, ``count`` at a time, and their classes, as of :meth:`batch`."""
        for pictures, labels in zip(
            torch.split(self._pictures, count), torch.split(self._labels, count), strict=True
        ):
            yield pictures.float() / 255, labels
