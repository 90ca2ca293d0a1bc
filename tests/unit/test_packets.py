"""Datagrams: header, layout, assembly and sockets, without any net."""

from __future__ import annotations

import itertools
import random
import socket
import threading
import time

import numpy as np
import pytest

from vqlink.errors import VqlinkError
from vqlink.packets.assembly import Assembly
from vqlink.packets.header import (
    HEADER_BYTES,
    Packet,
    PacketError,
    PictureHeader,
    build_packet,
    parse_packet,
)
from vqlink.packets.layout import Layout, lattice_step, plan_layout
from vqlink.packets.udp import (
    Address,
    listen,
    parse_address,
    receive_datagrams,
    send_datagrams,
)

SHAPES, BITS = ((36, 52), (18, 26), (9, 13)), (4, 3, 1)
HEADER = PictureHeader(0xDEADBEEF, 7, 0xFFFFFFFF, 144, 208, 1, True)


def layout(*, interleaved: bool = True, room: int = 90) -> Layout:
    return plan_layout(SHAPES, BITS, room, interleaved=interleaved)


def random_maps(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, 1 << bits, shape, dtype=np.int16)
        for shape, bits in zip(SHAPES, BITS, strict=True)
    ]


def datagrams(plan: Layout, maps: list[np.ndarray], picture: int = 1) -> list[bytes]:
    head = PictureHeader(1, 2, picture, 144, 208, plan.total, plan.interleaved)
    return [
        build_packet(Packet(head, sequence, plan.write(maps, sequence)))
        for sequence in range(plan.total)
    ]


def resolve(header: PictureHeader) -> Layout:
    if header.system != 1:
        raise VqlinkError("unknown")
    try:
        return Layout(SHAPES, BITS, header.total, header.interleaved)
    except ValueError as error:
        raise VqlinkError(str(error)) from None


def test_the_header_is_as_documented() -> None:
    """Field by field at fixed offsets, as a receiver written elsewhere would read it."""
    head = PictureHeader(0x01020304, 0x05060708, 0x090A0B0C, 0x0D0E, 0x0F10, 0x1314, True)
    data = build_packet(Packet(head, 0x1112, b"\xaa\xbb"))
    assert data[:6] == b"VQLP\x01\x01"
    assert data[6:26] == bytes(range(1, 21))
    assert data[HEADER_BYTES:] == b"\xaa\xbb"
    assert parse_packet(data) == Packet(head, 0x1112, b"\xaa\xbb")


