"""A prior over all maps of a codec, p(maps) = prod_n p(map_n | maps before): samples and codes."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vqlink.errors import VqlinkError
from vqlink.priors.pixelcnn import GatedPixelCNN
from vqlink.rng import stream
from vqlink.systems.layered_codes import LayeredCodes

_HEADER = struct.Struct("<4sHHHI")  # mark, images, height, width, checksum of the maps
_MARK = b"VQP1"
_MEMORY = 1 << 30  # bytes that a walk over a piece may keep of what it knows beforehand
_SIZES = {"images": 4096, "height": 4096, "width": 4096}

Choose = Callable[[Tensor], Tensor]
"""Logits (B, m) of a cell -> choices (B,) int64."""


class ImagePrior(nn.Module):
    """A PixelCNN for each map, conditioned on the maps before.

    Args:
        codes: of a trained codec, which stays as it is and is no part of this module's weights.
        classes: of a class-conditional prior; 0 for none.
        width, depth, kernel, dropout: of each PixelCNN.

    Example:
        >>> prior = ImagePrior(ResidualCodes(codec, stride=2))          # doctest: +SKIP
        >>> images = prior.sample(64, (32, 32), generator=stream(0, "samples"))  # doctest: +SKIP
    """

    def __init__(
        self,
        codes: LayeredCodes,
        *,
        classes: int = 0,
        width: int = 64,
        depth: int = 8,
        kernel: int = 5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.codes = codes
        self.classes = classes
        self.nets = nn.ModuleList(
            GatedPixelCNN(
                choices,
                codes.dim,
                context=codes.context_dim(layer),
                classes=classes,
                width=width,
                depth=depth,
                kernel=kernel,
                dropout=dropout,
            )
            for layer, choices in enumerate(codes.choices)
        )

    @property
    def _pixelcnns(self) -> list[GatedPixelCNN]:
        return [net for net in self.nets if isinstance(net, GatedPixelCNN)]

    def forward(self, maps: Sequence[Tensor], label: Tensor | None = None) -> list[Tensor]:
        """Maps (B, h, w) -> (B,) float32 negative log-likelihood of each map, in bits."""
        bits = []
        for layer, net in enumerate(self._pixelcnns):
            logits = net(
                self.codes.values(layer, maps[: layer + 1]), self.codes.context(layer, maps), label
            )
            nats = functional.cross_entropy(
                logits.float().movedim(-1, 1), maps[layer], reduction="none"
            )
            bits.append(nats.flatten(1).sum(dim=1) / math.log(2))
        return bits

    def fixed_bits(self, height: int, width: int) -> float:
        """Bits of an image without a prior: log2 of the choices, over all cells."""
        shapes = self.codes.shapes(height, width)
        cells = [rows * columns for rows, columns in shapes]
        return sum(n * math.log2(m) for n, m in zip(cells, self.codes.choices, strict=True))

    @torch.no_grad()
    def sample(
        self,
        count: int,
        size: tuple[int, int],
        *,
        generator: torch.Generator,
        label: Tensor | None = None,
        temperature: float = 1.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Images (count, 3, *size) in [0, 1] by ancestral sampling, each cell given those before.

        Args:
            label: (count,) int64 where the prior has classes.
            temperature: divides the logits; above 0.
            progress: called with cells done and cells in all.
        """
        total = sum(rows * columns for rows, columns in self.codes.shapes(*size))
        done = 0

        def draw(logits: Tensor) -> Tensor:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total)
            odds = torch.softmax(logits.double().cpu() / temperature, dim=-1)
            chosen = torch.multinomial(odds, 1, generator=generator)[:, 0]
            return chosen.to(logits.device)

        return self.codes.decode(self._walk(count, size, label, lambda *_: draw))

    def compress(self, x: Tensor, label: Tensor | None = None) -> bytes:
        """Images (B, 3, H, W) -> the bytes of their maps, coded with the prior's probabilities.

        Lossless in the maps; the prior walks as it does in :meth:`decompress`, so that both see
        the same numbers on one machine. The classes are not in the bytes.

        Raises:
            VqlinkError: for more or larger images than the format holds.
        """
        batch, _, height, width = x.shape
        for (name, most), value in zip(_SIZES.items(), (batch, height, width), strict=True):
            if not 0 < value <= most:
                raise VqlinkError(f"{name} must be 1 to {most} here, not {value}")
        if self._bytes(batch, height, width) > _MEMORY:
            raise VqlinkError(
                f"{batch} images of {width} x {height} take more than {_MEMORY >> 20} MiB in one "
                "piece: give fewer at a time"
            )
        maps = self.codes.encode(x)
        encoder = _constriction().stream.queue.RangeEncoder()
        model = _constriction().stream.model.Categorical(perfect=False)

        def put(layer: int, row: int, column: int) -> Choose:
            def choose(logits: Tensor) -> Tensor:
                chosen = maps[layer][:, row, column]
                encoder.encode(chosen.cpu().numpy().astype(np.int32), model, _odds(logits))
                return chosen

            return choose

        self._walk(batch, (height, width), label, put)
        words: bytes = encoder.get_compressed().astype("<u4").tobytes()
        return _HEADER.pack(_MARK, batch, height, width, _checksum(maps)) + words

    def decompress(self, data: bytes, label: Tensor | None = None) -> tuple[Tensor, ...]:
        """The maps of :meth:`compress`, bit for bit.

        Raises:
            VqlinkError: for bytes of another kind, damaged ones, or those of another prior.
        """
        if len(data) < _HEADER.size or (len(data) - _HEADER.size) % 4:
            raise VqlinkError("these are no maps coded by a prior: cut short or of another kind")
        mark, batch, height, width, checksum = _HEADER.unpack_from(data)
        sizes = zip(_SIZES.values(), (batch, height, width), strict=True)
        fits = all(0 < value <= most for most, value in sizes)
        if mark != _MARK or not fits or self._bytes(batch, height, width) > _MEMORY:
            raise VqlinkError("these are no maps coded by a prior: the header is wrong")
        words = np.frombuffer(data, "<u4", offset=_HEADER.size).astype(np.uint32)
        decoder = _constriction().stream.queue.RangeDecoder(words)
        model = _constriction().stream.model.Categorical(perfect=False)

        def get(logits: Tensor) -> Tensor:
            try:
                chosen = decoder.decode(model, _odds(logits)).astype(np.int64)
            except AssertionError:
                raise VqlinkError("the maps can't be decoded: damaged bytes") from None
            return torch.from_numpy(chosen).to(logits.device)

        maps = self._walk(batch, (height, width), label, lambda *_: get)
        if _checksum(maps) != checksum:
            raise VqlinkError(
                "the maps don't match their checksum: damaged bytes, another prior or class, or "
                "another machine's arithmetic"
            )
        return tuple(maps)

    def _bytes(self, batch: int, height: int, width: int) -> int:
        """What a walk keeps of the maps before, at most: the most of all maps."""
        sizes = zip(self._pixelcnns, self.codes.shapes(height, width), strict=True)
        return max(4 * net.parts * batch * rows * columns for net, (rows, columns) in sizes)

    @torch.no_grad()
    def _walk(
        self,
        batch: int,
        size: tuple[int, int],
        label: Tensor | None,
        chooser: Callable[[int, int, int], Choose],
    ) -> list[Tensor]:
        """All maps, cell after cell; ``chooser(layer, row, column)`` makes each choice."""
        device = self._pixelcnns[0].enter.weight.device
        maps: list[Tensor] = []
        for layer, (net, shape) in enumerate(
            zip(self._pixelcnns, self.codes.shapes(*size), strict=True)
        ):
            walk = net.walk(batch, *shape, self.codes.context(layer, maps), label)
            own = torch.zeros((batch, *shape), dtype=torch.int64, device=device)
            for row in range(shape[0]):
                for column in range(shape[1]):
                    own[:, row, column] = chooser(layer, row, column)(walk.logits())
                    # A map of another size doesn't decide which codewords there are.
                    cells = [
                        (found if found.shape == own.shape else own)[:, row, column]
                        for found in (*maps, own)
                    ]
                    walk.take(self.codes.values(layer, cells))
            maps.append(own)
            del walk  # before the next one's features are made
        return maps


def draw_labels(count: int, classes: int, *, seed: int) -> Tensor:
    """(count,) classes, as equally often as can be, in random order."""
    order = torch.randperm(count, generator=stream(seed, "labels"))
    return (torch.arange(count) % classes)[order]


def fill_labels(count: int, label: int) -> Tensor:
    """(count,) of one class."""
    return torch.full((count,), label, dtype=torch.int64)


def _odds(logits: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    return torch.softmax(logits.double(), dim=-1).cpu().numpy()


def _checksum(maps: Sequence[Tensor]) -> int:
    total = 0
    for found in maps:
        total = zlib.crc32(found.cpu().numpy().astype("<u2").tobytes(), total)
    return total


def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        raise VqlinkError(
            "entropy coding needs constriction: pip install 'vqlink[speech]'"
        ) from None
    return constriction
