"""Index codes and files over the same datagrams: what is lost, what it costs, what is counted."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
import torch

from tests.conftest import smooth_picture
from vqlink.digital.codecs import PillowCodec
from vqlink.errors import VqlinkError
from vqlink.evaluation.packets import index_codes, open_packet_code, open_packet_systems
from vqlink.metrics.image import psnr
from vqlink.packets.header import parse_packet
from vqlink.protocols import Point, Transceiver
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import stream
from vqlink.systems.concealment import CONCEALMENTS, Concealment, conceal
from vqlink.systems.packet_code import PacketCode, arrivals
from vqlink.systems.packet_file import PacketFile, parse_packet_file, source_packets

SIZE = (120, 152)
LOSS = Point(probability=0.2)


def code(**settings: object) -> PacketCode:
    system = open_packet_code("vqdeepsc-4", **{"datagram": 200, **settings}).transceiver  # type: ignore[arg-type]
    assert isinstance(system, PacketCode)
    return system


@pytest.fixture(name="picture", scope="module")
def fixture_picture() -> torch.Tensor:
    return smooth_picture(*SIZE)[None]


def quantizer() -> VectorQuantizer:
    made = VectorQuantizer(4, 3)
    with torch.no_grad():
        made.codebook.copy_(torch.arange(12.0).reshape(4, 3))
    return made


def test_without_loss_it_is_the_code_itself(picture: torch.Tensor) -> None:
    system = code()
    assert isinstance(system, Transceiver)
    sent = system.transmit(picture, Point(probability=0.0), generator=stream(0, "loss"))
    plain = system.code.decode(system.code.encode(picture), SIZE)
    assert torch.equal(sent.received, plain)
    assert float(sent.stats["lost"][0]) == 0
    assert not sent.outage.any()


def test_every_byte_counts(picture: torch.Tensor) -> None:
    system = code()
    datagrams = system.to_datagrams(picture[0])
    assert sum(map(len, datagrams)) == system.uses(*SIZE)
    assert max(map(len, datagrams)) == system.plan(*SIZE)[1] <= 200
    assert len(datagrams) == system.plan(*SIZE)[0]
    header = parse_packet(datagrams[3]).header
    assert (header.height, header.width, header.total) == (*SIZE, len(datagrams))


def test_a_loss_is_where_its_packet_was(picture: torch.Tensor) -> None:
    """One band lost: what lies far from it is as sent, but for the nets' fading reach."""
    system = code(interleaved=False)
    datagrams = system.to_datagrams(picture[0])
    assembly = system.assembly()
    for one in datagrams[:-1]:
        assembly.add(one)
    received = system.from_maps(assembly.maps, SIZE)
    plain = system.code.decode(system.code.encode(picture), SIZE)[0]
    off = (received - plain).abs().amax(dim=(0, 2))
    assert float(off[:32].max()) < 1e-4
    assert float(off[114:].min()) > 1e-2


def test_interleaving_and_concealment_gain() -> None:
    """On a photograph: scattered losses, blended, are nearer to the picture than any other way."""
    from vqlink.sources.images import open_image

    image = open_image("sample:coffee")[None, :, 100:292, 200:392]
    gains = {}
    for interleaved, how in itertools.product((True, False), CONCEALMENTS):
        system = code(interleaved=interleaved, concealment=how)
        values = [
            float(psnr(
                system.transmit(
                    image, Point(probability=0.1), generator=stream(seed, "loss")
                ).received,
                image,
            )[0])
            for seed in range(3)
        ]  # fmt: skip
        gains[interleaved, how] = sum(values) / len(values)
    assert max(gains, key=lambda key: gains[key]) == (True, "blend")
    assert gains[True, "blend"] > gains[False, "blend"] + 0.5
    assert gains[True, "blend"] > gains[True, "nearest"] > gains[True, "mean"]


def test_nothing_arrives(picture: torch.Tensor) -> None:
    system = code()
    sent = system.transmit(picture, Point(probability=1.0), generator=stream(0, "loss"))
    assert sent.outage.tolist() == [True]
    assert float(sent.stats["lost"][0]) == 1
    assert torch.equal(sent.received, torch.full_like(picture, 128 / 255))


def test_a_batch_loses_packets_by_itself(picture: torch.Tensor) -> None:
    system, both = code(), picture.repeat(2, 1, 1, 1)
    generators = [stream(place, "loss") for place in range(2)]
    points = Point(probability=torch.tensor([0.3, 0.6]))
    together = system.transmit(both, points, generator=generators)
    alone = system.transmit(picture, Point(probability=0.6), generator=stream(1, "loss"))
    assert torch.equal(together.received[1:], alone.received)


@pytest.mark.parametrize("how", CONCEALMENTS)
def test_concealment_changes_only_gaps(how: Concealment) -> None:
    maps = (torch.tensor([[[0, -1, 3], [2, 1, -1]]]), torch.tensor([[[-1, -1]]]))
    done = conceal(maps, [quantizer(), quantizer()], how)
    for before, after, table in zip(maps, done.indices, done.stand_ins, strict=True):
        kept = before >= 0
        assert torch.equal(after[kept], before[kept])
        assert int(after.min()) >= 0
        assert int(after.max()) < 4 + len(table)
    whole = torch.tensor([[[0, 1], [2, 3]]])
    assert torch.equal(conceal([whole], [quantizer()], how).indices[0], whole)


