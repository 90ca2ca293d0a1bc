"""The classical speech link: codec, then LDPC and QAM, in packets of 100 ms.

    samples -> codec -> 5 frames -> CRC, LDPC, scrambling -> QAM -> channel -> equaliser -> LLRs
            -> LDPC decoder, CRC check -> frames -> codec

Everything is simulated. The frames of a packet whose CRC fails are concealed by the codec; where
all of them are lost, the receiver hears silence: an outage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vqlink.channels.symbol import SymbolChannel
from vqlink.digital import fec
from vqlink.digital.mcs import MCS, MCS_TABLES, best_mcs_awgn, required_snr_db
from vqlink.digital.modem import demap_symbols, map_bits
from vqlink.layers.mdct import frame_count
from vqlink.links.equalize import equalize
from vqlink.protocols import Point, Transmission
from vqlink.rng import Generators, check_generators, of_sample
from vqlink.systems.rate_choice import heard_snr_db
from vqlink.systems.speech_codec import SpeechCodec
from vqlink.systems.speech_frames import FRAME_BYTES
from vqlink.systems.speech_uses import PACKET_FRAMES, PACKET_USES, message_uses


@dataclass(frozen=True)
class Plan:
    """An MCS, the code blocks of a packet, and the codec's rate; None where no rate fits."""

    mcs: MCS
    frame: fec.Frame
    kbps: float | None


class SpeechLink:
    """A digital speech link that fills the channel uses of :func:`message_uses`.

    Args:
        codec: takes the highest of its rates that a packet's payload can carry.
        channel: carries complex symbols; the receiver knows h and N0.
        mcs: fixed, or None for the best of the table at each point (the mean SNR in fading, since
            the transmitter doesn't know h).
    """

    def __init__(self, codec: SpeechCodec, channel: SymbolChannel, mcs: MCS | None = None) -> None:
        self.codec, self.channel, self.mcs = codec, channel, mcs

    @property
    def name(self) -> str:
        return "speech+ldpc5g" + (f"@{self.mcs.name}" if self.mcs else "")

    def uses(self, samples: int) -> int:
        """Complex channel uses of a recording: the whole budget."""
        return message_uses(samples)

    def transmit(self, x: Tensor, point: Point, *, generator: Generators) -> Transmission:
        """Recordings (B, n) float32 in [-1, 1].

        ``stats``: ``lost``, the share of frames that were concealed, and ``kbps``, the codec's
        rate (0 where the lowest doesn't fit: an outage). ``labels["mcs"]`` names the MCS.

        Raises:
            ValueError: for another shape, none or too many samples, or values that aren't finite.
        """
        if x.ndim != 2:
            raise ValueError(f"recordings must be (B, n), not {tuple(x.shape)}")
        batch, samples = x.shape
        check_generators(generator, batch)
        snr = point.snr(batch)
        sounds, powers, lost, plans = [], [], [], []
        for i in range(batch):
            random = of_sample(generator, i)
            plan = self.plan(float(snr[i]))
            frames = [] if plan.kbps is None else self.codec.frames(x[i], plan.kbps)
            arrived, power = self._carry(frames, plan, samples, float(snr[i]), random)
            decoded = self.codec.sound(arrived, samples)
            sounds.append(decoded.samples)
            powers.append(power)
            lost.append(decoded.lost)
            plans.append(plan)
        return Transmission(
            received=torch.stack(sounds),
            uses=torch.full((batch,), self.uses(samples), dtype=torch.int64),
            tx_power=torch.tensor(powers),
            outage=torch.tensor([share == 1.0 for share in lost]),
            stats={
                "lost": torch.tensor(lost),
                "kbps": torch.tensor([plan.kbps or 0.0 for plan in plans]),
            },
            labels={"mcs": ", ".join(dict.fromkeys(plan.mcs.name for plan in plans))},
        )

    def plan(self, snr_db: float) -> Plan:
        """What the transmitter takes at a mean SNR."""
        return _plan(self.mcs or self._best_mcs(snr_db))

    def _best_mcs(self, snr_db: float) -> MCS:
        """Of those that can carry the codec. AWGN: by the threshold. Slow fading: the largest
        product of the share of fades that it survives and the root of the codec's rate, whose
        quality rises more slowly than its bits. Fast fading: by the ergodic rate."""
        fitting = [mcs for mcs in MCS_TABLES["ldpc5g"] if _plan(mcs).kbps is not None]
        heard = heard_snr_db(self.channel, snr_db)
        if isinstance(heard, float):
            return best_mcs_awgn(heard, PACKET_USES, among=fitting)

        def worth(mcs: MCS) -> float:
            arrives = float((heard >= required_snr_db(mcs, PACKET_USES)).float().mean())
            return arrives * math.sqrt(_plan(mcs).kbps or 0.0)

        return max(fitting, key=worth)

    def _carry(
        self,
        frames: Sequence[bytes],
        plan: Plan,
        samples: int,
        snr_db: float,
        random: torch.Generator,
    ) -> tuple[list[bytes | None], float]:
        """Frames -> the frames that arrived, None where lost, and the measured power."""
        count = self.uses(samples) // PACKET_USES
        room = plan.frame.blocks * (plan.frame.information - fec.CRC_BITS) // 8
        payloads = [
            b"".join(frames[i * PACKET_FRAMES : (i + 1) * PACKET_FRAMES]).ljust(room, b"\0")
            for i in range(count)
        ]
        data = np.frombuffer(b"".join(payloads), dtype=np.uint8).reshape(count, room)
        bits = torch.from_numpy(np.unpackbits(data, axis=1)).float()
        symbols = map_bits(fec.encode_bits(bits, plan.frame), plan.mcs.bits_per_symbol)
        whole = symbols.reshape(1, -1)
        arrived = self.channel(whole, Point(snr_db=snr_db), generator=random)
        equalised, noise = (part.reshape(symbols.shape) for part in equalize(arrived))
        llr = demap_symbols(equalised, noise, plan.mcs.bits_per_symbol)
        decoded, good = fec.decode_blocks(llr, plan.frame)
        packed = np.packbits((decoded > 0).reshape(count, -1).numpy(), axis=1)
        whole_packets = good.reshape(count, -1).all(dim=1)
        received: list[bytes | None] = [None] * frame_count(samples)
        if plan.kbps is not None:
            size = FRAME_BYTES[plan.kbps]
            for i in range(len(received)):
                packet, place = divmod(i, PACKET_FRAMES)
                if whole_packets[packet]:
                    at = place * size
                    received[i] = packed[packet, at : at + size].tobytes()
        return received, float(symbols.abs().square().mean())


def _plan(mcs: MCS) -> Plan:
    frame = fec.plan_frame(PACKET_USES, mcs.bits_per_symbol, float(mcs.rate))
    assert frame is not None, "a packet holds a code block at every MCS"
    fitting = [k for k, size in FRAME_BYTES.items() if PACKET_FRAMES * size <= frame.capacity]
    return Plan(mcs, frame, max(fitting, default=None))
