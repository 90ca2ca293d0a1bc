"""The noise convention and the equaliser against Sionna: ``no`` there is ``noise_var`` here.

Both are N0, the total variance of the complex noise, N0/2 in each real dimension.
"""

from __future__ import annotations

import pytest
import torch
from sionna.phy import channel as sionna_channel
from sionna.phy import config
from sionna.phy.mapping import Demapper
from sionna.phy.mimo import lmmse_equalizer, zf_equalizer

from vqlink.channels import AWGN, Rayleigh
from vqlink.links.equalize import mmse, mmse_noise_var, zero_forcing, zero_forcing_noise_var
from vqlink.protocols import ChannelOutput, Point
from vqlink.rng import complex_normal, stream

SHAPE = (4, 50_000)


@pytest.fixture(autouse=True)
def _seed() -> None:
    config.seed = 1


@pytest.fixture
def x() -> torch.Tensor:
    return complex_normal(SHAPE, generator=stream(0, "x"))


@pytest.fixture
def faded(x: torch.Tensor) -> ChannelOutput:
    snr_db = torch.tensor([0.0, 5.0, 10.0, 20.0])
    return Rayleigh("fast")(x, Point(snr_db=snr_db), generator=stream(0, "channel"))


def test_noise_variance_is_sionnas_no(x: torch.Tensor) -> None:
    """Variances of each real part agree: 5 standard errors are 3.2 % of one, 4.5 % of the ratio."""
    point = Point(snr_db=torch.tensor([-3.0, 0.0, 10.0, 20.0]))
    ours = AWGN()(x, point, generator=stream(0, "noise"))
    theirs = sionna_channel.AWGN(device="cpu")(x, ours.noise_var[:, 0])
    for part in (torch.real, torch.imag):
        a, b = part(ours.y - x).var(dim=1), part(theirs - x).var(dim=1)
        torch.testing.assert_close(a, b, rtol=0.045, atol=0)
        torch.testing.assert_close(b, ours.noise_var[:, 0] / 2, rtol=0.032, atol=0)


def test_noise_variance_is_what_sionnas_demapper_wants(x: torch.Tensor) -> None:
    """QPSK: ln P(1) / P(0) = -2 sqrt(2) Re(y) / N0 when the real part's variance is N0/2."""
    out = AWGN()(x, Point(snr_db=4.0), generator=stream(0, "noise"))
    demap = Demapper("app", "qam", 2, device="cpu")
    llr = demap(out.y, out.noise_var.expand(SHAPE)).reshape(*SHAPE, 2)
    expected = -2 * 2**0.5 * torch.view_as_real(out.y) / out.noise_var[..., None]
    torch.testing.assert_close(llr, expected, rtol=1e-3, atol=1e-3)


def test_equalised_log_likelihoods_are_those_of_the_channel(faded: ChannelOutput) -> None:
    """Zero forcing with N0 / |h|^2 loses nothing: the demapper sees the matched filter's LLRs."""
    demap = Demapper("app", "qam", 2, device="cpu")
    received = zero_forcing(faded.y, faded.gain)
    llr = demap(received, zero_forcing_noise_var(faded.gain, faded.noise_var))
    matched = faded.gain.conj() * faded.y
    expected = -2 * 2**0.5 * torch.view_as_real(matched) / faded.noise_var[..., None]
    torch.testing.assert_close(llr.reshape(*SHAPE, 2), expected, rtol=1e-3, atol=1e-3)


def test_equalisers_are_sionnas(faded: ChannelOutput) -> None:
    """Single antenna, single stream; Sionna's LMMSE is unbiased, so it is zero forcing there."""
    y, h = faded.y[..., None], faded.gain[..., None, None]
    covariance = faded.noise_var.expand(SHAPE)[..., None, None].to(torch.complex64)
    for equalise in (zf_equalizer, lmmse_equalizer):
        estimate, variance = equalise(y, h, covariance)
        ours = zero_forcing(faded.y, faded.gain)
        torch.testing.assert_close(ours, estimate[..., 0], rtol=1e-3, atol=1e-3)
        noise_var = zero_forcing_noise_var(faded.gain, faded.noise_var)
        torch.testing.assert_close(noise_var, variance[..., 0], rtol=1e-3, atol=1e-3)


def test_mmse_is_sionnas_times_its_bias(faded: ChannelOutput) -> None:
    """Sionna's LMMSE is scaled to be unbiased; ours is that times 1 - its mean squared error."""
    y, h = faded.y[..., None], faded.gain[..., None, None]
    covariance = faded.noise_var.expand(SHAPE)[..., None, None].to(torch.complex64)
    estimate, _ = lmmse_equalizer(y, h, covariance)
    bias = 1 - mmse_noise_var(faded.gain, faded.noise_var)
    ours = mmse(faded.y, faded.gain, faded.noise_var)
    torch.testing.assert_close(ours, bias * estimate[..., 0], rtol=1e-3, atol=1e-3)
