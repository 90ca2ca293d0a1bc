"""The learned system that sends codeword numbers: an autoencoder round a digital link.

image -> encoder -> codebook of each scale -> labels -> link -> labels -> codewords -> decoder
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from vqlink.digital.blocks import SURE
from vqlink.links.indices import IndexLink, bits_to_labels, labels_to_bits
from vqlink.protocols import Point, QuantizerOutput, Reception, Transmission, VqlinkError
from vqlink.quantizers.labels import label_bits, neighbourly_labels
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import Generators, uniform
from vqlink.systems.tiling import pad_to_multiple, tiled

_TILE = 512  # pixels a side
_RARE = 1e-6  # the least probability of a codeword
_TRUST = 0.7  # weight of a ratio in a block that could not be decoded; see docs/vqdeepsc.md


class MultiscaleImageEncoder(Protocol):
    """(B, 3, H, W) in [0, 1] -> (B, H / stride, W / stride, width) for each of ``strides``."""

    strides: tuple[int, ...]
    stride: int
    reach: int

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]: ...


class MultiscaleImageDecoder(Protocol):
    """(B, h, w, width) of each scale -> (B, 3, H, W)."""

    reach: int

    def __call__(self, features: Sequence[Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class IndexCodeOutput:
    """One pass of training.

    Attributes:
        received: as the input, float32, not clamped.
        quantized: of each scale.
    """

    received: Tensor
    quantized: tuple[QuantizerOutput, ...]


class IndexCode(nn.Module):
    """An image transceiver on codebooks, one a scale, and a digital link.

    Args:
        encoder, link, decoder: the parts.
        quantizers: one a scale. All :class:`VectorQuantizer`, or all identities: then nothing can
            be sent, and :meth:`reconstruct` gives the upper bound of this net.
        name: what tables and rows call it.

    The codewords' labels on the air are part of the weights: both ends must agree on them. They
    are the codewords' numbers until :meth:`label_codewords` orders them.

    Example:
        >>> codec = load("vqdeepsc-4")                                      # doctest: +SKIP
        >>> indices = codec.encode(images)                                  # doctest: +SKIP
        >>> sent = codec.transmit(images, Point(snr_db=10.0), generator=g)  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizers: Sequence[nn.Module],
        link: IndexLink,
        decoder: nn.Module,
        *,
        name: str = "index-code",
    ) -> None:
        super().__init__()
        self.encoder, self.link, self.decoder = encoder, link, decoder
        self.quantizers = nn.ModuleList(quantizers)
        self._name = name
        for scale, quantizer in enumerate(self.codebooks):
            self.register_buffer(f"labels{scale}", torch.arange(quantizer.size))

    @property
    def name(self) -> str:
        return self._name

    @property
    def codebooks(self) -> list[VectorQuantizer]:
        """The quantizers; empty for the upper bound."""
        return [q for q in self.quantizers if isinstance(q, VectorQuantizer)]

    def labels(self, scale: int) -> Tensor:
        """(K,) int64: the label of each codeword of a scale."""
        return self.get_buffer(f"labels{scale}")

    def label_codewords(self) -> None:
        """Label the codewords so that a wrong bit picks a near one; to be done after training."""
        for scale, quantizer in enumerate(self.codebooks):
            self.labels(scale).copy_(neighbourly_labels(quantizer.codebook.detach().cpu()))

    def counts(self, height: int, width: int) -> list[int]:
        """Vectors of each scale of an image, padding to whole blocks included."""
        return [rows * columns for rows, columns in self.map_sizes(height, width)]

    def map_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows and columns of each scale's index map, padding to whole blocks included."""
        stride = self._encoder.stride
        rows, columns = -(-height // stride), -(-width // stride)
        return [(rows * (stride // s), columns * (stride // s)) for s in self._encoder.strides]

    def uses(self, height: int, width: int) -> int:
        """Complex channel uses of an image: CRC, parity and padding included.

        Raises:
            VqlinkError: for the upper bound, which sends nothing.
        """
        self._needed_codebooks()
        return self.link.uses(self.counts(height, width))

    def forward(self, x: Tensor, *, generator: Generators, flip: float = 0.0) -> IndexCodeOutput:
        """Images (B, 3, H, W) without a channel, for training; sides multiples of the stride.

        Args:
            generator: for quantizers that draw noise, and for ``flip``.
            flip: probability that a label's bit is wrong, to train with errors.
        """
        quantized = tuple(
            quantizer(z.float(), generator=generator)
            for quantizer, z in zip(self.quantizers, self._encoder(x), strict=True)
        )
        values = [out.values for out in quantized]
        if flip > 0:
            for scale, (quantizer, out) in enumerate(zip(self.codebooks, quantized, strict=True)):
                wrong = self._flipped(scale, out.indices, flip, generator)
                # The step from codeword to codeword is the channel's, without a gradient.
                step = quantizer.decode(wrong) - quantizer.decode(out.indices)
                values[scale] = values[scale] + step
        return IndexCodeOutput(self._decoder(values).float(), quantized)

    def _flipped(
        self, scale: int, indices: Tensor | None, flip: float, generator: Generators
    ) -> Tensor:
        assert indices is not None
        labels = self.labels(scale)
        width = label_bits(labels.numel())
        draws = uniform((*indices.shape, width), generator=generator, like=indices) < flip
        weights = 1 << torch.arange(width, device=indices.device)
        wrong = labels[indices] ^ (draws * weights).sum(dim=-1)
        return torch.argsort(labels)[wrong]

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) of any size -> int64 indices (B, h, w), one tensor a scale.

        Raises:
            VqlinkError: for the upper bound, which has no codebooks.
        """
        codebooks = self._needed_codebooks()
        strides, stride = self._encoder.strides, self._encoder.stride

        def indices(part: Tensor) -> Tensor:
            """All scales in the cells of the coarsest, as channels: (B, 64 + 16 + ..., h, w)."""
            found = [
                functional.pixel_unshuffle(
                    quantizer.encode(z.float())[:, None].float(), stride // s
                )
                for quantizer, z, s in zip(codebooks, self._encoder(part), strides, strict=True)
            ]
            return torch.cat(found, dim=1)

        padded = pad_to_multiple(x.to(memory_format=torch.channels_last), stride)
        cells = tiled(
            indices, padded, scale=1 / stride, reach=self._encoder.reach, tile=_TILE, unit=stride
        )
        return tuple(z[:, 0].round().long() for z in self._from_cells(cells))

    @torch.no_grad()
    def decode(
        self,
        indices: Sequence[Tensor],
        size: tuple[int, int],
        *,
        stand_ins: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Indices of each scale -> images (B, 3, *size) in [0, 1].

        An index of -1 is one that the link concealed; the mean of its codebook stands in.

        Args:
            stand_ins: (n, D) of each scale, features beside the codewords: index K + i, with K
                codewords, is row i.
        """
        codebooks, stride = self._needed_codebooks(), self._encoder.stride
        cells = torch.cat(
            [
                functional.pixel_unshuffle(scale[:, None].float(), stride // s)
                for scale, s in zip(indices, self._encoder.strides, strict=True)
            ],
            dim=1,
        )
        tables: list[Tensor | None] = [None] * len(codebooks)
        if stand_ins is not None:
            pairs = zip(codebooks, stand_ins, strict=True)
            tables = [torch.cat([q.codebook.detach(), extra]) for q, extra in pairs]

        def image(part: Tensor) -> Tensor:
            scales = [z[:, 0].round().long() for z in self._from_cells(part)]
            return self._decoder(
                [
                    _look_up(q, scale, table)
                    for q, scale, table in zip(codebooks, scales, tables, strict=True)
                ]
            )

        return self._tiled(image, cells, size)

    @torch.no_grad()
    def decode_soft(self, llr: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """What is known of each label's bits -> images (B, 3, *size) in [0, 1].

        Each codeword is the mean of all that its label may be, weighted by their probabilities:
        the estimate of least squared error of the feature. Bits that are certain give the codeword.

        Args:
            llr: (B, h, w, bits) log P(1) / P(0) of the labels of each scale.
        """
        codebooks, stride = self._needed_codebooks(), self._encoder.stride
        widths = [label_bits(quantizer.size) for quantizer in codebooks]
        cells = torch.cat(
            [
                functional.pixel_unshuffle(scale.permute(0, 3, 1, 2), stride // s)
                for scale, s in zip(llr, self._encoder.strides, strict=True)
            ],
            dim=1,
        )

        def image(part: Tensor) -> Tensor:
            known = [z.permute(0, 2, 3, 1) for z in self._from_cells(part, widths)]
            return self._decoder(
                [
                    _expected(quantizer, self.labels(scale), known[scale])
                    for scale, quantizer in enumerate(codebooks)
                ]
            )

        return self._tiled(image, cells, size)

    def _tiled(
        self, image: Callable[[Tensor], Tensor], cells: Tensor, size: tuple[int, int]
    ) -> Tensor:
        stride = self._encoder.stride
        reach = -(-self._decoder.reach // stride)
        whole = tiled(image, cells, scale=stride, reach=reach, tile=_TILE // stride, unit=1)
        return whole[..., : size[0], : size[1]].float().clamp(0, 1)

    @torch.no_grad()
    def transmit(self, x: Tensor, point: Point, *, generator: Generators) -> Transmission:
        """Images (B, 3, H, W) of any size as indices across the channel and back.

        Every message is decoded from what arrived, so there are no outages; ``stats`` has the
        part of the bits in lost blocks. What the link makes of these is its ``lost``.

        Raises:
            ValueError: if ``x`` is not (B, 3, H, W).
        """
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), not {tuple(x.shape)}")
        batch, _, height, width = x.shape
        link = self.link(self._labelled(x), point, generator=generator)
        return Transmission(
            received=self._received(link.received, link.llr, (height, width)),
            uses=torch.full((batch,), link.uses, dtype=torch.int64),
            tx_power=link.tx_power,
            outage=torch.zeros(batch, dtype=torch.bool),
            stats=link.stats,
        )

    @property
    def layers(self) -> int:
        return len(self.quantizers)

    @torch.no_grad()
    def to_symbols(self, x: Tensor, snr_db: float) -> Tensor:
        """Images (B, 3, H, W) -> (B, uses) complex64; ``snr_db`` changes nothing: one rate."""
        return self.link.modulate(self._labelled(x))

    @torch.no_grad()
    def from_symbols(self, symbols: Tensor, noise_var: Tensor, size: tuple[int, int]) -> Reception:
        """Equalised symbols (B, uses) -> images; ``stats["lost"]``: bits in blocks not good."""
        out = self.link.demodulate(symbols, noise_var, self.counts(*size))
        maps = self.map_sizes(*size)
        batch = symbols.shape[0]
        image = self._received(
            [part.reshape(batch, *hw) for part, hw in zip(out.labels, maps, strict=True)],
            [part.reshape(batch, *hw, -1) for part, hw in zip(out.llr, maps, strict=True)],
            size,
        )
        return Reception(image, torch.zeros(len(image), dtype=torch.bool), {"lost": out.lost})

    def _labelled(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.labels(i)[indices] for i, indices in enumerate(self.encode(x)))

    def _received(
        self, labels: Sequence[Tensor], llr: Sequence[Tensor], size: tuple[int, int]
    ) -> Tensor:
        """Images from labels (B, h, w), or from their bits' ratios where the link says so."""
        if self.link.lost == "soft":
            return self.decode_soft(llr, size)
        indices = [
            torch.where(found < 0, -1, torch.argsort(self.labels(i))[found.clamp_min(0)])
            for i, found in enumerate(labels)
        ]
        return self.decode(indices, size)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """What the decoder makes of hard codes (or of the features, without codebooks).

        No channel: an upper bound, not a result. Images (B, 3, H, W) of up to a few megapixels.
        """
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x.to(memory_format=torch.channels_last), self._encoder.stride)
        hard = [
            quantizer.hard(z.float())  # type: ignore[operator]
            for quantizer, z in zip(self.quantizers, self._encoder(padded), strict=True)
        ]
        return self._decoder(hard)[..., :height, :width].float().clamp(0, 1)

    def _from_cells(self, cells: Tensor, channels: Sequence[int] | None = None) -> list[Tensor]:
        """The inverse of :meth:`encode`'s cells: (B, 1 or ``channels``, h, w) of each scale."""
        factors = [self._encoder.stride // s for s in self._encoder.strides]
        channels = channels or [1] * len(factors)
        sizes = [n * factor**2 for n, factor in zip(channels, factors, strict=True)]
        parts = torch.split(cells, sizes, dim=1)
        return [
            functional.pixel_shuffle(part, factor)
            for part, factor in zip(parts, factors, strict=True)
        ]

    def _needed_codebooks(self) -> list[VectorQuantizer]:
        if not self.codebooks:
            raise VqlinkError(
                f"{self.name} has no codebooks: it is an upper bound, nothing to send"
            )
        return self.codebooks

    # nn.Module keeps parts as plain modules; these name what the code relies on.
    @property
    def _encoder(self) -> MultiscaleImageEncoder:
        return self.encoder  # type: ignore[return-value]

    @property
    def _decoder(self) -> MultiscaleImageDecoder:
        return self.decoder  # type: ignore[return-value]


def _expected(quantizer: VectorQuantizer, labels: Tensor, llr: Tensor) -> Tensor:
    """The mean codeword given (..., bits) ratios of its label's bits -> (..., D).

    A codeword's probability before anything arrived is how often training used it, where running
    means have counted that.
    """
    codebook = quantizer.codebook.detach()
    width = llr.shape[-1]
    ones = labels_to_bits(labels[None], width).reshape(-1, width)
    flat = _TRUST * llr.reshape(-1, width)
    score = functional.logsigmoid(flat) @ ones.T + functional.logsigmoid(-flat) @ (1 - ones).T
    if quantizer.learning == "ema":
        used = quantizer.ema_count / quantizer.ema_count.sum()
        score = score + used.clamp_min(_RARE).log()
    expected = torch.softmax(score, dim=-1) @ codebook
    # Certain bits leave one codeword, which the sum would only round.
    certain = (llr.abs() >= SURE).all(dim=-1).flatten()
    place = torch.argsort(labels)[bits_to_labels((llr > 0).float().flatten(-2), width)].flatten()
    expected = torch.where(certain[:, None], codebook[place], expected)
    return expected.reshape(*llr.shape[:-1], -1)


def _look_up(quantizer: VectorQuantizer, indices: Tensor, table: Tensor | None) -> Tensor:
    """(..., D) from the codebook, or from a table that goes on where it ends."""
    found = indices.clamp_min(0)
    values = quantizer.decode(found) if table is None else table[found]
    if not bool((indices < 0).any()):
        return values
    mean = quantizer.codebook.detach().mean(dim=0)
    return torch.where((indices < 0)[..., None], mean, values)
