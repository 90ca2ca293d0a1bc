"""A learned system that sends codes in layers: a stream for each layer of a residual quantizer.

image -> encoder -> layers of codewords -> a coded stream each -> codewords -> sum -> decoder

The first layers say most, and the later ones mean nothing without them (in a tree), so each stream
has a code rate of its own: unequal error protection. What is lost of a layer drops out of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqlink.links.equalize import equalize
from vqlink.links.indices import IndexLink
from vqlink.protocols import Point, Reception, Transmission
from vqlink.quantizers.labels import label_bits
from vqlink.quantizers.paths import join_path
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.rng import Generators
from vqlink.systems.autoencoder import VQAutoencoder
from vqlink.systems.index_code import IndexCodeOutput
from vqlink.systems.layered_codes import ResidualCodes
from vqlink.systems.tiling import pad_to_multiple, tiled

_TILE = 512  # pixels a side


class LayeredCode(nn.Module):
    """An image transceiver on a residual quantizer and a digital link for each of its layers.

    Args:
        encoder: (B, 3, H, W) in [0, 1] -> (B, h, w, D), with a ``stride`` and a ``reach``.
        quantizer: of the layers, each of 2^b choices.
        links: one a layer, over the same channel; each ``conceal``s what it loses.
        decoder: (B, h, w, D) -> (B, 3, H, W), with a ``reach``.
        name: what tables and rows call it.

    Raises:
        ValueError: for links that don't fit the layers, or don't conceal.

    Example:
        >>> codec = load("hrvqvae-cifar10")                                 # doctest: +SKIP
        >>> maps = codec.encode(images)                                     # doctest: +SKIP
        >>> sent = codec.transmit(images, Point(snr_db=4.0), generator=g)   # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: ResidualQuantizer,
        links: Sequence[IndexLink],
        decoder: nn.Module,
        *,
        name: str = "layered-code",
    ) -> None:
        super().__init__()
        bits = [(label_bits(size),) for size in quantizer.branches]
        if [link.bits for link in links] != bits or any(
            2**b != m for (b,), m in zip(bits, quantizer.branches, strict=True)
        ):
            raise ValueError("one link a layer, and each layer has 2^bits choices")
        if any(link.lost != "conceal" for link in links):
            raise ValueError("the links of layers conceal what they lose")
        self.encoder: nn.Module = encoder
        self.decoder: nn.Module = decoder
        self.quantizers = nn.ModuleList([quantizer])
        self.links = nn.ModuleList(links)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def quantizer(self) -> ResidualQuantizer:
        """The layers."""
        (found,) = self.quantizers
        assert isinstance(found, ResidualQuantizer)
        return found

    @property
    def codebooks(self) -> list[ResidualQuantizer]:
        """The one quantizer, as of codes with several."""
        return [self.quantizer]

    @property
    def maps(self) -> ResidualCodes:
        """The codec as a prior sees it."""
        codec = VQAutoencoder(self.encoder, self.quantizer, self.decoder)
        return ResidualCodes(codec, stride=self._stride)

    @property
    def streams(self) -> list[IndexLink]:
        """The link of each layer, the first layer first."""
        return [link for link in self.links if isinstance(link, IndexLink)]

    @property
    def layers(self) -> int:
        return self.quantizer.layers

    def uses(self, height: int, width: int) -> int:
        """Complex channel uses of an image: CRC, parity and padding of all streams included."""
        rows, columns = self._map(height, width)
        return sum(link.uses([rows * columns]) for link in self.streams)

    def forward(self, x: Tensor, *, generator: Generators, flip: float = 0.0) -> IndexCodeOutput:
        """Images (B, 3, H, W) without a channel, for training; sides multiples of the stride.

        Args:
            generator: for quantizers that draw noise.
            flip: must be 0: layers are trained without errors.
        """
        if flip:
            raise ValueError("layers are trained without flipped bits")
        quantized = self.quantizer(self.encoder(x).float(), generator=generator)
        return IndexCodeOutput(self.decoder(quantized.values).float(), (quantized,))

    @torch.no_grad()
    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) of any size -> (B, h, w) int64 choices of each layer."""

        def choices(part: Tensor) -> Tensor:
            digits = self.quantizer.digits(self.quantizer.encode(self.encoder(part).float()))
            return torch.stack(digits, dim=1)

        stride, reach = self._stride, int(self.encoder.reach)  # type: ignore[arg-type]
        padded = pad_to_multiple(x.to(memory_format=torch.channels_last), stride)
        cells = tiled(choices, padded, scale=1 / stride, reach=reach, tile=_TILE, unit=stride)
        return cells.unbind(dim=1)

    @torch.no_grad()
    def decode(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Choices of each layer -> images (B, 3, *size) in [0, 1].

        A choice of -1 is lost: it and, in a tree, all below it drop out of the sum.
        """

        def image(cells: Tensor) -> Tensor:
            found: Tensor = self.decoder(self._sum(cells.unbind(dim=1))).float()
            return found

        stride = self._stride
        reach = -(-int(self.decoder.reach) // stride)  # type: ignore[arg-type]
        cells = torch.stack(list(maps), dim=1).to(self.quantizer.codebook(0).device)
        whole = tiled(image, cells, scale=stride, reach=reach, tile=_TILE // stride, unit=1)
        return whole[..., : size[0], : size[1]].clamp(0, 1)

    def _sum(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, h, w) choices of each layer -> (B, h, w, D) codes of what is known."""
        quantizer = self.quantizer
        path = join_path([choice.clamp_min(0) for choice in maps], quantizer.branches)
        total = torch.zeros(*path.shape, quantizer.dim, device=path.device)
        known = torch.ones_like(path, dtype=torch.bool)
        for layer, (rows, choice) in enumerate(zip(quantizer.rows(path), maps, strict=True)):
            there = choice >= 0
            known = known & there if quantizer.tree else there
            total += quantizer.codebook(layer).detach()[rows] * known[..., None]
        return total

    @torch.no_grad()
    def transmit(self, x: Tensor, point: Point, *, generator: Generators) -> Transmission:
        """Images (B, 3, H, W) of any size as streams one after the other.

        Every message is decoded from what arrived, so there are no outages. ``stats``: ``lost``,
        the part of all bits in lost blocks, and ``lost1``, ``lost2``, ... of each layer.

        Raises:
            ValueError: if ``x`` is not (B, 3, H, W).
        """
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), not {tuple(x.shape)}")
        batch, _, height, width = x.shape
        symbols = self.to_symbols(x, 0.0)
        # One frame: a slow fade is the same for all layers.
        arrived = self.streams[0].channel(symbols, point, generator=generator)
        heard = self.from_symbols(*equalize(arrived), (height, width))
        return Transmission(
            received=heard.received,
            uses=torch.full((batch,), symbols.shape[1], dtype=torch.int64),
            tx_power=symbols.abs().square().mean(dim=1),
            outage=heard.outage,
            stats=heard.stats,
        )

    @torch.no_grad()
    def to_symbols(self, x: Tensor, snr_db: float) -> Tensor:
        """Images (B, 3, H, W) -> (B, uses) complex64; ``snr_db`` changes nothing."""
        parts = zip(self.streams, self.encode(x), strict=True)
        return torch.cat([link.modulate((choices,)) for link, choices in parts], dim=1)

    @torch.no_grad()
    def from_symbols(self, symbols: Tensor, noise_var: Tensor, size: tuple[int, int]) -> Reception:
        """Equalised symbols (B, uses) -> images; ``stats`` as of :meth:`transmit`."""
        rows, columns = self._map(*size)
        count = rows * columns
        lengths = [link.uses([count]) for link in self.streams]
        maps, lost = [], []
        for link, part, noise in zip(
            self.streams,
            torch.split(symbols, lengths, dim=1),
            torch.split(noise_var, lengths, dim=1),
            strict=True,
        ):
            out = link.demodulate(part, noise, [count])
            maps.append(out.labels[0].reshape(-1, rows, columns))
            lost.append(out.lost)
        image = self.decode(maps, size)
        return Reception(image, torch.zeros(len(image), dtype=torch.bool), self._stats(lost))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """What the decoder makes of all layers. No channel: an upper bound, not a result."""
        return self.decode(self.encode(x), (x.shape[-2], x.shape[-1]))

    def _stats(self, lost: Sequence[Tensor]) -> dict[str, Tensor]:
        bits = torch.tensor([float(link.bits[0]) for link in self.streams])
        shares = torch.stack(list(lost))
        each = {f"lost{layer}": share for layer, share in enumerate(lost, 1)}
        return {"lost": (bits[:, None] * shares).sum(dim=0) / bits.sum(), **each}

    def _map(self, height: int, width: int) -> tuple[int, int]:
        return -(-height // self._stride), -(-width // self._stride)

    @property
    def _stride(self) -> int:
        return int(self.encoder.stride)  # type: ignore[arg-type]


def equal_rate(rates: Sequence[float], bits: Sequence[int]) -> float:
    """The one rate at which all layers together take the uses that they take at ``rates``.

    >>> round(equal_rate([1 / 4, 1 / 2, 2 / 3], [3, 3, 3]), 3)
    0.4
    """
    return sum(bits) / sum(b / rate for b, rate in zip(bits, rates, strict=True))
