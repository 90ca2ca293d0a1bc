"""Exact nearest-codeword search: the one that every quantizer uses.

|x - c|^2 = |x|^2 - 2 x.c + |c|^2, of which the first term decides nothing: a matrix product and
an argmin. The distances are never all in memory; a chunk of them goes through one small buffer
that stays in the cache. torch's argmin walks one value at a time where its amin takes a whole
register, so the row is first reduced to the minima of a few segments: the search then costs 1.1
to 1.4 times the matrix product alone (benchmarks/search.py).

Vectors are centred on the codebook's mean before the product. Without that, an offset of 100
common to all latents already costs 2 % of the indices in float32.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

_BUFFER = 1 << 21  # floats: 8 MiB; larger ones leave the cache, smaller ones starve the product
_SEGMENT = 256  # vectors of one parent from which on it is searched by itself
_TREE_FROM = 256  # codewords from which on a k-d tree beats the product in up to 3 dimensions


def as_vectors(z: Tensor, dim: int) -> Tensor:
    """Latents (..., D) -> (N, D) float32.

    Raises:
        ValueError: for another width than ``dim``, and for values that aren't finite.
    """
    if z.ndim == 0 or z.shape[-1] != dim:
        raise ValueError(f"this codebook takes latents (..., {dim}), not {tuple(z.shape)}")
    flat = z.reshape(-1, dim).float()
    # One pass; the sum of finite values overflows only in extreme cases, which get a look.
    if not torch.isfinite(flat.detach().sum()) and not torch.isfinite(flat.detach()).all():
        raise ValueError("latents hold NaN or infinite values")
    return flat


@torch.no_grad()
def nearest(vectors: Tensor, codebook: Tensor, weights: Tensor | None = None) -> Tensor:
    """Index of the codeword nearest to each vector, by squared Euclidean distance.

    Computed in float32, whatever autocast says; of equally near codewords the first is taken.

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

    Vectors are sorted by parent. A parent of many is searched by itself; the others go together
    by the power of two that holds their number, each a row of one batched product. So the cost is
    that of N x m distances, at most twice, however the vectors spread over the parents, and the
    memory is bounded.

    Args:
        vectors: (N, D) finite, without a large common offset.
        children: (P, m, D) codewords of each parent.
        parents: (N,) int64 in [0, P).
        offsets: (P, D) what is taken off the vectors of each parent; None for zeros. It enters by
            the products with the children alone: no residual is ever written.

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
        biases = children.square().sum(dim=2)
        if offsets is not None:
            products = torch.bmm(children, offsets.float()[:, :, None])[:, :, 0]
            biases = biases.add_(products, alpha=2.0)
        held = torch.bincount(parents, minlength=children.shape[0])
        order = _sorting(parents, children.shape[0])
        starts = held.cumsum(0) - held
        index = torch.empty(count, dtype=torch.int64, device=vectors.device)
        rows = max(1, _BUFFER // size)
        buffer = vectors.new_empty(min(rows, count), size)
        for parent in torch.nonzero(held > _SEGMENT).flatten().tolist():
            first, last = int(starts[parent]), int(starts[parent] + held[parent])
            for start in range(first, last, rows):
                own = order[start : min(last, start + rows)]
                scores = torch.addmm(
                    biases[parent],
                    vectors.index_select(0, own),
                    children[parent].T,
                    alpha=-2.0,
                    out=buffer[: own.numel()],
                )
                index[own] = scores.argmin(dim=1)
        low, width = 0, 1
        while low < _SEGMENT:
            chosen = torch.nonzero((held > low) & (held <= width)).flatten()
            chunk = max(1, _BUFFER // (width * max(size, dim)))
            places = torch.arange(width, device=vectors.device)
            for some in torch.split(chosen, chunk) if chosen.numel() else ():
                # Rows shorter than the width repeat their last vector.
                place = starts[some, None] + torch.minimum(places, held[some, None] - 1)
                own = order[place.flatten()]
                scores = torch.baddbmm(
                    biases[some, None],
                    vectors.index_select(0, own).view(-1, width, dim),
                    children.index_select(0, some).mT,
                    alpha=-2.0,
                )
                index[own] = scores.argmin(dim=2).flatten()
            low, width = width, 2 * width
        return index


def _sorting(parents: Tensor, count: int) -> Tensor:
    """Vectors in the order of their parents, (N,) int64."""
    if parents.device.type == "cpu" and count <= 1 << 16:
        # numpy sorts 16-bit integers by their digits, several times as fast
        return torch.from_numpy(np.argsort(parents.numpy().astype(np.uint16), kind="stable"))
    return torch.argsort(parents, stable=True)


def _search(vectors: Tensor, centre: Tensor, centred: Tensor, scale: Tensor | None) -> Tensor:
    if vectors.shape[1] <= 3 and centred.shape[0] >= _TREE_FROM and vectors.device.type == "cpu":
        return _tree(vectors, centre, centred, scale)
    scan = _Scan(-2 * centred, centred.square().sum(dim=1), vectors.shape[0])
    index = torch.empty(vectors.shape[0], dtype=torch.int64, device=vectors.device)
    for start in range(0, vectors.shape[0], scan.rows):
        part = vectors[start : start + scan.rows].float() - centre
        if scale is not None:
            part *= scale
        index[start : start + scan.rows] = scan(part)
    return index


def _search_weighted(vectors: Tensor, centre: Tensor, centred: Tensor, weights: Tensor) -> Tensor:
    """Weights of its own for each vector: sum w^2 c^2 - 2 (w^2 x).c as one product of width 2D."""
    wide = torch.cat([-2 * centred, centred.square()], dim=1)
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
    """argmin over K of ``x @ matrix.T + bias``, chunk by chunk through one buffer."""

    def __init__(self, matrix: Tensor, bias: Tensor, count: int) -> None:
        size = matrix.shape[0]
        self.segments = 1 if size < 128 else 16 if size < 4096 else 32
        self.width = -(-size // self.segments)
        padding = self.segments * self.width - size
        self.right = torch.nn.functional.pad(matrix, (0, 0, 0, padding)).T
        self.bias = torch.nn.functional.pad(bias, (0, padding), value=math.inf)
        self.rows = min(max(1, _BUFFER // self.bias.numel()), max(1, count))
        self.buffer = matrix.new_empty(self.rows, self.bias.numel())
        self.first = torch.arange(self.rows, device=matrix.device) * self.segments

    def __call__(self, vectors: Tensor) -> Tensor:
        """(n, D) with n at most ``rows`` -> (n,) int64."""
        count = vectors.shape[0]
        scores = torch.addmm(self.bias, vectors, self.right, out=self.buffer[:count])
        if self.segments == 1:
            return scores.argmin(dim=1)
        segment = scores.view(count, self.segments, self.width).amin(dim=2).argmin(dim=1)
        best = scores.view(-1, self.width).index_select(0, self.first[:count] + segment)
        return best.argmin(dim=1) + segment * self.width
