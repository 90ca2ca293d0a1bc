"""Frames through the simulated air: found where they are, and only there."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from vqlink.air import header as head
from vqlink.air.frame import WAVEFORMS, Found, build_frame, find_frames, frame_uses
from vqlink.air.header import Header
from vqlink.air.pulse import SPAN, shape
from vqlink.air.simulate import PROFILES, Air
from vqlink.air.sync import find_preambles
from vqlink.air.waveform import PREAMBLE
from vqlink.rng import stream

NAMES = sorted(WAVEFORMS)
HEADER = Header(11, 22, 64, 48, 1500, 1, 8.0)


def payload(seed: int = 0, count: int = HEADER.uses) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=count) + 1j * rng.normal(size=count)) / math.sqrt(2)


def burst(name: str, seed: int = 0, sps: int = 4) -> np.ndarray:
    return shape(build_frame(HEADER, payload(seed), WAVEFORMS[name]), sps).astype(complex)


def through(samples: np.ndarray, air: Air, seed: int = 0, sps: int = 4) -> np.ndarray:
    return air(samples, sps=sps, symbol_energy=1.0, generator=stream(seed, "test-air"))


def reader(y: np.ndarray) -> Callable[[int, int], np.ndarray]:
    def read(start: int, count: int) -> np.ndarray:
        part = np.zeros(count, dtype=complex)
        low, high = max(start, 0), min(start + count, len(y))
        if low < high:
            part[low - start : high - start] = y[low:high]
        return part

    return read


def received(y: np.ndarray, sps: int = 4) -> list[Found]:
    return list(find_frames(reader(y), len(y), sps))


def error(found: Found, sent: np.ndarray) -> float:
    return float(np.mean(np.abs(found.symbols - sent) ** 2))


@pytest.mark.parametrize("name", NAMES)
def test_chips_have_power_one_and_all_are_counted(name: str) -> None:
    chips = build_frame(HEADER, payload(), WAVEFORMS[name])
    uses = frame_uses(HEADER.uses, WAVEFORMS[name])
    assert (uses.sync, uses.header, uses.payload) == (512, head.USES, HEADER.uses)
    assert uses.total == len(chips)
    assert np.mean(np.abs(chips) ** 2) == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match="1500"):
        build_frame(HEADER, payload(count=10), WAVEFORMS[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sps", [2, 4, 7])
def test_without_noise_the_symbols_come_back(name: str, sps: int) -> None:
    air = Air(None, 7e-4, 137.4, 2.0, -35.0)
    (found,) = received(through(burst(name, sps=sps), air, sps=sps), sps)
    assert (found.status, found.header, found.waveform) == ("ok", HEADER, name)
    assert found.start / sps - SPAN == pytest.approx(137.4, abs=0.01)
    assert found.frequency == pytest.approx(7e-4, abs=2e-8)
    assert 10 * math.log10(error(found, payload())) < -38


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frequency", [-4e-3, -1e-3, 0.0, 1e-3, 3e-3])
def test_at_4_db_the_error_is_the_noise(name: str, frequency: float) -> None:
    losses = []
    first = round(1e3 * (frequency + 4e-3))
    for seed in range(first, first + 6):
        air = Air(4.0, frequency, 50 + seed / 4, seed, -5.0 * seed)
        (found,) = received(through(burst(name), air, seed))
        assert found.header == HEADER
        losses.append(10 * math.log10(error(found, payload())) + 4.0)
        assert found.snr_db == pytest.approx(4.0, abs=1.0)
        assert 10 * math.log10(found.noise_var.mean()) == pytest.approx(-4.0, abs=1.2)
    assert np.mean(losses) < 0.4  # 0.1 on average, with a deviation of 0.1 in means of six


def test_timing_and_frequency_come_near_the_cramer_rao_bounds() -> None:
    """Of a preamble of P chips at Es/N0 = g, with the mean square bandwidth of the pulse.

    var(d) >= 1 / (2 g P b), b = 4 pi^2 (1/12 + a^2 (1/4 - 2 / pi^2)) chips^-2;
    var(f) >= 6 / (4 pi^2 g P (P^2 - 1)).
    """
    snr = 10**0.6
    b = 4 * np.pi**2 * (1 / 12 + 0.25**2 * (1 / 4 - 2 / np.pi**2))
    samples = burst("single-carrier")[: 900 * 4]
    delays, frequencies = [], []
    for seed in range(60):
        delay, frequency = 30 + seed / 7, (seed / 30 - 1) * 1e-3
        y = through(samples, Air(6.0, frequency, delay, seed), seed)
        places = find_preambles(reader(y), len(y), 4)
        best = max(places, key=lambda place: place.likeness)
        delays.append(best.start / 4 - SPAN - delay)
        frequencies.append(best.frequency - frequency)
    assert np.mean(np.square(delays)) < 1.7 / (2 * snr * PREAMBLE * b)
    bound = 6 / (4 * np.pi**2 * snr * PREAMBLE * (PREAMBLE**2 - 1))
    assert np.mean(np.square(frequencies)) < 1.7 * bound
    assert np.mean(np.square(frequencies)) > 0.5 * bound


def test_noise_alone_and_silence_have_no_frame() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=300_000) + 1j * rng.normal(size=300_000)
    assert received(noise) == []
    assert received(np.zeros(50_000)) == []
    assert received(np.zeros(3)) == []
    assert received(np.exp(0.3j * np.arange(50_000))) == []  # a carrier


@pytest.mark.parametrize("name", NAMES)
def test_two_frames(name: str) -> None:
    other = "ofdm" if name == "single-carrier" else "single-carrier"
    first, second = burst(name, 1), 0.1 * burst(other, 2)
    y = through(np.concatenate([first, np.zeros(777), second]), Air(None, 3e-4, 9.3))
    y = y + 1e-3 * (np.random.default_rng(0).normal(size=(len(y), 2)) @ [1, 1j])
    one, two = received(y)
    assert (one.waveform, two.waveform) == (name, other)
    assert error(one, payload(1)) < 1e-3
    assert error(two, payload(2)) < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_that_is_cut_off(name: str) -> None:
    y = through(burst(name), Air(15.0, 2e-4, 20.0))
    (in_payload,) = received(y[: len(y) * 6 // 10])
    assert in_payload.status == "cut"
    assert in_payload.header == HEADER
    assert 0.4 < in_payload.there < 0.8
    (in_header,) = received(y[: (SPAN + 20 + PREAMBLE + 100) * 4])
    assert (in_header.status, in_header.header) == ("cut", None)
    (begun,) = received(y[(SPAN + 20 + 60) * 4 :])
    assert (begun.status, begun.header) == ("cut", None)
    assert 0.8 < begun.there < 1
    assert received(y[-4000:]) == []  # its end alone has no preamble


@pytest.mark.parametrize("name", NAMES)
def test_a_header_that_is_jammed_is_an_outage_and_the_next_frame_is_found(name: str) -> None:
    y = burst(name)
    start = (SPAN + PREAMBLE) * 4
    rng = np.random.default_rng(0)
    jam = rng.normal(size=(head.USES * 6, 2)) @ [1, 1j]
    jammed = y.copy()
    jammed[start : start + len(jam)] = jam[: len(jammed) - start]
    both = through(np.concatenate([jammed, y]), Air(20.0, 0.0, 5.0))
    lost, good = received(both)
    assert (lost.status, lost.header, lost.symbols.size) == ("header", None, 0)
    assert good.status == "ok"
    assert error(good, payload()) < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_dropped_samples_cost_one_frame_not_the_next(name: str) -> None:
    whole = burst(name)
    y = np.concatenate([whole[:7000], whole[7003:9000], whole[9400:], whole[:6000], whole])
    y = through(y, Air(15.0, -2e-4, 3.3))
    first, second, third = received(y)
    assert (first.status, second.status, third.status) == ("end", "end", "ok")
    assert first.header == second.header == HEADER
    assert not first.symbols.size
    assert error(third, payload()) < 0.05


@pytest.mark.parametrize("profile", PROFILES)
def test_echoes_have_mean_power_one_and_the_tables_spread(profile: str) -> None:
    air = Air(profile=profile, delay_spread=2.0)
    powers, spreads = [], []
    mean = None
    for seed in range(400):
        delays, amplitudes = air.paths(generator=stream(seed, "paths"))
        here = np.abs(amplitudes) ** 2
        powers.append(here.sum())
        mean = here if mean is None else mean + here
    mean = mean / mean.sum()
    spreads = math.sqrt((mean * delays**2).sum() - (mean * delays).sum() ** 2)
    assert np.mean(powers) == pytest.approx(1, abs=0.15)
    assert spreads == pytest.approx(2.0, rel=0.2)  # the tables are normalised to a spread of 1


def test_ofdm_takes_echoes_that_a_single_carrier_cannot() -> None:
    errors = {}
    for name in NAMES:
        found = [
            frame
            for seed in range(6)
            for frame in received(
                through(burst(name), Air(25.0, 5e-4, 30.2, 1.0, 0.0, "tdl-c", 2.0), seed)
            )
            if frame.status == "ok"
        ]
        errors[name] = [
            float(np.mean(np.abs(f.symbols - payload()) ** 2 / f.noise_var)) for f in found
        ]
    assert len(errors["ofdm"]) >= 5
    assert np.median(errors["ofdm"]) < 1.3  # the noise that the receiver knows of, and little more
    raw = [
        frame
        for frame in received(through(burst("single-carrier"), Air(25.0, 0, 0, 0, 0, "tdl-c", 2.0)))
        if frame.status == "ok"
    ]
    assert all(error(frame, payload()) > 0.05 for frame in raw)


def test_noise_is_told_per_carrier() -> None:
    air = Air(20.0, 1e-4, 12.3, 0.0, 0.0, "tdl-c", 2.0)
    (found,) = received(through(burst("ofdm"), air, 3))
    squared = np.abs(found.symbols - payload()) ** 2
    noisy = found.noise_var > np.median(found.noise_var)
    assert squared[noisy].mean() > 1.5 * squared[~noisy].mean()


def test_air_without_anything_changes_nothing() -> None:
    samples = burst("ofdm")
    y = through(samples, Air())
    assert np.abs(y[: len(samples)] - samples).max() < 1e-9
    assert np.abs(y[len(samples) :]).max() < 1e-9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ppm", [-90.0, -3.0, 20.0, 90.0])
def test_clocks_that_differ(name: str, ppm: float) -> None:
    """20,000 chips: at 90 ppm the end comes 1.8 chips early or late."""
    count = 19_000
    header = Header(11, 22, 64, 48, count)
    sent = payload(count=count)
    samples = shape(build_frame(header, sent, WAVEFORMS[name]), 4).astype(complex)
    (found,) = received(through(samples, Air(20.0, 3e-4, 12.3, clock=1e-6 * ppm)))
    assert found.header == header
    # A receiver whose samples are further apart sees shorter chips.
    assert found.drift == pytest.approx(-1e-6 * ppm, abs=0.6e-6)
    assert 10 * math.log10(error(found, sent)) == pytest.approx(-20, abs=0.5)
