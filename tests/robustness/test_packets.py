"""Whatever datagrams arrive, and whatever a sender with a right CRC writes into them."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import smooth_picture
from tests.robustness.fuzz import Parser, fuzz
from vqlink.errors import VqlinkError
from vqlink.evaluation.packets import PacketReceiver
from vqlink.packets.header import HEADER_BYTES, PacketError, build_packet, parse_packet
from vqlink.packets.udp import parse_address
from vqlink.sources.images import MAX_PIXELS
from vqlink.systems.packet_code import PacketCode

FAST, SLOW = 200, 20_000


@cache
def receiver() -> PacketReceiver:
    return PacketReceiver()


@cache
def seeds() -> tuple[bytes, ...]:
    code = receiver()._codes[0]
    return tuple(PacketCode(code.code, code.weights).to_datagrams(smooth_picture(64, 80)))


def fresh() -> PacketReceiver:
    """A receiver that has seen nothing, on weights that are read once."""
    new = object.__new__(PacketReceiver)
    new._codes, new._taken = receiver()._codes, None
    new.assembly = type(receiver().assembly)(new._resolve)
    return new


def rebuilt(data: bytes) -> object:
    """What is parsed is what would be sent again, byte for byte: one datagram a packet."""
    packet = parse_packet(data)
    assert build_packet(packet) == data
    return packet


def address(data: bytes) -> object:
    return parse_address(data.decode("utf-8", "replace"))


@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_parsers_take_anything(slow: bool) -> None:
    fuzz(Parser(rebuilt, seeds(), PacketError, SLOW), SLOW if slow else FAST, derandomize=not slow)
    words = [b"127.0.0.1:5005", b"[::1]:80", b"localhost:0"]
    fuzz(Parser(address, words, VqlinkError, FAST), FAST, derandomize=not slow)


FIELDS = st.tuples(
    st.sampled_from([0, 1]),
    st.sampled_from([0, 16, 64, 80, 4096, 65535]),
    st.sampled_from([0, 16, 64, 80, 4096, 65535]),
    st.sampled_from([0, 1, 2, 7, 65534]),
    st.sampled_from([1, 2, 3, 8, 65535]),
    st.binary(max_size=64),
)


@pytest.mark.parametrize("examples", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_hostile_sender_with_a_right_crc(examples: int) -> None:
    """Any header values of a known system: a verdict, in bounded time and memory."""

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(FIELDS, min_size=1, max_size=3))
    def holds(fields: list[tuple[int, int, int, int, int, bytes]]) -> None:
        taken = fresh()
        for flags, height, width, sequence, total, payload in fields:
            head = bytearray(seeds()[0][:HEADER_BYTES])
            head[5] = flags
            struct.pack_into(">HHHHI", head, 18, height, width, sequence, total, 0)
            crc = zlib.crc32(payload, zlib.crc32(bytes(head)))
            struct.pack_into(">I", head, HEADER_BYTES - 4, crc)
            verdict = taken.assembly.add(bytes(head) + payload)
            assert verdict in ("new", "duplicate", "corrupt", "foreign")
            assert (verdict == "new") <= (height * width <= MAX_PIXELS)

    tracemalloc.start()
    holds()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 30


def test_a_flood_costs_no_memory() -> None:
    """A hundred thousand strangers, duplicates and damaged packets leave nothing behind."""
    taken = fresh()
    first, *others = seeds()
    assert taken.assembly.add(first) == "new"
    tracemalloc.start()
    for number in range(20_000):
        taken.assembly.add(first)
        taken.assembly.add(first[:-1] + bytes([first[-1] ^ 1]))
        taken.assembly.add(number.to_bytes(4, "big") * 50)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 100_000
    assert all(taken.assembly.add(one) == "new" for one in others)
    assert taken.assembly.complete
