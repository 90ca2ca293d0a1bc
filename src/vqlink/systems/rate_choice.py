"""Which MCS a transmitter takes: it knows the channel's law and mean SNR, not the fade."""

from __future__ import annotations

import torch

from vqlink.channels.awgn import AWGN
from vqlink.channels.symbol import SymbolChannel
from vqlink.digital.mcs import MCS, best_mcs_awgn, best_mcs_fading
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.units import from_db, to_db

_FADES = 20_000


def choose_mcs(
    channel: SymbolChannel, point: Point, uses: int, values: int, code: str = "ldpc5g"
) -> MCS:
    """The best MCS of the table for one message.

    In AWGN by the threshold alone; otherwise by the mean quality over the law of the fade, drawn
    from the channel itself. Fast fading counts as AWGN at its ergodic rate: the table's thresholds
    hold against the mean of log2(1 + SNR |h|^2).

    Args:
        channel: whose law of the fade counts.
        point: the mean SNR.
        uses: complex channel uses of the message; a short one has short code blocks.
        values: source values of the message.
        code: the channel code whose table counts.
    """
    snr_db = float(torch.as_tensor(point.snr_db))
    if isinstance(channel, AWGN):
        return best_mcs_awgn(snr_db, uses, code)
    probe = torch.zeros(_FADES, 2, dtype=torch.complex64)
    gains = channel.gains(probe, generator=stream(0, "fades"))
    snr = from_db(snr_db) * gains.abs().square()
    if gains.shape[1] > 1:
        ergodic = torch.log2(1 + snr).mean()
        return best_mcs_awgn(float(to_db(2**ergodic - 1)), uses, code)

    def arrives(limit_db: float) -> float:
        return float((snr >= from_db(limit_db)).float().mean())

    return best_mcs_fading(arrives, uses, values, code)
