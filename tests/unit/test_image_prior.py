"""Priors over the maps of trees, residual layers, flat codebooks and VQ-VAE-2."""

from __future__ import annotations

import math
import struct

import pytest
import torch

from vqlink.decoders.image.vqvae import VQVAEDecoder
from vqlink.encoders.image.vqvae import VQVAEEncoder
from vqlink.errors import VqlinkError
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import stream
from vqlink.systems import image_prior
from vqlink.systems.autoencoder import VQAutoencoder
from vqlink.systems.image_prior import ImagePrior, draw_labels
from vqlink.systems.layered_codes import LayeredCodes, ResidualCodes, VQVAE2Codes
from vqlink.systems.vqvae2 import VQVAE2
from vqlink.zoo.prior import load_prior

DIM = 6


def codes_of(kind: str) -> LayeredCodes:
    torch.manual_seed(0)
    small = {"hidden": 8, "residual_hidden": 4, "depth": 1}
    if kind == "vqvae2":
        codec = VQVAE2([VectorQuantizer(4, DIM) for _ in range(3)], **small).eval()
        for quantizer in codec.codebooks:
            quantizer.codebook.data.normal_(std=0.3)
        return VQVAE2Codes(codec)
    quantizer = {
        "tree": lambda: ResidualQuantizer([3, 4], DIM),
        "layers": lambda: ResidualQuantizer([3, 4], DIM, tree=False),
        "flat": lambda: VectorQuantizer(5, DIM),
    }[kind]()
    for parameter in quantizer.parameters():
        parameter.data.normal_(std=0.3)
    nets = VQVAEEncoder(DIM, halvings=1, **small), VQVAEDecoder(DIM, halvings=1, **small)
    return ResidualCodes(VQAutoencoder(nets[0], quantizer, nets[1]).eval(), stride=2)


def prior_of(kind: str, classes: int = 0) -> ImagePrior:
    codes = codes_of(kind)
    torch.manual_seed(1)
    return ImagePrior(codes, classes=classes, width=8, depth=2).eval()


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


KINDS = ("tree", "layers", "flat", "vqvae2")


@pytest.mark.parametrize("kind", KINDS)
def test_maps_hold_all_that_the_decoder_needs(kind: str) -> None:
    codes = codes_of(kind)
    maps = codes.encode(pictures())
    assert [tuple(m.shape[1:]) for m in maps] == list(codes.shapes(16, 16))
    assert all(int(m.max()) < size for m, size in zip(maps, codes.choices, strict=True))
    whole = codes.codec.reconstruct(pictures())  # type: ignore[attr-defined]
    torch.testing.assert_close(codes.decode(maps), whole)


@pytest.mark.parametrize("kind", ["tree", "layers"])
def test_the_values_of_all_layers_add_up_to_the_code(kind: str) -> None:
    codes = codes_of(kind)
    assert isinstance(codes, ResidualCodes)
    maps = codes.encode(pictures())
    total = sum(codes.values(layer, maps) for layer in range(2))
    torch.testing.assert_close(total, codes.codec.quantizer.decode(codes.codec.encode(pictures())))
    torch.testing.assert_close(codes.context(1, maps), codes.values(0, maps))


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_maps_come_back_and_cost_what_the_prior_says(kind: str) -> None:
    pytest.importorskip("constriction")
    prior = prior_of(kind)
    data = prior.compress(pictures())
    maps = prior.codes.encode(pictures())
    for found, wanted in zip(prior.decompress(data), maps, strict=True):
        assert torch.equal(found, wanted)
    with torch.no_grad():
        expected = sum(float(bits.sum()) for bits in prior(maps))
    assert 8 * (len(data) - 14) == pytest.approx(expected, abs=64)


