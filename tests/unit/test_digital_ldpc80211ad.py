"""The 802.11ad codes: their matrices, encoding, and what they correct."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from vqlink.channels.awgn import AWGN
from vqlink.digital import ldpc80211ad as ad
from vqlink.digital.codes import CODES
from vqlink.digital.mcs import MCS_TABLES, parse_mcs, thresholds
from vqlink.digital.modem import demap_symbols, map_bits
from vqlink.protocols import Point
from vqlink.rng import stream

INFORMATION = {"1/2": 336, "5/8": 420, "3/4": 504, "13/16": 546}


def rank_gf2(matrix: np.ndarray) -> int:
    rows = [int("".join(map(str, row)), 2) for row in matrix]
    rank = 0
    while rows:
        pivot = rows.pop()
        if pivot:
            rank += 1
            low = pivot & -pivot
            rows = [row ^ pivot if row & low else row for row in rows]
    return rank


@pytest.mark.parametrize("rate", ad.RATES)
def test_shape_rank_and_weights(rate: str) -> None:
    matrix = ad.parity_check(rate)
    assert matrix.shape == (672 - INFORMATION[rate], 672)
    assert rank_gf2(matrix) == matrix.shape[0], "every check counts: the rate is exact"
    assert matrix.sum(axis=0).max() <= 4
    assert set(np.unique(matrix)) == {0, 1}


@pytest.mark.parametrize("rate", ad.RATES)
def test_no_cycles_of_length_four(rate: str) -> None:
    """Girth 6 at least: no two checks share two bits."""
    matrix = ad.parity_check(rate).astype(np.int64)
    shared = matrix @ matrix.T
    np.fill_diagonal(shared, 0)
    assert shared.max() <= 1


def test_blocks_are_identities_shifted_to_the_right() -> None:
    """Rate 1/2, first row of blocks: shift 40 at block 0, so check 0 sees bits 40, 42 * 2 + 38."""
    matrix = ad.parity_check("1/2")
    assert np.flatnonzero(matrix[0]).tolist() == [40, 84 + 38, 168 + 13, 252 + 5, 336 + 18]
    assert np.flatnonzero(matrix[2])[0] == 0  # (2 + 40) mod 42


def test_matrices_share_rows_as_the_standard_s_tables_do() -> None:
    """13/16 is 3/4 without its first row, 5/8 ends as 1/2 does, but for a few blocks."""
    half, five, three, thirteen = map(ad.base_matrix, ad.RATES)

    def differing(a: np.ndarray, b: np.ndarray) -> list[tuple[int, int, int, int]]:
        return [(int(i), int(j), int(a[i, j]), int(b[i, j])) for i, j in np.argwhere(a != b)]

    assert differing(three[1:], thirteen) == [(1, 12, -1, 10), (2, 9, -1, 2)]
    assert differing(half[4:], five[2:]) == [(1, 12, -1, 24), (2, 9, -1, 9), (3, 12, 13, -1)]
    # The first two rows of 5/8 are pairs of rows of 1/2 laid into one another.
    for row, pair in ((0, (0, 2)), (1, (1, 3))):
        one, other = half[pair[0]], half[pair[1]]
        assert not ((one >= 0) & (other >= 0) & (five[row] == -1)).any()


DIGESTS = {
    "1/2": "6011356a725196df",
    "5/8": "906aed654bdcb70f",
    "3/4": "9e6523ca0bf1f3e4",
    "13/16": "34af94985f19e2f7",
}
"""sha256 of the base matrices as entered from tables 21-6 to 21-9 of IEEE 802.11ad-2012."""


@pytest.mark.parametrize("rate", ad.RATES)
def test_no_shift_has_changed(rate: str) -> None:
    assert hashlib.sha256(ad.base_matrix(rate).tobytes()).hexdigest()[:16] == DIGESTS[rate]


@pytest.mark.parametrize("rate", ad.RATES)
def test_words_equal_those_of_elimination(rate: str) -> None:
    """Independent encoding: solve the parity part of H p = H u over GF(2)."""
    matrix = ad.parity_check(rate)
    k = INFORMATION[rate]
    u = np.random.default_rng(0).integers(0, 2, (3, k)).astype(np.uint8)
    words = ad.encode(u, rate)
    assert np.array_equal(words[:, :k], u)
    assert not ((words @ matrix.T) % 2).any()
    # H's parity part is invertible (full rank), so the word with these u is the only one.
    assert rank_gf2(matrix[:, k:]) == 672 - k


@pytest.mark.parametrize("rate", ad.RATES)
def test_three_flipped_bits_are_mended(rate: str) -> None:
    u = np.random.default_rng(1).integers(0, 2, (20, INFORMATION[rate])).astype(np.uint8)
    words = torch.from_numpy(ad.encode(u, rate)).float()
    llr = 3 * (2 * words - 1)
    for row in range(20):
        where = torch.randperm(672, generator=stream(0, "flip", row))[:3]
        llr[row, where] *= -1
    decided, valid = ad.decode_words(llr, rate)
    assert valid.all()
    assert torch.equal((decided > 0).float(), words)


@pytest.mark.parametrize("name", ["bpsk-1/2", "qpsk-5/8", "16qam-3/4", "64qam-13/16"])
def test_messages_arrive_above_the_threshold_and_not_far_below(name: str) -> None:
    mcs, limit = parse_mcs(name, "ldpc80211ad"), thresholds("ldpc80211ad")[name]
    code = CODES["ldpc80211ad"]
    frame = code.plan(20_001, mcs.bits_per_symbol, float(mcs.rate))
    assert frame is not None
    assert frame.bits == 20_001 * mcs.bits_per_symbol
    assert frame.padding < 672
    payload = bytes(range(200)) * 2
    symbols = map_bits(code.encode(payload, frame), mcs.bits_per_symbol)
    assert symbols.abs().square().mean().item() == pytest.approx(1.0, abs=0.05)

    def receive(snr_db: float) -> bytes | None:
        out = AWGN()(symbols[None], Point(snr_db=snr_db), generator=stream(0, name))
        noise = out.noise_var.expand_as(out.y)[0]
        return code.decode(demap_symbols(out.y[0], noise, mcs.bits_per_symbol), frame)

    arrived = receive(limit + 1.0)
    assert arrived is not None
    assert arrived == payload.ljust(code.capacity(frame), b"\x00")
    assert receive(limit - 3.0) is None


def test_a_word_that_decodes_to_another_is_caught_by_the_crc() -> None:
    code = CODES["ldpc80211ad"]
    frame = code.plan(672, 2, 0.5)
    assert frame is not None
    bits = code.encode(b"hello", frame)
    other = code.encode(b"hallo", frame)
    llr = 10 * (2 * bits - 1)
    llr[:672] = 10 * (2 * other[:672] - 1)  # a valid word in each place, but not of one message
    assert code.decode(10 * (2 * bits - 1), frame) is not None
    assert code.decode(llr, frame) is None


def test_too_few_uses_and_too_large_a_payload() -> None:
    code = CODES["ldpc80211ad"]
    assert code.plan(335, 2, 0.5) is None
    frame = code.plan(336, 2, 0.5)
    assert frame is not None
    assert code.capacity(frame) == 336 // 8 - 4
    with pytest.raises(ValueError, match="do not fit"):
        code.encode(bytes(100), frame)


def test_thresholds_lie_between_capacity_and_a_few_db_more() -> None:
    for mcs in MCS_TABLES["ldpc80211ad"]:
        shannon = 10 * np.log10(2**mcs.efficiency - 1)
        assert shannon + 0.5 < thresholds("ldpc80211ad")[mcs.name] < shannon + 5.5, mcs.name
