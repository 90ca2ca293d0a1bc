"""One-tap equalisers and phase precoding, for y = h x + n with n ~ CN(0, N0) and E|x|^2 = 1.

Pure functions of the received symbols and what the receiver or transmitter knows of the channel.
Shapes: ``y`` and ``x`` (B, n) complex; ``gain`` h and ``noise_var`` N0 broadcastable to them.

Precoding changes the channel that the receiver sees: after :func:`precode_phase` it is |h|, real,
so the receiver equalises with ``gain.abs()``, not with ``gain``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqlink.protocols import ChannelOutput

GAIN_POWER_FLOOR = 1e-12
"""|h|^2 is held at or above this (-120 dB), so that no fade divides by 0. Rayleigh fading goes
below it once in 1e12 draws; the symbols then shrink towards 0 instead of growing without end."""


def _power(gain: Tensor) -> Tensor:
    return gain.abs().square()


def zero_forcing(y: Tensor, gain: Tensor) -> Tensor:
    """x + n / h: h* y / |h|^2 (DeepJSCC-Q, eq. 2), finite for every h.

    Unbiased; a deep fade amplifies the noise by 1 / |h|^2.
    """
    return gain.conj() * y / _power(gain).clamp_min(GAIN_POWER_FLOOR)


def zero_forcing_noise_var(gain: Tensor, noise_var: Tensor) -> Tensor:
    """N0 / |h|^2: the total variance of the complex noise after :func:`zero_forcing`.

    What a demapper needs for its log-likelihood ratios. Shape: of gain and noise_var, broadcast.
    """
    return noise_var / _power(gain).clamp_min(GAIN_POWER_FLOOR)


def equalize(arrived: ChannelOutput) -> tuple[Tensor, Tensor]:
    """(B, n) symbols as a demapper takes them: zero-forced, and the noise variance of each."""
    noise_var = zero_forcing_noise_var(arrived.gain, arrived.noise_var)
    return zero_forcing(arrived.y, arrived.gain), noise_var.expand(arrived.y.shape)


def mmse(y: Tensor, gain: Tensor, noise_var: Tensor) -> Tensor:
    """h* y / (|h|^2 + N0): the linear estimate of x with the least mean squared error.

    Biased: it is |h|^2 / (|h|^2 + N0) times :func:`zero_forcing`, so a message in a deep fade
    fades to 0 instead of drowning in noise. Suits a learned decoder; demappers want the unbiased
    symbols and :func:`zero_forcing_noise_var`, which carry the same information.
    """
    return gain.conj() * y / (_power(gain) + noise_var).clamp_min(GAIN_POWER_FLOOR)


def mmse_noise_var(gain: Tensor, noise_var: Tensor) -> Tensor:
    """N0 / (|h|^2 + N0): E|mmse(y) - x|^2, noise and bias together, at E|x|^2 = 1.

    Shape: of gain and noise_var, broadcast. Never above 1, nor above what zero forcing has.
    """
    return noise_var / (_power(gain) + noise_var).clamp_min(GAIN_POWER_FLOOR)


def as_flat(symbols: Tensor, noise_var: Tensor) -> tuple[Tensor, Tensor]:
    """Zero-forced symbols of unequal noise, each weighed by how far it can be trusted.

    Each gets the weight of the linear estimate of least error, 1 / (1 + N_i), relative to the
    flat channel on which that estimate would have the same mean error; symbols that are all
    equally noisy stay as they are. Right for E|x|^2 = 1.

    Args:
        symbols: (B, n) complex, x + noise.
        noise_var: N_i, (B, n).

    Returns:
        The weighed symbols, and N0 of that flat channel (B, 1).
    """
    error = (noise_var / (1 + noise_var)).mean(dim=1, keepdim=True)
    flat = (error / (1 - error)).clamp_min(1e-10)
    return symbols * (1 + flat) / (1 + noise_var), flat


def precode_phase(x: Tensor, gain: Tensor) -> Tensor:
    """h* x / |h| (DeepJSCC-Q, eq. 3): turned so that the channel's phase cancels.

    The power of every symbol is unchanged; h = 0, which has no phase, leaves x as it is.
    The channel then delivers |h| x + n, an AWGN channel of SNR |h|^2 / N0 (eq. 4) once
    equalised with ``gain.abs()``.
    """
    phase = torch.where(gain == 0, torch.ones_like(gain), gain.sgn())
    return phase.conj() * x
