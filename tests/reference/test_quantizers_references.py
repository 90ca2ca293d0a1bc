"""The search, running means and k-means beside vector-quantize-pytorch and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from vector_quantize_pytorch import VectorQuantize

from vqlink.quantizers.kmeans import kmeans
from vqlink.quantizers.search import nearest
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import stream


@pytest.mark.parametrize(("size", "dim"), [(64, 4), (512, 64), (1000, 2)])
def test_indices_are_theirs(size: int, dim: int) -> None:
    g = stream(0, "reference", size)
    x, c = torch.randn(3000, dim, generator=g), torch.randn(size, dim, generator=g)
    ours = nearest(x, c)
    assert np.array_equal(ours.numpy(), pairwise_distances_argmin(x.double(), c.double()))
    theirs = VectorQuantize(dim=dim, codebook_size=size).eval()
    theirs._codebook.embed.data.copy_(c[None])
    differ = ours != theirs(x)[1]
    gap = (x - c[ours]).square().sum(1) - (x - c[theirs(x)[1]]).square().sum(1)
    assert gap[differ].abs().max() < 1e-4 if differ.any() else True
    assert differ.sum() <= 2, "ties alone"


def test_running_means_are_theirs() -> None:
    """Ten updates from the same start: the same decay and the same smoothing."""
    g = stream(0, "ema")
    start = torch.randn(16, 3, generator=g)
    ours = VectorQuantizer(16, 3, learning="ema", decay=0.9)
    theirs = VectorQuantize(dim=3, codebook_size=16, decay=0.9, rotation_trick=False).train()
    for target in (ours.codebook, ours.ema_sum):
        target.copy_(start)
    theirs._codebook.embed.data.copy_(start[None])
    theirs._codebook.embed_avg.data.copy_(start[None])
    theirs._codebook.cluster_size.data.fill_(1.0)
    for step in range(10):
        x = torch.randn(400, 3, generator=stream(0, "x", step))
        index = ours(x).indices
        assert index is not None
        assert torch.equal(index, theirs(x)[1])
        ours.after_step(generator=stream(0, "upkeep", step))
        torch.testing.assert_close(ours.codebook, theirs._codebook.embed[0], rtol=1e-3, atol=1e-4)


def test_k_means_is_as_good_as_scikit_learn_s() -> None:
    x = torch.randn(4000, 4, generator=stream(0, "kmeans"))
    ours = kmeans(x, 32, generator=stream(0, "start"), iterations=50)
    theirs = KMeans(32, n_init=1, init="random", max_iter=50, random_state=0).fit(x.numpy())
    error = (x - ours[nearest(x, ours)]).square().sum().item()
    assert error < 1.03 * theirs.inertia_
