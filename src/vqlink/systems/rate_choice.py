"""Which MCS a transmitter takes: it knows the channel's law and mean SNR, not the fade."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqlink.channels.awgn import AWGN
from vqlink.channels.symbol import SymbolChannel
from vqlink.digital.mcs import MCS, best_mcs_awgn, best_mcs_fading
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.units import from_db, to_db

_FADES = 20_000


def choose_mcs(
    channel: SymbolChannel,
    point: Point,
    uses: int,
    values: int,
    code: str = "ldpc5g",
    among: Sequence[MCS] | None = None,
) -> MCS:
    """The best MCS of the table for one message.

    In AWGN and fast fading by the threshold alone; otherwise by the mean quality over the law of
    the fade.

    Args:
        channel: whose law of the fade counts.
        point: the mean SNR.
        uses: complex channel uses of the message; a short one has short code blocks.
        values: source values of the message.
        code: the channel code whose table counts.
        among: those to choose from, the most robust first; None for the whole table.
    """
    heard = heard_snr_db(channel, float(torch.as_tensor(point.snr_db)))
    if isinstance(heard, float):
        return best_mcs_awgn(heard, uses, code, among)

    def arrives(limit_db: float) -> float:
        return float((heard >= limit_db).float().mean())

    return best_mcs_fading(arrives, uses, values, code, among)


def heard_snr_db(channel: SymbolChannel, mean_db: float) -> float | Tensor:
    """What a transmitter can say beforehand of the SNR that a message will meet.

    Returns:
        A figure in dB where the law leaves no choice: in AWGN, and in fast fading, which counts as
        AWGN at its ergodic rate (the thresholds hold against the mean of log2(1 + SNR |h|^2)). In
        slow fading 20,000 draws in dB from the channel itself, float32.
    """
    if isinstance(channel, AWGN):
        return mean_db
    probe = torch.zeros(_FADES, 2, dtype=torch.complex64)
    gains = channel.gains(probe, generator=stream(0, "fades"))
    snr = from_db(mean_db) * gains.abs().square()
    if gains.shape[1] > 1:
        ergodic = torch.log2(1 + snr).mean()
        return float(to_db(2**ergodic - 1))
    return to_db(snr)
