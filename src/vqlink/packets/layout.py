"""Which codeword numbers go into which packet, and how they are written there.

Interleaved, cell (row, column) of a scale belongs to packet (column + step * row) mod total: the
cells of one packet are a lattice, whose nearest points are about sqrt(total) apart, so the
neighbours of a lost cell arrive in other packets. In bands, packet after packet holds successive
cells of the raster, and a lost one is a hole in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vqlink.packets.header import MAX_PACKETS

Ints = NDArray[np.int64]

_TRIED = 64
_GOLDEN = 618  # thousandths
_FAR, _SLACK = 4, 8


@dataclass(frozen=True)
class Layout:
    """A picture's cells, dealt to ``total`` packets.

    Attributes:
        shapes: rows and columns of each scale's index map.
        bits: of a codeword number, for each scale.
        total: packets.
        interleaved: as a lattice, else in bands.
    """

    shapes: tuple[tuple[int, int], ...]
    bits: tuple[int, ...]
    total: int
    interleaved: bool

    def __post_init__(self) -> None:
        cells = sum(h * w for h, w in self.shapes)
        if not 1 <= self.total <= min(cells, MAX_PACKETS):
            raise ValueError(f"{cells} cells cannot make {self.total} packets")

    def payload_bytes(self, sequence: int) -> int:
        """Of one packet, its last byte filled up."""
        count = sum(len(self.cells(scale, sequence)) * bits for scale, bits in enumerate(self.bits))
        return -(-count // 8)

    def cells(self, scale: int, sequence: int) -> Ints:
        """Places of one packet's cells in the raster of a scale, ascending.

        Worked out for each packet: tables of a large picture would stop a receiver for seconds
        when its first packet comes.
        """
        rows, columns = self.shapes[scale]
        if not self.interleaved:
            start, end = (-(-rows * columns * p // self.total) for p in (sequence, sequence + 1))
            return np.arange(start, end)
        each = np.arange(rows)
        first = (sequence - lattice_step(self.total) * each) % self.total
        there = first[:, None] + self.total * np.arange(-(-columns // self.total))
        return (columns * each[:, None] + there)[there < columns]

    def write(self, maps: Sequence[NDArray[np.int16]], sequence: int) -> bytes:
        """The payload of one packet: its cells scale by scale, the highest bit first."""
        parts = []
        for scale, bits in enumerate(self.bits):
            numbers = maps[scale].reshape(-1)[self.cells(scale, sequence)]
            shifts = np.arange(bits - 1, -1, -1)
            parts.append((numbers[:, None] >> shifts & 1).astype(np.uint8).ravel())
        return np.packbits(np.concatenate(parts)).tobytes()

    def read(self, payload: bytes, maps: Sequence[NDArray[np.int16]], sequence: int) -> bool:
        """Put a packet's cells into ``maps``; False, and nothing done, where it doesn't fit."""
        if not self._plausible(payload):
            return False
        places = [self.cells(scale, sequence) for scale in range(len(self.bits))]
        sizes = [len(cells) * bits for cells, bits in zip(places, self.bits, strict=True)]
        ones = np.unpackbits(np.frombuffer(payload, np.uint8))
        if len(ones) != sum(sizes) + -sum(sizes) % 8 or ones[sum(sizes) :].any():
            return False
        parts = np.split(ones, np.cumsum(sizes))
        for scale, bits in enumerate(self.bits):
            numbers = parts[scale].reshape(-1, bits) @ (1 << np.arange(bits - 1, -1, -1))
            maps[scale].reshape(-1)[places[scale]] = numbers
        return True

    def _plausible(self, payload: bytes) -> bool:
        """Whether the length is near the mean: what is far off is refused without any work."""
        whole = sum(h * w * b for (h, w), b in zip(self.shapes, self.bits, strict=True))
        mean = whole / 8 / self.total
        return mean / _FAR - _SLACK <= len(payload) <= mean * _FAR + _SLACK


def plan_layout(
    shapes: Sequence[tuple[int, int]], bits: Sequence[int], room: int, *, interleaved: bool
) -> Layout:
    """As few packets as hold the cells with at most ``room`` bytes of payload each, or nearly.

    Raises:
        ValueError: when that takes more than 65,535.
    """
    cells = sum(h * w for h, w in shapes)
    whole = sum(h * w * b for (h, w), b in zip(shapes, bits, strict=True))
    total = max(1, -(-whole // (8 * room)))
    while total <= min(cells, MAX_PACKETS):
        filled = np.zeros(total, np.int64)
        for (rows, columns), width in zip(shapes, bits, strict=True):
            owners = _owners(rows, columns, total, interleaved)
            filled += width * np.bincount(owners, minlength=total)
        fullest = int(filled.max())
        if fullest <= 8 * room:
            return Layout(tuple(shapes), tuple(bits), total, interleaved)
        total = max(total + 1, total * fullest // (8 * room))
    raise ValueError(f"{whole // 8} bytes do not fit into {MAX_PACKETS} packets of {room}")


@lru_cache(maxsize=256)
def lattice_step(total: int) -> int:
    """The step near the golden section of ``total`` whose lattice is the widest.

    Its shortest vector (rows, columns) with columns + step * rows = 0 mod total is the distance
    of a packet's cells.
    """
    middle = (_GOLDEN * total + 500) // 1000
    tried = range(max(1, middle - _TRIED), max(2, min(total, middle + _TRIED + 1)))
    return max(tried, key=lambda step: _shortest(total, step))


def _shortest(total: int, step: int) -> int:
    """Squared length of the lattice's shortest vector, by Gauss's reduction."""
    u, v = (0, total), (1, -step)
    while True:
        if u[0] ** 2 + u[1] ** 2 > v[0] ** 2 + v[1] ** 2:
            u, v = v, u
        length = u[0] ** 2 + u[1] ** 2
        times = round((u[0] * v[0] + u[1] * v[1]) / length)
        if times == 0:
            return length
        v = (v[0] - times * u[0], v[1] - times * u[1])


def _owners(rows: int, columns: int, total: int, interleaved: bool) -> Ints:
    """(rows * columns,) the packet of each cell."""
    if not interleaved:
        return np.arange(rows * columns) * total // (rows * columns)
    step = lattice_step(total)
    owners: Ints = (np.arange(columns) + step * np.arange(rows)[:, None]) % total
    return owners.ravel()
