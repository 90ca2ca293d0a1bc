"""Curves of paper 000's image half, from measured rows, and how two of them compare."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vqlink.experiments.reproduction import Row, Spread, select, spread


@dataclass(frozen=True)
class Spot:
    """One noise level, over the seeds.

    Attributes:
        mse, psnr, ssim: over the pictures, then over the seeds.
        snr: measured, in dB; None without noise.
        varying: the same of what differs from picture to picture.
    """

    mse: Spread
    psnr: Spread
    ssim: Spread
    snr: Spread | None
    varying: Spread | None


Curve = dict[float, Spot]
"""sigma -> what was measured there, by rising sigma."""


def curve(
    rows: Sequence[Row],
    cell: Mapping[str, object],
    *,
    arrived_from: str | None = None,
    seeds: Sequence[int] | None = None,
) -> Curve:
    """The curve of a cell over its seeds.

    Args:
        seeds: None for all that were run.
        arrived_from: what was sent; None for what the run was trained to send.
    """
    wanted = {name: value for name, value in cell.items() if name != "seed"}
    kind = arrived_from or str(cell["sent"])
    found: dict[float, list[Row]] = {}
    for row in select(rows, **wanted, arrived_from=kind):
        if seeds is not None and row["seed"] not in seeds:
            continue
        found.setdefault(row["sigma"], []).append(row)
    return {sigma: _spot(some) for sigma, some in sorted(found.items())}


def _spot(rows: Sequence[Row]) -> Spot:
    def over(name: str) -> Spread:
        found = spread(row[name] for row in rows)
        assert found is not None
        return found

    def level(name: str) -> Spread | None:
        return spread(row[name] for row in rows if row[name] is not None)

    return Spot(over("mse"), over("psnr"), over("ssim"), level("snr_db"), level("varying_snr_db"))


def doubling(found: Curve) -> tuple[float, float] | None:
    """Sigma and measured SNR where the error is twice that without noise, between two points.

    None where it isn't reached, or nothing was measured.
    """
    if 0.0 not in found:
        return None
    limit = 2 * found[0.0].mse.mean
    before: tuple[float, Spot] | None = None
    for sigma, spot in found.items():
        if sigma and spot.mse.mean >= limit and spot.snr is not None:
            if before is None or before[1].snr is None:
                return sigma, spot.snr.mean
            share = _share(before[1].mse.mean, spot.mse.mean, limit)
            low, high = math.log(before[0]), math.log(sigma)
            snr = before[1].snr.mean + share * (spot.snr.mean - before[1].snr.mean)
            return math.exp(low + share * (high - low)), snr
        if sigma:
            before = (sigma, spot)
    return None


def at_equal_snr(
    one: Curve, other: Curve, levels: Sequence[float], *, varying: bool = False
) -> list[tuple[float, float, float]]:
    """(SNR, error of one, error of the other) at the levels in dB that both were measured around.

    The error's logarithm is interpolated over the measured SNR in dB.
    """
    return [
        (level, a, b)
        for level in levels
        if (a := _error_at(one, level, varying)) is not None
        and (b := _error_at(other, level, varying)) is not None
    ]


def _error_at(found: Curve, level: float, varying: bool) -> float | None:
    spots = sorted(
        (snr.mean, spot.mse.mean)
        for spot in found.values()
        if (snr := spot.varying if varying else spot.snr) is not None
    )
    for (low, error), (high, next_error) in itertools.pairwise(spots):
        if low <= level <= high:
            share = (level - low) / (high - low)
            return math.exp(math.log(error) + share * math.log(next_error / error))
    return None


def _share(low: float, high: float, value: float) -> float:
    return math.log(value / low) / math.log(high / low)
