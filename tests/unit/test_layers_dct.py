"""The whitened block DCT: orthonormal, ordered, and white on natural images."""

from __future__ import annotations

import pytest
import torch

from vqlink.layers.dct import BlockDCT
from vqlink.sources.images import open_image


@pytest.mark.parametrize("size", [4, 8])
def test_inverse_undoes_forward(size: int) -> None:
    dct = BlockDCT(size)
    x = torch.randn(2, 3, 32, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(dct.inverse(dct(x)), x, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [4, 8])
def test_basis_is_orthonormal_and_ordered(size: int) -> None:
    dct = BlockDCT(size)
    flat = dct.basis.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(3 * size * size), rtol=0, atol=1e-5)
    assert (dct.deviation.diff() <= 0).all()
    assert dct.basis[0].std() < 1e-6  # the mean of the block comes first


def test_coefficients_of_a_photograph_are_about_white() -> None:
    """The 1 / f law, fitted elsewhere, holds within a factor of two on average on a new picture."""
    coefficients = BlockDCT(8)(open_image("sample:coffee")[None, :, :392, :600] - 0.5)
    deviation = coefficients.square().mean(dim=(0, 2, 3)).sqrt()
    assert 0.4 < deviation.log().mean().exp() < 2.5
    # Raw coefficients differ by a factor of hundreds.
    assert deviation.log().std() < 0.7
