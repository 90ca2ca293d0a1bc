"""What codebooks count, and how ranks agree on it."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor
from torch.nn import functional

LAPLACE = 1e-5
"""Smoothing of EMA counts: what a codeword that no vector meets keeps of them."""


def perplexity(usage: Tensor) -> Tensor:
    """exp(entropy) of codeword probabilities (K,): how many codewords are in use, effectively."""
    return torch.exp(-(usage * usage.clamp_min(1e-12).log()).sum())


def _distributed() -> bool:
    # Asked at each call: a module may be built before the process group is.
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def all_reduce(values: Tensor) -> None:
    """Sum over ranks, in place; nothing without a process group."""
    if _distributed():
        torch.distributed.all_reduce(values)


def gather_vectors(vectors: Tensor) -> Tensor:
    """The vectors of all ranks, in their order; ranks may hold different numbers."""
    if not _distributed():
        return vectors
    world = torch.distributed.get_world_size()
    own = torch.tensor([vectors.shape[0]], device=vectors.device)
    counts = [torch.zeros_like(own) for _ in range(world)]
    torch.distributed.all_gather(counts, own)
    longest = max(int(count) for count in counts)
    padded = functional.pad(vectors, (0, 0, 0, longest - vectors.shape[0]))
    parts = [torch.zeros_like(padded) for _ in range(world)]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([part[: int(n)] for part, n in zip(parts, counts, strict=True)])