def test_what_stands_in() -> None:
    """By hand: codewords are (0, 1, 2), (3, 4, 5), ... so their first value is 3 K."""
    gap = torch.tensor([[[0, -1, 2]]])

    def first(how: Concealment, maps: torch.Tensor = gap) -> float:
        made = conceal([maps], [quantizer()], how)
        table = torch.cat([quantizer().codebook.detach(), made.stand_ins[0]])
        return float(table[made.indices[0][0, 0, 1]][0])

    assert first("zero") == 0
    assert first("mean") == 3
    assert first("nearest") in (0, 6)
    assert first("blend") == 3
    far = torch.tensor([[[0, -1, -1, 2]]])  # 1 / 1 and 1 / 16
    assert first("blend", far) == pytest.approx(6 / 17)
    beyond = torch.tensor([[[-1, -1, -1, -1, 3]]])
    assert first("blend", beyond) == 9
    assert first("mean", torch.tensor([[[-1, -1, -1]]])) == 4.5


def test_a_nearly_empty_map_takes_little() -> None:
    """Of one cell that arrived, its 24 neighbours are blends and all others that very codeword."""
    sparse = torch.full((1, 60, 80), -1)
    sparse[0, 30, 40] = 2
    made = conceal([sparse], [quantizer()], "blend")
    assert made.stand_ins[0].shape == (24, 3)
    assert torch.allclose(made.stand_ins[0], quantizer().codebook[2].expand(24, 3))
    assert int((made.indices[0] == 2).sum()) == 60 * 80 - 24


def test_files_get_the_codes_bytes() -> None:
    names = ("vqdeepsc-3", "hevc+raptorq", "jpeg+packets")
    first, *files = (s.transceiver for s in open_packet_systems(names, datagram=300))
    packets, size = first.plan(*SIZE)  # type: ignore[attr-defined]
    for one in files:
        assert isinstance(one, PacketFile)
        assert one.uses(*SIZE) == packets * size
        assert 0 <= one.uses(*SIZE) - first.uses(*SIZE) <= 3 * packets


@pytest.mark.parametrize("rate", [None, Fraction(3, 5)])
def test_raptorq_brings_the_file_back_from_enough_packets(
    picture: torch.Tensor, rate: Fraction | None
) -> None:
    """The very pixels while losses stay below the parity, and an outage beyond."""
    link = PacketFile(PillowCodec("jpeg"), lambda h, w: (20, 250), protected=True, rate=rate)
    outcomes = []
    for seed in range(12):
        generator = stream(seed, "loss")
        sent = link.transmit(picture, Point(probability=0.4), generator=generator)
        arrived = 20 - float(sent.stats["packets_lost"][0])
        source = float(sent.stats["source_packets"][0])
        if arrived != source:  # at exactly k it may do without
            assert bool(sent.outage[0]) == (arrived < source)
        if not sent.outage[0]:
            assert float(psnr(sent.received, picture)[0]) > 25
        outcomes.append(bool(sent.outage[0]))
    assert not all(outcomes)
    assert any(outcomes) == (rate is not None)


def test_bare_files_break_at_the_first_loss(picture: torch.Tensor) -> None:
    link = PacketFile(PillowCodec("jpeg"), lambda h, w: (20, 250))
    whole = link.transmit(picture, Point(probability=0.0), generator=stream(0, "loss"))
    broken = link.transmit(picture, Point(probability=0.15), generator=stream(1, "loss"))
    assert float(broken.stats["packets_lost"][0]) > 0
    assert float(psnr(whole.received, picture)[0]) > float(psnr(broken.received, picture)[0]) + 2


def test_what_a_cut_file_lacks_is_mid_grey() -> None:
    picture = smooth_picture(256, 256)[None]
    link = parse_packet_file("hevc+packets", lambda h, w: (10, 250))
    first_loss = [True] * 4 + [False]
    seed = next(s for s in range(99) if arrivals(10, LOSS, stream(s, "x"))[:5] == first_loss)
    sent = link.transmit(picture, LOSS, generator=stream(seed, "x"))
    corner = sent.received[0, :, -8:, -8:]
    assert torch.equal(corner, torch.full_like(corner, 128 / 255))
    assert float((sent.received[0, :, :16] - picture[0, :, :16]).abs().mean()) < 0.1


@pytest.mark.parametrize("packets", [1, 8, 35, 5000])
@pytest.mark.parametrize("probability", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_the_rate_that_a_told_sender_takes(packets: int, probability: float) -> None:
    """Held to the distribution itself: below 1 % of failures, and one more would be above."""
    from scipy.stats import binom

    source = source_packets(packets, probability)
    assert 1 <= source <= packets
    fails = float(binom.sf(packets - source - 1, packets, probability)) if probability else 0.0
    if source > 1:
        assert fails <= 0.01
    if source + 2 <= packets and source > 1:
        assert float(binom.sf(packets - source - 3, packets, probability)) > 0.01 / 5


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("hevc+ldpc5g", r"mean hevc\+packets"),
        ("gif+packets", "known"),
        ("jpeg+packets@1/2", "behind raptorq"),
        ("jpeg+raptorq@2", "between 0 and 1"),
        ("jpeg+raptorq@x", "between 0 and 1"),
    ],
)
def test_names_that_are_none(name: str, hint: str) -> None:
    with pytest.raises(VqlinkError, match=hint):
        parse_packet_file(name, lambda h, w: (1, 100))


def test_codes_that_cannot() -> None:
    assert index_codes() == ("vqdeepsc-3", "vqdeepsc-4")
    with pytest.raises(VqlinkError, match="sends values"):
        open_packet_code("jscc-awgn-1-12")
    for size in (0, 63, 70_000):
        with pytest.raises(VqlinkError, match="64 to 65507"):
            open_packet_code("vqdeepsc-3", datagram=size)
