"""Modulation and coding schemes, and the choice of one for a channel's state.

The thresholds were simulated (benchmarks/mcs_thresholds.py, results/bler/): the lowest SNR of a
0.25 dB grid from which on no code block of 8,000 information bits, of the number that the table
says, was lost.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib import resources

from vqlink.protocols import VqlinkError

_BITS = {"qpsk": 2, "16qam": 4, "64qam": 6, "256qam": 8}
_TABLE = (
    ("qpsk", "1/3 1/2 2/3"),
    ("16qam", "1/3 1/2 2/3 3/4"),
    ("64qam", "1/2 2/3 3/4 5/6"),
    ("256qam", "2/3 3/4 5/6"),
)
MARGIN_DB = 0.25
"""Back-off from a threshold, since a message has many blocks and all of them must arrive."""

_OUTAGE_PSNR = 12.0
"""What a mid-grey picture scores against a photograph, about."""


@dataclass(frozen=True)
class MCS:
    """A modulation and a code rate, named as in ``16qam-1/2``."""

    modulation: str
    rate: Fraction

    @property
    def name(self) -> str:
        return f"{self.modulation}-{self.rate.numerator}/{self.rate.denominator}"

    @property
    def bits_per_symbol(self) -> int:
        return _BITS[self.modulation]

    @property
    def efficiency(self) -> float:
        """Information bits per channel use."""
        return self.bits_per_symbol * float(self.rate)


MCS_TABLE: tuple[MCS, ...] = tuple(
    MCS(modulation, Fraction(rate)) for modulation, rates in _TABLE for rate in rates.split()
)
"""From the most robust to the fastest of each modulation."""


def parse_mcs(text: str) -> MCS:
    """``16qam-1/2`` -> MCS.

    Raises:
        VqlinkError: for a name outside the table.
    """
    names = {mcs.name: mcs for mcs in MCS_TABLE}
    if text in names:
        return names[text]
    close = difflib.get_close_matches(text, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise VqlinkError(f"unknown MCS {text!r}{hint} (known: {', '.join(names)})")


@lru_cache(maxsize=1)
def thresholds() -> dict[str, float]:
    """Name -> lowest SNR in dB, in AWGN, at which its blocks arrive."""
    text = resources.files("vqlink.digital").joinpath("mcs_thresholds.json").read_text()
    return {entry["mcs"]: float(entry["snr_db"]) for entry in json.loads(text)["thresholds"]}


def best_mcs_awgn(snr_db: float) -> MCS:
    """The fastest MCS whose threshold and margin lie at or below ``snr_db``.

    Below all thresholds, the most robust one: it will probably be lost, and that will count.
    """
    limit = thresholds()
    usable = [mcs for mcs in MCS_TABLE if limit[mcs.name] + MARGIN_DB <= snr_db]
    return max(usable, key=lambda mcs: mcs.efficiency, default=MCS_TABLE[0])


def best_mcs_fading(arrives: Callable[[float], float], rho: float) -> MCS:
    """The MCS of the best mean quality where the transmitter doesn't know h.

    The quality of a picture that arrives is taken as 30.1 dB at 0.25 bit per pixel and 3 dB more
    for every doubling (HEVC intra on Kodak, measured: docs/digital-links.md), that of a lost one
    as 12 dB.

    Args:
        arrives: threshold in dB -> the probability that the fade leaves at least that SNR.
        rho: channel uses per source value, three of which make a pixel.
    """
    limit = thresholds()

    def mean_quality(mcs: MCS) -> float:
        probability = arrives(limit[mcs.name] + MARGIN_DB)
        quality = 30.1 + 3.0 * math.log2(3 * rho * mcs.efficiency / 0.25)
        return probability * quality + (1 - probability) * _OUTAGE_PSNR

    return max(MCS_TABLE, key=mean_quality)
