"""The learned system: a joint source-channel code.

image -> encoder -> drive -> quantizer -> link (channel, equaliser) -> decoder -> image
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from vqlink.links.equalize import as_flat
from vqlink.links.values import ValuesLink, heard_snr
from vqlink.protocols import (
    LinkOutput,
    Point,
    Quantizer,
    QuantizerOutput,
    Reception,
    Transmission,
)
from vqlink.rng import Generators
from vqlink.systems.tiling import pad_to_multiple, tiled
from vqlink.units import to_db

_TILE = 1024  # pixels a side; about 1.5 GB of activations with the compact net


class ImageEncoder(Protocol):
    """(B, 3, H, W) in [0, 1] and (B,) dB -> latents (B, H / stride, W / stride, channels)."""

    stride: int
    channels: int
    reach: int

    def statistics(self, x: Tensor) -> Tensor:
        """(B, S) means over each image, of use to the net when it sees a part of it."""
        ...

    def __call__(self, x: Tensor, snr_db: Tensor, statistics: Tensor) -> tuple[Tensor, ...]: ...


class ImageDecoder(Protocol):
    """Received latents and (B,) dB -> (B, 3, H, W)."""

    reach: int

    def statistics(self, latents: tuple[Tensor, ...]) -> Tensor:
        """(B, S) means over each message's received latents."""
        ...

    def __call__(
        self, latents: tuple[Tensor, ...], snr_db: Tensor, statistics: Tensor
    ) -> Tensor: ...


@dataclass(frozen=True)
class JSCCOutput:
    """One pass of training.

    Attributes:
        received: as the input, float32, not clamped.
        quantized: the quantizer's output, of the (single) scale.
        link: the link's output.
    """

    received: Tensor
    quantized: QuantizerOutput
    link: LinkOutput


