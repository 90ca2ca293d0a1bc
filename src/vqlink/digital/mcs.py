"""Modulation and coding schemes, and the choice of one for a channel's state.

The thresholds were simulated (benchmarks/mcs_thresholds.py, results/bler/): the lowest SNR of a
0.25 dB grid from which on no code block (5G: of 8,192 information bits, 3,744 at rates 1/5 and 1/3,
which base graph 2 allows), of the number that the table says, was lost.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib import resources

from vqlink.errors import did_you_mean
from vqlink.protocols import VqlinkError
from vqlink.units import from_db

_BITS = {"bpsk": 1, "qpsk": 2, "16qam": 4, "64qam": 6, "256qam": 8}
_TABLES = {
    "ldpc5g": (
        ("qpsk", "1/5 1/3 1/2 2/3"),
        ("16qam", "1/3 1/2 2/3 3/4"),
        ("64qam", "1/2 2/3 3/4 5/6"),
        ("256qam", "2/3 3/4 5/6"),
    ),
    "ldpc80211ad": tuple(
        (modulation, "1/2 5/8 3/4 13/16") for modulation in ("bpsk", "qpsk", "16qam", "64qam")
    ),
}
MARGIN_DB = 0.25
"""Back-off from a threshold, since a message has many blocks and all of them must arrive."""

_WORD_BITS = 672  # of an 802.11ad codeword
_WORDS_DB = 0.7  # for a tenth of the lost codewords, in the tails of results/bler/awgn.jsonl
_MOST_LOST = 0.02

_REFERENCE_BITS = 8000  # to the careful side: at rate 1/3 it asks for up to 0.13 dB too much
_QUANTILE = 3.719  # Q^-1(1e-4)

_OUTAGE_PSNR = 12.0
"""What a mid-grey picture scores against a photograph, about."""
_PSNR, _PSNR_BPP, _DOUBLING_DB = 30.1, 0.25, 3.0
"""What one that arrives scores at so many bits per pixel, and by how much more at twice as many."""


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


MCS_TABLES: dict[str, tuple[MCS, ...]] = {
    code: tuple(
        MCS(modulation, Fraction(rate)) for modulation, rates in table for rate in rates.split()
    )
    for code, table in _TABLES.items()
}
"""By channel code, from the most robust to the fastest of each modulation."""

MCS_TABLE = MCS_TABLES["ldpc5g"]


def parse_mcs(text: str, code: str = "ldpc5g") -> MCS:
    """``16qam-1/2`` -> MCS.

    Raises:
        VqlinkError: for a name outside the code's table.
    """
    names = {mcs.name: mcs for mcs in MCS_TABLES[code]}
    if text in names:
        return names[text]
    hint = did_you_mean(text, names)
    raise VqlinkError(f"unknown MCS {text!r} of {code}{hint} (known: {', '.join(names)})")


@lru_cache(maxsize=4)
def thresholds(code: str = "ldpc5g") -> dict[str, float]:
    """Name -> lowest SNR in dB, in AWGN, at which its blocks arrive."""
    text = resources.files("vqlink.digital").joinpath("mcs_thresholds.json").read_text()
    return {entry["mcs"]: float(entry["snr_db"]) for entry in json.loads(text)[code]}


def required_snr_db(mcs: MCS, uses: int, code: str = "ldpc5g") -> float:
    """The SNR that a message of ``uses`` channel uses needs, margin included.

    802.11ad has codewords of one length, and all of a message's must arrive: at a threshold about
    one in 1,000 is lost, and every :data:`_WORDS_DB` further a tenth as many, which is taken until
    a message in fifty is lost.

    The thresholds of 5G are those of long blocks, and a shorter message has shorter ones. The
    normal approximation to the finite-length rate, C - sqrt(V / n) Q^-1(1e-4) (Polyanskiy et al.,
    2010, eq. 1; complex AWGN), says how much SNR makes up for that.
    """
    threshold = thresholds(code)[mcs.name]
    if code == "ldpc80211ad":
        words = uses * mcs.bits_per_symbol / _WORD_BITS
        return threshold + _WORDS_DB * math.log10(max(1.0, words * 1e-3 / _MOST_LOST))
    limit: float = threshold + MARGIN_DB
    reference = _REFERENCE_BITS / mcs.efficiency
    if uses >= reference:
        return limit
    snr = from_db(limit)
    dispersion = snr * (snr + 2) / (snr + 1) ** 2
    lost_nats = _QUANTILE * math.sqrt(dispersion) * (uses**-0.5 - reference**-0.5)
    nats_per_db = snr / (1 + snr) * math.log(10) / 10
    return float(limit + lost_nats / nats_per_db)


def best_mcs_awgn(
    snr_db: float, uses: int, code: str = "ldpc5g", among: Sequence[MCS] | None = None
) -> MCS:
    """The fastest MCS that a message of ``uses`` channel uses can take at ``snr_db``.

    Below all thresholds, the most robust one: it will probably be lost, and that will count.

    Args:
        among: those to choose from, the most robust first; None for the code's table.
    """
    table = MCS_TABLES[code] if among is None else among
    usable = [mcs for mcs in table if required_snr_db(mcs, uses, code) <= snr_db]
    return max(usable, key=lambda mcs: mcs.efficiency, default=table[0])


def best_mcs_fading(
    arrives: Callable[[float], float],
    uses: int,
    values: int,
    code: str = "ldpc5g",
    among: Sequence[MCS] | None = None,
) -> MCS:
    """The MCS of the best mean quality where the transmitter doesn't know h.

    The quality of a picture that arrives is taken as 30.1 dB at 0.25 bit per pixel and 3 dB more
    for every doubling (HEVC intra tuned for SSIM on Kodak: docs/digital-links.md), that of a lost
    one as 12 dB.

    Args:
        arrives: threshold in dB -> the probability that the fade leaves at least that SNR.
        uses: channel uses of the message.
        values: its source values, three of which make a pixel.
        among: those to choose from; None for the code's table.
    """

    def mean_quality(mcs: MCS) -> float:
        probability = arrives(required_snr_db(mcs, uses, code))
        bpp = 3 * uses / values * mcs.efficiency
        quality = _PSNR + _DOUBLING_DB * math.log2(bpp / _PSNR_BPP)
        return probability * quality + (1 - probability) * _OUTAGE_PSNR

    return max(MCS_TABLES[code] if among is None else among, key=mean_quality)


def choice_settings(code: str) -> dict[str, object]:
    """The numbers that decide which MCS of a code's table is taken, as plain data."""
    needed = {
        mcs.name: [round(required_snr_db(mcs, uses, code), 6) for uses in (1_000, 1_000_000)]
        for mcs in MCS_TABLES[code]
    }
    return {
        "required_snr_db": needed,
        "psnr": [_OUTAGE_PSNR, _PSNR, _PSNR_BPP, _DOUBLING_DB],
    }
