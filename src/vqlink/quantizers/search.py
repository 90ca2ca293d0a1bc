"""Exact nearest-codeword search: the one that every quantizer uses.

|x - c|^2 = |x|^2 - 2 x.c + |c|^2, of which the first term decides nothing: what is left is to find
the largest of x.c - |c|^2 / 2, a matrix product and an argmax. The scores are never all in memory;
a chunk of them goes through one small buffer that stays in the cache. torch's argmax walks one
value at a time; its max pooling over channels takes a register of them and returns indices as
well. So scores lie (codewords, vectors), and the search costs little more than the matrix product
alone (benchmarks/search.py).

Vectors are centred on the codebook's mean before the product. Without that, an offset of 100
common to all latents already costs 2 % of the indices in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from vqlink.errors import NotFiniteError

_BUFFER = 1 << 21  # floats: 8 MiB; larger ones leave the cache, smaller ones starve the product
_VECTORS = 1 << 18  # floats of vectors at a time, so that what is made of them stays there too
_BLOCK = 256  # vectors of one matrix product
_CODEWORDS = 4096  # of one matrix product; more would leave too few vectors in the buffer
_TREE_FROM = 256  # codewords from which on a k-d tree beats the product in up to 3 dimensions


def as_vectors(z: Tensor, dim: int) -> Tensor:
    """Latents (..., D) -> (N, D) float32.

    Raises:
        ValueError: for another width than ``dim``, and for values that aren't finite.
    """
    if z.ndim == 0 or z.shape[-1] != dim:
        raise ValueError(f"this codebook takes latents (..., {dim}), not {tuple(z.shape)}")
    flat = z.reshape(-1, dim).float()
    check_finite(flat)
    return flat


def check_finite(z: Tensor) -> None:
    """Raise NotFiniteError, a ValueError, for latents that hold NaN or infinite values."""
    # One pass; the sum of finite values overflows only in extreme cases, which get a look.
    if not torch.isfinite(z.detach().sum()) and not torch.isfinite(z.detach()).all():
        raise NotFiniteError("latents hold NaN or infinite values")


@torch.no_grad()
def nearest(vectors: Tensor, codebook: Tensor, weights: Tensor | None = None) -> Tensor:
    """Index of the codeword nearest to each vector, by squared Euclidean distance.

    Computed in float32, whatever autocast says. Of equally near codewords it is the first on the
    CPU, and any of them on CUDA and in the tree that takes over for D up to 3 and many codewords.

    Args:
        vectors: (N, D) finite, any floating type.
        codebook: (K, D).
        weights: w of NSVQ's eq. 7, |w * (x - c)|^2: (D,) or one a vector, (N, D).

    Returns:
        (N,) int64 on the vectors' device.

    Raises:
        ValueError: if the shapes don't fit.
    """
    if vectors.ndim != 2 or codebook.ndim != 2 or vectors.shape[1] != codebook.shape[1]:
        raise ValueError(
            f"search takes (N, D) and (K, D), not {tuple(vectors.shape)}, {tuple(codebook.shape)}"
        )
    with torch.autocast(vectors.device.type, enabled=False):
        codebook = codebook.float()
        centre = codebook.mean(dim=0)
        centred = codebook - centre
        if weights is None or weights.ndim == 1:
            scale = None if weights is None else weights.float()
            return _search(vectors, centre, centred if scale is None else centred * scale, scale)
        return _search_weighted(vectors, centre, centred, weights)


@torch.no_grad()
def nearest_child(
    vectors: Tensor, children: Tensor, parents: Tensor, offsets: Tensor | None = None
) -> Tensor:
    """The nearest of each vector's own m codewords: those of its parent.

    Vectors are sorted by parent and go in blocks of one parent, many in one batched product: full
    ones, and what is left over with all left-overs of its power of two. So the cost is that of
    N x m distances, at most twice, however the vectors spread over the parents, and the memory is
    bounded.

    Args:
        vectors: (N, D) finite.
        children: (P, m, D) codewords of each parent.
        parents: (N,) int64 in [0, P).
        offsets: (P, D) what is taken off the vectors of each parent; None for zeros.

    Returns:
        (N,) int64 in [0, m).

    Raises:
        ValueError: if the shapes don't fit.
    """
    count, dim = vectors.shape
    size = children.shape[1]
    if children.ndim != 3 or children.shape[2] != dim or parents.shape != (count,):
        raise ValueError(
            f"search takes (N, D), (P, m, D) and (N,), not {tuple(vectors.shape)}, "
            f"{tuple(children.shape)}, {tuple(parents.shape)}"
        )
    with torch.autocast(vectors.device.type, enabled=False):
        vectors, children = vectors.float(), children.float()
        biases = children.square().sum(dim=2).mul_(-0.5)
        held = torch.bincount(parents, minlength=children.shape[0])
        order = _sorting(parents, children.shape[0])
        index = torch.empty(count, dtype=torch.int64, device=vectors.device)
        for width, blocks, places in _blocks(held):
            chunk = max(1, _VECTORS // (width * max(size, dim)))
            for some, place in zip(
                torch.split(blocks, chunk), torch.split(places, chunk), strict=True
            ):
                own = order[place.flatten()]
                left = vectors.index_select(0, own).view(-1, width, dim)
                if offsets is not None:
                    left -= offsets.index_select(0, some)[:, None]
                scores = torch.baddbmm(
                    biases[some, :, None], children.index_select(0, some), left.mT
                )
                index[own] = _largest(scores)[1].flatten()
        return index


def _blocks(held: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Sorted vectors in blocks of one parent.

    Args:
        held: (P,) int64 vectors of each parent.

    Yields:
        A width, the blocks' parents (B,), and the places of their vectors, (B, width); a block that
        holds fewer repeats its last one.
    """
    full, rest = held // _BLOCK, held % _BLOCK
    starts = held.cumsum(0) - held
    width = 1
    while width <= _BLOCK:
        parents = torch.nonzero((rest > width // 2) & (rest <= width)).flatten()
        first, last = starts[parents] + full[parents] * _BLOCK, rest[parents] - 1
        if width == _BLOCK:
            whole = torch.repeat_interleave(full)
            number = (
                torch.arange(whole.numel(), device=held.device) - (full.cumsum(0) - full)[whole]
            )
            parents = torch.cat([whole, parents])
            first = torch.cat([starts[whole] + number * _BLOCK, first])
            last = torch.cat([torch.full_like(whole, _BLOCK - 1), last])
        if parents.numel():
            places = torch.minimum(torch.arange(width, device=held.device), last[:, None])
            yield width, parents, first[:, None] + places
        width *= 2


def _largest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Largest values along K and their indices: (B, K, n) -> (B, n), (B, n) int64."""
    if scores.device.type != "cpu":
        values, index = scores.max(dim=1)
        return values, index
    # As a picture of height K and width 1 with n channels that lie innermost.
    picture = scores.unsqueeze(2).permute(0, 3, 1, 2)
    values, index = functional.max_pool2d(picture, (scores.shape[1], 1), return_indices=True)
    return values.flatten(1), index.flatten(1)


def _sorting(parents: Tensor, count: int) -> Tensor:
    """Vectors in the order of their parents, (N,) int64."""
    if parents.device.type == "cpu" and count <= 1 << 16:
        # numpy sorts 16-bit integers by their digits, several times as fast
        return torch.from_numpy(np.argsort(parents.numpy().astype(np.uint16), kind="stable"))
    return torch.argsort(parents, stable=True)


def _search(vectors: Tensor, centre: Tensor, centred: Tensor, scale: Tensor | None) -> Tensor:
    if vectors.shape[1] <= 3 and centred.shape[0] >= _TREE_FROM and vectors.device.type == "cpu":
        return _tree(vectors, centre, centred, scale)
    scan = _Scan(centred, centred.square().sum(dim=1).mul_(-0.5), vectors.shape[0])
    index = torch.empty(vectors.shape[0], dtype=torch.int64, device=vectors.device)
    for start in range(0, vectors.shape[0], scan.rows):
        part = vectors[start : start + scan.rows].float() - centre
        if scale is not None:
            part *= scale
        index[start : start + scan.rows] = scan(part)
    return index


def _search_weighted(vectors: Tensor, centre: Tensor, centred: Tensor, weights: Tensor) -> Tensor:
    """Weights of its own for each vector: w^2 x.c - w^2 c^2 / 2 as one product of width 2D."""
    wide = torch.cat([centred, -0.5 * centred.square()], dim=1)
    scan = _Scan(wide, wide.new_zeros(wide.shape[0]), vectors.shape[0])
    index = torch.empty(vectors.shape[0], dtype=torch.int64, device=vectors.device)
    for start in range(0, vectors.shape[0], scan.rows):
        squares = weights[start : start + scan.rows].float().square()
        part = squares * (vectors[start : start + scan.rows].float() - centre)
        index[start : start + scan.rows] = scan(torch.cat([part, squares], dim=1))
    return index


def _tree(vectors: Tensor, centre: Tensor, centred: Tensor, scale: Tensor | None) -> Tensor:
    """In few dimensions a tree reads a handful of codewords a vector instead of all K."""
    points = vectors.float() - centre
    if scale is not None:
        points *= scale
    tree = cKDTree(centred.numpy())
    _, index = tree.query(points.numpy(), workers=torch.get_num_threads())
    return torch.from_numpy(index).long()


class _Scan:
    """argmax over K of ``x @ matrix.T + bias``, chunk by chunk through one buffer."""

    def __init__(self, matrix: Tensor, bias: Tensor, count: int) -> None:
        matrices, biases = (torch.split(x, _CODEWORDS) for x in (matrix, bias[:, None]))
        self.parts = tuple(zip(matrices, biases, strict=True))
        size = min(matrix.shape[0], _CODEWORDS)
        rows = min(_BUFFER // size, _VECTORS // matrix.shape[1])
        self.rows = max(_BLOCK, rows // _BLOCK * _BLOCK)
        self.buffer = matrix.new_empty(size * min(self.rows, max(1, count)))

    def __call__(self, vectors: Tensor) -> Tensor:
        """(n, D) with n at most ``rows`` -> (n,) int64."""
        count, dim = vectors.shape
        whole = count // _BLOCK * _BLOCK
        index = torch.empty(count, dtype=torch.int64, device=vectors.device)
        if whole:
            index[:whole] = self._best(vectors[:whole].view(-1, _BLOCK, dim)).flatten()
        if whole < count:
            index[whole:] = self._best(vectors[None, whole:])[0]
        return index

    def _best(self, blocks: Tensor) -> Tensor:
        """(B, n, D) -> (B, n) int64."""
        number, width, _ = blocks.shape
        best = index = None
        for part, (matrix, bias) in enumerate(self.parts):
            shape = (number, matrix.shape[0], width)
            scores = self.buffer[: math.prod(shape)].view(shape)
            torch.baddbmm(bias, matrix.expand(number, -1, -1), blocks.mT, out=scores)
            values, places = _largest(scores)
            if best is None or index is None:
                best, index = values, places
            else:
                better = values > best
                best = torch.where(better, values, best)
                index = torch.where(better, places + part * _CODEWORDS, index)
        assert index is not None
        return index
