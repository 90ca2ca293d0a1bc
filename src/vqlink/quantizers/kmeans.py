"""k-means on a batch of latents, to start a codebook where the data are."""

from __future__ import annotations

import torch
from torch import Tensor

from vqlink.quantizers.search import nearest

_JITTER = 1e-3  # of the data's deviation, where there are fewer vectors than codewords


@torch.no_grad()
def kmeans(
    vectors: Tensor, size: int, *, generator: torch.Generator, iterations: int = 10
) -> Tensor:
    """Lloyd's algorithm from randomly chosen vectors.

    A centroid that no vector chooses moves to one of the vectors farthest from theirs. With fewer
    vectors than codewords, vectors are taken several times, each a little beside itself.

    Args:
        vectors: (N, D) with N at least 1.
        size: K.
        generator: for the choice; the same draws give the same codebook.

    Returns:
        (K, D) float32.

    Raises:
        ValueError: for an empty batch.
    """
    vectors = vectors.detach().float()
    count = vectors.shape[0]
    if count == 0:
        raise ValueError("k-means needs at least one vector")
    order = torch.randperm(count, generator=generator)
    chosen = order[torch.arange(size) % count].to(vectors.device)
    centroids = vectors[chosen].clone()
    if count < size:
        deviation = vectors.std(dim=0, correction=0).clamp_min(1e-6)
        noise = torch.randn(centroids.shape, generator=generator).to(vectors.device)
        return centroids + _JITTER * deviation * noise
    for _ in range(iterations):
        index = nearest(vectors, centroids)
        counts = torch.bincount(index, minlength=size)
        sums = torch.zeros_like(centroids).index_add_(0, index, vectors)
        used = counts > 0
        centroids[used] = sums[used] / counts[used, None]
        empty = int((~used).sum())
        if empty:
            error = (vectors - centroids[index]).square().sum(dim=1)
            centroids[~used] = vectors[error.topk(empty).indices]
    return centroids
