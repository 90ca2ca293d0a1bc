"""Labels that make a wrong bit pick a near codeword."""

from __future__ import annotations

import itertools

import pytest
import torch

from vqlink.quantizers.labels import bit_error_distortion, label_bits, neighbourly_labels


def codebook(size: int, dim: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [2, 4, 8, 64])
def test_labels_are_a_permutation_and_the_same_on_every_call(size: int) -> None:
    points = codebook(size)
    labels = neighbourly_labels(points)
    assert torch.equal(labels.sort().values, torch.arange(size))
    assert torch.equal(labels, neighbourly_labels(points))


def test_four_points_are_labelled_as_well_as_any_order_can() -> None:
    for seed in range(20):
        points = codebook(4, seed=seed)
        best = min(
            float(bit_error_distortion(points, torch.tensor(order)))
            for order in itertools.permutations(range(4))
        )
        assert float(bit_error_distortion(points, neighbourly_labels(points))) == pytest.approx(
            best, rel=1e-5
        )


def test_a_grid_gets_a_gray_code() -> None:
    """4 x 4 points: at least as good as a Gray code along each axis."""
    line = torch.arange(4.0)
    points = torch.cartesian_prod(line, line)
    gray = torch.tensor([0, 1, 3, 2])
    product = (gray[:, None] * 4 + gray[None]).flatten()
    found = neighbourly_labels(points)
    assert float(bit_error_distortion(points, found)) <= float(
        bit_error_distortion(points, product)
    )


@pytest.mark.parametrize("size", [16, 64])
def test_they_are_well_below_random_ones(size: int) -> None:
    points = codebook(size)
    random = [
        float(bit_error_distortion(points, torch.randperm(size, generator=generator)))
        for generator in [torch.Generator().manual_seed(1)]
        for _ in range(20)
    ]
    assert float(bit_error_distortion(points, neighbourly_labels(points))) < 0.7 * min(random)


def test_the_distortion_is_that_of_wrong_bits() -> None:
    points = codebook(8)
    labels = neighbourly_labels(points)
    total, count = 0.0, 0
    for word, bit in itertools.product(range(8), range(3)):
        wrong = int((labels == (int(labels[word]) ^ (1 << bit))).nonzero())
        total, count = total + float((points[word] - points[wrong]).square().sum()), count + 1
    assert float(bit_error_distortion(points, labels)) == pytest.approx(total / count, rel=1e-6)


@pytest.mark.parametrize("size", [1, 3, 12])
def test_sizes_that_no_bits_name_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="2, 4, 8"):
        label_bits(size)
