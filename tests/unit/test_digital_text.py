"""Huffman codes, short channel codes, and the digital text links made of them."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch

from vqlink.channels import AWGN, BEC, BSC
from vqlink.digital.huffman import build_huffman, count_symbols, sentence_code
from vqlink.digital.short import (
    CRC_BITS,
    block_size,
    circular_buffer,
    decode_blocks,
    encode_block,
)
from vqlink.links.bits import BitsLink
from vqlink.protocols import Point, TextTransceiver, VqlinkError
from vqlink.rng import stream, uniform
from vqlink.systems.text_separation import TEXT_LINKS, parse_text_separation

SENTENCES = [
    "A man rides a horse.",
    "Two dogs run on the grass, don't they?",
    "A zyzzyva 😀 in 日本.",
    "",
    "tab\tand  two spaces",
]


def test_huffman_is_optimal_and_prefix_free() -> None:
    counts = Counter("the quick brown fox jumps over the lazy dog and some more of it")
    code = build_huffman(counts)
    lengths = {symbol: len(bits) for symbol, bits in code.codes.items()}
    assert sum(2.0**-n for n in lengths.values()) == 1.0  # Kraft: complete
    words = sorted(code.codes.values())
    assert not any(b.startswith(a) for a, b in itertools.pairwise(words))
    total = sum(counts.values())
    entropy = -sum(n / total * math.log2(n / total) for n in counts.values())
    mean = sum(counts[s] * lengths[s] for s in counts) / total
    assert entropy <= mean < entropy + 0.1
    assert sum(counts[s] * lengths[s] for s in counts) == _merged(list(counts.values()))
    dyadic = build_huffman({"a": 8, "b": 4, "c": 2, "d": 1, "e": 1})
    assert dyadic.codes == {"a": "0", "b": "10", "c": "110", "d": "1110", "e": "1111"}
    with pytest.raises(ValueError, match="two symbols"):
        build_huffman({"a": 3})


def _merged(counts: list[int]) -> int:
    """The total length of an optimal code: the sum of all merged weights."""
    total = 0
    while len(counts) > 1:
        counts.sort()
        first = counts.pop(0) + counts.pop(0)
        counts.append(first)
        total += first
    return total


@pytest.mark.parametrize("level", ["word", "char"])
def test_sentences_come_back_exactly(level: str) -> None:
    code = sentence_code(level)  # type: ignore[arg-type]
    for sentence in SENTENCES:
        bits = code.encode(sentence)
        assert set(bits) <= {"0", "1"}
        assert code.decode(bits + "0110") == (" ".join(sentence.split()), True)
        read, ended = code.decode(bits[:-1])
        assert not ended
        assert len(read) <= len(sentence)


def test_the_table_is_of_training_sentences() -> None:
    counts = count_symbols(["A dog runs.", "A dog sits."])
    assert counts["words"] == {"A": 2, " dog": 2, ".": 2, "<escape>": 3, "<end>": 2}
    assert counts["chars"]["<end>"] == 2
    word, char = sentence_code("word"), sentence_code("char")
    plain = "A man is riding a bicycle down the street."
    assert 60 < len(word.encode(plain)) < 85
    assert 170 < len(char.encode(plain)) < 200


def test_short_ldpc_is_the_standards_rate_matching() -> None:
    """The first n bits of the mother code are what Sionna's encoder of that length sends."""
    from sionna.phy.fec.ldpc import LDPC5GEncoder

    from vqlink.digital.short import _mother

    payload = (uniform((3, 96 - CRC_BITS), generator=stream(0, "b")) < 0.5).float()
    for coded in (150, 200, 400):
        block = _mother("ldpc5g", 96).crc_encoder(payload)
        want = LDPC5GEncoder(96, coded, device="cpu")(block)
        assert torch.equal(encode_block("ldpc5g", payload, coded), want)
    repeated = encode_block("ldpc5g", payload, 600)
    assert torch.equal(repeated[:, 480:], repeated[:, :120])


