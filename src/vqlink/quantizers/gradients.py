"""Gradient paths through the choice of a codeword, as plain functions.

Each takes latents x (N, D) and their codewords c (N, D) and returns what goes on, (N, D). The
choice itself has no gradient; these differ in what they pretend it was.

=====================  ================================  =======================  ================
function               forward                           gradient to x            gradient to c
=====================  ================================  =======================  ================
straight_through       c                                 g                        none
rotation               c                                 g turned from c to x     none
noise_substitution     x + |w(x - c)| v / (|v| w)        through x and the norm   through the norm
directional            x + |x - c| d, d nearly c - x     through x and the norm   through the norm
=====================  ================================  =======================  ================
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function

from vqlink.rng import Generators, normal

HardPath = Literal["straight_through", "rotation", "noise", "directional"]
GradientPath = Literal[HardPath, "soft"]
Learning = Literal["loss", "ema", "gradient"]

_TINY = 1e-12


def check_learning(path: GradientPath, learning: Learning) -> None:
    """Whether a codebook can learn so: ``loss`` is for paths that don't reach it.

    Raises:
        ValueError: naming the ways that there are.
    """
    others: dict[str, Learning] = dict.fromkeys(("noise", "directional", "soft"), "gradient")
    others |= dict.fromkeys(("straight_through", "rotation"), "loss")
    if path not in others:
        raise ValueError(f"gradient paths are {', '.join(others)}, not {path!r}")
    if learning not in (others[path], "ema"):
        raise ValueError(f"{path!r} learns its codebook by {others[path]} or ema, not {learning!r}")


def substitute(
    path: HardPath,
    x: Tensor,
    codewords: Tensor,
    generator: Generators | None,
    *,
    weights: Tensor | None = None,
    spread: float = 1e-3,
) -> Tensor:
    """What goes on in training instead of the choice: the path's function below.

    Args:
        generator: for ``noise`` and ``directional``.
        weights: of ``noise``.
        spread: of ``directional``.

    Raises:
        ValueError: for a missing generator.
    """
    match path:
        case "straight_through":
            return straight_through(x, codewords)
        case "rotation":
            return rotation(x, codewords)
    if generator is None:
        raise ValueError(f"the gradient path {path!r} draws noise: pass a generator")
    noise = normal(x.shape, generator=generator, like=x)
    if path == "noise":
        return noise_substitution(x, codewords, noise, weights)
    return directional(x, codewords, noise, spread)


def straight_through(x: Tensor, codewords: Tensor) -> Tensor:
    """The codewords, bit for bit, with the gradient handed to ``x`` as it is (Bengio et al., 2013).

    ``x + (c - x).detach()`` rounds; this does not.
    """
    result: Tensor = _StraightThrough.apply(x, codewords)  # type: ignore[no-untyped-call]
    return result


def rotation(x: Tensor, codewords: Tensor) -> Tensor:
    """The codewords; the gradient is that of the rotation and scaling that took x to c.

    Fifty et al., "Restructuring Vector Quantization with the Rotation Trick" (2024), eq. 4:
    c = (|c| / |x|) R x with R held constant, so the gradient's angle to the codeword becomes its
    angle to the latent.
    """
    result: Tensor = _Rotation.apply(x, codewords)  # type: ignore[no-untyped-call]
    return result


def noise_substitution(
    x: Tensor, codewords: Tensor, noise: Tensor, weights: Tensor | None = None
) -> Tensor:
    """NSVQ (002, eq. 8-9): the error replaced by noise of the same weighted energy.

        x + |w * (x - c)| / |v| * v / w

    Args:
        noise: v (N, D), standard normal.
        weights: w > 0, (D,) or (N, D); None for ones.

    The gradient reaches x directly and by the error's norm, and c by the norm (eq. 5-6).
    """
    lengths = noise.norm(dim=1, keepdim=True)
    shape = noise if weights is None else noise / weights
    result: Tensor = _ErrorAlong.apply(x, codewords, shape, lengths, weights)  # type: ignore[no-untyped-call]
    return result


def directional(x: Tensor, codewords: Tensor, noise: Tensor, spread: float = 1e-3) -> Tensor:
    """DiVeQ (Vali et al., 2025): the error keeps its length and, but for a little noise, its way.

        x + |x - c| d / |d|, d = sg[c - x + spread v]

    Args:
        noise: v (N, D), standard normal.
        spread: standard deviation of the noise about the error.
    """
    towards = (codewords - x).detach() + spread * noise
    lengths = towards.norm(dim=1, keepdim=True)
    result: Tensor = _ErrorAlong.apply(x, codewords, towards, lengths, None)  # type: ignore[no-untyped-call]
    return result


class _StraightThrough(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, codewords: Tensor) -> Tensor:
        return codewords.detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class _Rotation(Function):
    """R = I - 2 r r' + 2 c^ x^', r the unit bisector of x^ and c^; so R' g needs no matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codewords: Tensor) -> Tensor:
        ctx.save_for_backward(x, codewords)
        return codewords.detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, codewords = ctx.saved_tensors
        x_norm = x.norm(dim=1, keepdim=True).clamp_min(_TINY)
        c_norm = codewords.norm(dim=1, keepdim=True).clamp_min(_TINY)
        x_unit, c_unit = x / x_norm, codewords / c_norm
        bisector = x_unit + c_unit
        bisector = bisector / bisector.norm(dim=1, keepdim=True).clamp_min(_TINY)
        along = (bisector * grad).sum(dim=1, keepdim=True)
        onto = (c_unit * grad).sum(dim=1, keepdim=True)
        return (grad - 2 * along * bisector + 2 * onto * x_unit) * (c_norm / x_norm), None


class _ErrorAlong(Function):
    """x + |w (x - c)| u / |v|; its norm has the gradient w^2 (x - c) / |w (x - c)|, or minus it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, codewords: Tensor, u: Tensor, lengths: Tensor, weights: Tensor | None
    ) -> Tensor:
        error = x - codewords
        if weights is not None:
            error *= weights
        norm = error.norm(dim=1, keepdim=True)
        inverse = lengths.clamp_min(_TINY).reciprocal()
        ctx.save_for_backward(error, norm, u, inverse, weights)
        return torch.addcmul(x, u, norm * inverse)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        error, norm, u, inverse, weights = ctx.saved_tensors
        slope = torch.linalg.vecdot(grad, u)[:, None] * inverse / norm.clamp_min(_TINY)
        through = error * slope
        if weights is not None:
            through *= weights
        return grad + through, through.neg_(), None, None, None
