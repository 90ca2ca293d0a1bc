"""The learned constellation against the formulas as printed."""

from __future__ import annotations

import pytest
import torch

from vqlink.quantizers.constellation import ConstellationQuantizer, psk_points, qam_points
from vqlink.quantizers.qam import QAMQuantizer, plain_soft_points
from vqlink.rng import stream


def pairs(count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, 2, generator=stream(0, "z"), dtype=dtype)


def soft_usage(z: torch.Tensor, points: torch.Tensor, hardness: float) -> torch.Tensor:
    """Eq. 18, as printed."""
    distance = (z[:, None] - points).square().sum(-1)
    return torch.softmax(-hardness * distance, dim=1).mean(dim=0)


@pytest.mark.parametrize("order", [4, 16, 64, 4096])
def test_fixed_qam_equals_the_factorised_one(order: int) -> None:
    z, slope = pairs(300), torch.randn(300, 2, generator=stream(0, "g"))
    results = []
    for quantizer in (
        ConstellationQuantizer(qam_points(order), hardness=8.0),
        QAMQuantizer(order, hardness=8.0),
    ):
        leaf = z.clone().requires_grad_()
        out = quantizer(leaf)
        (out.values * slope).sum().backward()
        results.append((out.values.detach(), out.indices, leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])  # type: ignore[arg-type]
    torch.testing.assert_close(results[0][2], results[1][2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("order", [8, 64])
def test_gradients_are_those_of_the_softmax_as_printed(
    order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqlink.quantizers.constellation._CHUNK", 7 * order)
    points = psk_points(order) + 0.3 * torch.randn(order, 2, generator=stream(0, "c"))
    quantizer = ConstellationQuantizer(points, learned=True, hardness=3.0, regularise=True)
    z = pairs(100).requires_grad_()
    slope = torch.randn(100, 2, generator=stream(0, "g"))
    out = quantizer(z)
    ours = torch.autograd.grad(
        (out.values * slope).sum() + 0.7 * out.losses["kl"], (z, quantizer.points)
    )
    usage = soft_usage(z, quantizer.points, 3.0)
    kl = (usage * (usage * order).log()).sum()
    torch.testing.assert_close(out.losses["kl"], kl)
    soft = plain_soft_points(z, quantizer.points, 3.0)
    want = torch.autograd.grad((soft * slope).sum() + 0.7 * kl, (z, quantizer.points))
    for a, b in zip(ours, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_kl_alone_moves_points_and_latents() -> None:
    """A detached regulariser would leave both still."""
    quantizer = ConstellationQuantizer(qam_points(16), learned=True, regularise=True)
    z = (0.2 * pairs(200)).requires_grad_()
    grads = torch.autograd.grad(quantizer(z).losses["kl"], (z, quantizer.points))
    assert all(grad.abs().sum() > 0 for grad in grads)


def test_after_step_restores_the_power_under_the_estimated_probabilities() -> None:
    quantizer = ConstellationQuantizer(3 * qam_points(16), learned=True, hardness=4.0)
    z = pairs(500)
    usage = soft_usage(z, quantizer.points, 4.0)
    before = quantizer.points.detach().clone()
    quantizer(z)
    quantizer.after_step()
    after = quantizer.points.detach()
    power = (usage * after.square().sum(1)).sum()
    assert power.item() == pytest.approx(1.0, abs=1e-5)
    ratio = after / before
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
    quantizer.after_step()
    assert torch.equal(quantizer.points.detach(), after), "once a batch"


def test_fixed_points_stay() -> None:
    quantizer = ConstellationQuantizer(psk_points(8))
    quantizer(pairs(50))
    before = quantizer.points.clone()
    quantizer.after_step()
    assert torch.equal(quantizer.points, before)
    assert not list(quantizer.parameters())


def test_evaluation_is_hard_and_frozen() -> None:
    quantizer = ConstellationQuantizer(qam_points(64), learned=True).eval()
    z = pairs(100)
    out = quantizer(z)
    assert torch.equal(out.values, quantizer.decode(quantizer.encode(z)))
    quantizer.after_step()
    assert torch.equal(quantizer.points.detach(), qam_points(64))
    assert out.usage is not None
    assert out.usage.sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("order", [2, 4, 8, 16])
def test_psk_has_constant_modulus_and_even_angles(order: int) -> None:
    points = torch.view_as_complex(psk_points(order))
    torch.testing.assert_close(points.abs(), torch.ones(order))
    steps = torch.angle(points.roll(-1) / points)
    torch.testing.assert_close(
        torch.remainder(steps, 2 * torch.pi), torch.full((order,), 2 * torch.pi / order)
    )


def test_bad_constellations() -> None:
    for bad in (torch.zeros(1, 2), torch.zeros(4, 3), torch.zeros(4)):
        with pytest.raises(ValueError, match="points are"):
            ConstellationQuantizer(bad)
    with pytest.raises(ValueError, match="at least 2"):
        psk_points(1)
    with pytest.raises(ValueError, match="pairs"):
        ConstellationQuantizer(psk_points(4))(torch.zeros(3, 4))
