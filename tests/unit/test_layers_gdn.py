"""GDN against its formula, and its inverse."""

from __future__ import annotations

import torch

from vqlink.layers.gdn import GDN
from vqlink.rng import stream


def test_gdn_is_eq_3() -> None:
    gdn = GDN(3)
    x = torch.randn(2, 3, 4, 5, generator=stream(0, "x"))
    beta, gamma = gdn.root_beta.square() + 1e-6, gdn.root_gamma.square()
    for i in range(3):
        norm = beta[i] + sum(gamma[i, j] * x[:, j] ** 2 for j in range(3))
        torch.testing.assert_close(gdn(x)[:, i], x[:, i] / norm.sqrt())


def test_the_inverse_multiplies() -> None:
    x = torch.randn(2, 3, 4, 5, generator=stream(0, "x"))
    torch.testing.assert_close(GDN(3)(x) * GDN(3, inverse=True)(x), x * x, rtol=1e-4, atol=1e-6)


def test_parameters_stay_positive_and_learn_from_everywhere() -> None:
    gdn = GDN(4)
    x = torch.randn(2, 4, 6, 6, generator=stream(0, "x"))
    gdn(x).square().sum().backward()
    assert gdn.root_gamma.grad is not None
    assert (gdn.root_gamma.grad != 0).all()
    with torch.no_grad():
        for parameter in gdn.parameters():
            parameter -= 10 * torch.sign(parameter.grad)  # type: ignore[arg-type]
    assert torch.isfinite(gdn(x)).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gdn(x), gdn(x.float()))
