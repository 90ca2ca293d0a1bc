"""Units against hand-computed figures; streams that depend on their names alone."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from vqlink import rng, units
from vqlink.protocols import Point


def test_decibels() -> None:
    assert units.from_db(10.0) == pytest.approx(10.0)
    assert units.to_db(2.0) == pytest.approx(3.0103, abs=1e-4)
    assert units.to_db(0.0) == float("-inf")
    torch.testing.assert_close(units.from_db(torch.tensor([0.0, 20.0])), torch.tensor([1.0, 100.0]))


def test_noise_variance_is_total_complex_n0() -> None:
    assert units.noise_variance(3.0103) == pytest.approx(0.5, abs=1e-5)


def test_ebn0() -> None:
    # 16-QAM at rate 1/2 carries two information bits: 3.01 dB between Es/N0 and Eb/N0.
    assert units.esn0_to_ebn0_db(10.0, 4, 0.5) == pytest.approx(6.99, abs=0.01)
    assert units.ebn0_to_esn0_db(6.99, 4, 0.5) == pytest.approx(10.0, abs=0.01)


def test_ratio() -> None:
    assert units.bandwidth_ratio(98_304, 512, 768) == 1 / 12
    assert units.parse_ratio("1/12") == Fraction(1, 12)
    assert units.parse_ratio(0.25) == Fraction(1, 4)


@pytest.mark.parametrize("text", ["0", "-1/6", "3", "x", "1/0", "nan", "inf", ""])
def test_bad_ratios(text: str) -> None:
    with pytest.raises(ValueError, match="rho"):
        units.parse_ratio(text)


def test_streams_depend_on_every_key() -> None:
    names = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", "1"), (0, "a", 1.0)]
    first = [torch.randn(4, generator=rng.stream(*name)) for name in names]  # type: ignore[arg-type]
    again = [torch.randn(4, generator=rng.stream(*name)) for name in names]  # type: ignore[arg-type]
    for i, values in enumerate(first):
        assert torch.equal(values, again[i])
        assert not any(torch.equal(values, other) for j, other in enumerate(first) if j != i)


def test_one_generator_a_sample() -> None:
    both = rng.normal((2, 5), generator=[rng.stream(0, "n", i) for i in range(2)])
    assert torch.equal(both[1], rng.normal((5,), generator=rng.stream(0, "n", 1)))
    with pytest.raises(ValueError, match="generators"):
        rng.normal((3, 5), generator=[rng.stream(0, "n")])


def test_complex_normal_has_unit_variance() -> None:
    values = rng.complex_normal((200_000,), generator=rng.stream(0, "n"))
    # The deviation of each estimate is below 0.003.
    assert values.abs().square().mean().item() == pytest.approx(1.0, abs=0.012)
    assert values.real.var().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "bad",
    [{}, {"snr_db": 1.0, "probability": 0.1}, {"snr_db": float("nan")}, {"probability": 1.5},
     {"snr_db": torch.zeros(2, 2)}],
)  # fmt: skip
def test_bad_points(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"point|number|probability"):
        Point(**bad)  # type: ignore[arg-type]


def test_points_spread_over_the_batch() -> None:
    assert Point(snr_db=3.0).snr(2).tolist() == [3.0, 3.0]
    assert Point(snr_db=torch.tensor([1.0, 2.0])).snr(2).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="messages"):
        Point(snr_db=torch.tensor([1.0, 2.0])).snr(3)
    with pytest.raises(ValueError, match="snr_db"):
        Point(probability=0.1).snr(1)
