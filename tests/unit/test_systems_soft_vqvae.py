"""The VQ-VAE of paper 000: its nets, what it sends, and what the noise does to it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vqlink.channels.awgn import AWGN
from vqlink.decoders.image.pooled import PooledDecoder
from vqlink.encoders.image.pooled import PooledEncoder
from vqlink.links.values import ValuesLink
from vqlink.protocols import Point, Transceiver
from vqlink.quantizers.identity import Identity
from vqlink.quantizers.soft import SoftQuantizer
from vqlink.rng import stream
from vqlink.systems.soft_vqvae import SoftVQVAE
from vqlink.units import noise_variance, to_db


def layers(net: nn.Module) -> list[str]:
    """A net as the paper's tables write it."""
    found = []
    for layer in net.net:  # type: ignore[union-attr]
        text = type(layer).__name__
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            text += f" {layer.out_channels} {layer.stride[0]} {layer.kernel_size[0]}"
            text += f" {layer.padding[0]}"
        elif isinstance(layer, nn.MaxPool2d):
            text += f" {layer.stride} {layer.kernel_size} {layer.padding}"
        found.append(text)
    return found


def test_the_nets_are_those_of_tables_1_and_2() -> None:
    norm = ["BatchNorm2d", "ReLU"]
    want = []
    for width in (32, 64, 128, 256):
        want += [f"Conv2d {width} 1 3 1", *norm, "MaxPool2d 2 2 0"]
    assert layers(PooledEncoder()) == want
    want = []
    for width in (128, 64, 32):
        want += [f"ConvTranspose2d {width} 2 2 0", *norm, f"Conv2d {width} 1 3 1", *norm]
    assert layers(PooledDecoder()) == [*want, "ConvTranspose2d 3 2 2 0", "Sigmoid"]
    z = PooledEncoder()(torch.rand(2, 3, 64, 32))
    assert z.shape == (2, 4, 2, 256)
    assert bool((z >= 0).all())
    x = PooledDecoder()(z)
    assert x.shape == (2, 3, 64, 32)
    assert bool(((x > 0) & (x < 1)).all())


def system(
    assignment: Any = "distance", power: Any = "none", sent: Any = "mixture", **options: Any
) -> SoftVQVAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        quantizer: SoftQuantizer | Identity = Identity()
        if assignment != "identity":
            quantizer = SoftQuantizer(12, 4, assignment=assignment, **options)
        link = ValuesLink(AWGN(), power=power, equalizer="none")
        nets = PooledEncoder((6, 8)), PooledDecoder((8, 6))
        return SoftVQVAE(nets[0], quantizer, link, nets[1], dim=4, sent=sent)


class Keep(nn.Module):
    """A decoder that shows what the receiver got."""

    def forward(self, z: Tensor) -> Tensor:
        return z


def images(count: int = 3, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=stream(0, "x"))


@pytest.mark.parametrize("assignment", ["distance", "attention", "identity"])
@pytest.mark.parametrize("sent", ["mixture", "codeword", "signs"])
def test_what_crosses_the_channel(assignment: str, sent: str) -> None:
    codec = system(assignment, sent=sent).eval()
    x = images()
    values = codec.values(x)
    assert values.shape == (3, 8, 8, 8)
    z = codec.encoder(x).unflatten(-1, (2, 4))
    if sent == "signs":
        assert set(values.unique().tolist()) <= {-1.0, 1.0}
    elif isinstance(codec.quantizer, Identity):
        assert torch.equal(values, z.flatten(-2))
    elif sent == "codeword":
        rows = {tuple(row) for row in codec.quantizer.codebook[0].tolist()}
        assert {tuple(row) for row in values.reshape(-1, 4).tolist()} <= rows
    else:
        torch.testing.assert_close(values, codec.quantizer.mixture(z).flatten(-2))
    training = codec(x, None)
    assert torch.equal(training.link.received[0], values)
    assert training.link.uses == 8 * 8 * 4
    assert codec.uses(32, 32) == 8 * 8 * 4


