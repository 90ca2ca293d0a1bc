"""Codebook replacement (002, III-C): codewords that are hardly used move to where others are busy.

"more frequently in the early stages of the training process and as the training goes ahead,
... less frequently. Further, the codebook replacement function is stopped in final stages"
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor


def spread_of(used: Tensor) -> Tensor:
    """Deviation (D,) of the codewords in use (U, D), which copies are moved by.

    Where they are all alike, as a single one is, their size stands in: copies would stay copies.
    """
    deviation = used.std(dim=0, correction=0).clamp_min(1e-12)
    if not bool((deviation > 1e-12).any()):
        deviation = torch.full_like(deviation, max(1e-3, float(used.abs().amax())))
    return deviation


@dataclass(frozen=True)
class Replacement:
    """When codewords are replaced, which, and by what.

    Args:
        every: steps before the first replacement.
        until: last step at which one may happen.
        growth: each interval is so many times the one before; 1 keeps the period.
        threshold: a codeword that was used less than this is replaced: with ``count="batches"`` in
            less than this part of the batches since the last time (as the authors count), with
            ``"vectors"`` by less than this part of its fair share of the vectors, with
            ``"distortion"`` for less than that of the squared error, which a codebook that is
            optimal at high rates spreads evenly (Gersho, 1979).
        sources: how the codewords to copy are drawn among those above the threshold: ``random``,
            as the paper says, or in proportion to their ``share`` of what is counted.
        noise: deviation of the copies about their sources, relative to the deviation of the used
            codewords in each dimension.
    """

    every: int = 100
    until: int = 10_000
    growth: float = 1.0
    threshold: float = 0.1
    count: Literal["batches", "vectors", "distortion"] = "batches"
    sources: Literal["random", "share"] = "random"
    noise: float = 1e-3

    def __post_init__(self) -> None:
        if self.every < 1 or not self.growth >= 1 or not 0 <= self.threshold <= 1:
            raise ValueError("replacement: every >= 1, growth >= 1 and threshold in [0, 1]")
        if not 0 < self.noise < 1:
            raise ValueError("replacement: noise in (0, 1), or copies would stay copies")

    @cached_property
    def steps(self) -> frozenset[int]:
        """The steps after which codewords are replaced."""
        due, step, period = set(), float(self.every), float(self.every)
        while step <= self.until:
            due.add(round(step))
            period *= self.growth
            step += period
        return frozenset(due)

    def unused(self, counted: Tensor, hits: Tensor, seen: int) -> Tensor:
        """Which codewords fall below the threshold, (K,) bool.

        Args:
            counted: (K,) batches, vectors or squared error of each since the last replacement.
            hits: (K,) vectors that chose each.
            seen: batches since then.
        """
        fair = max(1, seen) if self.count == "batches" else counted.sum() / counted.numel()
        return (counted < self.threshold * fair) | (hits == 0)

    def choose(self, unused: Tensor, counted: Tensor, *, generator: torch.Generator) -> Tensor:
        """A source for every unused codeword: (U,) int64 indices of used ones.

        Random sources are distinct as far as there are enough of them.
        """
        count, used = int(unused.sum()), torch.nonzero(~unused).flatten()
        if self.sources == "share":
            share = counted[used].double().cpu()
            drawn = torch.multinomial(share, count, replacement=True, generator=generator)
        else:
            rounds = -(-count // used.numel())
            orders = [torch.randperm(used.numel(), generator=generator) for _ in range(rounds)]
            drawn = torch.cat(orders)[:count]
        return used[drawn.to(used.device)]


def reset_moments(optimizer: torch.optim.Optimizer, parameter: Tensor, rows: Tensor) -> None:
    """Forget what the optimiser remembers of replaced rows: moments of a codeword that is gone."""
    for value in optimizer.state.get(parameter, {}).values():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            value[rows] = 0
