"""The spectral envelope of a speech frame: band energies, a learned vector quantiser, and tables.

    spectrum -> log2 of mean |X| in bands -> level (coded apart) + shape
             -> shape + refinement -> codeword of each stage -> affine maps
             -> log2 of the Laplace scale and of the step's shape, between band centres linear

The maps from codewords are affine, so a decoder needs neither net nor floating point: a table of
integers for each stage, in 1/64 of a factor of two, holds all that it must know.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vqlink.digital.laplace import Ints
from vqlink.layers.mdct import HOP
from vqlink.protocols import QuantizerOutput
from vqlink.quantizers.gradients import GradientPath, Learning
from vqlink.quantizers.replacement import Replacement
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import Generators

EDGES = (0, 4, 8, 12, 16, 20, 25, 30, 36, 43, 51, 60, 71, 84, 99, 117, 138, 163, 194, 235, 320)
"""First bins of the bands, and the end: 25 Hz a bin, wider as the ear's bands are."""
BANDS = len(EDGES) - 1
LEVELS, PER_LEVEL = 64, 4
"""Levels of a frame, four for a factor of two (1.5 dB), the first at 1/2."""
UNIT = 64
"""Integers in the tables for a factor of two."""
_FLOOR = 0.3  # of a mean |X|, in steps of 16-bit sound
_REFINEMENT = 0.1  # of the net's output: codewords follow latents that move slowly
_SHAPE = 0.5  # of the envelope's own shape, that the step follows to begin with


@dataclass(frozen=True)
class Coded:
    """Quantised envelopes of N frames, for training.

    Attributes:
        log2_scale, log2_step: (N, HOP) of the Laplace model and, but for a number a frame, of the
            quantizer's step; with the estimator's gradient.
        outputs: of each stage.
    """

    log2_scale: Tensor
    log2_step: Tensor
    outputs: tuple[QuantizerOutput, ...]


