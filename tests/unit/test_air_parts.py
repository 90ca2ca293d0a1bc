"""Sequences, pulses, header and estimators of the radio, beside references and theory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vqlink.air import header as head
from vqlink.air.header import FIELDS, Header, decode_header, encode_header, name_id
from vqlink.air.pulse import SPAN, root_raised_cosine, sample, shape, taps
from vqlink.air.sequences import gold, interleaver, qpsk
from vqlink.air.tracking import parabola, residual_frequency, smooth_gain


@pytest.mark.parametrize("init", [1, 4, 0x5A5A5A])
def test_gold_sequence_is_the_standards(init: int) -> None:
    from sionna.phy.nr.utils import generate_prng_seq

    assert np.array_equal(gold(500, init), np.asarray(generate_prng_seq(500, init)).astype(int))


def test_qpsk_is_balanced_and_of_magnitude_one() -> None:
    symbols = qpsk(4000, 3)
    assert np.allclose(np.abs(symbols), 1)
    assert abs(symbols.mean()) < 0.05
    assert np.array_equal(symbols[:100], qpsk(100, 3))


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 4096, 98_304])
def test_interleaver_is_a_permutation_that_spreads(length: int) -> None:
    order = interleaver(length)
    assert np.array_equal(np.sort(order), np.arange(length))
    if length > 60:
        steps = np.abs(np.diff(np.argsort(order)))
        assert np.minimum(steps, length - steps).min() > length // 8


def test_pulse_is_nyquist() -> None:
    for sps in (2, 3, 4, 8):
        h = taps(sps)
        assert (h**2).sum() == pytest.approx(1, abs=1e-4)
        folded = np.convolve(h, h)[2 * SPAN * sps % sps :: sps]
        centre = len(folded) // 2
        others = (folded**2).sum() - folded[centre] ** 2
        assert 10 * math.log10(others) < -60


def test_pulse_limits_are_continuous() -> None:
    for t in (0.0, 1.0, -1.0):  # t = 1 / (4 a) is 1 at a = 1/4
        near = root_raised_cosine(np.array([t - 1e-5, t, t + 1e-5]))
        assert near[1] == pytest.approx(near.mean(), abs=1e-6)


@pytest.mark.parametrize("delay", [0.0, 0.37, 5.5, 141.99])
def test_samples_at_fractional_times_give_the_chips_back(delay: float) -> None:
    rng = np.random.default_rng(0)
    chips = rng.normal(size=300) + 1j * rng.normal(size=300)
    samples = np.pad(shape(chips, 4).astype(complex), (0, 1000))
    turned = np.exp(-2j * np.pi * np.fft.fftfreq(len(samples)) * delay)
    late = np.fft.ifft(np.fft.fft(samples) * turned)
    found = sample(late, SPAN * 4 + delay, 300, 4)
    assert np.abs(found - chips).max() < 5e-3


def test_header_has_the_documented_size() -> None:
    assert sum(FIELDS.values()) == 136
    assert head.USES == 400
    symbols = encode_header(Header(1, 2, 3, 4, 5))
    assert np.allclose(np.abs(symbols), 1)


def _random_header(rng: np.random.Generator) -> Header:
    def draw(name: str, least: int = 0) -> int:
        return int(rng.integers(least, 1 << FIELDS[name]))

    return Header(
        draw("system"), draw("weights"), draw("height", 1), draw("width", 1), draw("uses", 1),
        draw("layers"), float(rng.integers(256)) / 2 - 64,
    )  # fmt: skip


def _noisy(symbols: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(size=len(symbols)) + 1j * rng.normal(size=len(symbols))
    return symbols + noise * math.sqrt(10 ** (-snr_db / 10) / 2)


def test_headers_come_back_at_0_db() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        header = _random_header(rng)
        received = _noisy(encode_header(header), 0.0, rng)
        assert decode_header(received, np.ones(head.USES)) == header


def test_a_damaged_header_is_lost_or_right_never_another() -> None:
    rng = np.random.default_rng(2)
    lost = 0
    for trial in range(90):
        header = _random_header(rng)
        symbols = encode_header(header)
        places = rng.choice(head.USES, size=int(rng.integers(1, head.USES)), replace=False)
        kind = trial % 3
        if kind == 0:
            symbols[places] *= -1
        elif kind == 1:
            symbols[places] = symbols[rng.permutation(places)]
        else:
            symbols[places] = rng.normal(size=len(places)) * 3 + 1j
        found = decode_header(symbols, np.full(head.USES, 0.1))
        assert found is None or found == header
        lost += found is None
    assert 10 < lost < 80


def test_noise_is_no_header() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        received = rng.normal(size=head.USES) + 1j * rng.normal(size=head.USES)
        assert decode_header(received, np.full(head.USES, 0.5)) is None


def test_header_fields_have_limits() -> None:
    with pytest.raises(ValueError, match="uses"):
        encode_header(Header(1, 2, 3, 4, 1 << 24))
    with pytest.raises(ValueError, match="width"):
        encode_header(Header(1, 2, 3, 1 << 16, 5))
    for empty in (Header(1, 2, 0, 4, 5), Header(1, 2, 3, 4, 0)):
        assert decode_header(encode_header(empty), np.full(head.USES, 0.1)) is None
    assert name_id("jscc-q64-awgn-1-12") == 0x403C16CE


def test_frequency_estimate_reaches_the_cramer_rao_bound() -> None:
    """var(f) >= 1 / (8 pi^2 (Es/N0) sum (t - mean t)^2) of a known tone with unknown phase."""
    rng = np.random.default_rng(4)
    t = np.sort(np.concatenate([np.arange(256), 256 + np.arange(0, 9000, 31)])).astype(float)
    for snr_db in (0.0, 6.0):
        snr = 10 ** (snr_db / 10)
        bound = 1 / (8 * np.pi**2 * snr * ((t - t.mean()) ** 2).sum())
        errors = []
        for _ in range(120):
            f = rng.uniform(-3e-4, 3e-4)
            tone = np.exp(2j * np.pi * (f * t + rng.uniform()))
            errors.append(residual_frequency(_noisy(tone, snr_db, rng), t, 6e-4) - f)
        assert np.mean(np.square(errors)) == pytest.approx(bound, rel=0.45)


def test_smoothed_gain_is_the_triangular_mean() -> None:
    rng = np.random.default_rng(5)
    t = np.sort(rng.uniform(0, 1e5, 300))
    weight = rng.uniform(1, 4, 300)
    z = rng.normal(size=300) + 1j * rng.normal(size=300)
    kernel = np.maximum(0, 1 - np.abs(t[:, None] - t) / 2000)
    expected = (kernel @ z) / (kernel @ weight)
    assert np.allclose(smooth_gain(z, weight, t, 2000.0), expected)


def test_parabola() -> None:
    top = 0.3
    assert parabola(np.array([5 - (x - top) ** 2 for x in (-1, 0, 1)])) == pytest.approx(top)
    assert parabola(np.zeros(3)) == 0
