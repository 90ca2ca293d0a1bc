"""Frames, LDPC, modem and MCS: exact sizes, scales of LLRs, and what an error does."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from vqlink.channels.awgn import AWGN
from vqlink.digital.fec import (
    LOWEST_RATE,
    decode_blocks,
    decode_message,
    encode_message,
    plan_frame,
)
from vqlink.digital.mcs import (
    MARGIN_DB,
    MCS_TABLE,
    MCS_TABLES,
    best_mcs_awgn,
    best_mcs_fading,
    parse_mcs,
    required_snr_db,
    thresholds,
)
from vqlink.digital.modem import demap_symbols, map_bits
from vqlink.protocols import Point, VqlinkError
from vqlink.rng import stream


@pytest.mark.parametrize("uses", [80, 333, 4096, 98_304])
@pytest.mark.parametrize("mcs", MCS_TABLE, ids=lambda m: m.name)
def test_a_frame_fills_its_uses_exactly(uses: int, mcs: object) -> None:
    frame = plan_frame(uses, mcs.bits_per_symbol, float(mcs.rate))  # type: ignore[attr-defined]
    assert frame is not None
    assert frame.bits == uses * frame.bits_per_symbol
    assert frame.coded % frame.bits_per_symbol == 0
    assert frame.capacity * 8 + 24 * frame.blocks == frame.blocks * frame.information
    rate, lowest = frame.information / frame.coded, float(mcs.rate) == LOWEST_RATE  # type: ignore[attr-defined]
    # Below a fifth there is no code: what whole bytes leave free is padding then, up to 40 bits.
    assert LOWEST_RATE <= rate <= (1.02 * LOWEST_RATE if lowest else float(mcs.rate))  # type: ignore[attr-defined]
    assert 0 <= frame.padding < frame.blocks * (frame.bits_per_symbol + (40 if lowest else 0))


@pytest.mark.parametrize("uses", [80, 1234, 15_156, 98_305])
def test_the_lowest_rate_can_be_coded(uses: int) -> None:
    frame = plan_frame(uses, 2, LOWEST_RATE)
    assert frame is not None
    bits = encode_message(b"a", frame)
    assert decode_message((2 * bits - 1) * 10, frame) == b"a".ljust(frame.capacity, b"\0")


def test_too_few_uses() -> None:
    assert plan_frame(8, 2, 1 / 3) is None


def transmit(payload: bytes, uses: int, name: str, snr_db: float, seed: int = 0) -> bytes | None:
    mcs = parse_mcs(name)
    frame = plan_frame(uses, mcs.bits_per_symbol, float(mcs.rate))
    assert frame is not None
    symbols = map_bits(encode_message(payload, frame), mcs.bits_per_symbol)
    assert symbols.shape == (uses,)
    out = AWGN()(symbols[None], Point(snr_db=snr_db), generator=stream(seed, "t"))
    noise_var = out.noise_var.expand_as(out.y)[0]
    return decode_message(demap_symbols(out.y[0], noise_var, mcs.bits_per_symbol), frame)


@pytest.mark.parametrize("name", ["qpsk-1/3", "16qam-1/2", "64qam-3/4", "256qam-5/6"])
def test_bytes_arrive_above_the_threshold_and_are_lost_below(name: str) -> None:
    payload = bytes(range(200))
    limit = thresholds()[name]
    for uses in (3000, 12_000):  # one block, and several
        arrived = transmit(payload, uses, name, limit + 1.5)
        assert arrived is not None
        assert arrived.startswith(payload)
        assert not any(arrived[len(payload) :])
        assert transmit(payload, uses, name, limit - 2.5) is None


def test_a_payload_that_is_too_large() -> None:
    frame = plan_frame(1000, 2, 0.5)
    assert frame is not None
    with pytest.raises(ValueError, match="fit"):
        encode_message(bytes(frame.capacity + 1), frame)


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_an_almost_empty_frame_still_has_unit_power(bits: int) -> None:
    frame = plan_frame(20_000, bits, 0.5)
    assert frame is not None
    symbols = map_bits(encode_message(b"x", frame), bits)
    assert symbols.abs().square().mean().item() == pytest.approx(1.0, abs=0.02)


def test_llrs_of_qpsk_have_the_right_sign_and_scale() -> None:
    bits = (torch.rand(2000, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    symbols = map_bits(bits, 2)
    noise_var = 0.5
    out = AWGN()(
        symbols[None], Point(snr_db=10 * math.log10(1 / noise_var)), generator=stream(0, "t")
    )
    received = out.y[0]
    llr = demap_symbols(received, torch.full((1000,), noise_var), 2)
    # Gray QPSK: bit 0 is +1/sqrt(2); log P(1)/P(0) = -4 (1/sqrt 2) y / N0 in each dimension.
    expected = -4 * math.sqrt(0.5) * torch.view_as_real(received).flatten() / noise_var
    torch.testing.assert_close(llr, expected.clamp(-50, 50), rtol=1e-4, atol=1e-3)
    errors = ((llr > 0).float() != bits).float().mean().item()
    q = 0.5 * math.erfc(math.sqrt(1 / noise_var / 2))
    assert errors == pytest.approx(q, abs=4 * math.sqrt(q * (1 - q) / 2000))


def test_block_errors_agree_with_sionna_s_own_chain() -> None:
    """The same code and SNR without our framing, scrambling and CRC; within binomial bounds."""
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder

    frame = plan_frame(300, 2, 0.5)
    assert frame is not None
    snr_db, count, lost = 1.0, 100, 0
    for i in range(count):
        random = stream(i, "ours")
        symbols = map_bits(encode_message(bytes([i]), frame), 2)
        out = AWGN()(symbols[None], Point(snr_db=snr_db), generator=random)
        llr = demap_symbols(out.y[0], out.noise_var.expand_as(out.y)[0], 2)
        lost += int((~decode_blocks(llr, frame)[1]).sum())
    encoder = LDPC5GEncoder(frame.information, frame.coded, num_bits_per_symbol=2, device="cpu")
    decoder = LDPC5GDecoder(encoder, num_iter=30, device="cpu")
    random = stream(0, "theirs")
    bits = (torch.rand(300, frame.information, generator=random) < 0.5).float()
    symbols = torch.stack([map_bits(word, 2) for word in encoder(bits)])
    out = AWGN()(symbols, Point(snr_db=snr_db), generator=random)
    noise_var = out.noise_var.expand_as(out.y)
    llr = torch.stack([demap_symbols(y, n, 2) for y, n in zip(out.y, noise_var, strict=True)])
    theirs = float((decoder(llr) != bits).any(dim=1).float().mean())
    ours = lost / count
    assert 0.02 < theirs < 0.98
    spread = math.sqrt(theirs * (1 - theirs) * (1 / count + 1 / 300))
    assert abs(ours - theirs) < 4 * spread


def test_names() -> None:
    for mcs in MCS_TABLE:
        assert parse_mcs(mcs.name) == mcs
        assert mcs.name in thresholds()
    with pytest.raises(VqlinkError, match="16qam-1/2"):
        parse_mcs("16qam-1-2")


def test_thresholds_respect_capacity_and_order() -> None:
    for mcs in MCS_TABLE:
        shannon = 10 * math.log10(2**mcs.efficiency - 1)
        assert shannon + 0.3 < thresholds()[mcs.name] < shannon + 4.0
    for a, b in itertools.pairwise(MCS_TABLE):
        if a.modulation == b.modulation:
            assert thresholds()[a.name] < thresholds()[b.name]


def test_many_short_codewords_need_more() -> None:
    """802.11ad: every tenfold of words costs 0.7 dB, since all of a message's must arrive."""
    mcs = next(m for m in MCS_TABLES["ldpc80211ad"] if m.name == "16qam-5/8")
    few, many, more = (
        required_snr_db(mcs, words * 672 // 4, "ldpc80211ad") for words in (10, 600, 6000)
    )
    assert few == thresholds("ldpc80211ad")["16qam-5/8"]
    assert many == pytest.approx(few + 0.7 * math.log10(30), abs=0.01)
    assert more == pytest.approx(many + 0.7, abs=0.01)


def test_the_best_mcs_gets_faster_with_the_snr() -> None:
    chosen = [best_mcs_awgn(snr / 2, 30_000) for snr in range(-10, 60)]
    rates = [mcs.efficiency for mcs in chosen]
    assert rates == sorted(rates)
    assert chosen[0] == MCS_TABLE[0]
    for snr, mcs in zip(range(-10, 60), chosen, strict=True):
        if snr / 2 > 0:
            assert thresholds()[mcs.name] + MARGIN_DB <= snr / 2


def test_short_messages_take_more_snr() -> None:
    for mcs in MCS_TABLE:
        needs = [required_snr_db(mcs, uses) for uses in (100, 300, 1000, 30_000)]
        assert needs == sorted(needs, reverse=True)
        assert needs[-1] == thresholds()[mcs.name] + MARGIN_DB
        # 12 of 64 blocks of 512 bits were lost at 9.0 dB with 16qam-2/3.
    assert 9.2 < required_snr_db(parse_mcs("16qam-2/3"), 192) < 10.5


def test_without_knowing_the_fade_the_choice_is_more_careful() -> None:
    def rayleigh(mean_db: float) -> object:
        return lambda limit_db: math.exp(-(10 ** ((limit_db - mean_db) / 10)))

    for snr in (5.0, 10.0, 20.0):
        careful = best_mcs_fading(rayleigh(snr), 30_000, 360_000)  # type: ignore[arg-type]
        assert careful.efficiency <= best_mcs_awgn(snr, 30_000).efficiency
    low, high = (best_mcs_fading(rayleigh(s), 30_000, 360_000) for s in (5.0, 30.0))  # type: ignore[arg-type]
    assert low.efficiency < high.efficiency
