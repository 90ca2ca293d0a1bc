"""Systems in two halves: what one end makes of a picture, the other reads from symbols alone."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import small_recipe, smooth_picture
from vqlink.channels.awgn import AWGN
from vqlink.channels.fading import Rayleigh, Rician
from vqlink.channels.symbol import SymbolChannel
from vqlink.config.build import build_system
from vqlink.links.equalize import zero_forcing, zero_forcing_noise_var
from vqlink.links.indices import IndexLink
from vqlink.links.values import ValuesLink
from vqlink.protocols import Point, SymbolSystem, VqlinkError
from vqlink.rng import stream
from vqlink.systems.index_code import IndexCode
from vqlink.systems.jscc import JSCC
from vqlink.systems.separation import Separation, parse_separation

SIZE = (52, 75)  # no whole number of blocks
USES = 6000


def systems() -> dict[str, SymbolSystem]:
    index = build_system(small_recipe("vqdeepsc-4")).eval()
    assert isinstance(index, IndexCode)
    index.label_codewords()
    return {
        "values": build_system(small_recipe("jscc-q64-awgn-1-12")).eval(),
        "layers": build_system(small_recipe("hrvqvae-cifar10")).eval(),
        "unquantised": build_system(small_recipe("jscc-awgn-1-12")).eval(),
        "indices": index,
        "jpeg": parse_separation("jpeg+ldpc5g@16qam-1/2", AWGN(), lambda h, w: USES),
        "802.11ad": parse_separation("jpeg+ldpc80211ad@qpsk-1/2", AWGN(), lambda h, w: USES),
    }


@pytest.fixture(name="pictures")
def fixture_pictures() -> torch.Tensor:
    return torch.stack([smooth_picture(*SIZE, seed=seed) for seed in range(2)])


@pytest.mark.parametrize("name", systems())
def test_the_halves_are_the_whole(name: str, pictures: torch.Tensor) -> None:
    """At 60 dB nothing but the split can make a difference."""
    system = systems()[name]
    assert isinstance(system, SymbolSystem)
    symbols = system.to_symbols(pictures, 60.0)
    assert symbols.shape == (2, system.uses(*SIZE))
    assert symbols.dtype == torch.complex64
    assert symbols.abs().square().mean(dim=1) == pytest.approx(1, abs=0.1)
    noise_var = torch.full(symbols.shape, 1e-6)
    reception = system.from_symbols(symbols, noise_var, SIZE)
    whole = system.transmit(pictures, Point(snr_db=60.0), generator=stream(0, "noise"))
    assert reception.received.shape == pictures.shape
    assert not reception.outage.any()
    assert (reception.received - whole.received).abs().max() < 0.02
    assert system.layers >= 1


@pytest.mark.parametrize("channel", [AWGN(), Rayleigh(), Rayleigh("fast"), Rician(2.0, "fast")])
@pytest.mark.parametrize("name", ["values", "layers", "indices"])
def test_the_same_noise_gives_the_same_picture(
    name: str, channel: SymbolChannel, pictures: torch.Tensor
) -> None:
    """Over every channel: one frame, one fade a message where it is slow, unequal noise weighed."""
    system = systems()[name]
    assert isinstance(system, torch.nn.Module)
    for part in system.modules():
        if isinstance(part, ValuesLink | IndexLink):
            part.channel = channel
    point = Point(snr_db=5.0)
    whole = system.transmit(pictures, point, generator=stream(0, "noise"))
    symbols = system.to_symbols(pictures, 5.0)
    arrived = channel(symbols, point, generator=stream(0, "noise"))
    noise_var = zero_forcing_noise_var(arrived.gain, arrived.noise_var).expand(symbols.shape)
    reception = system.from_symbols(zero_forcing(arrived.y, arrived.gain), noise_var, SIZE)
    assert torch.allclose(reception.received, whole.received, atol=2e-3)


def test_a_classical_link_chooses_alike_in_both_halves(pictures: torch.Tensor) -> None:
    """At -4 dB qpsk-1/5 would be taken, which these uses leave too little room, as qpsk-1/3."""
    link = parse_separation("jpeg+ldpc5g", AWGN(), lambda h, w: USES)
    assert isinstance(link, Separation)
    coarsest = len(link.codec.encode((pictures[0] * 255).round().to(torch.uint8), 1))
    link.budget = lambda height, width: int(coarsest * 8 / 0.75)
    sent = link.transmit(pictures[:1], Point(snr_db=-4.0), generator=stream(0, "noise"))
    assert sent.labels["mcs"] == "qpsk-1/2"
    assert link.at(-4.0, pictures[0]).name.endswith("@qpsk-1/2")
    assert link.to_symbols(pictures[:1], -4.0).shape == (1, link.uses(*SIZE))


def test_unequal_fades_are_weighed(pictures: torch.Tensor) -> None:
    """As noisy as a flat channel of the same mean error, zero-forced symbols would drown."""
    link = ValuesLink(Rayleigh("fast"))
    sent = torch.randn(64, 4096, 2, generator=stream(0, "x")) * 0.5**0.5
    out = link((sent,), Point(snr_db=10.0), generator=stream(0, "noise"))
    power = link.amplify(sent)
    noise = float((out.received[0] - power).square().sum(dim=-1).mean())
    h = torch.randn(10**6, 2, generator=stream(1, "h"), dtype=torch.float64).square().sum(1) / 2
    error = float((0.1 / (h + 0.1)).mean())  # of the least-squares estimate
    flat = error / (1 - error)
    assert out.flat_gain is not None
    assert out.flat_gain.mean() == pytest.approx(0.1 / flat, rel=0.02)
    assert noise == pytest.approx(flat, rel=0.03)


def test_an_mmse_receiver_is_given_mmse_symbols(pictures: torch.Tensor) -> None:
    system = systems()["values"]
    assert isinstance(system, JSCC)
    assert isinstance(system.link, ValuesLink)
    system.link.equalizer = "mmse"
    point = Point(snr_db=5.0)
    whole = system.transmit(pictures, point, generator=stream(0, "noise"))
    symbols = system.to_symbols(pictures, 5.0)
    arrived = AWGN()(symbols, point, generator=stream(0, "noise"))
    reception = system.from_symbols(arrived.y, arrived.noise_var.expand(symbols.shape), SIZE)
    assert torch.allclose(reception.received, whole.received, atol=2e-3)


def test_symbols_in_a_fade_count_for_little(pictures: torch.Tensor) -> None:
    system = systems()["values"]
    symbols = system.to_symbols(pictures, 15.0)
    noise_var = torch.full(symbols.shape, 10**-1.5)
    noise_var[:, ::5] = 30.0
    noise = torch.randn(symbols.shape, dtype=torch.complex64, generator=stream(0, "n"))
    y = symbols + noise * noise_var.sqrt()
    told = system.from_symbols(y, noise_var, SIZE).received
    mean = noise_var.mean(dim=1, keepdim=True).expand(symbols.shape)
    untold = system.from_symbols(y, mean, SIZE).received
    assert (told - pictures).square().mean() < 0.7 * (untold - pictures).square().mean()


def test_lost_payloads_are_said_to_be_lost(pictures: torch.Tensor) -> None:
    for name, system in systems().items():
        symbols = system.to_symbols(pictures, 60.0)
        noise = torch.randn(symbols.shape, dtype=torch.complex64, generator=stream(0, "n"))
        reception = system.from_symbols(noise, torch.ones(symbols.shape), SIZE)
        assert bool(reception.outage.all()) == (name in ("jpeg", "802.11ad"))
        if name == "indices":
            assert (reception.stats["lost"] > 0.9).all()


def test_a_classical_link_chooses_its_scheme_before_it_sends(pictures: torch.Tensor) -> None:
    link = parse_separation("jpeg+ldpc5g", AWGN(), lambda h, w: USES)
    assert isinstance(link, Separation)
    assert link.at(20.0, pictures[0]).name != link.at(2.0, pictures[0]).name
    fixed = link.at(20.0, pictures[0])
    assert torch.equal(fixed.to_symbols(pictures, 20.0), link.to_symbols(pictures, 20.0))
    with pytest.raises(ValueError, match="MCS"):
        link.from_symbols(torch.zeros(1, USES) + 0j, torch.ones(1, USES), SIZE)
    narrow = parse_separation("jpeg+ldpc5g@qpsk-1/3", AWGN(), lambda h, w: 100)
    with pytest.raises(VqlinkError, match="do not fit"):
        narrow.to_symbols(pictures, 5.0)