def test_the_turbo_codes_circular_buffer() -> None:
    """By the standard's own words (TS 36.212, 5.1.4.1), written out naively."""
    length = 44
    columns = [int(f"{i:05b}"[::-1], 2) for i in range(32)]
    rows = math.ceil(length / 32)
    padded = [None] * (32 * rows - length) + list(range(length))
    matrix = [padded[32 * r : 32 * r + 32] for r in range(rows)]
    v0 = [matrix[r][c] for c in columns for r in range(rows)]
    size = 32 * rows
    v2 = [padded[(columns[k // rows] + 32 * (k % rows) + 1) % size] for k in range(size)]
    w = [None if t is None else 3 * t for t in v0]
    for a, b in zip(v0, v2, strict=True):
        w += [None if a is None else 3 * a + 1, None if b is None else 3 * b + 2]
    start = rows * 2
    want = [t for t in w[start:] + w[:start] if t is not None]
    assert circular_buffer(length).tolist() == want
    assert sorted(want) == list(range(3 * length))


@pytest.mark.parametrize("code", ["ldpc5g", "turbo"])
def test_blocks_of_many_lengths_decode_together(code: str) -> None:
    size = block_size(code, 80, 1000)  # type: ignore[arg-type]
    assert size is not None
    payload = (uniform((4, size - CRC_BITS), generator=stream(0, "b")) < 0.5).float()
    ratios = []
    for row, coded in zip(payload, (130, 200, 330, 700), strict=True):
        sent = encode_block(code, row[None], coded)[0]  # type: ignore[arg-type]
        kept = uniform(sent.shape, generator=stream(coded, "e")) > (0.0 if coded < 200 else 0.2)
        ratios.append(20 * (2 * sent - 1) * kept)
    bits, good = decode_blocks(code, ratios, size)  # type: ignore[arg-type]
    assert good.all()
    assert torch.equal(bits, payload)
    ratios[0] = torch.zeros(130)
    _, good = decode_blocks(code, [-r for r in ratios], size)  # type: ignore[arg-type]
    assert not good[1:].any()
    assert block_size(code, 80, 100) is None  # type: ignore[arg-type]
    assert block_size(code, 10_000, 50_000) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TEXT_LINKS)
def test_links_carry_sentences_and_count_outages(name: str) -> None:
    link = parse_text_separation(name, BitsLink(BEC()), lambda sentence: 600)
    assert isinstance(link, TextTransceiver)
    assert link.name == name
    noise = [stream(0, "n", i) for i in range(3)]
    sent = link.transmit(SENTENCES[:3], Point(probability=0.1), generator=noise)
    assert list(sent.received) == SENTENCES[:3]
    assert sent.uses.tolist() == [600] * 3
    assert not sent.outage.any()
    noise = [stream(0, "n", i) for i in range(3)]
    lost = link.transmit(SENTENCES[:3], Point(probability=0.95), generator=noise)
    assert lost.outage.all()


@pytest.mark.parametrize(
    ("channel", "bits", "good", "bad"),
    [
        (BSC(), 1, Point(probability=0.05), Point(probability=0.4)),
        (AWGN(), 1, Point(snr_db=0.0), Point(snr_db=-12.0)),
        (AWGN(), 2, Point(snr_db=3.0), Point(snr_db=-9.0)),
    ],
)
def test_links_over_other_channels(channel: object, bits: int, good: Point, bad: Point) -> None:
    link = BitsLink(channel, bits_per_symbol=bits)  # type: ignore[arg-type]
    system = parse_text_separation("huffman+ldpc5g", link, lambda sentence: 400 // bits)
    noise = [stream(0, "n", i) for i in range(2)]
    sent = system.transmit(SENTENCES[:2], good, generator=noise)
    assert list(sent.received) == SENTENCES[:2]
    assert sent.uses.tolist() == [400 // bits] * 2
    assert sent.tx_power.tolist() == [1.0, 1.0]
    noise = [stream(0, "n", i) for i in range(2)]
    assert system.transmit(SENTENCES[:2], bad, generator=noise).outage.all()


def test_what_does_not_fit_is_an_outage_and_said_so() -> None:
    link = parse_text_separation("huffman-char+turbo", BitsLink(BEC()), lambda sentence: 100)
    sent = link.transmit(SENTENCES[:1], Point(probability=0.0), generator=stream(0, "n"))
    assert sent.received == ("",)
    assert sent.outage.all()
    assert sent.stats["too_small"].tolist() == [1.0]
    with pytest.raises(VqlinkError, match="huffman\\+turbo"):
        parse_text_separation("huffman+polar", BitsLink(BEC()), lambda sentence: 100)
