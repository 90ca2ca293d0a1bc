"""The search against a double-precision brute force."""

from __future__ import annotations

import pytest
import torch

from vqlink.quantizers.search import nearest
from vqlink.rng import stream


def brute(x: torch.Tensor, c: torch.Tensor, w: torch.Tensor | None = None) -> torch.Tensor:
    scale = torch.ones(1, 1) if w is None else w if w.ndim == 2 else w[None]
    difference = (x[:, None].double() - c.double()) * scale[:, None].double()
    return difference.square().sum(-1).argmin(1)


def data(count: int, size: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = stream(0, "search", count, size, dim)
    return torch.randn(count, dim, generator=g), torch.randn(size, dim, generator=g)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("size", [2, 3, 127, 500, 4096, 4097, 9000])
def test_equals_brute_force(size: int, dim: int) -> None:
    x, c = data(300, size, dim)
    assert torch.equal(nearest(x, c), brute(x, c))


def test_more_vectors_than_the_buffer_holds() -> None:
    x, c = data(5000, 1024, 5)
    assert torch.equal(nearest(x, c)[-300:], brute(x[-300:], c))
    assert torch.equal(nearest(x, c)[:300], brute(x[:300], c))


@pytest.mark.parametrize("offset", [10.0, 1000.0])
def test_a_common_offset_changes_no_index(offset: float) -> None:
    """|x|^2 - 2xc + |c|^2 without centring is wrong for most vectors at an offset of 1000."""
    x, c = data(2000, 512, 64)
    x, c = x + offset, c + offset
    assert torch.equal(nearest(x, c), brute(x, c))


@pytest.mark.parametrize("size", [50, 700])
@pytest.mark.parametrize("dim", [2, 8])
def test_weights(size: int, dim: int) -> None:
    x, c = data(400, size, dim)
    g = stream(0, "weights")
    for w in (torch.rand(dim, generator=g) + 0.1, torch.rand(400, dim, generator=g) + 0.1):
        assert torch.equal(nearest(x, c, w), brute(x, c, w))
        assert not torch.equal(nearest(x, c, w), nearest(x, c))


def test_of_equal_codewords_the_first_is_taken() -> None:
    for size in (300, 5000):
        x, c = data(100, size, 8)
        c = torch.cat([c, c])
        assert int(nearest(x, c).max()) < size
        assert torch.equal(nearest(x, c), nearest(x, c[:size]))


def test_strides_and_types() -> None:
    x, c = data(200, 300, 8)
    want = nearest(x, c)
    assert torch.equal(nearest(x.double(), c.double()), want)
    assert torch.equal(nearest(x.T.contiguous().T, c.T.contiguous().T), want)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest(x, c), want)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="search takes"):
        nearest(torch.zeros(3, 4), torch.zeros(5, 6))
    assert nearest(torch.zeros(0, 4), torch.zeros(5, 4)).shape == (0,)