class JSCC(nn.Module):
    """An image transceiver whose modulator is learned.

    Args:
        encoder, quantizer, link, decoder: the parts; the quantizer sees latents in pairs (I, Q).
        name: what tables and rows call it.

    Attributes:
        told_snr_db: what :meth:`transmit` tells both nets of the SNR, whatever it is; None: the
            truth. So a code behaves that was made for one SNR and meets another.

    Example:
        >>> codec = load("jscc-q64-awgn-1-12")                              # doctest: +SKIP
        >>> symbols = codec.encode(images, snr_db=10.0)                     # doctest: +SKIP
        >>> sent = codec.transmit(images, Point(snr_db=10.0), generator=g)  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: nn.Module,
        link: ValuesLink,
        decoder: nn.Module,
        *,
        name: str = "jscc",
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.quantizer, self.link = quantizer, link
        self._name = name
        self.told_snr_db: float | None = None

    @property
    def name(self) -> str:
        return self._name

    def uses(self, height: int, width: int) -> int:
        """Complex channel uses of an image: padding to whole blocks included."""
        stride, channels = self._encoder.stride, self._encoder.channels
        return -(-height // stride) * -(-width // stride) * channels // 2

    def forward(self, x: Tensor, point: Point, *, generator: Generators) -> JSCCOutput:
        """Send N messages of T windows each, for training.

        A message of several windows makes the power constraint see what it sees in a large
        picture, where busy regions may take power from flat ones.

        Args:
            x: (N, T, 3, H, W) float32 in [0, 1], H and W multiples of the stride.
            point: one SNR a message, (N,) or a float.
            generator: for the channel (and a stochastic quantizer).
        """
        count, windows = x.shape[:2]
        snr = point.snr(count, x.device)
        tiles = x.flatten(0, 1)
        seen = _shared(self._encoder.statistics(tiles), windows)
        (z,) = self._encoder(tiles, snr.repeat_interleave(windows), seen)
        z = z.float().reshape(count, windows, *z.shape[1:])
        quantized, link = self._send(z, point, generator)
        heard = heard_snr(snr, link).repeat_interleave(windows)
        latents = (link.received[0].flatten(0, 1),)
        known = _shared(self._decoder.statistics(latents), windows)
        received = self._decoder(latents, heard, known)
        return JSCCOutput(received.float().reshape(x.shape), quantized, link)

    @torch.no_grad()
    def encode(self, x: Tensor, snr_db: float | Tensor) -> Tensor:
        """Images (B, 3, H, W) of any size -> the hard symbols on the air.

        Returns:
            (B, h, w, channels / 2) complex64, at the power that the link's constraint gives.
        """
        hard = self._quantizer.hard(self._driven(x, snr_db))
        return torch.view_as_complex(self.link.amplify(hard).contiguous())

    @torch.no_grad()
    def points(self, x: Tensor, snr_db: float | Tensor) -> Tensor:
        """Images (B, 3, H, W) of any size -> which points of the alphabet go on the air.

        Returns:
            (B, h, w, channels / 2) int64.

        Raises:
            TypeError: for a code without quantization.
        """
        return self._quantizer.encode(self._driven(x, snr_db))

    def _driven(self, x: Tensor, snr_db: float | Tensor) -> Tensor:
        (z,) = self.link.drive((self._latents(x, Point(snr_db=snr_db)),), self._quantizer)
        return _pairs(z)

    @torch.no_grad()
    def decode(self, symbols: Tensor, snr_db: float | Tensor, size: tuple[int, int]) -> Tensor:
        """Equalised symbols (B, h, w, channels / 2) complex -> images (B, 3, *size) in [0, 1]."""
        latents = torch.view_as_real(symbols).flatten(-2)
        snr = Point(snr_db=snr_db).snr(latents.shape[0], latents.device)
        (latents,) = self.link.unmix((latents,))
        return self._image(latents, snr, size)

    @property
    def layers(self) -> int:
        return 1

    def to_symbols(self, x: Tensor, snr_db: float) -> Tensor:
        """As :meth:`encode`, each message as one row (B, uses)."""
        return self.encode(x, snr_db).flatten(1)

    @torch.no_grad()
    def from_symbols(self, symbols: Tensor, noise_var: Tensor, size: tuple[int, int]) -> Reception:
        """As :meth:`decode`, told the SNR of ``noise_var``.

        Symbols of one message may differ in their noise (carriers of a multipath channel); see
        :func:`vqlink.links.equalize.as_flat`.
        """
        weighed, flat = as_flat(symbols, noise_var)
        if self.link.equalizer == "mmse":
            weighed = weighed / (1 + flat)
        stride = self._encoder.stride
        rows, columns = -(-size[0] // stride), -(-size[1] // stride)
        image = self.decode(
            weighed.reshape(symbols.shape[0], rows, columns, -1), -to_db(flat[:, 0]), size
        )
        return Reception(image, torch.zeros(symbols.shape[0], dtype=torch.bool))

    @torch.no_grad()
    def transmit(self, x: Tensor, point: Point, *, generator: Generators) -> Transmission:
        """Images (B, 3, H, W) of any size, hard-quantised, across the channel and back.

        Raises:
            ValueError: if ``x`` is not (B, 3, H, W).
        """
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), not {tuple(x.shape)}")
        batch, _, height, width = x.shape
        told = point if self.told_snr_db is None else Point(snr_db=self.told_snr_db)
        _, link = self._send(self._latents(x, told), point, generator)
        heard = told.snr(batch, x.device)
        if self.told_snr_db is None:
            heard = heard_snr(heard, link)
        return Transmission(
            received=self._image(link.received[0], heard, (height, width)),
            uses=torch.full((batch,), link.uses, dtype=torch.int64),
            tx_power=link.tx_power,
            outage=torch.zeros(batch, dtype=torch.bool),
            stats=link.stats,
        )

    def _send(
        self, z: Tensor, point: Point, generator: Generators
    ) -> tuple[QuantizerOutput, LinkOutput]:
        (z,) = self.link.drive((z,), self._quantizer)
        quantized = self._quantizer(_pairs(z), generator=None)
        values = quantized.values.reshape(z.shape)
        return quantized, self.link((values,), point, generator=generator)

    def _latents(self, x: Tensor, point: Point) -> Tensor:
        stride, snr = self._encoder.stride, point.snr(x.shape[0], x.device)
        padded = pad_to_multiple(x.to(memory_format=torch.channels_last), stride)
        seen = self._encoder.statistics(padded)

        def encode(part: Tensor) -> Tensor:
            return self._encoder(part, snr, seen)[0].permute(0, 3, 1, 2)

        z = tiled(
            encode, padded, scale=1 / stride, reach=self._encoder.reach, tile=_TILE, unit=stride
        )
        return z.permute(0, 2, 3, 1).float()

    def _image(self, latents: Tensor, snr: Tensor, size: tuple[int, int]) -> Tensor:
        stride = self._encoder.stride
        known = self._decoder.statistics((latents,))

        def decode(part: Tensor) -> Tensor:
            return self._decoder((part.permute(0, 2, 3, 1),), snr, known)

        reach = -(-self._decoder.reach // stride)
        first = latents.permute(0, 3, 1, 2)
        image = tiled(decode, first, scale=stride, reach=reach, tile=_TILE // stride, unit=1)
        return image[..., : size[0], : size[1]].float().clamp(0, 1)

    # nn.Module keeps parts as plain modules; these name what the code relies on.
    @property
    def _encoder(self) -> ImageEncoder:
        return self.encoder  # type: ignore[return-value]

    @property
    def _decoder(self) -> ImageDecoder:
        return self.decoder  # type: ignore[return-value]

    @property
    def _quantizer(self) -> Quantizer:
        return self.quantizer  # type: ignore[return-value]


def _shared(statistics: Tensor, windows: int) -> Tensor:
    """Means of each window (N * T, S) -> means of its message, for each window (N * T, S)."""
    means = torch.unflatten(statistics, 0, (-1, windows)).mean(dim=1)
    return means.repeat_interleave(windows, dim=0)


def _pairs(z: Tensor) -> Tensor:
    return z.reshape(*z.shape[:-1], -1, 2)
