"""Speech over the channel: what every speech transceiver promises, and what noise does."""

from __future__ import annotations

import pytest
import torch

from vqlink.channels.awgn import AWGN
from vqlink.channels.fading import Rayleigh
from vqlink.channels.symbol import SymbolChannel
from vqlink.config.speech import build_code, load_speech_recipe
from vqlink.digital.mcs import parse_mcs
from vqlink.layers.mdct import imdct, mdct
from vqlink.metrics.audio import perceptual_snr
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.sources.voice import synthetic_voice
from vqlink.systems.speech_jscc import SpeechJSCC, _read, _write
from vqlink.systems.speech_link import SpeechLink
from vqlink.systems.speech_uses import PACKET_USES, message_uses
from vqlink.zoo.speech import load_speech, load_speech_codec

SYSTEMS = ("speech-jscc", "speech+ldpc5g")


@pytest.fixture(name="voice", scope="module")
def fixture_voice() -> torch.Tensor:
    return synthetic_voice(2.0)


def build(name: str, channel: SymbolChannel, mcs: str | None = None) -> SpeechJSCC | SpeechLink:
    if name == "speech+ldpc5g":
        return SpeechLink(load_speech_codec(), channel, parse_mcs(mcs) if mcs else None)
    system = load_speech(name)[0]
    assert isinstance(system, SpeechJSCC)
    system.link.channel = channel
    return system


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("channel", [AWGN(), Rayleigh("slow")])
def test_promises(name: str, channel: SymbolChannel, voice: torch.Tensor) -> None:
    system = build(name, channel)
    x = torch.stack([voice, voice.flip(0)])
    point = Point(snr_db=torch.tensor([12.0, 12.2]))
    draws = [stream(0, "n", i) for i in range(2)]
    sent = system.transmit(x, point, generator=draws)
    assert sent.received.shape == x.shape
    assert bool(torch.isfinite(sent.received).all())
    assert sent.uses.tolist() == [message_uses(32_000)] * 2 == [system.uses(32_000)] * 2
    assert sent.uses[0] % PACKET_USES == 0
    assert torch.allclose(sent.tx_power, torch.ones(2), atol=0.03)
    assert sent.outage.dtype == torch.bool
    one = system.transmit(x[1:], Point(snr_db=12.2), generator=[stream(0, "n", 1)])
    assert torch.allclose(one.received[0], sent.received[1], atol=1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_quality_rises_with_the_snr(name: str, voice: torch.Tensor) -> None:
    system = build(name, AWGN())
    figures = []
    for snr_db in (4.0, 15.0):
        noise = stream(0, "n", snr_db)
        received = system.transmit(voice[None], Point(snr_db=snr_db), generator=noise).received
        figures.append(perceptual_snr(received[0], voice))
    assert figures == sorted(figures)
    assert figures[-1] > figures[0] + 1.5


def test_a_code_degrades_where_a_link_is_lost(voice: torch.Tensor) -> None:
    """At an SNR 6 dB below what its MCS needs, the link hears nothing, the code still something."""
    point = Point(snr_db=4.0)
    link = build("speech+ldpc5g", AWGN(), "16qam-1/2")
    sent = link.transmit(voice[None], point, generator=stream(0, "n"))
    assert bool(sent.outage[0])
    assert float(sent.stats["lost"][0]) == 1
    assert not bool(sent.received.any())
    code = build("speech-jscc", AWGN())
    received = code.transmit(voice[None], point, generator=stream(0, "n")).received
    assert perceptual_snr(received[0], voice) > 1


def test_some_packets_lost_are_concealed(voice: torch.Tensor) -> None:
    link = build("speech+ldpc5g", Rayleigh("fast"), "16qam-1/2")
    lost = []
    for snr_db in torch.arange(8.5, 11.6, 1.0).tolist():
        sent = link.transmit(voice[None], Point(snr_db=snr_db), generator=stream(0, "n"))
        lost.append(float(sent.stats["lost"][0]))
        if 0 < lost[-1] < 1:
            assert not bool(sent.outage[0])
            assert bool(sent.received.any())
    assert any(0 < share < 1 for share in lost), lost
    assert lost[0] > lost[-1]


def test_without_noise_the_link_is_the_codec(voice: torch.Tensor) -> None:
    link = build("speech+ldpc5g", AWGN())
    assert isinstance(link, SpeechLink)
    sent = link.transmit(voice[None], Point(snr_db=40.0), generator=stream(0, "n"))
    assert float(sent.stats["kbps"][0]) == 32.0
    codec = link.codec
    wanted = codec.sound(codec.frames(voice, 32.0), voice.shape[0]).samples
    assert torch.equal(sent.received[0], wanted)


@pytest.mark.parametrize("channel", [AWGN(), Rayleigh(), Rayleigh("fast")])
@pytest.mark.parametrize("snr_db", [-5.0, 1.5])
def test_the_scheme_can_carry_the_codec(channel: SymbolChannel, snr_db: float) -> None:
    """At 1.5 dB in AWGN one packet in 60 is lost at qpsk-1/2; at qpsk-1/3 the codec doesn't fit."""
    link = build("speech+ldpc5g", channel)
    assert isinstance(link, SpeechLink)
    assert link.plan(snr_db).kbps is not None


def test_below_the_lowest_rate_is_an_outage(voice: torch.Tensor) -> None:
    link = build("speech+ldpc5g", AWGN(), "qpsk-1/3")
    sent = link.transmit(voice[None], Point(snr_db=30.0), generator=stream(0, "n"))
    assert bool(sent.outage[0])
    assert float(sent.stats["kbps"][0]) == 0


def test_the_level_goes_along(voice: torch.Tensor) -> None:
    """A recording 30 dB softer arrives 30 dB softer: the header says how loud it is."""
    code = build("speech-jscc", AWGN())
    powers = []
    for gain in (1.0, 10**-1.5):
        noise = stream(0, "n")
        sent = code.transmit(gain * voice[None], Point(snr_db=15.0), generator=noise)
        assert float(sent.stats["level_misread"][0]) == 0
        powers.append(float(sent.received.square().mean()))
    assert 10 * torch.log10(torch.tensor(powers[0] / powers[1])) == pytest.approx(30, abs=1.0)


def test_a_constellation_is_what_goes_on_the_air(voice: torch.Tensor) -> None:
    recipe = load_speech_recipe("speech-jscc-q64")
    assert recipe.kind == "speech-code"
    torch.manual_seed(0)
    code = build_code(recipe).eval()
    spectra = torch.randn(1, 20, 320, generator=torch.Generator().manual_seed(0))
    symbols = code._symbols(spectra, torch.tensor([10.0]))[0]
    levels = torch.unique((symbols * 1e4).round())
    assert len(levels) == 8  # 64-QAM: eight levels an axis
    assert float(symbols.square().sum(dim=1).mean()) == pytest.approx(1.0, abs=1e-4)


def test_shapes_are_checked(voice: torch.Tensor) -> None:
    for name in SYSTEMS:
        with pytest.raises(ValueError, match="recordings"):
            build(name, AWGN()).transmit(voice, Point(snr_db=4.0), generator=stream(0, "n"))


def test_a_fade_deeper_than_any_in_training_leaves_it_quiet(voice: torch.Tensor) -> None:
    code = build("speech-jscc", AWGN())
    sent = code.transmit(voice[None], Point(snr_db=-11.0), generator=stream(0, "n"))
    assert perceptual_snr(sent.received[0], voice) > -1
    assert not bool(sent.outage[0])
    sent = code.transmit(voice[None], Point(snr_db=-25.0), generator=stream(0, "n"))
    assert bool(sent.outage[0])
    assert not bool(sent.received.any())


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_is_no_recording_is_refused(name: str, voice: torch.Tensor) -> None:
    system = build(name, AWGN())
    broken = voice.clone()
    broken[100] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        system.transmit(broken[None], Point(snr_db=10.0), generator=stream(0, "n"))
    with pytest.raises(ValueError, match="2 generators for a batch of 1"):
        system.transmit(
            voice[None], Point(snr_db=10.0), generator=[stream(0, "n", i) for i in (0, 1)]
        )


@pytest.mark.parametrize("name", [*SYSTEMS, "speech-jscc-q64"])
@pytest.mark.parametrize("samples", [1, 15_999])
def test_silence_and_odd_lengths(name: str, samples: int) -> None:
    system = build(name, AWGN())
    silence = torch.zeros(1, samples)
    sent = system.transmit(silence, Point(snr_db=20.0), generator=stream(0, "n"))
    assert sent.received.shape == silence.shape
    assert float(sent.received.abs().max()) < 1e-3
    assert int(sent.uses[0]) == message_uses(samples)


def test_spectra_and_headers_stay_on_their_device() -> None:
    """The meta device stands for any but the CPU: mixing the two is an error."""
    spectra = mdct(torch.zeros(2, 1000, device="meta"))
    assert imdct(spectra, 1000).device.type == "meta"
    header = _write(torch.zeros(2, dtype=torch.int64, device="meta"), 40)
    assert _read(header).device.type == "meta"
