"""The VQ-VAE of paper 000 over a noisy channel.

image -> encoder -> quantizer -> link (power, AWGN) -> decoder -> image
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vqlink.encoders.image.pooled import PooledEncoder
from vqlink.links.power import message_power
from vqlink.links.values import ValuesLink
from vqlink.protocols import LinkOutput, Point, QuantizerOutput, Transmission
from vqlink.quantizers.gradients import straight_through
from vqlink.quantizers.identity import Identity
from vqlink.quantizers.soft import SoftQuantizer
from vqlink.rng import Generators
from vqlink.systems.tiling import pad_to_multiple
from vqlink.units import to_db

Sent = Literal["mixture", "codeword", "signs"]


@dataclass(frozen=True)
class SoftVQVAEOutput:
    """One pass of training.

    Attributes:
        received: images as the input.
        quantized: the quantizer's output, of vectors (B, h, w, C / D, D).
        link: what the link put out; its ``tx_power`` is measured.
    """

    received: Tensor
    quantized: QuantizerOutput
    link: LinkOutput


class SoftVQVAE(nn.Module):
    """An image transceiver that sends values of mixtures, of codewords, or their signs.

    Every real value of a vector is half a channel use. What crosses the channel is ``sent``:

    | ``sent`` | what crosses the channel |
    |---|---|
    | ``mixture`` | z_q = w C, as in the paper: any real values, so nothing digital is sent |
    | ``codeword`` | the codeword of the largest weight; trained with the mixture's gradient |
    | ``signs`` | +-1, the signs of z_q, with the gradient of tanh: the binarised version |

    Args:
        encoder: (B, 3, H, W) -> (B, h, w, C).
        quantizer: of D values, D a divisor of C; the identity for none.
        link: with ``power="none"`` the values keep their size, as in the paper, and what the SNR
            is has to be measured; with ``power="message"`` the SNR is the point's.
        decoder: (B, h, w, C) -> (B, 3, H, W).
        dim: D.
    """

    def __init__(
        self,
        encoder: PooledEncoder,
        quantizer: SoftQuantizer | Identity,
        link: ValuesLink,
        decoder: nn.Module,
        *,
        dim: int = 64,
        sent: Sent = "mixture",
        name: str = "soft-vqvae",
    ) -> None:
        super().__init__()
        if encoder.channels % dim:
            raise ValueError(f"{encoder.channels} channels are no vectors of {dim} values")
        self.encoder, self.decoder = encoder, decoder
        self.quantizer, self.link = quantizer, link
        self.dim, self.sent = dim, sent
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def uses(self, height: int, width: int) -> int:
        """Complex channel uses of an image: padding to whole blocks included."""
        stride, channels = self.encoder.stride, self.encoder.channels
        return -(-height // stride) * -(-width // stride) * channels // 2

    def forward(
        self, x: Tensor, point: Point | None, *, generator: Generators | None = None
    ) -> SoftVQVAEOutput:
        """Send a batch, for training.

        Args:
            x: (B, 3, H, W) in [0, 1], sides multiples of the encoder's stride.
            point: None for a channel without noise.
            generator: of the noise.
        """
        z = self._vectors(x)
        quantized = self.quantizer(z)
        mixtures = quantized.values if self.training else self._mixtures(z)
        link = self._send(self._values(z, mixtures), point, generator)
        return SoftVQVAEOutput(self.decoder(link.received[0]).float(), quantized, link)

    @torch.no_grad()
    def values(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> what is sent, before the power constraint: (B, h, w, C).

        Raises:
            RuntimeError: in training mode, where batch normalisation would mix the messages.
        """
        if self.training:
            raise RuntimeError("sending takes evaluation mode: call eval() first")
        z = self._vectors(pad_to_multiple(x, self.encoder.stride))
        return self._values(z, self._mixtures(z))

    @torch.no_grad()
    def transmit(self, x: Tensor, point: Point | None, *, generator: Generators) -> Transmission:
        """Images (B, 3, H, W) of any size across the channel and back; None for no noise.

        ``stats["snr_db"]`` is the measured SNR of each message, Es/N0 with its own power.
        """
        return self.transmit_values(self.values(x), point, x.shape[-2:], generator=generator)

    @torch.no_grad()
    def transmit_values(
        self,
        values: Tensor,
        point: Point | None,
        size: tuple[int, ...],
        *,
        generator: Generators,
    ) -> Transmission:
        """:meth:`transmit` for what :meth:`values` gave, for images of ``size`` (H, W)."""
        link = self._send(values, point, generator)
        images = self.decoder(link.received[0]).float()[..., : size[0], : size[1]]
        batch = values.shape[0]
        stats = dict(link.stats)
        if point is not None:
            stats["snr_db"] = to_db(link.tx_power) + point.snr(batch, values.device)
        return Transmission(
            received=images.clamp(0, 1),
            uses=torch.full((batch,), link.uses, dtype=torch.int64),
            tx_power=link.tx_power,
            outage=torch.zeros(batch, dtype=torch.bool),
            stats=stats,
            labels={"sent": "latents" if isinstance(self.quantizer, Identity) else self.sent},
        )

    def _vectors(self, x: Tensor) -> Tensor:
        z: Tensor = self.encoder(x).float()
        return z.reshape(*z.shape[:-1], -1, self.dim)

    def _mixtures(self, z: Tensor) -> Tensor:
        return self.quantizer.mixture(z) if isinstance(self.quantizer, SoftQuantizer) else z

    def _values(self, z: Tensor, mixtures: Tensor) -> Tensor:
        """What is sent, with its gradient: (B, h, w, C)."""
        values = mixtures
        if self.sent == "signs":
            values = straight_through(torch.tanh(mixtures), _signs(mixtures))
        elif self.sent == "codeword":
            values = straight_through(mixtures, self.quantizer.hard(z))
        return values.flatten(-2)

    def _send(
        self, values: Tensor, point: Point | None, generator: Generators | None
    ) -> LinkOutput:
        if point is None:
            pairs = self.link.amplify(values.reshape(values.shape[0], -1, 2))
            received = pairs.reshape(values.shape)
            return LinkOutput((received,), pairs.shape[1], message_power(pairs.detach()))
        if generator is None:
            raise ValueError("a noisy channel needs a generator")
        link: LinkOutput = self.link((values,), point, generator=generator)
        return link


def _signs(values: Tensor) -> Tensor:
    return torch.where(values >= 0, 1.0, -1.0)