def test_every_flipped_bit_is_noticed() -> None:
    data = build_packet(Packet(HEADER, 0, b"payload"))
    for place in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[place // 8] ^= 1 << place % 8
        with pytest.raises(PacketError):
            parse_packet(bytes(wrong))


@pytest.mark.parametrize("change", [{"height": 70_000}, {"system": -1}, {"total": 0}])
def test_what_a_field_cannot_hold(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"range|of 0"):
        build_packet(Packet(PictureHeader(**{**vars(HEADER), **change}), 0, b""))


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("room", [34, 90, 1170, 65_000])
def test_packets_are_a_partition_within_their_room(interleaved: bool, room: int) -> None:
    plan = layout(interleaved=interleaved, room=room)
    for scale, shape in enumerate(SHAPES):
        found = np.concatenate([plan.cells(scale, p) for p in range(plan.total)])
        assert sorted(found) == list(range(shape[0] * shape[1]))
    sizes = [plan.payload_bytes(p) for p in range(plan.total)]
    assert max(sizes) <= room
    whole = sum(h * w * bits for (h, w), bits in zip(SHAPES, BITS, strict=True)) / 8
    assert sum(sizes) < whole + plan.total  # nothing but the filling of the last bytes
    assert plan.total <= np.ceil(1.15 * whole / room)


def test_interleaving_puts_neighbours_into_different_packets() -> None:
    plan = layout()
    for scale, (rows, columns) in enumerate(SHAPES):
        owner = np.empty(rows * columns, int)
        for sequence in range(plan.total):
            owner[plan.cells(scale, sequence)] = sequence
        owner = owner.reshape(rows, columns)
        for i, j in itertools.product((0, 1), (-1, 0, 1)):
            if (i, j) > (0, 0):
                here = owner[: rows - i, max(0, -j) : columns - max(0, j)]
                there = owner[i:, max(0, j) : columns + min(0, j)]
                assert (here != there).all()


@pytest.mark.parametrize("total", [5, 13, 34, 35, 117, 1000, 2600])
def test_lattices_are_nearly_as_wide_as_any(total: int) -> None:
    """A plane lattice of that density reaches at most sqrt(2 / sqrt(3) total) (hexagonal)."""
    step = lattice_step(total)
    near = range(-60, 61)
    least = min(
        i * i + j * j
        for i in range(61)
        for j in near
        if (i, j) > (0, 0) and (j + step * i) % total == 0
    )
    assert least >= 0.8 * total


def test_packets_in_any_order_with_all_that_may_happen() -> None:
    plan, maps = layout(), random_maps()
    good = datagrams(plan, maps)
    others = datagrams(plan, random_maps(1), picture=2)
    damaged = [one[:-1] + bytes([one[-1] ^ 1]) for one in good[:3]]
    stream = good + good[:4] + damaged + [b"", b"VQLP", b"x" * 2000]
    random.Random(0).shuffle(stream)
    assembly = Assembly(resolve)
    for one in (good[5], *others, *stream):
        assembly.add(one)
    assert assembly.complete
    assert assembly.lost == 0
    assert all((a == b).all() for a, b in zip(assembly.maps, maps, strict=True))
    assert assembly.counts == {
        "new": plan.total, "duplicate": 5, "corrupt": 6, "foreign": len(others),
    }  # fmt: skip


@pytest.mark.parametrize("interleaved", [True, False])
def test_lost_packets_leave_their_cells_and_no_others(interleaved: bool) -> None:
    plan, maps = layout(interleaved=interleaved), random_maps()
    assembly = Assembly(resolve)
    lost = {1, 4}
    for sequence, one in enumerate(datagrams(plan, maps)):
        if sequence not in lost:
            assert assembly.add(one) == "new"
    assert not assembly.complete
    for scale, (found, sent) in enumerate(zip(assembly.maps, maps, strict=True)):
        gone = np.concatenate([plan.cells(scale, sequence) for sequence in lost])
        assert set(np.flatnonzero(found < 0)) == set(gone)
        assert (found[found >= 0] == sent[found >= 0]).all()
    assert assembly.lost == pytest.approx(2 / plan.total, rel=0.05)


def test_a_valid_crc_is_not_enough() -> None:
    """Wrong lengths, filling that is not zero, an impossible number of packets, a stranger."""
    plan, maps = layout(), random_maps()
    payload = plan.write(maps, 0)
    head = PictureHeader(1, 2, 1, 144, 208, plan.total, True)
    many = PictureHeader(1, 2, 1, 144, 208, 60_000, True)
    wrong = [
        Packet(head, 0, payload + b"\0"),
        Packet(head, 0, payload[:-1]),
        Packet(head, 0, b""),
    ]
    if sum(len(plan.cells(s, 0)) * b for s, b in enumerate(BITS)) % 8:
        wrong.append(Packet(head, 0, payload[:-1] + bytes([payload[-1] | 1])))
    assert len(wrong) == 4
    assembly = Assembly(resolve)
    assert [assembly.add(build_packet(one)) for one in wrong] == ["corrupt"] * 4
    assert assembly.add(build_packet(Packet(many, 0, b""))) == "foreign"
    assert "60000 packets" in assembly.refusal
    stranger = PictureHeader(9, 2, 1, 144, 208, plan.total, True)
    assert assembly.add(build_packet(Packet(stranger, 0, payload))) == "foreign"
    assert assembly.refusal == "unknown"
    assert assembly.header is None
    assert assembly.maps == ()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5005", Address("127.0.0.1", 5005)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:65535", Address("::1", 65535)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", ":", "5005", "127.0.0.1", "127.0.0.1:", ":5005", "a:65536", "a:-1", "a:1e3", "::1:5005",
     "a b:1", "a\0:1", "a:٣", "a" * 300 + ":1"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(VqlinkError, match="HOST:PORT"):
        parse_address(text)


def test_a_stream_over_loopback_is_paced_and_arrives() -> None:
    sent = [bytes([n]) * 1000 for n in range(200)]
    with listen(Address("127.0.0.1", 0)) as bound:
        address = Address("127.0.0.1", bound.getsockname()[1])
        got: list[bytes] = []
        taken: list[float] = []

        def send() -> None:
            taken.append(send_datagrams(sent, address, bits_per_second=20e6))

        sender = threading.Thread(target=send)
        sender.start()
        whole = receive_datagrams(
            bound, lambda one: got.append(one) or True, done=lambda: len(got) == 200,
            seconds=10, silence=5,
        )  # fmt: skip
        sender.join()
    assert whole
    assert got == sent
    assert 0.06 < taken[0] < 2  # 1.6 Mbit at 20 Mbit/s: 0.08 s


def test_the_receiver_stops_by_itself() -> None:
    """At the limit, whatever comes; and after a silence, which a babbler cannot lengthen."""
    with (
        listen(Address("127.0.0.1", 0)) as bound,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as babbler,
    ):
        babbler.connect(bound.getsockname())
        stop = threading.Event()

        def babble() -> None:
            while not stop.wait(0.005):
                babbler.send(b"x")

        thread = threading.Thread(target=babble)
        thread.start()
        for first_is_new, seconds, silence in ((False, 0.3, 30.0), (True, 30.0, 0.2)):
            news = iter([first_is_new])
            start = time.monotonic()
            assert not receive_datagrams(
                bound, lambda _, news=news: next(news, False), done=lambda: False,
                seconds=seconds, silence=silence,
            )  # fmt: skip
            assert min(seconds, silence) <= time.monotonic() - start < 5
        stop.set()
        thread.join()


def test_sockets_refuse_in_one_line() -> None:
    with listen(Address("127.0.0.1", 0)) as bound:
        place = Address("127.0.0.1", bound.getsockname()[1])
        with pytest.raises(VqlinkError, match="in use"):
            listen(place)
    with pytest.raises(VqlinkError, match="nothing listens at 127"):
        send_datagrams([b"a"], place, bits_per_second=1e6)
    with pytest.raises(VqlinkError, match="cannot listen"):
        listen(Address("192.0.2.1", 5005))
    with pytest.raises(VqlinkError, match="port 0"):
        send_datagrams([b"a"], Address("127.0.0.1", 0), bits_per_second=1e6)
