"""The transceiver on codebooks: Table I of 004, its contract, and what is on the air."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from tests.conftest import small_recipe, smooth_picture
from vqlink.config.build import build_system
from vqlink.config.load import load_recipe
from vqlink.digital.blocks import SURE
from vqlink.links.indices import labels_to_bits
from vqlink.protocols import Point, Transceiver, VqlinkError
from vqlink.rng import stream
from vqlink.systems import index_code
from vqlink.systems.index_code import IndexCode

NAMES = ("vqdeepsc-4", "vqdeepsc-3")


def lively(name: str, *overrides: str) -> IndexCode:
    """Codebooks that latents spread over, and running statistics that are not at their start."""
    system = build_system(small_recipe(name, *overrides))
    assert isinstance(system, IndexCode)
    pictures = torch.stack([smooth_picture(64, 64, seed) for seed in range(4)])
    system.train()
    for _ in range(3):
        system(pictures, generator=stream(0, "noise"))
    with torch.no_grad():
        for quantizer, z in zip(system.codebooks, system.encoder(pictures), strict=True):
            quantizer.initialise(z, generator=stream(0, "kmeans"))
    system.label_codewords()
    return system.eval()


@pytest.fixture(params=NAMES, name="system", scope="module")
def fixture_system(request: pytest.FixtureRequest) -> IndexCode:
    return lively(request.param)


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return smooth_picture(height, width, seed)[None]


@pytest.mark.parametrize(
    ("name", "bits", "symbols", "values", "unquantised"),
    [
        ("vqdeepsc-4", 20_032, 5_008, 983_040, 245_760),
        ("vqdeepsc-3", 7_616, 1_904, 458_752, 114_688),
    ],
)  # fmt: skip
def test_table_1(name: str, bits: int, symbols: int, values: int, unquantised: int) -> None:
    """004, Table I, from the built link with the paper's widths, for a 128x128 picture."""
    widths = [f"{part}.width=[128, 256, 512, 1024]" for part in ("encoder", "decoder")]
    system = build_system(load_recipe(name, [*widths, "encoder.stem=4", "decoder.stem=4"]))
    assert isinstance(system, IndexCode)
    counts = system.counts(128, 128)
    assert system.link.payload(counts) == bits
    assert bits // 4 == symbols
    sent = system.encoder(torch.zeros(1, 3, 128, 128))
    assert sum(z.numel() for z in sent) == values
    assert values // 4 == unquantised
    # What the table leaves out: the rate-1/3 code, its CRCs and whole bytes.
    assert 3 * symbols < system.uses(128, 128) < 1.02 * 3 * symbols


@pytest.mark.parametrize("size", [(16, 16), (61, 45), (64, 48)])
def test_any_size_comes_back_as_it_went(system: IndexCode, size: tuple[int, int]) -> None:
    sent = system.transmit(picture(*size), Point(snr_db=20.0), generator=stream(0, "noise"))
    assert isinstance(system, Transceiver)
    assert sent.received.shape == (1, 3, *size)
    assert 0 <= sent.received.min() <= sent.received.max() <= 1
    assert sent.uses.tolist() == [system.uses(*size)]
    assert not sent.outage.any()


def test_without_errors_the_channel_changes_nothing(system: IndexCode) -> None:
    x = picture(61, 45)
    sent = system.transmit(x, Point(snr_db=30.0), generator=stream(0, "noise"))
    assert sent.stats["bit_error_rate"].item() == 0
    assert torch.equal(sent.received, system.decode(system.encode(x), (61, 45)))
    assert torch.allclose(sent.received, system.reconstruct(x), atol=1e-5)


def test_what_is_heard_is_what_is_shown(system: IndexCode) -> None:
    """Below the code's threshold the picture suffers: it comes from the air."""
    x = picture(64, 64)
    good = system.transmit(x, Point(snr_db=20.0), generator=stream(0, "noise")).received
    bad = system.transmit(x, Point(snr_db=-10.0), generator=stream(0, "noise"))
    assert bad.stats["lost"].item() > 0
    assert (bad.received - good).abs().max() > 1e-3  # the untrained decoder hardly listens


def test_concealed_labels_become_the_mean_codeword() -> None:
    system = lively("vqdeepsc-4", "link.lost=conceal")
    x = picture(64, 64)
    out = system.transmit(x, Point(snr_db=-10.0), generator=stream(0, "noise"))
    assert out.stats["lost"].item() == 1
    lost = [torch.full_like(indices, -1) for indices in system.encode(x)]
    assert torch.equal(out.received, system.decode(lost, (64, 64)))


def test_certain_bits_give_the_codewords_and_unknown_ones_their_mean() -> None:
    system = lively("vqdeepsc-4", "link.lost=soft")
    x = picture(32, 32)
    indices = system.encode(x)
    bits = [
        labels_to_bits(system.labels(i)[scale], width).unflatten(-1, (-1, width))
        for i, (scale, width) in enumerate(zip(indices, system.link.bits, strict=True))
    ]
    certain = [SURE * (2 * scale - 1) for scale in bits]
    torch.testing.assert_close(
        system.decode_soft(certain, (32, 32)), system.decode(indices, (32, 32))
    )
    scale = system.codebooks[1]
    used = scale.ema_count / scale.ema_count.sum()
    unknown = index_code._expected(scale, system.labels(1), torch.zeros(1, system.link.bits[1]))
    torch.testing.assert_close(unknown[0], used @ scale.codebook)
    # One bit known: only the labels that have it are left.
    known = torch.zeros(1, system.link.bits[1])
    known[0, 0] = 1e4
    left = system.labels(1) >= 2 ** (system.link.bits[1] - 1)
    half = used * left / (used * left).sum()
    found = index_code._expected(scale, system.labels(1), known)
    torch.testing.assert_close(found[0], half @ scale.codebook)


