"""Residual quantization in layers: each codes what the layers before it left over.

With ``tree`` a layer's codebook is chosen by the codeword of the layer before (HR-VQVAE, 003): n
layers of m codewords reach m^n leaves at the cost of n searches among m. Without, every layer has
one codebook (plain residual vector quantization).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqlink.protocols import QuantizerOutput
from vqlink.quantizers.gradients import (
    HardPath,
    Learning,
    check_learning,
    substitute,
)
from vqlink.quantizers.kmeans import kmeans
from vqlink.quantizers.labels import MOST_CODES
from vqlink.quantizers.losses import codebook_losses
from vqlink.quantizers.paths import join_path, search_layers, search_tree, split_path
from vqlink.quantizers.replacement import Replacement, spread_of
from vqlink.quantizers.search import as_vectors, nearest, nearest_child
from vqlink.quantizers.statistics import LAPLACE, all_reduce, gather_vectors, perplexity
from vqlink.rng import Generators

_LEAST = 4  # vectors a codeword: a node with fewer is not judged by its children's use


class ResidualQuantizer(nn.Module):
    """Latents (..., D) -> the sum of one codeword a layer (003, eq. 3-4).

        xi_0 = z,   e_i = the nearest codeword to xi_(i-1),   xi_i = xi_(i-1) - sg[e_i]

    The index of a vector is its path from the root in mixed radix, the first layer most
    significant. ``losses`` are those of eq. 5-6, unweighted: ``codebook`` and ``commitment`` are
    the terms of the combined code and of all layers together, each a mean over vectors and
    dimensions; a layer's codewords are moved by their own layer's term and, with ``combined``, by
    that of the sum. ``noise`` and ``directional`` have no losses; the path goes round the combined
    code. Evaluation gives ``decode(encode(z))``; ``encode(decode(i))`` is ``i`` where later layers
    are finer than those before, as trained ones and those from k-means are.

    Upkeep is explicit, as in :class:`vqlink.quantizers.vector.VectorQuantizer`: call
    :meth:`after_step` after each optimiser step, on every rank.

    Args:
        branches: codewords that each layer offers, the first layer first.
        dim: D.
        tree: children of their own for every codeword; False for plain residual quantization.
        gradient, learning: as of the vector quantizer.
        replacement: policy by which unused codewords become copies of used siblings, with all that
            hangs below them; ``count="vectors"`` is what is counted, whatever the policy says.
        combined: also the terms of the combined code in the losses.
        decay, spread: as of the vector quantizer.

    Raises:
        ValueError: for a layer of fewer than 2 codewords, more than 2^62 codes, or a combination
            that can't learn.

    Example:
        >>> vq = ResidualQuantizer([8, 8, 8], 64)
        >>> out = vq(torch.randn(2, 16, 16, 64))
        >>> out.indices.shape, vq.bits_per_vector, vq.leaves
        (torch.Size([2, 16, 16]), 9.0, 512)
    """

    steps: Tensor

    def __init__(
        self,
        branches: Sequence[int],
        dim: int,
        *,
        tree: bool = True,
        gradient: HardPath = "straight_through",
        learning: Learning = "loss",
        replacement: Replacement | None = None,
        combined: bool = True,
        decay: float = 0.99,
        spread: float = 1e-3,
    ) -> None:
        super().__init__()
        if not branches or min(branches) < 2 or dim < 1:
            raise ValueError(f"every layer has at least 2 codewords, not {tuple(branches)}")
        if math.prod(branches) > MOST_CODES:
            raise ValueError(f"at most 2^62 codes have indices, not {math.prod(branches)}")
        check_learning(gradient, learning)
        self.branches, self.dim, self.tree = tuple(branches), dim, tree
        self.gradient, self.learning = gradient, learning
        self.replacement, self.combined = replacement, combined
        self.decay, self.spread = decay, spread
        for layer, size in enumerate(self.branches):
            rows = self._nodes(layer) * size
            start = torch.empty(rows, dim).uniform_(-1 / size, 1 / size)
            if learning == "ema":
                self.register_buffer(f"codebook{layer}", start)
                self.register_buffer(f"ema_count{layer}", torch.ones(rows))
                self.register_buffer(f"ema_sum{layer}", start.clone())
            else:
                self.register_parameter(f"codebook{layer}", nn.Parameter(start))
            self.register_buffer(f"hits{layer}", torch.zeros(rows, dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        # This rank's statistics since the last after_step; no buffers, which DDP would overwrite.
        self._counts: list[Tensor] = []
        self._sums: list[Tensor] = []

    @property
    def layers(self) -> int:
        """Number of layers, n."""
        return len(self.branches)

    @property
    def leaves(self) -> int:
        """Different codes: the product of the branches."""
        return math.prod(self.branches)

    @property
    def bits_per_vector(self) -> float:
        return sum(math.log2(size) for size in self.branches)

    def extra_repr(self) -> str:
        return f"{self.branches}, {self.dim}, tree={self.tree}, gradient={self.gradient}"

    def codebook(self, layer: int) -> Tensor:
        """(nodes * m, D) codewords of a layer; those of parent p are rows p * m to p * m + m."""
        return getattr(self, f"codebook{layer}")  # type: ignore[no-any-return]

    def hits(self, layer: int) -> Tensor:
        """(nodes * m,) vectors that chose each codeword since the last replacement."""
        return self.get_buffer(f"hits{layer}")

    def forward(self, z: Tensor, *, generator: Generators | None = None) -> QuantizerOutput:
        """Quantise; in training mode with the gradient path, and count.

        Args:
            z: (..., D) finite.
            generator: for the paths that draw noise, in training mode.

        Raises:
            ValueError: for another width, values that aren't finite, or a missing generator.
        """
        with torch.autocast(z.device.type, enabled=False):
            flat = as_vectors(z, self.dim)
            rows = self._search(flat.detach())
            parts = [
                self.codebook(layer).index_select(0, chosen) for layer, chosen in enumerate(rows)
            ]
            combined = parts[0]
            for part in parts[1:]:  # in the order of decode(), bit for bit
                combined = combined + part
            losses = {}
            if self.training:
                self._remember(flat.detach(), rows, parts)
                values = substitute(self.gradient, flat, combined, generator, spread=self.spread)
            else:
                values = combined.detach()
            if self.gradient in ("straight_through", "rotation"):
                losses["commitment"], codebook = codebook_losses(
                    flat, parts, combined=self.combined
                )
                if self.learning == "loss":
                    losses["codebook"] = codebook
            leaves = self._path(rows)
            usage, stats = None, {}
            for layer, chosen in enumerate(rows):
                counts = torch.bincount(chosen, minlength=self.codebook(layer).shape[0])
                usage = counts / counts.sum().clamp_min(1)
                stats[f"perplexity{layer}"] = perplexity(usage)
                stats[f"used{layer}"] = (counts > 0).float().mean()
            if self.layers > 1 and not self.tree:
                _, counts = leaves.unique(return_counts=True)  # type: ignore[no-untyped-call]
                usage = None
                stats["perplexity"] = perplexity(counts / counts.sum())
            else:
                stats["perplexity"] = stats[f"perplexity{self.layers - 1}"]
            return QuantizerOutput(
                values=values.reshape(z.shape),
                indices=leaves.reshape(z.shape[:-1]),
                losses=losses,
                usage=usage,
                stats=stats,
            )

    def hard(self, z: Tensor) -> Tensor:
        """(..., D) -> (..., D) float32: ``decode(encode(z))``."""
        return self.decode(self.encode(z))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """(..., D) -> (...) int64 paths."""
        with torch.autocast(z.device.type, enabled=False):
            return self._path(self._search(as_vectors(z, self.dim))).reshape(z.shape[:-1])

    def decode(self, indices: Tensor, *, layers: int | None = None) -> Tensor:
        """(...) int64 paths -> (..., D) float32, the sum of the first ``layers`` codewords.

        Args:
            layers: 0 to n; None for all. What a progressive link has when later layers are lost.
        """
        count = self.layers if layers is None else layers
        if not 0 <= count <= self.layers:
            raise ValueError(f"this quantizer has layers 0 to {self.layers}, not {count}")
        total = torch.zeros(indices.numel(), self.dim, device=indices.device)
        for layer, rows in enumerate(self.rows(indices)[:count]):
            total += self.codebook(layer).detach().index_select(0, rows.reshape(-1))
        return total.reshape(*indices.shape, self.dim)

    def digits(self, indices: Tensor) -> list[Tensor]:
        """(...) paths -> the choice in each layer, (...) int64 in [0, m)."""
        return split_path(indices, self.branches)

    def rows(self, indices: Tensor) -> list[Tensor]:
        """(...) paths -> the row of each layer's :meth:`codebook`."""
        rows, node = [], torch.zeros_like(indices)
        for size, digit in zip(self.branches, self.digits(indices), strict=True):
            rows.append(node * size + digit if self.tree else digit)
            node = rows[-1]
        return rows

    @torch.no_grad()
    def initialise(self, z: Tensor, *, generator: torch.Generator, iterations: int = 10) -> None:
        """Start all codebooks by k-means from the root down, on latents (..., D) of all ranks.

        A node that fewer vectors reach than it has codewords takes some of them, each a little
        beside itself; one that none reaches, small copies of its layer's residuals.

        Args:
            generator: in the same state on every rank.
        """
        left = gather_vectors(as_vectors(z, self.dim))
        node = torch.zeros(left.shape[0], dtype=torch.int64, device=left.device)
        for layer, size in enumerate(self.branches):
            codebook = self.codebook(layer).data.view(-1, size, self.dim)
            drawn = torch.randint(left.shape[0], (codebook.shape[0], size), generator=generator)
            codebook.copy_(0.1 * left[drawn.to(left.device)])
            order = torch.argsort(node, stable=True)
            held = torch.bincount(node, minlength=codebook.shape[0]).tolist()
            for parent, own in enumerate(torch.split(order, held)):
                if own.numel():
                    codebook[parent] = kmeans(
                        left[own], size, generator=generator, iterations=iterations
                    )
            chosen = (
                nearest_child(left, codebook, node) if self.tree else nearest(left, codebook[0])
            )
            chosen = node * size + chosen
            left = left - self.codebook(layer).detach()[chosen]
            node = chosen if self.tree else node
            if self.learning == "ema":
                self.get_buffer(f"ema_count{layer}").fill_(1.0)
                self.get_buffer(f"ema_sum{layer}").copy_(self.codebook(layer))

    @torch.no_grad()
    def after_step(self, *, generator: torch.Generator) -> list[Tensor]:
        """Sum the statistics over ranks, move running means, replace what is hardly used.

        Args:
            generator: for the replacement; in the same state on every rank.

        Returns:
            The rows of each layer's codebook that moved by replacement, (U,) int64.
        """
        self.steps += 1
        counts, sums = self._take()
        for layer, seen in enumerate(counts):
            self.hits(layer).add_(seen)
            if self.learning == "ema":
                self._move_mean(layer, seen, sums[layer])
        due = self.replacement is not None and int(self.steps) in self.replacement.steps
        if not due:
            return [torch.empty(0, dtype=torch.int64) for _ in self.branches]
        moved = [
            torch.zeros_like(self.hits(layer), dtype=torch.bool) for layer in range(self.layers)
        ]
        for layer in range(self.layers):
            self._replace(layer, moved, generator)
        for layer in range(self.layers):
            self.hits(layer).zero_()
        return [torch.nonzero(rows).flatten() for rows in moved]

    def restart(self) -> None:
        """Begin the replacement's schedule anew, for codewords that go into another training."""
        self.steps.zero_()
        for layer in range(self.layers):
            self.hits(layer).zero_()

    def _nodes(self, layer: int) -> int:
        """Codebooks of a layer."""
        return math.prod(self.branches[:layer]) if self.tree else 1

    def _search(self, flat: Tensor) -> list[Tensor]:
        """Rows of each layer's codebook."""
        codebooks = [self.codebook(layer).detach() for layer in range(self.layers)]
        if self.tree:
            return search_tree(flat, codebooks, self.branches)
        return search_layers(flat, codebooks)

    def _path(self, rows: list[Tensor]) -> Tensor:
        return rows[-1] if self.tree else join_path(rows, self.branches)

    def _remember(self, flat: Tensor, rows: list[Tensor], parts: list[Tensor]) -> None:
        counts, sums, left = [], [], flat
        for layer, (chosen, part) in enumerate(zip(rows, parts, strict=True)):
            codebook = self.codebook(layer).detach()
            counts.append(torch.bincount(chosen, minlength=codebook.shape[0]))
            if self.learning == "ema":
                sums.append(torch.zeros_like(codebook).index_add_(0, chosen, left))
                left = left - part.detach()
        if self._counts:
            counts = [a + b for a, b in zip(self._counts, counts, strict=True)]
            sums = [a + b for a, b in zip(self._sums, sums, strict=True)]
        self._counts, self._sums = counts, sums

    def _take(self) -> tuple[list[Tensor], list[Tensor]]:
        """What all ranks have seen since the last time."""
        counts = self._counts or [torch.zeros_like(self.hits(i)) for i in range(self.layers)]
        sums: list[Tensor] = []
        if self.learning == "ema":
            sums = self._sums or [torch.zeros_like(self.codebook(i)) for i in range(self.layers)]
        self._counts, self._sums = [], []
        for values in (*counts, *sums):
            all_reduce(values)
        return counts, sums

    def _move_mean(self, layer: int, counts: Tensor, sums: Tensor) -> None:
        """Running means, smoothed within siblings; a codeword that nobody has met stays."""
        ema_count, ema_sum = (self.get_buffer(f"ema_{name}{layer}") for name in ("count", "sum"))
        ema_count.lerp_(counts.float(), 1 - self.decay)
        ema_sum.lerp_(sums, 1 - self.decay)
        size = self.branches[layer]
        total = ema_count.view(-1, size).sum(dim=1, keepdim=True)
        smoothed = (ema_count.view(-1, size) + LAPLACE) / (total + size * LAPLACE) * total
        smoothed = smoothed.flatten()
        met = smoothed > LAPLACE
        means = ema_sum / smoothed.clamp_min(LAPLACE)[:, None]
        self.codebook(layer).data.copy_(torch.where(met[:, None], means, self.codebook(layer)))

    def _replace(self, layer: int, moved: list[Tensor], generator: torch.Generator) -> None:
        """Unused codewords of a layer become copies of used siblings, with their subtrees."""
        assert self.replacement is not None
        size = self.branches[layer]
        hits = self.hits(layer).view(-1, size)
        total = hits.sum(dim=1, keepdim=True)
        unused = (hits < self.replacement.threshold * total / size) | (hits == 0)
        # Few vectors say little, and copies of a parent have just got children that are in use.
        fresh = moved[layer].view(-1, size).any(dim=1, keepdim=True)
        unused &= (total >= _LEAST * size) & ~fresh
        rows = torch.nonzero(unused.flatten()).flatten()
        if not rows.numel():
            return
        share = torch.where(unused, 0, hits).double()[rows // size].cpu()
        drawn = torch.multinomial(share, 1, generator=generator)[:, 0].to(rows.device)
        sources = rows // size * size + drawn
        codebook = self.codebook(layer).data
        deviation = spread_of(codebook[self.hits(layer) > 0])
        noise = torch.randn(rows.numel(), self.dim, generator=generator).to(codebook.device)
        self._copy(layer, rows, sources, moved)
        codebook[rows] += self.replacement.noise * deviation * noise
        if self.learning == "ema":
            sums, counts = self.get_buffer(f"ema_sum{layer}"), self.get_buffer(f"ema_count{layer}")
            sums[rows] = codebook[rows] * counts[rows, None]

    def _copy(self, layer: int, rows: Tensor, sources: Tensor, moved: list[Tensor]) -> None:
        """Rows of a layer and all below them become their sources; means share their counts."""
        while True:
            self.codebook(layer).data[rows] = self.codebook(layer).data[sources]
            moved[layer][rows] = True
            if self.learning == "ema":
                counts = self.get_buffer(f"ema_count{layer}")
                counts[rows] = counts[sources] / 2
                sums = self.get_buffer(f"ema_sum{layer}")
                sums[rows] = self.codebook(layer)[rows] * counts[rows, None]
            layer += 1
            if not self.tree or layer == self.layers:
                return
            children = torch.arange(self.branches[layer], device=rows.device)
            rows = (rows[:, None] * self.branches[layer] + children).flatten()
            sources = (sources[:, None] * self.branches[layer] + children).flatten()
