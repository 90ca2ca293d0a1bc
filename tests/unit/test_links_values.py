"""The value link: one frame, exact uses, and what the receiver makes of h."""

from __future__ import annotations

import pytest
import torch

from vqlink.channels.awgn import AWGN
from vqlink.channels.fading import Rayleigh
from vqlink.links.power import message_power
from vqlink.links.values import ValuesLink
from vqlink.protocols import Point
from vqlink.quantizers.identity import Identity
from vqlink.quantizers.qam import QAMQuantizer
from vqlink.rng import stream


def scales() -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(0)
    return tuple(torch.randn(3, n, n, d, generator=g) for n, d in ((8, 4), (4, 6)))


def test_all_scales_are_one_frame_with_one_power_budget() -> None:
    link, sent = ValuesLink(AWGN()), scales()
    driven = link.drive(sent, Identity())
    out = link(driven, Point(snr_db=10.0), generator=stream(0, "t"))
    assert out.uses == (8 * 8 * 4 + 4 * 4 * 6) // 2
    torch.testing.assert_close(out.tx_power, torch.ones(3), rtol=1e-5, atol=0)
    # One gain for both scales: their ratio is untouched.
    ratios = [d.norm() / s.norm() for d, s in zip(driven, sent, strict=True)]
    for i in range(3):
        first, second = (d[i] / s[i] for d, s in zip(driven, sent, strict=True))
        torch.testing.assert_close(first.mean(), second.mean(), rtol=1e-4, atol=0)
    assert len(ratios) == 2
    assert [r.shape for r in out.received] == [s.shape for s in sent]


def test_without_noise_every_value_comes_back_in_its_place() -> None:
    link, sent = ValuesLink(AWGN(), power="none"), scales()
    out = link(sent, Point(snr_db=100.0), generator=stream(0, "t"))
    for received, values in zip(out.received, sent, strict=True):
        torch.testing.assert_close(received, values, rtol=0, atol=1e-4)


@pytest.mark.parametrize("precode", [False, True])
@pytest.mark.parametrize("fading", ["slow", "fast"])
def test_zero_forcing_undoes_the_fade(precode: bool, fading: str) -> None:
    link = ValuesLink(Rayleigh(fading), precode=precode, power="none")  # type: ignore[arg-type]
    sent = scales()
    out = link(sent, Point(snr_db=120.0), generator=stream(1, "t"))
    for received, values in zip(out.received, sent, strict=True):
        torch.testing.assert_close(received, values, rtol=0, atol=1e-2)


def test_no_equaliser_leaves_the_fade() -> None:
    link = ValuesLink(Rayleigh("slow"), equalizer="none", power="none")
    (values,) = scales()[:1]
    out = link((values,), Point(snr_db=100.0), generator=stream(1, "t"))
    assert (out.received[0] - values).abs().max() > 0.1


def test_mmse_and_weighed_zero_forcing_in_fast_fading() -> None:
    """The same symbols but for one scale; unweighed zero forcing is far worse than either."""
    errors = {}
    for equalizer in ("zero_forcing", "mmse"):
        link = ValuesLink(Rayleigh("fast"), equalizer=equalizer)  # type: ignore[arg-type]
        sent = link.drive((torch.randn(2, 4000, 2, generator=stream(2, "x")),), Identity())
        out = link(sent, Point(snr_db=5.0), generator=stream(2, "t"))
        errors[equalizer] = float((out.received[0] - sent[0]).square().sum(dim=-1).mean())
    assert errors["mmse"] == pytest.approx(0.376, rel=0.05)  # E[N0 / (|h|^2 + N0)] at 5 dB
    assert errors["zero_forcing"] == pytest.approx(errors["mmse"] / (1 - errors["mmse"]), rel=0.05)


@pytest.mark.parametrize("power", ["none", "constellation"])
def test_without_a_message_budget_power_is_measured_and_left(power: str) -> None:
    link = ValuesLink(AWGN(), power=power)  # type: ignore[arg-type]
    sent = 3 * torch.ones(1, 5, 2)
    assert torch.equal(link.drive((sent,), Identity())[0], sent)
    out = link((sent,), Point(snr_db=0.0), generator=stream(0, "t"))
    assert out.tx_power.item() == pytest.approx(18.0)


@pytest.mark.parametrize("order", [4, 16, 64, 4096])
def test_points_of_an_alphabet_leave_at_one_gain_a_message(order: int) -> None:
    link, quantizer = ValuesLink(AWGN(), drive_level=0.65), QAMQuantizer(order)
    draw = torch.randn(4, 3000, 2, generator=stream(0, "z"))
    latents = draw**3 * torch.logspace(-2, 2, 4)[:, None, None]
    (driven,) = link.drive((latents,), quantizer)
    torch.testing.assert_close(message_power(driven), torch.full((4,), 0.65**2))
    points = quantizer.hard(driven)
    out = link((points,), Point(snr_db=120.0), generator=stream(1, "t"))
    torch.testing.assert_close(out.tx_power, torch.ones(4), rtol=1e-5, atol=0)
    gains = out.received[0] / points
    for gain in gains:
        torch.testing.assert_close(gain, gain[0, 0].expand_as(gain), rtol=1e-3, atol=0)


def test_the_drive_level_is_for_alphabets_alone() -> None:
    sent = scales()[:1]
    low, full = (ValuesLink(AWGN(), drive_level=d).drive(sent, Identity())[0] for d in (0.1, 1.0))
    assert torch.equal(low, full)


def test_scale_invariance_of_the_gradient() -> None:
    """The drive level undoes any scale, so the gradient has no component along the latents."""
    z = torch.randn(1, 500, 2, generator=stream(0, "z")).requires_grad_()
    (driven,) = ValuesLink(AWGN()).drive((z,), QAMQuantizer(64))
    weights = torch.randn(driven.shape, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad((driven * weights).sum(), z)
    along = (gradient * z).sum().abs() / (gradient.norm() * z.norm())
    assert along < 1e-5


def test_odd_width_is_an_error() -> None:
    with pytest.raises(ValueError, match="even"):
        ValuesLink(AWGN())((torch.zeros(1, 4, 3),), Point(snr_db=0.0), generator=stream(0, "t"))
