"""Channels and equalisers against theory.

Seeds are fixed. A Monte-Carlo mean may lie SIGMAS of its own standard errors from theory, and
the sample sizes make that tight enough for a factor of 2 (3 dB) to fail many times over; where a
test resolves less than 1 % it says so.
"""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from vqlink.channels import AWGN, BEC, BSC, PacketErasure, Rayleigh, Rician
from vqlink.links.equalize import (
    mmse,
    mmse_noise_var,
    precode_phase,
    zero_forcing,
    zero_forcing_noise_var,
)
from vqlink.protocols import ChannelOutput, Point
from vqlink.rng import complex_normal, stream, uniform

SIGMAS = 5.0
NOISY = [AWGN(), Rayleigh("slow"), Rayleigh("fast"), Rician(4.0, "slow"), Rician(4.0, "fast")]
FADING = [Rayleigh("slow"), Rayleigh("fast"), Rician(0.5, "slow"), Rician(10.0, "fast")]


def assert_mean(samples: Tensor, expected: float, *, at_most: float = 0.05) -> None:
    """The mean is SIGMAS standard errors from ``expected`` or nearer.

    ``at_most`` guards the test itself: SIGMAS standard errors are no more than this part of it.
    """
    samples = samples.double().flatten()
    margin = SIGMAS * float(samples.std()) / samples.numel() ** 0.5
    assert margin <= at_most * abs(expected), "the test is too weak: draw more samples"
    assert abs(float(samples.mean()) - expected) <= margin


def q_function(x: float) -> float:
    return 0.5 * math.erfc(x / math.sqrt(2))


def linear(snr_db: float) -> float:
    return 10 ** (snr_db / 10)


