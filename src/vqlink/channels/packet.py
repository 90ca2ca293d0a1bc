"""Packet erasure: whole packets of successive symbols are lost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vqlink.channels.symbol import PointKind, check_gain, check_messages, unit_gains
from vqlink.protocols import ChannelOutput, Point
from vqlink.rng import Generators, uniform


@dataclass(frozen=True)
class PacketErasure:
    """y = m h x without noise, one m a packet: P(m = 0) = p, independently; h = 1.

    A message of n symbols makes ceil(n / packet_size) packets; the last may be short. The
    receiver knows from ``mask`` which packets are missing, as from sequence numbers.

    Attributes:
        packet_size: successive symbols in a packet, at least 1; 1 erases single symbols.
    """

    packet_size: int

    def __post_init__(self) -> None:
        if self.packet_size < 1:
            raise ValueError(f"a packet holds at least one symbol, not {self.packet_size}")

    @property
    def point_kind(self) -> PointKind:
        return "probability"

    def gains(self, x: Tensor, *, generator: Generators) -> Tensor:
        """Ones (B, 1) of the dtype of ``x``; draws nothing from ``generator``."""
        return unit_gains(x)

    def __call__(
        self, x: Tensor, point: Point, *, generator: Generators, gain: Tensor | None = None
    ) -> ChannelOutput:
        """Real or complex (B, n) -> y (B, n), zeros where lost, noise_var 0, ``mask`` (B, n).

        Raises:
            ValueError: for shapes that do not fit, or a point without ``probability``.
        """
        h = self.gains(x, generator=generator) if gain is None else gain
        check_messages(x)
        check_gain(x, h)
        batch, n = x.shape
        packets = -(-n // self.packet_size)
        rate = point.rate(batch, x.device)[:, None]
        lost = uniform((batch, packets), generator=generator, like=x) < rate
        mask = ~lost.repeat_interleave(self.packet_size, dim=1)[:, :n]
        noise_var = torch.zeros((batch, 1), device=x.device)
        return ChannelOutput(h * x * mask, h, noise_var, mask)
