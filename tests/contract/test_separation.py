"""The classical transceiver: exact uses, honest outages, independence of the batch."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import smooth_picture
from vqlink.channels.awgn import AWGN
from vqlink.channels.fading import Rayleigh, Rician
from vqlink.channels.symbol import SymbolChannel
from vqlink.digital.codecs import PillowCodec
from vqlink.digital.fec import plan_frame
from vqlink.digital.fit import fit_quality
from vqlink.digital.mcs import parse_mcs, thresholds
from vqlink.protocols import Point, Transceiver, VqlinkError
from vqlink.rng import stream
from vqlink.systems.separation import Separation, parse_separation


def budget(height: int, width: int) -> int:
    return height * width * 2 + 7


def link(name: str = "jpeg+ldpc5g@qpsk-1/2", channel: object = None) -> Separation:
    return parse_separation(name, channel or AWGN(), budget)  # type: ignore[arg-type]


def pictures(count: int = 2) -> torch.Tensor:
    return torch.stack([smooth_picture(96, 112, seed=i) for i in range(count)])


def test_arrival_is_the_codec_s_own_picture_bit_for_bit() -> None:
    system, x = link(), pictures(1)
    out = system.transmit(x, Point(snr_db=8.0), generator=stream(0, "t"))
    assert isinstance(system, Transceiver)
    assert not out.outage.any()
    assert out.uses.tolist() == [budget(96, 112)]
    codec, mcs = PillowCodec("jpeg"), parse_mcs("qpsk-1/2")
    frame = plan_frame(budget(96, 112), mcs.bits_per_symbol, float(mcs.rate))
    assert frame is not None
    pixels = (x[0] * 255).round().byte()
    fit = fit_quality(codec, pixels, frame.capacity)
    assert fit is not None
    assert len(fit.payload) == out.stats["payload_bytes"][0] <= frame.capacity
    assert torch.equal(out.received[0], codec.decode(fit.payload, 96, 112).float() / 255)


@pytest.mark.parametrize(
    "name",
    [
        "jpeg+ldpc5g",
        "webp+ldpc5g@16qam-1/2",
        "avif+ldpc5g@64qam-2/3",
        "jpeg+ldpc80211ad",
        "webp+ldpc80211ad@bpsk-1/2",
    ],
)
def test_power_is_measured_near_its_budget(name: str) -> None:
    out = link(name).transmit(pictures(1), Point(snr_db=20.0), generator=stream(0, "t"))
    assert (10 * out.tx_power.log10()).abs().max() < 0.1


def test_far_below_the_threshold_it_is_mid_grey_and_counts() -> None:
    limit = thresholds()["qpsk-1/2"]
    out = link().transmit(pictures(), Point(snr_db=limit - 3), generator=stream(0, "t"))
    assert out.outage.all()
    assert torch.equal(out.received, torch.full_like(out.received, 128 / 255))
    assert out.uses.tolist() == [budget(96, 112)] * 2


def test_a_picture_that_no_quality_brings_down_is_an_outage() -> None:
    system = parse_separation("jpeg+ldpc5g@qpsk-1/2", AWGN(), lambda h, w: 300)
    out = system.transmit(pictures(1), Point(snr_db=30.0), generator=stream(0, "t"))
    assert out.outage.all()
    assert out.stats["too_small"].tolist() == [1.0]


@pytest.mark.parametrize("channel", [AWGN(), Rayleigh(), Rayleigh("fast")])
def test_a_scheme_that_holds_the_picture_is_taken(channel: SymbolChannel) -> None:
    """qpsk-1/5 and 1/3 have no room for this picture: it would be lost at any SNR."""
    system = parse_separation("jpeg+ldpc5g", channel, lambda h, w: 4000)
    x = smooth_picture(64, 64)[None].expand(8, 3, 64, 64)
    coarsest = len(PillowCodec("jpeg").encode((x[0] * 255).round().to(torch.uint8), 1))
    uses = int(coarsest * 8 / 0.75)  # more than qpsk-1/3 holds, less than qpsk-1/2
    system.budget = lambda height, width: uses
    noise = [stream(0, "t", i) for i in range(8)]
    out = system.transmit(x, Point(snr_db=6.0), generator=noise)
    low = system.transmit(x, Point(snr_db=-4.0), generator=noise)
    assert out.stats["too_small"].sum() == low.stats["too_small"].sum() == 0
    assert not {"qpsk-1/5", "qpsk-1/3"} & set(out.labels["mcs"].split(", "))
    assert low.labels["mcs"] == "qpsk-1/2"
    assert float(out.outage.float().mean()) < 1


def test_the_best_mcs_follows_the_snr() -> None:
    chosen = [
        link("jpeg+ldpc5g").transmit(pictures(1), Point(snr_db=s), generator=stream(0, "t")).labels
        for s in (2.0, 12.0)
    ]
    assert [labels["mcs"] for labels in chosen] == ["qpsk-1/2", "16qam-3/4"]


@pytest.mark.parametrize("channel", [Rayleigh(), Rayleigh("fast"), Rician(4.0)])
def test_fading_is_equalised(channel: object) -> None:
    out = link("jpeg+ldpc5g@qpsk-1/3", channel).transmit(
        pictures(1), Point(snr_db=30.0), generator=stream(3, "t")
    )
    assert not out.outage.any()


def test_slow_fading_is_lost_as_often_as_the_fade_says() -> None:
    """qpsk-1/2 needs |h|^2 above its threshold: at a mean 10 dB above, 9.5 % are lost."""
    limit = thresholds()["qpsk-1/2"]
    system = link("jpeg+ldpc5g@qpsk-1/2", Rayleigh())
    x = smooth_picture(32, 32)[None].expand(100, 3, 32, 32)
    system.budget = lambda height, width: 8000
    noise = [stream(0, "t", i) for i in range(100)]
    out = system.transmit(x, Point(snr_db=limit + 10), generator=noise)
    # Binomial, 100 draws at 0.095: 4 standard deviations are 0.117; a lossless link fails too.
    assert 0.01 <= float(out.outage.float().mean()) <= 0.22


def test_a_message_is_the_same_alone_and_in_a_batch() -> None:
    x, limit = pictures(3), thresholds()["qpsk-1/2"]
    snr = torch.tensor([limit - 3, limit + 3, limit + 3])
    noise = [stream(0, "n", i) for i in range(3)]
    together = link().transmit(x, Point(snr_db=snr), generator=noise)
    alone = link().transmit(x[1:2], Point(snr_db=limit + 3), generator=stream(0, "n", 1))
    assert together.outage.tolist() == [True, False, False]
    assert torch.equal(together.received[1:2], alone.received)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("jpg+ldpc5g", "jpeg"),
        ("jpeg+ldpc", "ldpc5g"),
        ("jpeg+turbo", "ldpc5g"),
        ("jpeg+ldpc5g@16qam-1/7", "16qam-1/2"),
    ],
)
def test_unknown_names(name: str, hint: str) -> None:
    with pytest.raises(VqlinkError, match=hint):
        link(name)


def test_bpg_needs_its_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(VqlinkError, match="bpgenc"):
        link("bpg+ldpc5g")
