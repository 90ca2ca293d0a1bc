"""Power constraints: what a message's hard symbols measure."""

from __future__ import annotations

import pytest
import torch

from vqlink.links.power import drive, drive_gain, message_power, normalise_message
from vqlink.quantizers.identity import Identity
from vqlink.quantizers.qam import QAMQuantizer


def latents(batch: int = 4, symbols: int = 3000, seed: int = 0) -> torch.Tensor:
    draw = torch.randn(batch, symbols, 2, generator=torch.Generator().manual_seed(seed))
    # Peaky, as encoders' outputs are, and each message at its own level.
    return draw**3 * torch.logspace(-2, 2, batch)[:, None, None]


def test_message_power_is_per_complex_symbol() -> None:
    assert message_power(torch.ones(1, 10, 2)).item() == pytest.approx(2.0)


def test_eq_23_holds_for_each_message_alone() -> None:
    z = latents()
    out = normalise_message(z)
    torch.testing.assert_close(message_power(out), torch.ones(4), rtol=1e-5, atol=0)
    torch.testing.assert_close(normalise_message(z[2:3]), out[2:3])


@pytest.mark.parametrize("order", [16, 64, 256, 4096])
def test_drive_brings_the_hard_points_to_the_budget(order: int) -> None:
    quantizer = QAMQuantizer(order)
    driven = drive(latents(), "message", quantizer.hard, finite=True)
    power = message_power(quantizer.hard(driven))
    # 3000 symbols of a coarse alphabet move in steps; 0.1 dB is the flag's threshold.
    assert (10 * power.log10()).abs().max() < 0.05


def test_constant_modulus_is_left_at_unit_gain() -> None:
    quantizer = QAMQuantizer(4)
    assert torch.equal(drive_gain(latents(), quantizer.hard), torch.ones(4))


def test_gain_of_a_message_does_not_depend_on_the_others() -> None:
    quantizer, z = QAMQuantizer(64), normalise_message(latents())
    alone = torch.cat([drive_gain(z[i : i + 1], quantizer.hard) for i in range(4)])
    torch.testing.assert_close(drive_gain(z, quantizer.hard), alone)


@pytest.mark.parametrize("constraint", ["constellation", "none"])
def test_other_constraints_leave_latents_alone(constraint: str) -> None:
    z = latents()
    assert torch.equal(drive(z, constraint, Identity().hard, finite=False), z)  # type: ignore[arg-type]


def test_zero_message_stays_zero() -> None:
    assert torch.equal(normalise_message(torch.zeros(1, 8, 2)), torch.zeros(1, 8, 2))


def test_scale_invariance_of_the_gradient() -> None:
    """The drive compensates any scale, so the gradient has no component along the latents."""
    z = latents(1).requires_grad_()
    driven = drive(z, "message", QAMQuantizer(64).hard, finite=True)
    weights = torch.randn(driven.shape, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad((driven * weights).sum(), z)
    along = (gradient * z).sum().abs() / (gradient.norm() * z.norm())
    assert along < 1e-5
