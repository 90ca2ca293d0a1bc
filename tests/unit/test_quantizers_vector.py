"""Learning, counting and upkeep of learned codebooks."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from vqlink.quantizers.kmeans import kmeans
from vqlink.quantizers.product import ProductQuantizer
from vqlink.quantizers.replacement import Replacement, reset_moments
from vqlink.quantizers.statistics import perplexity
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import stream


def noise(*keys: int) -> torch.Generator:
    return stream(0, "test", *keys)


def test_combinations_that_cannot_learn_are_refused() -> None:
    with pytest.raises(ValueError, match="'noise' learns its codebook by gradient or ema"):
        VectorQuantizer(8, 2, gradient="noise", learning="loss")
    with pytest.raises(ValueError, match="straight_through"):
        VectorQuantizer(8, 2, gradient="straight_through", learning="gradient")
    for size in (1, 0, -3):
        with pytest.raises(ValueError, match="at least 2"):
            VectorQuantizer(size, 2)


def test_losses_are_those_of_the_vq_vae() -> None:
    """codebook = |sg[z] - c|^2 moves the codebook alone, commitment = |z - sg[c]|^2 z alone."""
    vq = VectorQuantizer(8, 3, init="normal")
    z = torch.randn(40, 3, generator=noise()).requires_grad_()
    out = vq(z)
    want = (z - vq.decode(out.indices)).square().mean()
    torch.testing.assert_close(out.losses["codebook"], want)
    torch.testing.assert_close(out.losses["commitment"], want)
    to_z, to_c = torch.autograd.grad(
        out.losses["commitment"], (z, vq.codebook), retain_graph=True, allow_unused=True
    )
    assert to_c is None or not to_c.any()
    torch.testing.assert_close(to_z, 2 * (z - vq.decode(out.indices)).detach() / z.numel())
    to_z, to_c = torch.autograd.grad(out.losses["codebook"], (z, vq.codebook), allow_unused=True)
    assert to_z is None or not to_z.any()
    want_c = torch.zeros(8, 3).index_add_(0, out.indices, -2 * (z - out.values).detach())
    torch.testing.assert_close(to_c, want_c / z.numel())


def test_running_means_follow_the_appendix() -> None:
    """N <- d N + (1 - d) n, m <- d m + (1 - d) sum z, c = m / N, with Laplace smoothing."""
    vq = VectorQuantizer(4, 2, learning="ema", init="normal", decay=0.9)
    start = vq.codebook.clone()
    z = torch.randn(100, 2, generator=noise())
    index = vq(z).indices
    assert torch.equal(vq.codebook, start), "forward moves nothing"
    vq.after_step(generator=noise())
    n = torch.bincount(index, minlength=4).float()
    m = torch.zeros(4, 2).index_add_(0, index, z)
    count, total = 0.9 * torch.ones(4) + 0.1 * n, 0.9 * start + 0.1 * m
    smooth = (count + 1e-5) / (count.sum() + 4e-5) * count.sum()
    torch.testing.assert_close(vq.codebook, total / smooth[:, None])


def test_running_means_find_the_centres_of_clusters() -> None:
    centres = torch.tensor([[5.0, 0.0], [-5.0, 0.0], [0.0, 5.0]])
    vq = VectorQuantizer(3, 2, learning="ema", decay=0.8)
    z = centres.repeat(50, 1) + 0.1 * torch.randn(150, 2, generator=noise())
    vq.initialise(z, generator=noise(1))
    for step in range(50):
        vq(z)
        vq.after_step(generator=noise(step))
    assert torch.cdist(centres, vq.codebook).min(dim=1).values.max() < 0.1


def test_evaluation_neither_counts_nor_moves() -> None:
    vq = VectorQuantizer(8, 2, learning="ema", init="normal").eval()
    before = {name: t.clone() for name, t in vq.state_dict().items()}
    vq(torch.randn(100, 2, generator=noise()))
    vq.train().after_step(generator=noise())
    assert torch.equal(vq.hits, before["hits"])


def test_perplexity_and_dead_codewords() -> None:
    assert perplexity(torch.tensor([0.25] * 4)).item() == pytest.approx(4.0)
    assert perplexity(torch.tensor([1.0, 0.0])).item() == pytest.approx(1.0)
    vq = VectorQuantizer(4, 1)
    vq.codebook.data = torch.tensor([[0.0], [1.0], [2.0], [50.0]])
    out = vq(torch.tensor([[0.0], [1.0], [2.0], [2.1]]))
    assert out.usage is not None
    assert out.usage.tolist() == [0.25, 0.25, 0.5, 0.0]
    assert out.stats["used"].item() == 0.75
    assert out.stats["perplexity"].item() == pytest.approx(2**1.5)
    vq.after_step(generator=noise())
    assert vq.dead() == 1


def test_masked_vectors_count_for_nothing() -> None:
    torch.manual_seed(0)
    a = VectorQuantizer(8, 2, learning="ema", init="normal")
    b = VectorQuantizer(8, 2, learning="ema", init="normal")
    b.load_state_dict(a.state_dict())
    z = torch.randn(6, 10, 2, generator=noise())
    mask = torch.rand(6, 10, generator=noise(1)) < 0.6
    masked, alone = a(z, mask=mask), b(z[mask])
    torch.testing.assert_close(masked.losses["commitment"], alone.losses["commitment"])
    assert torch.equal(masked.indices[mask], alone.indices)
    a.after_step(generator=noise())
    b.after_step(generator=noise())
    torch.testing.assert_close(a.codebook, b.codebook)


@pytest.mark.parametrize("learning", ["loss", "ema"])
def test_an_all_masked_batch_is_no_accident(learning: str) -> None:
    vq = VectorQuantizer(8, 2, learning=learning, init="normal")  # type: ignore[arg-type]
    z = torch.randn(5, 2, generator=noise()).requires_grad_()
    out = vq(z, mask=torch.zeros(5, dtype=torch.bool))
    assert all(loss.item() == 0 for loss in out.losses.values())
    assert torch.isfinite(out.stats["perplexity"])
    sum(out.losses.values()).backward()  # type: ignore[union-attr]
    assert torch.isfinite(z.grad).all()  # type: ignore[arg-type]
    vq.after_step(generator=noise())
    assert torch.isfinite(vq.codebook).all()


def test_k_means_beats_a_random_choice_and_uses_every_codeword() -> None:
    x = torch.cat([torch.randn(500, 2, generator=noise(i)) * 0.1 + i for i in range(5)])
    centroids = kmeans(x, 20, generator=noise())
    distance = torch.cdist(x, centroids)
    chosen = x[torch.randperm(2500, generator=noise())[:20]]
    assert (
        distance.min(1).values.square().mean()
        < 0.8 * torch.cdist(x, chosen).min(1).values.square().mean()
    )
    assert distance.argmin(1).unique().numel() == 20


def test_k_means_with_fewer_vectors_than_codewords() -> None:
    x = torch.randn(20, 3, generator=noise())
    centroids = kmeans(x, 64, generator=noise())
    assert centroids.unique(dim=0).shape == (64, 3)
    assert torch.cdist(x, centroids).min(1).values.max() < 0.02
    with pytest.raises(ValueError, match="at least one"):
        kmeans(x[:0], 4, generator=noise())


def test_the_first_evaluation_does_not_touch_the_codebook() -> None:
    vq = VectorQuantizer(8, 2, init="normal").eval()
    before = vq.codebook.clone()
    vq(torch.randn(100, 2, generator=noise()))
    assert torch.equal(vq.codebook, before)


def test_replacement_schedule_slows_and_stops() -> None:
    steps = sorted(Replacement(every=100, growth=1.5, until=2000).steps)
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    assert steps[0] == 100
    assert gaps == sorted(gaps)
    assert gaps[0] == 150
    assert steps[-1] <= 2000
    assert Replacement(every=1, until=1).steps == {1}
    for bad in ({"every": 0}, {"growth": 0.5}, {"threshold": 2.0}, {"noise": 0.0}):
        with pytest.raises(ValueError, match="replacement"):
            Replacement(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("sources", ["random", "share"])
@pytest.mark.parametrize(
    ("gradient", "learning"),
    [("straight_through", "loss"), ("straight_through", "ema"), ("noise", "gradient")],
)
def test_unused_codewords_move_beside_used_ones(gradient: str, learning: str, sources: str) -> None:
    vq = VectorQuantizer(
        16,
        2,
        gradient=gradient,  # type: ignore[arg-type]
        learning=learning,  # type: ignore[arg-type]
        replacement=Replacement(every=3, until=3, sources=sources),  # type: ignore[arg-type]
    )
    where = torch.full((16, 2), 100.0)
    where[:4] = torch.randn(4, 2, generator=noise())
    vq._move(torch.arange(16), where)
    if learning == "ema":
        vq.ema_sum.copy_(where)
    for step in range(3):
        z = torch.randn(200, 2, generator=noise(step))
        vq(z, generator=noise(step))
        upkeep = vq.after_step(generator=noise(step))
    assert upkeep.replaced.tolist() == list(range(4, 16))
    assert vq.codebook.unique(dim=0).shape == (16, 2), "copies must differ from their sources"
    near = torch.cdist(vq.codebook[4:], vq.codebook[:4]).min(dim=1).values
    assert near.max() < 0.1
    assert vq.dead() == 16, "counting starts anew"
    for step in range(3, 6):
        vq(torch.randn(2000, 2, generator=noise(step)), generator=noise(step))
        vq.after_step(generator=noise(step))
    assert vq.dead() <= 4  # copies so close share what their source had


def test_the_threshold_counts_batches_vectors_or_distortion() -> None:
    hits, batches = torch.tensor([90, 5, 1, 4]), torch.tensor([10, 5, 1, 4])
    assert Replacement(threshold=0.45).unused(batches, hits, 10).tolist() == [0, 0, 1, 1]
    rare = Replacement(threshold=0.19, count="vectors").unused(hits, hits, 10)
    assert rare.tolist() == [0, 0, 1, 1]  # a fair share is 25 of 100
    errors = torch.tensor([1.0, 50.0, 0.0, 49.0])
    low = Replacement(threshold=0.1, count="distortion").unused(errors, hits, 10)
    assert low.tolist() == [1, 0, 1, 0]


def test_distortion_is_that_of_each_codeword() -> None:
    policy = Replacement(every=100, count="distortion")
    vq = VectorQuantizer(8, 2, init="normal", replacement=policy)
    z = torch.randn(60, 2, generator=noise())
    out = vq(z)
    vq.after_step(generator=noise())
    error = (z - vq.decode(out.indices)).square().sum(dim=1)
    want = torch.zeros(8).index_add_(0, out.indices, error)
    torch.testing.assert_close(vq.distortion, want)


@pytest.mark.parametrize(
    ("gradient", "learning"), [("straight_through", "loss"), ("noise", "gradient")]
)
def test_a_collapsed_codebook_comes_apart(gradient: str, learning: str) -> None:
    """One codeword of 64 in use, far from the origin: its copies must differ in float32."""
    vq = VectorQuantizer(
        64,
        8,
        gradient=gradient,  # type: ignore[arg-type]
        learning=learning,  # type: ignore[arg-type]
        replacement=Replacement(every=1, until=1),
    )
    vq(torch.randn(500, 8, generator=noise()) + 20, generator=noise())
    vq.after_step(generator=noise())
    assert vq.codebook.unique(dim=0).shape == (64, 8)


def test_soft_assignment_knows_large_offsets() -> None:
    codebook = torch.randn(16, 64, generator=noise(2))
    gradients = []
    for offset in (0.0, 1000.0):
        moved = VectorQuantizer(16, 64, gradient="soft", learning="gradient", hardness=0.05)
        moved._move(torch.arange(16), codebook + offset)
        # Sums with 1,000 round the latents themselves to 6e-5.
        z = (0.1 * torch.randn(50, 64, generator=noise()) + offset).requires_grad_()
        weight = torch.randn(50, 64, generator=noise(1))
        (moved(z).values * weight).sum().backward()
        assert z.grad is not None
        gradients.append(z.grad)
    error = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert float(error) < 0.01


def test_moments_of_replaced_rows_are_forgotten() -> None:
    vq = VectorQuantizer(8, 2, init="normal")
    optimizer = torch.optim.Adam(vq.parameters())
    vq(torch.randn(50, 2, generator=noise())).losses["codebook"].backward()
    optimizer.step()
    reset_moments(optimizer, vq.codebook, torch.tensor([1, 3]))
    average = optimizer.state[vq.codebook]["exp_avg"]
    assert not average[[1, 3]].any()
    assert average[[0, 2]].any()


def test_weights_choose_and_shape_the_noise() -> None:
    vq = VectorQuantizer(64, 3, gradient="noise", learning="gradient", init="normal")
    z, w = torch.randn(30, 3, generator=noise()), torch.tensor([10.0, 1.0, 0.1])
    out = vq(z, generator=noise(), weights=w)
    assert torch.equal(out.indices, vq.encode(z, weights=w))
    assert not torch.equal(out.indices, vq.encode(z))
    c = vq.decode(out.indices)
    torch.testing.assert_close((w * (out.values - z)).norm(dim=1), (w * (c - z)).norm(dim=1))
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="positive"):
            vq(z, generator=noise(), weights=torch.tensor([1.0, bad, 1.0]))
    with pytest.raises(ValueError, match="weights are"):
        vq(z, generator=noise(), weights=torch.ones(2))


def test_soft_assignment_in_chunks_is_that_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    vq = VectorQuantizer(16, 3, gradient="soft", learning="gradient", init="normal", hardness=2.0)
    z = torch.randn(100, 3, generator=noise()).requires_grad_()
    slope = torch.randn(100, 3, generator=noise(1))
    whole = torch.autograd.grad((vq(z).values * slope).sum(), (z, vq.codebook))
    soft = torch.softmax(-2.0 * torch.cdist(z, vq.codebook) ** 2, dim=1) @ vq.codebook
    want = torch.autograd.grad((soft * slope).sum(), (z, vq.codebook))
    monkeypatch.setattr("vqlink.quantizers.vector._SOFT_CHUNK", 7 * 16)
    parts = torch.autograd.grad((vq(z).values * slope).sum(), (z, vq.codebook))
    for a, b, c in zip(whole, parts, want, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)


def test_product_indices_are_mixed_radix() -> None:
    product = ProductQuantizer([VectorQuantizer(n, 2, init="normal") for n in (5, 3)])
    assert product.bits_per_vector == pytest.approx(math.log2(15))
    z = torch.randn(40, 4, generator=noise())
    first, second = (g.encode(p) for g, p in zip(product.groups, z.split(2, -1), strict=True))  # type: ignore[operator]
    assert torch.equal(product.encode(z), first * 3 + second)
    with pytest.raises(ValueError, match="at most"):
        ProductQuantizer([VectorQuantizer(2**16, 1) for _ in range(4)])


def _rank(rank: int, world: int, folder: str) -> None:
    torch.manual_seed(rank)
    early = {  # built before the process group, as users do
        name: VectorQuantizer(
            12, 3, gradient=path, learning=how, replacement=Replacement(every=2, until=8), decay=0.8
        )
        for name, path, how in (
            ("ema", "straight_through", "ema"),
            ("noise", "noise", "gradient"),
        )
    }
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world
    )
    everything = torch.randn(10, 101, 3, generator=noise()) * 2
    share = slice(0, 60) if rank == 0 else slice(60, 101)  # ranks hold different numbers
    saved = {}
    for name, vq in early.items():
        vq.initialise(everything[0, share], generator=noise(1))
        for step in range(10):
            vq(everything[step, share] * (step + 1) / 5, generator=stream(rank, "n", step))
            vq.after_step(generator=noise(step))
        saved[name] = vq.state_dict()
    torch.save(saved, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_agree_and_equal_one_that_sees_all(tmp_path: Path) -> None:
    mp.spawn(_rank, args=(2, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    everything = torch.randn(10, 101, 3, generator=noise()) * 2
    for name, path, how in (("ema", "straight_through", "ema"), ("noise", "noise", "gradient")):
        for key in ranks[0][name]:
            assert torch.equal(ranks[0][name][key], ranks[1][name][key]), (name, key)
        vq = VectorQuantizer(
            12,
            3,
            gradient=path,  # type: ignore[arg-type]
            learning=how,  # type: ignore[arg-type]
            replacement=Replacement(every=2, until=8),
            decay=0.8,
        )
        vq.initialise(everything[0], generator=noise(1))
        for step in range(10):
            vq(everything[step] * (step + 1) / 5, generator=noise(step))
            vq.after_step(generator=noise(step))
        for key, value in vq.state_dict().items():
            torch.testing.assert_close(ranks[0][name][key], value, msg=f"{name} {key}")