@pytest.mark.parametrize("code", ["ldpc5g", "none"])
def test_soft_labels_beat_hard_ones_where_blocks_are_lost(code: str) -> None:
    x = torch.cat([picture(64, 64, seed) for seed in range(4)])

    def error(lost: str) -> float:
        system = lively("vqdeepsc-4", f"link.lost={lost}", f"link.code={code}")
        indices = system.encode(x)
        sent = [system.labels(i)[scale] for i, scale in enumerate(indices)]
        link = system.link(tuple(sent), Point(snr_db=0.0), generator=stream(0, "noise"))
        scale = system.codebooks[0]
        if lost == "soft":
            features = index_code._expected(scale, system.labels(0), link.llr[0])
        else:
            features = scale.decode(torch.argsort(system.labels(0))[link.received[0]])
        return float((features - scale.decode(indices[0])).square().mean())

    assert error("soft") < 0.8 * error("hard")


def test_a_message_is_the_same_alone_and_in_a_batch(system: IndexCode) -> None:
    pictures = torch.cat([picture(48, 48, seed) for seed in range(3)])
    point = Point(snr_db=torch.tensor([2.0, 3.0, 20.0]))
    together = system.transmit(pictures, point, generator=[stream(0, "n", i) for i in range(3)])
    alone = system.transmit(pictures[1:2], Point(snr_db=3.0), generator=[stream(0, "n", 1)])
    assert torch.allclose(together.received[1:2], alone.received, atol=1e-5)


def test_tiles_equal_the_whole(system: IndexCode, monkeypatch: pytest.MonkeyPatch) -> None:
    x = picture(400, 700)
    whole = system.encode(x)
    image = system.decode(whole, (400, 700))
    monkeypatch.setattr(index_code, "_TILE", 128)
    parts = system.encode(x)
    differing = [(a != b).float().mean().item() for a, b in zip(whole, parts, strict=True)]
    assert max(differing) < 1e-3  # sums of floats in another order, at a cell's very border
    assert torch.allclose(system.decode(whole, (400, 700)), image, atol=1e-4)


def test_labels_are_a_permutation_that_both_ends_share(system: IndexCode) -> None:
    for scale, quantizer in enumerate(system.codebooks):
        assert torch.equal(system.labels(scale).sort().values, torch.arange(quantizer.size))
    assert {f"labels{i}" for i in range(len(system.codebooks))} <= set(system.state_dict())


def test_flipped_labels_reach_the_decoder_and_no_gradient() -> None:
    system = lively("vqdeepsc-4").train()
    x = torch.cat([picture(32, 32, seed) for seed in range(2)])
    clean = system(x, generator=stream(0, "noise"))
    same = system(x, generator=stream(0, "noise"), flip=0.0)
    wrong = system(x, generator=stream(0, "noise"), flip=0.3)
    assert torch.allclose(clean.received, same.received, atol=1e-5)
    assert (wrong.received - clean.received).abs().max() > 1e-4
    wrong.received.sum().backward()
    assert all(p.grad is not None for p in system.encoder.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_every_scale_starts_with_a_signal_and_a_gradient(name: str) -> None:
    """Without normalisation torch's own start gives the coarsest scale a hundredth of either."""
    system = build_system(load_recipe(name)).train()
    assert isinstance(system, IndexCode)
    x = torch.cat([picture(128, 128, seed) for seed in range(2)])
    latents = [z.detach().requires_grad_() for z in system.encoder(x)]
    (system.decoder(latents) - x).abs().mean().backward()
    gradients = [float(z.grad.norm()) for z in latents]
    sizes = [float(z.detach().square().mean().sqrt()) for z in latents]
    assert min(sizes) > 0.1
    assert max(sizes) < 10
    assert gradients[-1] > gradients[0]
    assert float(system.decoder(latents).detach().std()) < 0.5


def test_gradient_reaches_every_parameter() -> None:
    for name in (*NAMES, "vqdeepsc-3-bound"):
        system = build_system(small_recipe(name)).train()
        assert isinstance(system, IndexCode)
        out = system(picture(32, 32), generator=stream(0, "noise"))
        loss = out.received.square().mean() + sum(
            (sum(q.losses.values()) for q in out.quantized), torch.zeros(())
        )
        loss.backward()
        without = [n for n, p in system.named_parameters() if p.grad is None]
        assert not without


def test_an_upper_bound_cannot_be_sent() -> None:
    system = build_system(small_recipe("vqdeepsc-4-bound")).eval()
    assert isinstance(system, IndexCode)
    assert system.reconstruct(picture(33, 47)).shape == (1, 3, 33, 47)
    with pytest.raises(VqlinkError, match="upper bound"):
        system.uses(32, 32)
    with pytest.raises(VqlinkError, match="upper bound"):
        system.transmit(picture(32, 32), Point(snr_db=10.0), generator=stream(0, "noise"))


def test_rho_without_crc() -> None:
    assert load_recipe("vqdeepsc-4").rho == Fraction(20_032 * 3, 4 * 128 * 128 * 3)
    assert load_recipe("vqdeepsc-3").rho == Fraction(7_616 * 3, 4 * 128 * 128 * 3)
