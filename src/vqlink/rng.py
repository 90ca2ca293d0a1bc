"""Named random streams.

Every random draw in vqlink takes a keyword-only ``generator``. A stream is named by a seed, a
purpose and any further keys, so that one draw more in one place never moves the numbers of
another, and so that evaluation noise belongs to (seed, point, repeat, sample) and not to a batch.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

Key = str | int | float
Generators = torch.Generator | Sequence[torch.Generator]
"""One generator for a whole batch, or one for each sample of it."""


def stream(seed: int, purpose: str, *keys: Key) -> torch.Generator:
    """A CPU generator that belongs to exactly this (seed, purpose, keys).

    >>> a, b = stream(0, "noise", 10.0, 3), stream(0, "noise", 10.0, 3)
    >>> bool((torch.randn(4, generator=a) == torch.randn(4, generator=b)).all())
    True
    """
    name = repr((int(seed), purpose, *keys)).encode()
    digest = hashlib.blake2b(name, digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


@contextlib.contextmanager
def seeded_dropout(seed: int, *keys: Key) -> Iterator[None]:
    """torch's global generator, which dropout draws from, seeded by (seed, "drop", keys) inside.

    Afterwards the CPU's is as it was.
    """
    drop = torch.randint(2**62, (), generator=stream(seed, "drop", *keys))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(drop))
        yield


def check_generators(generator: Generators, batch: int) -> None:
    """Raise ValueError unless there is one generator, or one for each of ``batch`` samples."""
    if not isinstance(generator, torch.Generator) and len(generator) != batch:
        raise ValueError(f"{len(generator)} generators for a batch of {batch}")


def of_sample(generator: Generators, place: int) -> torch.Generator:
    """The generator that sample ``place`` of a batch draws from: its own, or the one for all."""
    return generator if isinstance(generator, torch.Generator) else generator[place]


def _draw(kind: str, shape: tuple[int, ...], generator: Generators, like: Tensor | None) -> Tensor:
    def draw(size: tuple[int, ...], source: torch.Generator) -> Tensor:
        function = torch.randn if kind == "normal" else torch.rand
        return function(size, generator=source, device=source.device)

    if isinstance(generator, torch.Generator):
        values = draw(shape, generator)
    else:
        check_generators(generator, shape[0])
        values = torch.stack([draw(shape[1:], source) for source in generator])
    return values if like is None else values.to(like.device)


def normal(shape: Sequence[int], *, generator: Generators, like: Tensor | None = None) -> Tensor:
    """Real standard normal float32 draws of ``shape``, on the device of ``like``.

    With a sequence of generators, sample ``i`` of the batch is drawn from ``generator[i]`` alone.
    """
    return _draw("normal", tuple(shape), generator, like)


def uniform(shape: Sequence[int], *, generator: Generators, like: Tensor | None = None) -> Tensor:
    """Uniform float32 draws in [0, 1); as :func:`normal` otherwise."""
    return _draw("uniform", tuple(shape), generator, like)


def complex_normal(
    shape: Sequence[int], *, generator: Generators, like: Tensor | None = None
) -> Tensor:
    """Circular complex64 draws CN(0, 1): variance 1/2 in each real dimension."""
    parts = normal((*shape, 2), generator=generator, like=like)
    symbols: Tensor = torch.view_as_complex(parts * math.sqrt(0.5))
    return symbols
