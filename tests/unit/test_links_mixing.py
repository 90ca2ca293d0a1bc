"""Mixing: orthonormal, invertible, and it flattens what stands out."""

from __future__ import annotations

import pytest
import torch

from vqlink.channels.awgn import AWGN
from vqlink.links.mixing import mix, unmix
from vqlink.links.values import ValuesLink
from vqlink.protocols import Point
from vqlink.quantizers.identity import Identity
from vqlink.rng import stream


def peaky(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) ** 5


@pytest.mark.parametrize("shape", [(2, 5, 7, 16), (1, 64, 64, 32), (3, 1, 2, 4)])
def test_unmix_undoes_mix_and_energy_is_kept(shape: tuple[int, ...]) -> None:
    z = peaky(*shape)
    torch.testing.assert_close(unmix(mix(z)), z, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(mix(z).norm(), z.norm(), rtol=1e-5, atol=0)


def test_no_value_stands_out_afterwards() -> None:
    z = peaky(1, 48, 64, 32)
    kurtosis = [float((v / v.std()).pow(4).mean()) for v in (z, mix(z))]
    assert kurtosis[0] > 100
    assert kurtosis[1] < 60
    assert mix(z).abs().max() < 0.5 * z.abs().max()


def test_one_position_reaches_all_over_the_message() -> None:
    z = torch.zeros(1, 8, 8, 16)
    z[0, 3, 4] = 1.0
    touched = mix(z).abs().sum(dim=-1) > 0
    assert int(touched.sum()) == 16


def test_messages_stay_apart() -> None:
    z = peaky(2, 4, 4, 8)
    torch.testing.assert_close(mix(z)[1:], mix(z[1:]))


def test_only_powers_of_two() -> None:
    with pytest.raises(ValueError, match="power of two"):
        mix(torch.zeros(1, 4, 6))


def test_the_link_undoes_its_own_mixing() -> None:
    link = ValuesLink(AWGN(), power="none", mixing=True)
    z = (peaky(1, 4, 4, 8),)
    out = link(link.drive(z, Identity()), Point(snr_db=100.0), generator=stream(0, "t"))
    torch.testing.assert_close(out.received[0], z[0], rtol=1e-3, atol=1e-2)
