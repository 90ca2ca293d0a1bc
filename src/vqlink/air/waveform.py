"""What the two waveforms share: a stream of symbols -> chips after a preamble, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vqlink.air.arrays import Complex, Float
from vqlink.air.sequences import POSTAMBLE_INIT, PREAMBLE_INIT, qpsk

PREAMBLE = POSTAMBLE = 256
"""Chips of the preamble, and of the postamble that ends every frame."""


@dataclass(frozen=True)
class Demodulated:
    """A stream after the receiver's front end.

    Attributes:
        symbols: (n,) equalised by zero forcing.
        noise_var: (n,) total variance of the complex noise on each of them.
        frequency: what was left of the frequency offset, in cycles a chip.
        snr_db: Es/N0 of the chips, as estimated.
    """

    symbols: Complex
    noise_var: Float
    frequency: float
    snr_db: float


class Waveform(Protocol):
    """How a stream of symbols fills the chips of a frame."""

    @property
    def name(self) -> str: ...

    def chips(self, symbols: int) -> int:
        """Chips of a frame with a stream of so many symbols: with preamble, without postamble."""
        ...

    def modulate(self, stream: Complex) -> Complex:
        """(n,) symbols of mean power 1 -> (chips(n),) of mean power 1."""
        ...

    def demodulate(self, chips: Complex, symbols: int) -> Demodulated:
        """The first ``symbols`` of a stream from at least ``chips(symbols)`` received chips."""
        ...


def preamble(name: str) -> Complex:
    """(PREAMBLE,) the QPSK symbols that a waveform's frames begin with."""
    return qpsk(PREAMBLE, PREAMBLE_INIT[name])


def postamble() -> Complex:
    """(POSTAMBLE,) the QPSK symbols that frames end with."""
    return qpsk(POSTAMBLE, POSTAMBLE_INIT)
