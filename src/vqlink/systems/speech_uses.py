"""Channel uses of a recording: the same for every system that sends it."""

from __future__ import annotations

from vqlink.layers.mdct import frame_count

LATENT_USES = 160
"""Complex channel uses of the 320 values of a frame of 20 ms."""
FRAME_USES = 168
"""Those and 5 % for headers, CRCs and the like: 8,400 uses a second, rho = 0.525.

At QPSK 1/2 it leaves room for 8 kbit/s.
"""
PACKET_FRAMES = 5
PACKET_USES = PACKET_FRAMES * FRAME_USES
"""A packet of 100 ms."""


def message_uses(samples: int) -> int:
    """A whole number of packets."""
    needed = frame_count(samples) * FRAME_USES
    return -(-needed // PACKET_USES) * PACKET_USES
