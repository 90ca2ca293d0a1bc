"""Power constraints: what a message's hard symbols measure."""

from __future__ import annotations

import pytest
import torch

from vqlink.links.power import message_power, normalise_message


def latents(batch: int = 4, symbols: int = 3000, seed: int = 0) -> torch.Tensor:
    draw = torch.randn(batch, symbols, 2, generator=torch.Generator().manual_seed(seed))
    # Peaky, as encoders' outputs are, and each message at its own level.
    return draw**3 * torch.logspace(-2, 2, batch)[:, None, None]


def test_message_power_is_per_complex_symbol() -> None:
    assert message_power(torch.ones(1, 10, 2)).item() == pytest.approx(2.0)


def test_eq_23_holds_for_each_message_alone() -> None:
    z = latents()
    out = normalise_message(z)
    torch.testing.assert_close(message_power(out), torch.ones(4), rtol=1e-5, atol=0)
    torch.testing.assert_close(normalise_message(z[2:3]), out[2:3])


def test_zero_message_stays_zero() -> None:
    assert torch.equal(normalise_message(torch.zeros(1, 8, 2)), torch.zeros(1, 8, 2))
