"""Binary labels of codewords, so that a wrong bit picks a near codeword.

Zeger and Gersho, "Pseudo-Gray coding" (1990): of all ways to number the codewords, look for one
with a small expected distortion under single bit errors, by switching pairs of labels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_CODES = 1 << 62
"""Codes that int64 indices can number."""
_MOST = 1024  # codewords: the search takes K^2 log K operations a switch


@torch.no_grad()
def neighbourly_labels(codebook: Tensor) -> Tensor:
    """Labels that put near codewords one bit apart.

    Starts from a Gray code along the first principal axis and makes the best switch of two labels
    until none lowers :func:`bit_error_distortion`: a local minimum, the same on every call.

    Args:
        codebook: (K, D), K a power of two up to 1,024.

    Returns:
        (K,) int64: the label of each codeword, a permutation of 0..K-1.

    Raises:
        ValueError: for another K.
    """
    size = codebook.shape[0]
    bits = label_bits(size)
    if size > _MOST:
        raise ValueError(f"labels are searched for up to {_MOST} codewords, not {size}")
    points = codebook.double()
    centred = points - points.mean(dim=0)
    axis = torch.linalg.eigh(centred.T @ centred)[1][:, -1]
    places = torch.arange(size)
    # held[l]: the codeword that has label l
    held = torch.empty_like(places)
    held[places ^ (places >> 1)] = torch.argsort(centred @ axis, stable=True)
    distance = torch.cdist(points, points).square()
    neighbours = places[:, None] ^ (1 << torch.arange(bits))
    adjacent = torch.zeros(size, size, dtype=torch.bool)
    adjacent[places[:, None], neighbours] = True
    smallest = 1e-9 * float(distance.mean())
    while True:
        # cost[a, b]: label a's distance to its neighbours if it held what label b holds
        cost = distance[held[neighbours]].sum(dim=1)[:, held]
        own = cost.diagonal()
        gain = own[:, None] + own[None] - cost - cost.T
        gain -= 2 * adjacent * distance[held][:, held]
        best = int(gain.argmax())
        a, b = divmod(best, size)
        if float(gain[a, b]) <= smallest:
            break
        held[[a, b]] = held[[b, a]]
    labels = torch.empty_like(held)
    labels[held] = places
    return labels


def bit_error_distortion(codebook: Tensor, labels: Tensor) -> Tensor:
    """Mean |c - c'|^2 over codewords c and the c' that one wrong bit of the label makes of it.

    Args:
        codebook: (K, D).
        labels: (K,) int64, a permutation.
    """
    held = torch.argsort(labels)
    places = torch.arange(codebook.shape[0])
    wrong = held[places[:, None] ^ (1 << torch.arange(label_bits(codebook.shape[0])))]
    return (codebook[held][:, None] - codebook[wrong]).square().sum(dim=-1).mean()


def label_bits(size: int) -> int:
    """log2 of a codebook's size.

    Raises:
        ValueError: when that is no whole number.
    """
    bits = round(math.log2(size))
    if 1 << bits != size or bits < 1:
        raise ValueError(f"an index link takes codebooks of 2, 4, 8, ... codewords, not {size}")
    return bits
