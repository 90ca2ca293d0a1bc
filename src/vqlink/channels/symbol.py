"""What the channels that carry complex symbols share: y = h x + n.

The gain h is drawn apart from its use, so that a transmitter that knows h can precode with it
before it sends, and a test can fix it.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from vqlink.protocols import ChannelOutput, Point
from vqlink.rng import Generators, complex_normal
from vqlink.units import noise_variance

PointKind = Literal["snr_db", "probability"]
"""The axis of a channel's operating points: the field of :class:`Point` that it reads."""


@runtime_checkable
class SymbolChannel(Protocol):
    """A :class:`vqlink.protocols.Channel` for symbols, whose gain can be drawn beforehand."""

    @property
    def point_kind(self) -> PointKind: ...

    def gains(self, x: Tensor, *, generator: Generators) -> Tensor:
        """Draw h for the symbols ``x`` (B, n): (B, 1) or (B, n), E|h|^2 = 1."""
        ...

    def __call__(
        self, x: Tensor, point: Point, *, generator: Generators, gain: Tensor | None = None
    ) -> ChannelOutput:
        """Send ``x`` (B, n) at ``point``; ``gain`` None draws h first, then the rest.

        So ``gains`` followed by a call with that gain, on one generator, arrives bit for bit as
        a call without a gain does.
        """
        ...


def check_messages(x: Tensor) -> None:
    """Raise ValueError unless ``x`` is (B, n): one row a message."""
    if x.ndim != 2:
        raise ValueError(f"a channel takes (B, n), one row a message, not {tuple(x.shape)}")


def check_symbols(x: Tensor) -> None:
    """Raise ValueError unless ``x`` is (B, n), TypeError unless it is complex."""
    check_messages(x)
    if not x.is_complex():
        raise TypeError(f"channel symbols are complex, one a channel use, not {x.dtype}")


def check_gain(x: Tensor, gain: Tensor) -> None:
    """Raise ValueError unless ``gain`` is (B, 1) or (B, n) for ``x`` (B, n)."""
    if tuple(gain.shape) not in ((x.shape[0], 1), tuple(x.shape)):
        raise ValueError(
            f"the gain of symbols {tuple(x.shape)} is one a message or one a symbol, "
            f"not {tuple(gain.shape)}"
        )


def unit_gains(x: Tensor) -> Tensor:
    """h = 1 for each message of ``x`` (B, n): ones (B, 1) of its dtype and device."""
    check_messages(x)
    return torch.ones((x.shape[0], 1), dtype=x.dtype, device=x.device)


def fade_and_add_noise(
    x: Tensor, gain: Tensor, point: Point, *, generator: Generators
) -> ChannelOutput:
    """y = h x + n, n ~ CN(0, N0), N0 = 10^(-snr_db / 10): Es = P = 1 is assumed, never measured.

    Args:
        x: (B, n) complex symbols.
        gain: h, (B, 1) or (B, n).
        point: with ``snr_db``, one for all messages or one for each.

    Returns:
        y (B, n), the gain as given, and noise_var N0 (B, 1): N0/2 in each real dimension.
    """
    check_symbols(x)
    check_gain(x, gain)
    noise_var = noise_variance(point.snr(x.shape[0], x.device))[:, None]
    noise = complex_normal(x.shape, generator=generator, like=x) * noise_var.sqrt()
    return ChannelOutput(gain * x + noise, gain, noise_var)
