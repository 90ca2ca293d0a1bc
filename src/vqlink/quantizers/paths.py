"""Paths through layers of codewords: their numbers in mixed radix, and the search for them.

A path has one choice a layer, the first layer first. ``branches`` are the choices that each layer
offers. In a tree, row p * m + c of a layer's codebook is choice c below row p of the layer before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqlink.quantizers.search import nearest, nearest_child


def join_path(choices: Sequence[Tensor], branches: Sequence[int]) -> Tensor:
    """Choices (...) int64 of the first layers -> (...) paths, the first layer most significant.

    Raises:
        ValueError: for more choices than layers.
    """
    path = torch.zeros_like(choices[0])
    for size, choice in zip(branches[: len(choices)], choices, strict=True):
        path = path * size + choice
    return path


def split_path(path: Tensor, branches: Sequence[int]) -> list[Tensor]:
    """(...) paths -> the choice in each layer, (...) int64 in [0, m)."""
    choices = []
    for size in reversed(branches):
        choices.append(path % size)
        path = torch.div(path, size, rounding_mode="floor")
    return choices[::-1]


def search_layers(vectors: Tensor, codebooks: Sequence[Tensor]) -> list[Tensor]:
    """Rows (N,) of each layer's codebook: the nearest to what the layers before left over."""
    rows: list[Tensor] = []
    for layer, codebook in enumerate(codebooks):
        rows.append(nearest(vectors, codebook))
        if layer + 1 < len(codebooks):
            vectors = vectors - codebook.index_select(0, rows[-1])
    return rows


def search_tree(
    vectors: Tensor, codebooks: Sequence[Tensor], branches: Sequence[int]
) -> list[Tensor]:
    """As :func:`search_layers`, each among the children of the row before."""
    codes = codebooks[0]
    rows = [nearest(vectors, codes)]
    for layer in range(1, len(codebooks)):
        children = codebooks[layer].view(-1, branches[layer], vectors.shape[1])
        choice = nearest_child(vectors, children, rows[-1], codes)
        rows.append(rows[-1] * branches[layer] + choice)
        if layer + 1 < len(codebooks):
            codes = (codes[:, None] + children).view(-1, vectors.shape[1])
    return rows