def test_a_better_prior_takes_fewer_bits() -> None:
    pytest.importorskip("constriction")
    prior = prior_of("flat")
    image = torch.full((4, 3, 16, 16), 0.5)
    before = len(prior.compress(image))
    maps = prior.codes.encode(image)
    optimizer = torch.optim.Adam(prior.train().parameters(), lr=1e-2)
    for _ in range(40):
        loss = sum(bits.mean() for bits in prior(maps))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
    prior.eval()
    assert len(prior.compress(image)) < before / 3
    assert torch.equal(prior.decompress(prior.compress(image))[0], maps[0])
    assert prior.fixed_bits(16, 16) == pytest.approx(64 * math.log2(5))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_images_and_repeat(kind: str) -> None:
    prior = prior_of(kind, classes=2)
    label = draw_labels(3, 2, seed=0)
    first, again, other = (
        prior.sample(3, (16, 16), generator=stream(seed, "samples"), label=label)
        for seed in (0, 0, 1)
    )
    assert first.shape == (3, 3, 16, 16)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_samples_follow_the_priors_probabilities() -> None:
    """The first cell's choice, over many draws, against the logits: within 4 deviations."""
    prior = prior_of("flat")
    codes = prior.codes
    assert isinstance(codes, ResidualCodes)
    seen: list[torch.Tensor] = []
    codes.codec.decode = lambda path: (seen.append(path), torch.zeros(1))[1]  # type: ignore
    count = 4000
    prior.sample(count, (2, 2), generator=stream(0, "samples"))
    odds = torch.softmax(prior.nets[0].walk(1, 1, 1).logits()[0], dim=0)  # type: ignore[operator]
    shares = torch.bincount(seen[0].flatten(), minlength=5) / count
    deviation = (odds * (1 - odds) / count).sqrt()
    assert bool(((shares - odds).abs() < 4 * deviation).all())


@pytest.mark.parametrize("cut", [0, 5, 17])
def test_damaged_bytes_are_refused(cut: int) -> None:
    pytest.importorskip("constriction")
    prior = prior_of("tree")
    data = prior.compress(pictures())
    with pytest.raises(VqlinkError):
        prior.decompress(data[:cut])
    flipped = bytearray(data)
    flipped[20] ^= 0xFF
    with pytest.raises(VqlinkError, match="checksum"):
        prior.decompress(bytes(flipped))
    for trial in range(20):
        noise = bytearray(data)
        for place in torch.randint(18, len(data), (9,), generator=stream(trial, "damage")):
            noise[int(place)] ^= 0x5A
        with pytest.raises(VqlinkError):
            prior.decompress(bytes(noise))
    with pytest.raises(VqlinkError, match="header"):
        prior.decompress(b"JPEG" + data[4:])
    huge = data[:4] + b"\xff\x0f" * 3 + data[10:]
    with pytest.raises(VqlinkError, match="header"):
        prior.decompress(huge)


@pytest.mark.parametrize("kind", ["tree", "vqvae2"])
def test_a_piece_takes_no_more_memory_than_the_limit(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("constriction")
    prior = prior_of(kind)
    maps = prior.codes.encode(pictures(2))
    last = len(maps) - 1
    walk = prior.nets[last].walk(*maps[last].shape, prior.codes.context(last, maps))  # type: ignore[operator]
    kept = walk._known[0][0].untyped_storage().nbytes()
    monkeypatch.setattr(image_prior, "_MEMORY", kept)
    data = prior.compress(pictures(2))
    assert torch.equal(prior.decompress(data)[last], maps[last])
    with pytest.raises(VqlinkError, match="3 images of 16 x 16 take more than 0 MiB"):
        prior.compress(pictures(3))
    for header in ((3, 16, 16), (2, 32, 16), (2, 16, 32)):
        with pytest.raises(VqlinkError, match="the header is wrong"):
            prior.decompress(with_size(data, *header))


def with_size(data: bytes, *size: int) -> bytes:
    """The bytes of a piece with another header: images, height, width."""
    return data[:4] + struct.pack("<HHH", *size) + data[10:]


def test_a_forged_header_asks_the_prior_that_ships_for_a_gibibyte_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("constriction")
    prior = load_prior("hrvqvae-cifar10-prior")
    walked: list[tuple[int, tuple[int, int]]] = []

    def walk(batch: int, size: tuple[int, int], *_: object) -> list[torch.Tensor]:
        walked.append((batch, size))  # the map alone would take a minute
        return []

    monkeypatch.setattr(prior, "_walk", walk)
    data = b"VQP1" + bytes(10)
    for size in ((4096, 64, 64), (911, 32, 32), (1, 4096, 4096)):
        with pytest.raises(VqlinkError, match="the header is wrong"):
            prior.decompress(with_size(data, *size))
    assert not walked
    prior.decompress(with_size(data, 910, 32, 32))
    assert walked == [(910, (32, 32))]