@pytest.mark.parametrize("sigma", [0.01, 0.05, 1.0])
def test_sigma_is_the_deviation_of_each_real_value(sigma: float) -> None:
    """As numpy adds it: N(0, sigma^2) to each value of z_q, whatever their size."""
    codec = system("attention").eval()
    values, noise = codec.values(images(20)), Point(snr_db=-to_db(2 * sigma**2))
    codec.decoder = Keep()
    sent = codec._send(values, noise, stream(1, "n"))
    error = (sent.received[0] - values).double()
    assert error.std().item() == pytest.approx(sigma, rel=0.02)
    assert error.mean().item() == pytest.approx(0, abs=0.02 * sigma)


def test_the_snr_is_measured_without_a_power_constraint_and_set_with_one() -> None:
    sigma = 0.3
    point = Point(snr_db=-to_db(2 * sigma**2))
    free, bound = system("distance").eval(), system("distance", "message").eval()
    values = free.values(images())
    power = 2 * values.flatten(1).square().mean(dim=1)
    sent = free.transmit(images(), point, generator=stream(0, "n"))
    torch.testing.assert_close(sent.tx_power, power)
    torch.testing.assert_close(sent.stats["snr_db"], to_db(power / noise_variance(point.snr_db)))
    sent = bound.transmit(images(), point, generator=stream(0, "n"))
    torch.testing.assert_close(sent.tx_power, torch.ones(3))
    torch.testing.assert_close(sent.stats["snr_db"], point.snr(3))
    signs = system(sent="signs").eval().transmit(images(), point, generator=stream(0, "n"))
    torch.testing.assert_close(signs.tx_power, torch.full((3,), 2.0))
    assert signs.labels["sent"] == "signs"


def test_louder_latents_are_safe_from_noise_only_without_a_power_constraint() -> None:
    """The reason for the equal-power comparison: a net may buy robustness by volume."""
    point = Point(snr_db=0.0)
    for power, gain in (("none", 20.0), ("message", 0.0)):
        codec = system("distance", power).eval()
        values = codec.values(images())
        before = codec._send(values, point, stream(0, "n")).tx_power
        after = codec._send(10 * values, point, stream(0, "n")).tx_power
        assert to_db(after / before).mean().item() == pytest.approx(gain, abs=1e-3)


@pytest.mark.parametrize("power", ["none", "message"])
@pytest.mark.parametrize("sent", ["mixture", "codeword", "signs"])
@pytest.mark.parametrize("assignment", ["distance", "attention"])
def test_gradients_reach_everything(assignment: str, sent: str, power: str) -> None:
    codec = system(assignment, power, sent).train()
    out = codec(images(), Point(snr_db=10.0), generator=stream(0, "n"))
    (out.received - images()).square().mean().backward()
    for name, parameter in codec.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
    assert codec.quantizer.codebook.grad.abs().sum() > 0  # type: ignore[union-attr,operator]


def test_it_is_a_transceiver_for_images_of_any_size() -> None:
    codec = system().eval()
    assert isinstance(codec, Transceiver)
    x = torch.rand(2, 3, 30, 41)
    sent = codec.transmit(x, Point(snr_db=5.0), generator=stream(0, "n"))
    assert sent.received.shape == x.shape
    assert sent.uses.tolist() == [codec.uses(30, 41)] * 2 == [8 * 11 * 4] * 2
    again = codec.transmit(x, Point(snr_db=5.0), generator=stream(0, "n"))
    assert torch.equal(sent.received, again.received)
    clean = codec.transmit(x, None, generator=stream(0, "n"))
    assert "snr_db" not in clean.stats
    assert not math.isclose(clean.received.sum().item(), sent.received.sum().item())


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="vectors of 3"):
        SoftVQVAE(PooledEncoder((6, 8)), SoftQuantizer(4, 3), ValuesLink(AWGN()), Keep(), dim=3)
    with pytest.raises(RuntimeError, match="eval"):
        system().train().values(images())
    with pytest.raises(ValueError, match="generator"):
        system()(images(), Point(snr_db=1.0))