def qpsk(shape: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Gray-mapped QPSK at Es = 1 and its bits (B, n, 2)."""
    bits = uniform((*shape, 2), generator=stream(seed, "qpsk bits")) < 0.5
    signs = 1.0 - 2.0 * bits.float()
    return torch.view_as_complex(signs * 0.5**0.5), bits


def bit_errors(received: Tensor, bits: Tensor) -> Tensor:
    """(B, n): the mean of each symbol's bit errors (a fade makes its two errors dependent)."""
    return ((torch.view_as_real(received) < 0) != bits).double().mean(dim=-1)


# Noise: N0 in all, N0/2 in each real dimension, whatever the signal's power


@pytest.mark.parametrize("channel", NOISY, ids=repr)
@pytest.mark.parametrize("snr_db", [-5.0, 10.0])
@pytest.mark.parametrize("amplitude", [0.0, 0.01, 3.0])
def test_noise_variance(channel: AWGN, snr_db: float, amplitude: float) -> None:
    x = amplitude * qpsk((50, 4000))[0]
    out = channel(x, Point(snr_db=snr_db), generator=stream(1, "noise"))
    noise = out.y - out.gain * x
    n0 = 10 ** (-snr_db / 10)
    torch.testing.assert_close(out.noise_var, torch.full((50, 1), n0))
    assert_mean(noise.abs().square(), n0)
    assert_mean(noise.real.square(), n0 / 2)
    assert_mean(noise.imag.square(), n0 / 2)
    correlation = float((noise.real * noise.imag).mean()) / (n0 / 2)
    assert abs(correlation) < SIGMAS / 200_000**0.5


def test_noise_is_gaussian_and_white() -> None:
    zeros = torch.zeros((1, 100_000), dtype=torch.complex64)
    noise = AWGN()(zeros, Point(snr_db=0.0), generator=stream(2, "noise")).y[0]
    for part in (noise.real, noise.imag):
        assert stats.kstest(part.numpy(), stats.norm(scale=0.5**0.5).cdf).pvalue > 1e-3
    lagged = float((noise[1:] * noise[:-1].conj()).mean().abs())
    assert lagged < SIGMAS / 100_000**0.5


@pytest.mark.parametrize("channel", NOISY, ids=repr)
def test_snr_of_each_message(channel: AWGN) -> None:
    snr_db = torch.tensor([-10.0, 0.0, 7.5, 20.0])
    x = qpsk((4, 100_000))[0]
    out = channel(x, Point(snr_db=snr_db), generator=stream(3, "noise"))
    for i, level in enumerate(snr_db.tolist()):
        noise = out.y[i] - (out.gain * x)[i]
        assert_mean(noise.abs().square(), 10 ** (-level / 10), at_most=0.02)
        assert float(out.noise_var[i]) == pytest.approx(10 ** (-level / 10), rel=1e-6)


# Bit error rates


@pytest.mark.parametrize("snr_db", [0.0, 4.0, 8.0])
def test_qpsk_in_awgn(snr_db: float) -> None:
    """Pb = Q(sqrt(Es/N0)). At 0 and 4 dB the margin is under 2.5 %: 0.1 dB of SNR would fail."""
    x, bits = qpsk((10, 50_000))
    out = AWGN()(x, Point(snr_db=snr_db), generator=stream(4, "noise"))
    at_most = 0.025 if snr_db <= 4 else 0.1
    assert_mean(bit_errors(out.y, bits), q_function(linear(snr_db) ** 0.5), at_most=at_most)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
@pytest.mark.parametrize("equalizer", ["zero_forcing", "mmse"])
def test_qpsk_in_fast_rayleigh(snr_db: float, equalizer: str) -> None:
    """Pb = (1 - sqrt(g / (1 + g))) / 2, g = Eb/N0 = Es/N0 / 2, with receiver CSI.

    Either equaliser only scales by a positive number, so QPSK decisions are the same.
    """
    x, bits = qpsk((10, 50_000))
    out = Rayleigh("fast")(x, Point(snr_db=snr_db), generator=stream(5, "noise"))
    if equalizer == "mmse":
        received = mmse(out.y, out.gain, out.noise_var)
    else:
        received = zero_forcing(out.y, out.gain)
    g = linear(snr_db) / 2
    expected = 0.5 * (1 - (g / (1 + g)) ** 0.5)
    assert_mean(bit_errors(received, bits), expected, at_most=0.15)


@pytest.mark.parametrize("k_factor", [1.0, 6.0])
def test_qpsk_in_fast_rician(k_factor: float) -> None:
    """Pb = E[Q(sqrt(|h|^2 Es/N0))], the mean taken over the noncentral chi-squared density."""
    x, bits = qpsk((10, 50_000))
    out = Rician(k_factor, "fast")(x, Point(snr_db=5.0), generator=stream(6, "noise"))
    power = stats.ncx2(2, 2 * k_factor, scale=1 / (2 * (k_factor + 1)))
    expected = power.expect(lambda t: q_function((t * linear(5.0)) ** 0.5))
    assert_mean(bit_errors(zero_forcing(out.y, out.gain), bits), expected)


def test_slow_rayleigh_bit_errors_come_in_messages() -> None:
    """The mean over messages is the same as in fast fading, but whole messages are good or bad."""
    x, bits = qpsk((40_000, 10))
    out = Rayleigh("slow")(x, Point(snr_db=10.0), generator=stream(7, "noise"))
    errors = bit_errors(zero_forcing(out.y, out.gain), bits).mean(dim=1)
    assert_mean(errors, 0.5 * (1 - (5 / 6) ** 0.5), at_most=0.1)
    clean = float((errors == 0).double().mean())
    independent = (1 - 0.5 * (1 - (5 / 6) ** 0.5)) ** 20  # were the 20 bits' errors independent
    assert clean > independent + 0.2


# Fading statistics


@pytest.mark.parametrize("channel", FADING, ids=repr)
def test_mean_gain_power_is_one(channel: Rayleigh | Rician) -> None:
    x = torch.zeros((200_000, 1), dtype=torch.complex64)
    assert_mean(channel.gains(x, generator=stream(8, "gain")).abs().square(), 1.0, at_most=0.015)


@pytest.mark.parametrize("t", [0.01, 0.1, 1.0, 3.0])
def test_rayleigh_outage(t: float) -> None:
    """P(|h|^2 < t) = 1 - exp(-t) of the messages are in outage."""
    x = torch.zeros((200_000, 1), dtype=torch.complex64)
    out = Rayleigh("slow")(x, Point(snr_db=10.0), generator=stream(9, "gain"))
    assert_mean((out.gain.abs().square() < t).double(), 1 - math.exp(-t), at_most=0.15)


@pytest.mark.parametrize("t", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("k_factor", [1.0, 4.0])
def test_rician_outage(k_factor: float, t: float) -> None:
    """P(|h|^2 < t) = 1 - Q1(sqrt(2 K), sqrt(2 (K + 1) t)), by the noncentral chi-squared cdf."""
    x = torch.zeros((200_000, 1), dtype=torch.complex64)
    out = Rician(k_factor)(x, Point(snr_db=10.0), generator=stream(10, "gain"))
    expected = stats.ncx2.cdf(2 * (k_factor + 1) * t, 2, 2 * k_factor)
    assert_mean((out.gain.abs().square() < t).double(), expected, at_most=0.15)


@pytest.mark.parametrize("fading", ["slow", "fast"])
def test_gain_distributions(fading: str) -> None:
    """Kolmogorov-Smirnov on |h|^2 and the uniform phase; p > 0.001 with this seed."""
    shape = (20_000, 1) if fading == "slow" else (2, 10_000)
    x = torch.zeros(shape, dtype=torch.complex64)
    h = Rayleigh(fading).gains(x, generator=stream(11, "gain")).flatten()
    assert stats.kstest(h.abs().square().numpy(), stats.expon.cdf).pvalue > 1e-3
    uniform_phase = stats.uniform(-math.pi, 2 * math.pi)
    assert stats.kstest(h.angle().numpy(), uniform_phase.cdf).pvalue > 1e-3
    h = Rician(4.0, fading).gains(x, generator=stream(11, "gain")).flatten()
    assert stats.kstest((10 * h.abs().square()).numpy(), stats.ncx2(2, 8).cdf).pvalue > 1e-3


@pytest.mark.parametrize("k_factor", [0.5, 4.0, 20.0])
def test_rician_line_of_sight_ratio(k_factor: float) -> None:
    """|E h|^2 / Var h = K; 3 % is over 5 standard errors for each K here."""
    x = torch.zeros((1, 200_000), dtype=torch.complex64)
    h = Rician(k_factor, "fast").gains(x, generator=stream(12, "gain"))[0]
    line_of_sight = h.mean()
    scatter = (h - line_of_sight).abs().square().mean()
    assert float(line_of_sight.abs().square() / scatter) == pytest.approx(k_factor, rel=0.03)
    assert float(line_of_sight.angle()) == pytest.approx(0.0, abs=0.02)


def test_rician_without_line_of_sight_is_rayleigh() -> None:
    x = qpsk((20, 50))[0]
    for fading in ("slow", "fast"):
        rician = Rician(0.0, fading)(x, Point(snr_db=3.0), generator=stream(13, "gain"))
        rayleigh = Rayleigh(fading)(x, Point(snr_db=3.0), generator=stream(13, "gain"))
        assert torch.equal(rician.y, rayleigh.y)


def test_fast_gains_are_independent_slow_ones_shared() -> None:
    x = torch.zeros((2, 50_000), dtype=torch.complex64)
    h = Rayleigh("fast").gains(x, generator=stream(14, "gain"))
    for a, b in ((h[0, 1:], h[0, :-1]), (h[0], h[1])):
        assert float((a * b.conj()).mean().abs()) < SIGMAS / 50_000**0.5
    assert Rayleigh("slow").gains(x, generator=stream(14, "gain")).shape == (2, 1)


# Equalisers and precoding


def fixed_gains(n: int) -> tuple[Tensor, Tensor, ChannelOutput]:
    """QPSK at 6 dB through four known gains, deep fade to line of sight."""
    x = qpsk((4, n))[0]
    gain = torch.polar(torch.tensor([[0.05], [0.3], [1.0], [2.0]]), torch.arange(4.0)[:, None])
    out = AWGN()(x, Point(snr_db=6.0), generator=stream(15, "noise"), gain=gain)
    return x, gain, out


def test_error_after_equalisers() -> None:
    """E|x^ - x|^2 is what the noise variances say, and MMSE's is less than zero forcing's."""
    x, gain, out = fixed_gains(50_000)
    zf = (zero_forcing(out.y, gain) - x).abs().square()
    best = (mmse(out.y, gain, out.noise_var) - x).abs().square()
    for i, magnitude in enumerate((0.05, 0.3, 1.0, 2.0)):
        n0, power = 10**-0.6, magnitude**2
        assert_mean(zf[i], n0 / power)
        assert_mean(best[i], n0 / (power + n0))
        zf_var = zero_forcing_noise_var(gain, out.noise_var)[i]
        assert float(zf_var) == pytest.approx(n0 / power, rel=1e-5)
        assert float(mmse_noise_var(gain, out.noise_var)[i]) == pytest.approx(
            n0 / (power + n0), rel=1e-5
        )
        assert zf[i].mean() > best[i].mean()


def test_mmse_has_the_least_error_of_all_scalings() -> None:
    x, gain, out = fixed_gains(50_000)
    best = (mmse(out.y, gain, out.noise_var) - x).abs().square().mean(dim=1)
    for scale in (0.9, 1.1, complex(math.cos(0.2), math.sin(0.2))):
        other = (scale * mmse(out.y, gain, out.noise_var) - x).abs().square().mean(dim=1)
        assert (other > best).all()


def test_equalisers_are_exact_without_noise() -> None:
    x = qpsk((20, 100))[0]
    h = Rayleigh("fast").gains(x, generator=stream(16, "gain"))
    torch.testing.assert_close(zero_forcing(h * x, h), x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mmse(h * x, h, torch.zeros(20, 1)), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("h", [0.0, 1e-30, 1e-20j, 1e-7, 1e-6 - 1e-6j])
def test_no_fade_makes_inf_or_nan(h: complex) -> None:
    gain = torch.tensor([[h]], dtype=torch.complex64)
    y = torch.tensor([[0.0, 1.0, -3.0 + 4.0j]], dtype=torch.complex64, requires_grad=True)
    for n0 in (torch.zeros(1, 1), torch.full((1, 1), 0.1)):
        results = (
            zero_forcing(y, gain),
            mmse(y, gain, n0),
            precode_phase(y, gain),
            zero_forcing_noise_var(gain, n0),
            mmse_noise_var(gain, n0),
        )
        for result in results:
            assert torch.isfinite(torch.view_as_real(result + 0j)).all()
        gradient = torch.autograd.grad(zero_forcing(y, gain).abs().square().sum(), y)[0]
        assert torch.isfinite(torch.view_as_real(gradient)).all()


def test_zero_forcing_is_untouched_above_its_floor() -> None:
    """1e-5 is a -100 dB fade: inverted exactly, not clamped."""
    gain = torch.tensor([[1e-5j]], dtype=torch.complex64)
    x = torch.tensor([[1.0 - 1.0j]], dtype=torch.complex64)
    torch.testing.assert_close(zero_forcing(gain * x, gain), x)


@pytest.mark.parametrize("channel", FADING, ids=repr)
def test_precoding_makes_the_phase_vanish(channel: Rayleigh | Rician) -> None:
    """With h* / |h| at the transmitter, |h| x + n arrives, by the same noise bit for bit."""
    x = qpsk((50, 200))[0]
    source = stream(17, "channel")
    h = channel.gains(x, generator=source)
    sent = precode_phase(x, h)
    torch.testing.assert_close(sent.abs(), x.abs())  # the power of each symbol is kept
    out = channel(sent, Point(snr_db=10.0), generator=source, gain=h)
    noise = channel(torch.zeros_like(x), Point(snr_db=10.0), generator=stream(17, "channel")).y
    torch.testing.assert_close(out.y, h.abs() * x + noise, rtol=1e-5, atol=1e-5)
    equalised = zero_forcing(out.y, h.abs())
    torch.testing.assert_close(equalised, x + noise / h.abs(), rtol=1e-4, atol=1e-4)


def test_precoded_and_equalised_is_awgn_at_the_gains_snr() -> None:
    """DeepJSCC-Q, eq. 4: SNR |h|^2 / N0, so QPSK's bit error rate is Q(|h| sqrt(Es/N0))."""
    x, bits = qpsk((2, 200_000))
    h = torch.polar(torch.tensor([[0.7], [1.4]]), torch.tensor([[2.0], [-1.0]]))
    snr_db = 3.0
    out = AWGN()(precode_phase(x, h), Point(snr_db=snr_db), generator=stream(18, "n"), gain=h)
    received = zero_forcing(out.y, h.abs())
    for i, magnitude in enumerate((0.7, 1.4)):
        snr = magnitude**2 * linear(snr_db)
        assert_mean((received[i] - x[i]).abs().square(), 1 / snr, at_most=0.015)
        assert_mean(bit_errors(received[i], bits[i]), q_function(snr**0.5), at_most=0.1)


# Erasures, flips and lost packets: binomial, independent, each message at its own rate

RATES = torch.tensor([0.0, 0.01, 0.3, 0.5, 0.9, 1.0])


def assert_rate(events: Tensor, probability: float) -> None:
    """The count of independent events lies in the central 1 - 1e-6 of the binomial."""
    low, high = stats.binom.interval(1 - 1e-6, events.numel(), probability)
    assert low <= int(events.sum()) <= high


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_erasure_rate(value: float) -> None:
    x = torch.full((6, 100_000), value)
    out = BEC()(x, Point(probability=RATES), generator=stream(19, "erasure"))
    assert out.mask is not None
    for i, p in enumerate(RATES.tolist()):
        assert_rate(~out.mask[i], p)
    assert torch.equal(out.y, value * out.mask)
    assert (out.noise_var == 0).all()


@pytest.mark.parametrize("value", [0, 1])
def test_flip_rate(value: int) -> None:
    """Symmetric: the same rate from 0 to 1 as from 1 to 0."""
    x = torch.full((6, 100_000), value)
    out = BSC()(x, Point(probability=RATES), generator=stream(20, "flip"))
    assert out.mask is None
    for i, p in enumerate(RATES.tolist()):
        assert_rate(out.y[i] != x[i], p)


def test_packet_loss_rate() -> None:
    packets, size = 40_000, 5
    x = complex_normal((6, packets * size - 2), generator=stream(21, "x"))
    out = PacketErasure(size)(x, Point(probability=RATES), generator=stream(21, "loss"))
    assert out.mask is not None
    assert torch.equal(out.y, torch.where(out.mask, x, 0))
    for i, p in enumerate(RATES.tolist()):
        assert_rate(~out.mask[i, ::size], p)


@pytest.mark.parametrize("channel", [BEC(), BSC(), PacketErasure(1)], ids=repr)
def test_losses_are_independent(channel: BEC | BSC | PacketErasure) -> None:
    """P(two neighbours hit) = p^2, and rows are no copies of each other."""
    x = torch.ones(2, 200_000)
    out = channel(x, Point(probability=0.2), generator=stream(22, "loss"))
    hit = out.y == 0
    assert_rate(hit[0, ::2] & hit[0, 1::2], 0.04)
    assert_rate(hit[0] & hit[1], 0.04)
