"""Soft-to-hard QAM against the plain M-wide softmax, brute force and gradcheck."""

from __future__ import annotations

import math

import pytest
import torch

from vqlink.quantizers.identity import Identity
from vqlink.quantizers.qam import QAMQuantizer, plain_soft_points, qam_levels
from vqlink.quantizers.soft_to_hard import (
    hard_with_soft_gradient,
    nearest_level,
    soft_level,
    soft_level_slope,
)

ORDERS = [4, 16, 64, 256, 1024, 4096]


def latents(*shape: int, seed: int = 0, scale: float = 0.8) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def all_points(quantizer: QAMQuantizer) -> torch.Tensor:
    return quantizer.decode(torch.arange(quantizer.order))


@pytest.mark.parametrize("order", ORDERS)
def test_unit_mean_power_and_spacing(order: int) -> None:
    points = all_points(QAMQuantizer(order))
    assert points.shape == (order, 2)
    assert len({tuple(p) for p in points.tolist()}) == order
    assert points.square().sum(dim=1).mean().item() == pytest.approx(1.0, abs=1e-5)
    levels = qam_levels(order)
    # 001 eq. 15 as printed gives sqrt(12 / (M^2 - 1)), which would be far too dense.
    assert (levels[1] - levels[0]).item() == pytest.approx(math.sqrt(6 / (order - 1)), rel=1e-5)


@pytest.mark.parametrize("order", ORDERS)
def test_nearest_point_is_brute_force_nearest(order: int) -> None:
    quantizer, z = QAMQuantizer(order), latents(4000, 2)
    distance = torch.cdist(z.double(), all_points(quantizer).double())
    chosen = distance.gather(1, quantizer.encode(z)[:, None])[:, 0]
    # Equal distances, to float32 rounding at a boundary, may go either way.
    torch.testing.assert_close(chosen, distance.amin(dim=1), rtol=0, atol=1e-6)
    assert (quantizer.encode(z) == distance.argmin(dim=1)).float().mean() > 0.999


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("training", [True, False])
def test_points_on_the_air_are_codewords_bit_for_bit(order: int, training: bool) -> None:
    quantizer = QAMQuantizer(order, hardness=7.0).train(training)
    z = latents(3, 50, 2).requires_grad_()
    out = quantizer(z)
    assert out.indices is not None
    assert torch.equal(out.values, quantizer.decode(out.indices))
    assert torch.equal(out.values, quantizer.hard(z))
    assert torch.equal(out.indices, quantizer.encode(z))


@pytest.mark.parametrize("order", [4, 16, 64, 256])
@pytest.mark.parametrize("hardness", [1.0, 5.0, 100.0])
def test_gradient_equals_the_plain_softmax(order: int, hardness: float) -> None:
    quantizer = QAMQuantizer(order)
    points, levels = all_points(quantizer).double(), quantizer.levels.double()
    z = latents(300, 2).double().requires_grad_()
    weights = latents(300, 2, seed=1).double()
    (expected,) = torch.autograd.grad((plain_soft_points(z, points, hardness) * weights).sum(), z)
    hard = quantizer.hard(z).double()
    got = hard_with_soft_gradient(z, hard, levels, hardness)
    (gradient,) = torch.autograd.grad((got * weights).sum(), z)
    assert torch.equal(got, hard)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


def test_soft_values_factorise() -> None:
    quantizer = QAMQuantizer(64)
    z, levels = latents(100, 2).double(), quantizer.levels.double()
    plain = plain_soft_points(z, all_points(quantizer).double(), 5.0)
    torch.testing.assert_close(soft_level(z, levels, 5.0), plain)


@pytest.mark.parametrize("hardness", [2.0, 30.0])
def test_gradcheck(hardness: float) -> None:
    """With the soft value in the hard one's place, the backward must be its true derivative."""
    levels = qam_levels(64).double()

    def function(z: torch.Tensor) -> torch.Tensor:
        return hard_with_soft_gradient(
            z, soft_level(z.detach(), levels, hardness), levels, hardness
        )

    z = latents(40, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(function, (z,), atol=1e-6)


def test_slope_of_many_values_equals_that_of_each() -> None:
    levels, z = qam_levels(4096), latents(3000)
    whole = soft_level_slope(z, levels, 50.0)
    parts = torch.stack([soft_level_slope(v, levels, 50.0) for v in z[::100]])
    torch.testing.assert_close(whole[::100], parts)


def test_hardness_sharpens_the_slope() -> None:
    quantizer = QAMQuantizer(16)
    between = (quantizer.levels[1] + quantizer.levels[2]) / 2
    on_a_level = quantizer.levels[1]
    for z, grows in ((between, True), (on_a_level, False)):
        soft, sharp = (soft_level_slope(z[None], quantizer.levels, h) for h in (5.0, 100.0))
        assert (sharp > soft).item() is grows


def test_annealing_changes_the_gradient_and_not_the_points() -> None:
    quantizer, z = QAMQuantizer(64), latents(200, 2).requires_grad_()
    results = []
    for hardness in (5.0, 100.0):
        quantizer.set_hardness(hardness)
        values = quantizer(z).values
        (gradient,) = torch.autograd.grad(values.sum(), z)
        results.append((values.detach(), gradient))
    assert torch.equal(results[0][0], results[1][0])
    assert (results[0][1] - results[1][1]).abs().max() > 0.1


def test_kl_is_that_of_the_plain_estimate_and_has_a_gradient() -> None:
    quantizer = QAMQuantizer(16, hardness=5.0, regularise=True)
    z = latents(500, 2, scale=0.3).requires_grad_()
    out = quantizer(z)
    distance = torch.cdist(z, all_points(quantizer)).square()
    usage = torch.softmax(-5.0 * distance, dim=1).mean(dim=0)
    assert out.usage is not None
    torch.testing.assert_close(out.usage, usage, rtol=1e-4, atol=1e-6)
    expected = (usage * (usage * 16).log()).sum()
    torch.testing.assert_close(out.losses["kl"], expected, rtol=1e-4, atol=1e-6)
    (gradient,) = torch.autograd.grad(out.losses["kl"], z)
    assert gradient.abs().max() > 0
    # A step down the gradient makes the use of the points more even.
    better = quantizer(z.detach() - 50 * gradient).losses["kl"]
    assert better < out.losses["kl"]


def test_usage_counts_hard_decisions() -> None:
    quantizer = QAMQuantizer(4)
    out = quantizer(torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]]))
    assert out.usage is not None
    assert out.usage.tolist() == [0.0, 0.25, 0.25, 0.5]


def test_boundaries_and_outliers() -> None:
    assert nearest_level(torch.tensor([-1e9, 1e9, 0.0]), 0.5, 8).tolist() == [0, 7, 4]


@pytest.mark.parametrize("order", [0, 2, 8, 12, 36, -4])
def test_orders_that_are_no_square_qam(order: int) -> None:
    with pytest.raises(ValueError, match="square QAM"):
        QAMQuantizer(order)


def test_wrong_width_and_hardness() -> None:
    with pytest.raises(ValueError, match="pairs"):
        QAMQuantizer(4)(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="hardness"):
        QAMQuantizer(4, hardness=0.0)


def test_bits() -> None:
    assert QAMQuantizer(64).bits_per_vector == 6
    assert Identity().bits_per_vector == math.inf


def test_half_precision_latents_are_decided_in_float32() -> None:
    quantizer, z = QAMQuantizer(64), latents(500, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer(z).values, quantizer.hard(z))
