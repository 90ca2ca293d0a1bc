"""Gradient paths against their formulas, in float64."""

from __future__ import annotations

import pytest
import torch

from vqlink.quantizers.gradients import (
    directional,
    noise_substitution,
    rotation,
    straight_through,
)
from vqlink.rng import stream


def draws(*shape: int, count: int = 1) -> list[torch.Tensor]:
    g = stream(0, "draws", *shape)
    return [torch.randn(*shape, generator=g, dtype=torch.float64) for _ in range(count)]


def test_straight_through_sends_the_codewords_bit_for_bit() -> None:
    x, c, g = (t.float() for t in draws(50, 7, count=3))
    x.requires_grad_()
    out = straight_through(x, c)
    assert torch.equal(out, c)
    out.backward(g)
    assert torch.equal(x.grad, g)  # type: ignore[arg-type]


def test_noise_substitution_is_eq_9() -> None:
    x, c, v = draws(20, 5, count=3)
    out = noise_substitution(x, c, v)
    want = x + (x - c).norm(dim=1, keepdim=True) * v / v.norm(dim=1, keepdim=True)
    torch.testing.assert_close(out, want)


def test_weighted_energy_of_the_error_is_kept() -> None:
    """|w (x' - x)| = |w (x - c)|: eq. 9's point."""
    x, c, v, w = draws(20, 5, count=4)
    w = w.abs() + 0.1
    for weights in (w, w[0]):
        out = noise_substitution(x, c, v, weights)
        torch.testing.assert_close(
            (weights * (out - x)).norm(dim=1), (weights * (x - c)).norm(dim=1)
        )


@pytest.mark.parametrize("weighted", [False, True])
def test_noise_substitution_gradcheck(weighted: bool) -> None:
    x, c, v, w = draws(6, 4, count=4)
    weights = w.abs() + 0.1 if weighted else None
    x.requires_grad_()
    c.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: noise_substitution(a, b, v, weights), (x, c))


def test_scalar_gradients_are_eq_5_and_6() -> None:
    """In one dimension v / |v| is epsilon sign(c - x): dl/dx = l' (1 - e), dl/dc = l' e."""
    x, c, v, slope = draws(30, 1, count=4)
    x.requires_grad_()
    c.requires_grad_()
    noise_substitution(x, c, v).backward(slope)
    epsilon = v.sign() * (c - x).sign()
    torch.testing.assert_close(x.grad, slope * (1 - epsilon))
    torch.testing.assert_close(c.grad, slope * epsilon)


def test_without_an_encoder_it_is_the_codebook_loss() -> None:
    """mse(x, x') is the true distortion and its gradient that of the codebook loss, for any v."""
    x, c, v = draws(30, 4, count=3)
    c.requires_grad_()
    loss = (noise_substitution(x, c, v) - x).square().mean()
    (ours,) = torch.autograd.grad(loss, c)
    (want,) = torch.autograd.grad((c - x).square().mean(), c)
    torch.testing.assert_close(loss, (c - x).square().mean())
    torch.testing.assert_close(ours, want)


def test_rotation_takes_the_latent_to_the_codeword() -> None:
    """The backward pass is the transpose of a scaled rotation R with R x = c."""
    x, c = draws(8, 5, count=2)
    x.requires_grad_()
    out = rotation(x, c)
    assert torch.equal(out, c)
    rows = []
    for k in range(5):
        seed = torch.zeros_like(c)
        seed[:, k] = 1
        rows.append(torch.autograd.grad(out, x, seed, retain_graph=True)[0])
    jacobian = torch.stack(rows, dim=1)  # (N, 5 outputs, 5 inputs)
    torch.testing.assert_close((jacobian @ x.detach()[..., None])[..., 0], c)
    scale = (c.norm(dim=1) / x.detach().norm(dim=1))[:, None, None]
    turned = jacobian / scale
    torch.testing.assert_close(
        turned @ turned.mT, torch.eye(5, dtype=torch.float64).expand(8, 5, 5)
    )
    torch.testing.assert_close(torch.linalg.det(turned), torch.ones(8, dtype=torch.float64))


def test_directional_stays_at_the_error_s_length_and_near_its_end() -> None:
    x, c, v = draws(200, 8, count=3)
    out = directional(x, c, v, spread=1e-3)
    torch.testing.assert_close((out - x).norm(dim=1), (c - x).norm(dim=1))
    assert (out - c).norm(dim=1).mean() < 0.01
    c.requires_grad_()
    (gradient,) = torch.autograd.grad(directional(x, c, v).sum(), c)
    assert gradient.abs().sum() > 0


def test_a_latent_on_its_codeword_is_no_accident() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    v = torch.randn(2, 3, generator=stream(0, "v"))
    for out in (noise_substitution(x, x.detach(), v), rotation(x, x.detach())):
        (gradient,) = torch.autograd.grad(out.sum(), x)
        assert torch.isfinite(gradient).all()
    zero = torch.zeros(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(rotation(zero, torch.zeros(2, 3)).sum(), zero)
    assert torch.isfinite(gradient).all()
