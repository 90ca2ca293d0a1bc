"""The value link: one frame, exact uses, and what the receiver makes of h."""

from __future__ import annotations

import pytest
import torch

from vqlink.channels.awgn import AWGN
from vqlink.channels.fading import Rayleigh
from vqlink.links.values import ValuesLink
from vqlink.protocols import Point
from vqlink.quantizers.identity import Identity
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
    link, sent = ValuesLink(AWGN()), scales()
    out = link(sent, Point(snr_db=100.0), generator=stream(0, "t"))
    for received, values in zip(out.received, sent, strict=True):
        torch.testing.assert_close(received, values, rtol=0, atol=1e-4)


@pytest.mark.parametrize("precode", [False, True])
@pytest.mark.parametrize("fading", ["slow", "fast"])
def test_zero_forcing_undoes_the_fade(precode: bool, fading: str) -> None:
    link = ValuesLink(Rayleigh(fading), precode=precode)  # type: ignore[arg-type]
    sent = scales()
    out = link(sent, Point(snr_db=120.0), generator=stream(1, "t"))
    for received, values in zip(out.received, sent, strict=True):
        torch.testing.assert_close(received, values, rtol=0, atol=1e-2)


def test_no_equaliser_leaves_the_fade() -> None:
    link = ValuesLink(Rayleigh("slow"), equalizer="none")
    (values,) = scales()[:1]
    out = link((values,), Point(snr_db=100.0), generator=stream(1, "t"))
    assert (out.received[0] - values).abs().max() > 0.1


def test_mmse_beats_zero_forcing_in_fast_fading() -> None:
    errors = {}
    for equalizer in ("zero_forcing", "mmse"):
        link = ValuesLink(Rayleigh("fast"), equalizer=equalizer)  # type: ignore[arg-type]
        sent = link.drive((torch.randn(2, 4000, 2, generator=stream(2, "x")),), Identity())
        out = link(sent, Point(snr_db=5.0), generator=stream(2, "t"))
        errors[equalizer] = (out.received[0] - sent[0]).square().mean()
    assert errors["mmse"] < 0.5 * errors["zero_forcing"]


def test_power_is_measured_and_never_corrected() -> None:
    out = ValuesLink(AWGN())(
        (3 * torch.ones(1, 5, 2),), Point(snr_db=0.0), generator=stream(0, "t")
    )
    assert out.tx_power.item() == pytest.approx(18.0)


def test_odd_width_is_an_error() -> None:
    with pytest.raises(ValueError, match="even"):
        ValuesLink(AWGN())((torch.zeros(1, 4, 3),), Point(snr_db=0.0), generator=stream(0, "t"))
