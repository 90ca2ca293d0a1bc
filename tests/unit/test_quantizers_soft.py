"""Soft and attentive assignment against eq. 1-4 of paper 000, written out in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from vqlink.quantizers.soft import SoftQuantizer
from vqlink.rng import stream

K, D = 24, 6


def quantizer(**options: Any) -> SoftQuantizer:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return SoftQuantizer(K, D, **options)


def latents(*shape: int) -> Tensor:
    return torch.randn(*shape, D, generator=stream(1, "z"), dtype=torch.float64)


def softmax(scores: list[float]) -> list[float]:
    top = max(scores)
    parts = [math.exp(score - top) for score in scores]
    return [part / sum(parts) for part in parts]


def by_hand(
    z: list[float], codebook: list[list[float]], score: str, sign: int = -1, scale: float = 1.0
) -> tuple[list[float], list[float]]:
    """Weights and mixture of one vector, number by number."""
    if score == "distance":
        scores = [-math.dist(z, c) for c in codebook]  # eq. 1-2
    else:
        scores = [
            sign * sum(a * b for a, b in zip(z, c, strict=True)) / scale for c in codebook
        ]  # eq. 4
    weights = softmax(scores)
    mixture = [sum(w * c[i] for w, c in zip(weights, codebook, strict=True)) for i in range(len(z))]
    return weights, mixture


@pytest.mark.parametrize(
    ("options", "score", "sign", "scale"),
    [
        ({"assignment": "distance"}, "distance", 0, 0.0),
        ({"assignment": "attention"}, "attention", -1, math.sqrt(K)),
        ({"assignment": "attention", "sign": 1}, "attention", 1, math.sqrt(K)),
        ({"assignment": "attention", "sign": 1, "scale": "dim"}, "attention", 1, math.sqrt(D)),
        ({"assignment": "attention", "scale": "none"}, "attention", -1, 1.0),
    ],
)
def test_mixtures_are_those_of_the_equations(
    options: dict[str, Any], score: str, sign: int, scale: float
) -> None:
    vq, z = quantizer(**options).double(), latents(2, 5)
    out = vq(z)
    codebook = vq.codebook[0].tolist()
    found = [by_hand(row, codebook, score, sign, scale) for row in z.reshape(-1, D).tolist()]
    want = torch.tensor([mixture for _, mixture in found], dtype=torch.float64)
    torch.testing.assert_close(out.values.reshape(-1, D), want)
    torch.testing.assert_close(vq.eval().mixture(z).reshape(-1, D), want)
    best = [max(range(K), key=weights.__getitem__) for weights, _ in found]
    assert out.indices.flatten().tolist() == best
    assert torch.equal(vq.encode(z), out.indices)
    # Eq. 3's second term, a mean.
    torch.testing.assert_close(out.losses["latent"], (z.reshape(-1, D) - want).square().mean())
    entropies = [-sum(w * math.log(w) for w in weights) for weights, _ in found]
    mixed = math.exp(sum(entropies) / len(entropies))
    assert out.stats["mixed"].item() == pytest.approx(mixed)


def test_the_paper_s_attention_has_a_minus_and_the_root_of_the_codebook_s_size() -> None:
    """As it is by default: a codeword along the latent gets the least weight."""
    vq = SoftQuantizer(16, 2, assignment="attention")
    with torch.no_grad():
        vq.codebook[0] = torch.randn(16, 2, generator=stream(0, "c"))
        vq.codebook[0, 5] = torch.tensor([9.0, 0.0])
        vq.codebook[0, 11] = torch.tensor([-9.0, 0.0])
    z = torch.tensor([[4.0, 0.0]])
    assert vq.encode(z).item() == 11
    a, b = (quantizer_score(vq, z, row) for row in (5, 11))
    assert a - b == pytest.approx(-2 * 9.0 * 4.0 / math.sqrt(16))


def quantizer_score(vq: SoftQuantizer, z: Tensor, row: int) -> float:
    return float(vq._scores(vq._flatten(z)).detach()[0, 0, row])


@pytest.mark.parametrize("assignment", ["distance", "attention"])
def test_heads_are_quantizers_of_their_own_parts(assignment: Any) -> None:
    vq, z = quantizer(assignment=assignment, heads=3).double(), latents(7)
    out = vq(z)
    digits = []
    for head in range(3):
        part = z[:, 2 * head : 2 * head + 2]
        one = SoftQuantizer(K, 2, assignment=assignment).double()
        with torch.no_grad():
            one.codebook.copy_(vq.codebook[head : head + 1])
        torch.testing.assert_close(out.values[:, 2 * head : 2 * head + 2], one(part).values)
        digits.append(one.encode(part))
    assert torch.equal(out.indices, (digits[0] * K + digits[1]) * K + digits[2])
    assert vq.bits_per_vector == 3 * math.log2(K)
    assert torch.equal(vq.decode(out.indices), vq.hard(z))


@pytest.mark.parametrize(
    "options",
    [{}, {"assignment": "attention"}, {"assignment": "attention", "heads": 2, "scale": "dim"}],
)
def test_gradients_reach_latents_and_codebook(options: dict[str, Any]) -> None:
    vq, z = quantizer(**options).double(), latents(3).requires_grad_()
    start = vq.codebook.detach().clone()

    def both(z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
        out = torch.func.functional_call(vq, {"codebook": codebook}, (z,))
        return out.values, out.losses["latent"]

    assert gradcheck(both, (z, start.requires_grad_()))


def test_a_latent_on_its_codeword_has_a_finite_gradient() -> None:
    vq = quantizer()
    z = vq.codebook.detach()[0, :4].clone().requires_grad_()
    vq(z).values.square().sum().backward()
    assert z.grad is not None
    assert bool(torch.isfinite(z.grad).all())
    assert bool(torch.isfinite(vq.codebook.grad).all())  # type: ignore[arg-type]


def test_far_from_the_origin_distances_stay_exact() -> None:
    vq, z = quantizer(), latents(50).float()
    with torch.no_grad():
        near = vq.mixture(z)
        vq.codebook += 1000
        torch.testing.assert_close(vq.mixture(z + 1000) - 1000, near, atol=2e-3, rtol=0)


def test_usage_is_the_mean_weight_and_a_uniform_mixture_mixes_all() -> None:
    vq = quantizer(assignment="attention")
    out = vq(torch.zeros(4, D))
    torch.testing.assert_close(out.usage, torch.full((K,), 1 / K))
    assert out.stats["mixed"].item() == pytest.approx(K, rel=1e-5)
    assert out.stats["perplexity"].item() == pytest.approx(K, rel=1e-5)
    assert quantizer(heads=2)(torch.zeros(4, D)).usage is None


@pytest.mark.parametrize("options", [{}, {"assignment": "attention"}])
def test_bad_latents_and_settings_are_refused(options: dict[str, Any]) -> None:
    vq = quantizer(**options)
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            vq(torch.full((2, D), bad))
    with pytest.raises(ValueError, match=r"\(\.\.\., 6\)"):
        vq.encode(torch.zeros(2, D + 1))
    for heads in (0, 4, 6):
        with pytest.raises(ValueError, match="heads"):
            SoftQuantizer(2**16, D, heads=heads)
    with pytest.raises(ValueError, match="2 codewords"):
        SoftQuantizer(1, D)
