"""The value link: latents become channel symbols directly, two real values to a channel use."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from vqlink.channels.symbol import SymbolChannel
from vqlink.links.equalize import as_flat, mmse, precode_phase, zero_forcing, zero_forcing_noise_var
from vqlink.links.mixing import mix, unmix
from vqlink.links.power import PowerConstraint, message_power, normalise_message
from vqlink.protocols import LinkOutput, Point, Quantizer
from vqlink.rng import Generators
from vqlink.units import to_db

Equalizer = Literal["none", "zero_forcing", "mmse"]


class ValuesLink(nn.Module):
    """All scales of one message as one frame of complex symbols across ``channel``.

        values -- (I, Q) pairs -- frame -- gain -- [precode] -- channel -- equalise -- values

    The receiver knows h and N0; the transmitter knows the phase of h where ``precode`` is set
    (DeepJSCC-Q, eq. 3).

    Args:
        channel: physics.
        power: which constraint the message meets; see :mod:`vqlink.links.power`.
        equalizer: the receiver's front end; ``zero_forcing`` is eq. 2, and weighs symbols whose
            fades differ (:func:`vqlink.links.equalize.as_flat`).
        precode: phase precoding at the transmitter.
        mixing: orthonormal mix of the latents before :meth:`drive`, undone after the link; see
            :mod:`vqlink.links.mixing`.
        drive_level: RMS of a message's latents in front of a finite alphabet of RMS 1, under
            ``power="message"``. The higher, the more of the latents' tails is cut off; the lower,
            the coarser the steps are beside them. 0.65 suits 64 points and Gaussian latents.
    """

    def __init__(
        self,
        channel: SymbolChannel,
        *,
        power: PowerConstraint = "message",
        equalizer: Equalizer = "zero_forcing",
        precode: bool = False,
        mixing: bool = False,
        drive_level: float = 1.0,
    ) -> None:
        super().__init__()
        self.channel = channel
        self.power: PowerConstraint = power
        self.equalizer: Equalizer = equalizer
        self.precode = precode
        self.mixing = mixing
        self.drive_level = drive_level

    def drive(self, latents: tuple[Tensor, ...], quantizer: Quantizer) -> tuple[Tensor, ...]:
        """Mix the latents and bring them, all scales of a message together, to the drive level.

        Args:
            latents: (B, ..., D) with D even, one a scale.
            quantizer: what comes after.
        """
        if self.mixing:
            latents = tuple(mix(z.float()) for z in latents)
        if self.power != "message":
            return latents
        frame, shapes = _to_frame(latents)
        level = self.drive_level if math.isfinite(quantizer.bits_per_vector) else 1.0
        return _from_frame(normalise_message(frame) * level, shapes)

    def amplify(self, values: Tensor) -> Tensor:
        """(B, ..., 2) symbols of a message -> at the transmit gain of the power constraint."""
        return normalise_message(values) if self.power == "message" else values

    def unmix(self, received: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Undo the mixing of :meth:`drive`, where there is one."""
        return tuple(unmix(z) for z in received) if self.mixing else received

    def forward(
        self, values: tuple[Tensor, ...], point: Point, *, generator: Generators
    ) -> LinkOutput:
        """Send what the quantizer put out, at the transmit gain that the constraint asks for.

        Args:
            values: (B, ..., D) float32 with D even, one a scale.

        Returns:
            The equalised values in the same shapes, the exact channel uses, the measured power.
        """
        frame, shapes = _to_frame(values)
        frame = self.amplify(frame)
        tx_power = message_power(frame.detach())
        symbols = torch.view_as_complex(frame.contiguous())
        gain = self.channel.gains(symbols, generator=generator)
        if self.precode:
            symbols = precode_phase(symbols, gain)
        arrived = self.channel(symbols, point, generator=generator, gain=gain)
        # After phase precoding the receiver finds the real gain |h|.
        seen = arrived.gain.abs() if self.precode else arrived.gain
        gain_power = gain.abs().square().mean(dim=1)
        stats, flat_gain = {"gain_power": gain_power}, gain_power
        weighed = zero_forcing(arrived.y, seen)
        if seen.shape[1] > 1 and self.equalizer != "none":
            noise_var = zero_forcing_noise_var(seen, arrived.noise_var)
            weighed, flat = as_flat(weighed, noise_var)
            flat_gain = (arrived.noise_var / flat)[:, 0]
        match self.equalizer:
            case "zero_forcing":
                received = weighed
            case "mmse":
                received = mmse(arrived.y, seen, arrived.noise_var)
            case "none":
                received = arrived.y
        return LinkOutput(
            received=self.unmix(_from_frame(torch.view_as_real(received), shapes)),
            uses=frame.shape[1],
            tx_power=tx_power,
            stats=stats,
            flat_gain=flat_gain,
        )


def heard_snr(snr_db: Tensor, link: LinkOutput) -> Tensor:
    """(B,) SNR in dB after the fade, Es |h|^2 / N0, which the receiver knows.

    Where each symbol has a fade of its own, that of the flat channel which is as bad.
    """
    assert link.flat_gain is not None, "no value link"
    return snr_db + to_db(link.flat_gain.clamp_min(1e-6))


def _to_frame(latents: tuple[Tensor, ...]) -> tuple[Tensor, list[torch.Size]]:
    """Scales (B, ..., D) -> one frame (B, n, 2), scale after scale, and their shapes."""
    if any(z.shape[-1] % 2 for z in latents):
        raise ValueError("a channel use takes two real values: the latents' width must be even")
    pairs = [z.float().reshape(z.shape[0], -1, 2) for z in latents]
    return torch.cat(pairs, dim=1), [z.shape for z in latents]


def _from_frame(frame: Tensor, shapes: list[torch.Size]) -> tuple[Tensor, ...]:
    sizes = [math.prod(shape[1:]) // 2 for shape in shapes]
    parts = torch.split(frame, sizes, dim=1)
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