class EnvelopeModel(nn.Module):
    """Envelopes of frames on learned codebooks; see the module.

    Args:
        sizes: codewords of each stage, powers of two; a stage quantises what those before left.
        gradient, learning, replacement: of the codebooks (NSVQ is ``noise`` with ``gradient``).
        hidden: width of the refinement.

    The search weighs a band by the square root of its bins (002, eq. 7): so much does a wrong
    scale cost there.
    """

    weights: Tensor
    interpolation: Tensor
    tables: Tensor

    def __init__(
        self,
        sizes: Sequence[int] = (4096,),
        *,
        gradient: GradientPath = "noise",
        learning: Learning = "gradient",
        replacement: Replacement | None = None,
        hidden: int = 64,
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        last = nn.Linear(hidden, BANDS)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.refine = nn.Sequential(nn.Linear(BANDS, hidden), nn.GELU(), last)
        self.stages = nn.ModuleList(
            VectorQuantizer(
                size,
                BANDS,
                gradient=gradient,
                learning=learning,
                replacement=replacement,
                init="normal",
            )
            for size in sizes
        )
        self.maps = nn.Linear(BANDS, 2 * BANDS)
        with torch.no_grad():
            eye = torch.eye(BANDS)
            self.maps.weight.copy_(torch.cat([eye, _SHAPE * eye]))
            self.maps.bias.zero_()
        widths = torch.tensor(_WIDTHS).float()
        self.register_buffer("weights", (widths / widths.mean()).sqrt(), persistent=False)
        self.register_buffer(
            "interpolation", torch.from_numpy(_interpolation()).float() / 256, persistent=False
        )
        self.register_buffer("tables", torch.zeros(sum(sizes) + 1, 2 * BANDS, dtype=torch.int16))

    def analyse(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """(N, HOP) in steps of 16-bit sound -> shapes (N, BANDS) and levels (N,) int64."""
        sizes = [part.abs().mean(dim=1) for part in torch.split(spectrum, _WIDTHS, dim=1)]
        bands = torch.log2(torch.stack(sizes, dim=1) + _FLOOR)
        level = ((bands.mean(dim=1) + 1) * PER_LEVEL).round().clamp(0, LEVELS - 1).long()
        return bands - _log2_level(level)[:, None], level

    def forward(
        self, spectrum: Tensor, *, generator: Generators, stages: int, hard: bool = False
    ) -> Coded:
        """Quantise the envelopes of (N, HOP) spectra for training.

        Args:
            generator: for the gradient paths that draw noise.
            stages: how many are used.
            hard: send codewords through, as evaluation does, with a gradient to the maps alone.
        """
        shape, level = self.analyse(spectrum)
        target = self._refined(shape)
        if hard:
            target = target.detach()
        known, outputs = torch.zeros_like(target), []
        values = known
        for stage in list(self.stages)[:stages]:
            residual = target - known
            if not hard:
                out = stage(residual, generator=generator, weights=self.weights)
                outputs.append(out)
                values = known + out.values
            known = known + stage.decode(stage.encode(residual, weights=self.weights))  # type: ignore[operator]
            if hard:
                values = known
        base = _log2_level(level)[:, None]
        nodes = self.maps(values)
        scale, step = nodes[:, :BANDS] + base, nodes[:, BANDS:] + base
        return Coded(scale @ self.interpolation, step @ self.interpolation, tuple(outputs))

    @torch.no_grad()
    def encode(self, spectrum: Tensor, *, stages: int) -> tuple[Ints, Ints]:
        """(N, HOP) -> levels (N,) and codeword numbers (N, stages)."""
        shape, level = self.analyse(spectrum)
        residual = self._refined(shape)
        indices = []
        for stage in list(self.stages)[:stages]:
            index = stage.encode(residual, weights=self.weights)  # type: ignore[operator]
            residual = residual - stage.decode(index)  # type: ignore[operator]
            indices.append(index)
        return level.numpy(), torch.stack(indices, dim=1).numpy()

    def decode(self, levels: Ints, indices: Ints) -> tuple[Ints, Ints]:
        """Levels (N,) and codeword numbers (N, S) -> log2 scales and steps (N, HOP), in 1/UNIT.

        In integers, so alike on every machine.
        """
        table = self.tables.numpy().astype(np.int64)
        nodes = table[-1] + np.zeros((len(levels), 1), dtype=np.int64)
        first = 0
        for number, size in enumerate(self.sizes[: indices.shape[1]]):
            nodes = nodes + table[first + indices[:, number]]
            first += size
        nodes = nodes + (levels[:, None] * (UNIT // PER_LEVEL) - UNIT)
        bins = (nodes.reshape(-1, 2, BANDS) @ _interpolation() + 128) >> 8
        return bins[:, 0], bins[:, 1]

    def _refined(self, shape: Tensor) -> Tensor:
        refinement: Tensor = self.refine(shape)
        return shape + _REFINEMENT * refinement

    @torch.no_grad()
    def freeze(self) -> None:
        """Fill the decoder's tables from codebooks and maps; call it when training is over."""
        parts = [stage.codebook @ self.maps.weight.T for stage in self.stages]  # type: ignore[operator]
        table = torch.cat([*parts, self.maps.bias[None]]) * UNIT
        self.tables.copy_(table.round().clamp(-32768, 32767).to(torch.int16))

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of a codeword number of each stage."""
        return tuple(size.bit_length() - 1 for size in self.sizes)


_WIDTHS = [b - a for a, b in itertools.pairwise(EDGES)]


def _log2_level(level: Tensor) -> Tensor:
    return level.float() / PER_LEVEL - 1


def _interpolation() -> Ints:
    """(BANDS, HOP) integers / 256: from band centres to bins, linear between, level outside."""
    centres = (np.array(EDGES[1:]) + np.array(EDGES[:-1]) - 1) / 2
    bins = np.arange(HOP)
    columns = [np.interp(bins, centres, row) for row in np.eye(BANDS)]
    upper = np.round(np.stack(columns) * 256).astype(np.int64)
    upper[-1] += 256 - upper.sum(axis=0)
    return upper
