"""Residual quantization in layers: the nested search, eq. 3-6 of 003, upkeep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
from torch import Tensor
from torch.autograd import gradcheck

from vqlink.quantizers.losses import codebook_losses
from vqlink.quantizers.paths import join_path, split_path
from vqlink.quantizers.replacement import Replacement
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.quantizers.search import nearest, nearest_child
from vqlink.rng import stream

BRANCHES = (4, 3, 5)


def vectors(count: int = 500, dim: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def trained(
    tree: bool = True, branches: tuple[int, ...] = BRANCHES, **options: Any
) -> ResidualQuantizer:
    quantizer = ResidualQuantizer(branches, 6, tree=tree, **options)
    quantizer.initialise(vectors(3000, seed=9), generator=stream(0, "kmeans"))
    return quantizer


def test_more_codes_than_int64_numbers_are_refused() -> None:
    assert ResidualQuantizer([1024] * 6, 2, tree=False).bits_per_vector == 60
    with pytest.raises(ValueError, match="at most 2\\^62 codes"):
        ResidualQuantizer([1024] * 7, 2, tree=False)


def by_hand(quantizer: ResidualQuantizer, z: Tensor) -> tuple[list[list[int]], Tensor]:
    """Eq. 3-4, vector by vector and layer by layer."""
    paths, codes = [], []
    for vector in z:
        left, node, path, code = vector, 0, [], torch.zeros_like(vector)
        for layer, size in enumerate(quantizer.branches):
            first = node * size if quantizer.tree else 0
            choices = quantizer.codebook(layer).detach()[first : first + size]
            choice = int((choices - left).square().sum(dim=1).argmin())
            left, code = left - choices[choice], code + choices[choice]
            node, path = first + choice, [*path, choice]
        paths.append(path)
        codes.append(code)
    return paths, torch.stack(codes)


@pytest.mark.parametrize("tree", [True, False])
def test_paths_and_codes_are_those_of_eq_3_and_4(tree: bool) -> None:
    quantizer, z = trained(tree).eval(), vectors()
    paths, codes = by_hand(quantizer, z)
    indices = quantizer.encode(z)
    assert torch.stack(quantizer.digits(indices), dim=1).tolist() == paths
    weights = torch.tensor([15, 5, 1])
    assert torch.equal(indices, (torch.tensor(paths) * weights).sum(dim=1))
    assert torch.allclose(quantizer.decode(indices), codes, atol=1e-6)
    out = quantizer(z)
    assert torch.equal(out.values, quantizer.decode(indices))
    assert torch.equal(quantizer.hard(z), out.values)
    assert quantizer.bits_per_vector == pytest.approx(torch.tensor(60.0).log2().item())


def test_later_layers_may_be_left_out() -> None:
    quantizer, z = trained().eval(), vectors()
    indices = quantizer.encode(z)
    errors = [(quantizer.decode(indices, layers=n) - z).square().mean().item() for n in range(4)]
    assert errors[0] == pytest.approx(z.square().mean().item())
    assert errors == sorted(errors, reverse=True)
    with pytest.raises(ValueError, match="layers 0 to 3"):
        quantizer.decode(indices, layers=4)


@pytest.mark.parametrize("spread", ["even", "skewed", "one", "few"])
@pytest.mark.parametrize("size", [2, 16, 64, 200])
def test_the_nested_search_is_exact(spread: str, size: int) -> None:
    """Against each vector's own distances, however the vectors spread over the parents."""
    parents_count, count = 37, 4000
    generator = torch.Generator().manual_seed(1)
    parents = {
        "even": torch.randint(parents_count, (count,), generator=generator),
        "skewed": (torch.rand(count, generator=generator) ** 8 * parents_count).long(),
        "one": torch.full((count,), 5),
        "few": torch.randint(parents_count, (9,), generator=generator),
    }[spread]
    x = vectors(parents.numel(), 8)
    children = torch.randn(parents_count, size, 8, generator=generator)
    distance = (x[:, None] - children[parents]).square().sum(dim=2)
    found = nearest_child(x, children, parents)
    best = distance.gather(1, found[:, None])[:, 0]
    assert torch.allclose(best, distance.amin(dim=1), rtol=1e-5)


def test_the_nested_search_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="search takes"):
        nearest_child(vectors(4, 3), torch.zeros(2, 5, 4), torch.zeros(4, dtype=torch.int64))


def test_losses_are_those_of_eq_5_and_6() -> None:
    quantizer, z = trained().train(), vectors(50)
    parts = [quantizer.codebook(i)[r] for i, r in enumerate(quantizer.rows(quantizer.encode(z)))]
    left, expected = z, (z - sum(parts)).square().mean()
    for part in parts:
        expected = expected + (left - part).square().mean()
        left = left - part
    losses = quantizer(z).losses
    assert losses["codebook"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["commitment"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_whom_the_losses_move() -> None:
    """The codebook loss moves codewords alone, commitment the latents alone."""
    quantizer = trained().train()
    z = vectors(50).requires_grad_()
    losses = quantizer(z).losses
    codebooks = [quantizer.codebook(layer) for layer in range(3)]
    by_codebook = torch.autograd.grad(
        losses["codebook"], [z, *codebooks], allow_unused=True, retain_graph=True
    )
    by_commitment = torch.autograd.grad(losses["commitment"], [z, *codebooks], allow_unused=True)
    assert by_codebook[0] is None
    assert all(grad is not None and grad.abs().max() > 0 for grad in by_codebook[1:])
    assert by_commitment[0] is not None
    assert all(grad is None for grad in by_commitment[1:])


def test_a_layer_moves_only_its_own_codewords() -> None:
    """Without the combined terms: d(layer 2's loss) / d(layer 1's codewords) = 0."""
    quantizer, z = trained(combined=False).train(), vectors(50)
    loss = quantizer(z).losses["codebook"]
    (grad,) = torch.autograd.grad(loss, [quantizer.codebook(0)])
    rows = quantizer.rows(quantizer.encode(z))[0]
    own = torch.zeros_like(grad).index_add_(0, rows, quantizer.codebook(0).detach()[rows] - z)
    assert torch.allclose(grad, own * 2 / z.numel(), atol=1e-6)


@pytest.mark.parametrize("gradient", ["noise", "directional"])
def test_codewords_of_all_layers_learn_through_the_path(gradient: str) -> None:
    quantizer = trained(gradient=gradient, learning="gradient").train()
    z = vectors(50).requires_grad_()
    out = quantizer(z, generator=stream(0, "noise"))
    assert not out.losses
    out.values.square().sum().backward()
    assert z.grad is not None
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in quantizer.parameters())
    with pytest.raises(ValueError, match="generator"):
        quantizer(z)


def test_the_gradient_to_the_latents_is_one_straight_path() -> None:
    quantizer = trained().train()
    z = vectors(20).requires_grad_()
    quantizer(z).values.backward(torch.ones(20, 6))
    assert torch.equal(z.grad, torch.ones(20, 6))


def test_commitment_passes_gradcheck() -> None:
    quantizer = trained().train()
    z = vectors(8)
    parts = [quantizer.codebook(i)[r].detach().double()
             for i, r in enumerate(quantizer.rows(quantizer.encode(z)))]  # fmt: skip

    def loss(latents: Tensor) -> Tensor:
        return codebook_losses(latents, parts, combined=True)[0]

    assert gradcheck(loss, z.double().requires_grad_())


def test_paths_are_numbers_in_mixed_radix() -> None:
    choices = [torch.tensor([1, 2]), torch.tensor([0, 3]), torch.tensor([1, 0])]
    path = join_path(choices, (3, 4, 2))
    assert path.tolist() == [1 * 8 + 0 * 2 + 1, 2 * 8 + 3 * 2 + 0]
    assert [part.tolist() for part in split_path(path, (3, 4, 2))] == [c.tolist() for c in choices]
    assert join_path(choices[:2], (3, 4, 2)).tolist() == [4, 11]  # a receiver of two layers
    with pytest.raises(ValueError, match="zip"):
        join_path(choices, (3, 4))


@pytest.mark.parametrize("combined", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
def test_losses_are_eq_5_and_6_term_by_term(combined: bool, layers: int) -> None:
    z = torch.randn(9000, 6, generator=stream(0, "z")).double().requires_grad_()
    parts = [
        torch.randn(9000, 6, generator=stream(0, "e", i)).double().requires_grad_()
        for i in range(layers)
    ]
    commitment, codebook, left = torch.zeros(()), torch.zeros(()), z
    for part in parts:
        commitment = commitment + (left - part.detach()).square().mean()
        codebook = codebook + (left.detach() - part).square().mean()
        left = left - part.detach()
    if combined:
        whole = torch.stack(parts).sum(dim=0)
        commitment = commitment + (z - whole.detach()).square().mean()
        codebook = codebook + (z.detach() - whole).square().mean()
    expected = torch.autograd.grad(0.25 * commitment + 3 * codebook, [z, *parts])
    found = codebook_losses(z, parts, combined=combined)
    assert torch.allclose(torch.stack(found), torch.stack((commitment, codebook)))
    gradients = torch.autograd.grad(0.25 * found[0] + 3 * found[1], [z, *parts])
    assert all(torch.allclose(*pair) for pair in zip(gradients, expected, strict=True))
    with torch.no_grad():
        assert torch.allclose(
            torch.stack(codebook_losses(z, parts, combined=combined)), torch.stack(found)
        )
    empty = codebook_losses(z[:0], [part[:0] for part in parts], combined=combined)
    assert torch.stack(empty).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("tree", [True, False])
def test_running_means_fall_into_place(tree: bool) -> None:
    """Each codeword ends as the mean of the residuals that choose it."""
    quantizer = trained(tree, learning="ema", decay=0.5).train()
    z = vectors(2000)
    errors = []
    for step in range(250):
        out = quantizer(z)
        errors.append((out.values - z).square().mean().item())
        quantizer.after_step(generator=stream(0, "upkeep", step))
    assert errors[-1] <= errors[0]
    rows, left = quantizer.rows(quantizer.encode(z)), z
    for layer, chosen in enumerate(rows):
        counts = torch.bincount(chosen, minlength=quantizer.codebook(layer).shape[0])
        sums = torch.zeros_like(quantizer.codebook(layer)).index_add_(0, chosen, left)
        busy = counts > 5
        means = sums[busy] / counts[busy, None]
        assert torch.allclose(quantizer.codebook(layer)[busy], means, atol=0.05)
        left = left - quantizer.codebook(layer)[chosen]


def test_kmeans_from_the_root_down_beats_a_random_start() -> None:
    z = vectors(4000)
    started = trained(branches=(8, 8)).eval()
    random = ResidualQuantizer((8, 8), 6).eval()
    errors = [(q.hard(z) - z).square().mean().item() for q in (started, random)]
    assert errors[0] < 0.6 * errors[1]


@pytest.mark.parametrize("learning", ["loss", "ema"])
def test_unused_codewords_move_beside_used_siblings_with_their_subtrees(learning: Any) -> None:
    quantizer = trained(
        branches=(4, 4), learning=learning, replacement=Replacement(every=1, until=100)
    ).train()
    with torch.no_grad():
        quantizer.codebook(0).data[2] = 1000.0  # far away: nobody comes
    z = vectors(2000)
    assert 2 not in quantizer.rows(quantizer.encode(z))[0]
    quantizer(z)
    top, below = quantizer.after_step(generator=stream(0, "upkeep"))
    assert 2 in top.tolist()
    assert set(below.tolist()) >= set(range(8, 12))
    distance = torch.cdist(quantizer.codebook(0)[2:3], quantizer.codebook(0)[[0, 1, 3]])
    source = [0, 1, 3][int(distance.argmin())]
    assert distance.min() < 0.1
    assert torch.allclose(
        quantizer.codebook(1)[8:12], quantizer.codebook(1)[source * 4 : source * 4 + 4], atol=0.1
    )
    used = quantizer.rows(quantizer.encode(z))[0].unique()
    assert used.numel() == 4


def test_siblings_of_a_node_that_few_reach_are_left_alone() -> None:
    quantizer = trained(branches=(2, 8), replacement=Replacement(every=1, until=9)).train()
    quantizer(quantizer.codebook(0).detach()[:1].expand(3, -1))
    moved = quantizer.after_step(generator=stream(0, "upkeep"))
    assert moved[1].numel() == 0


def test_layers_of_different_sizes_and_depths() -> None:
    for branches in [(64,), (8, 8), (4, 4, 4), (4, 4, 2, 2), (4, 2, 2, 2, 2), (2,) * 6]:
        quantizer = ResidualQuantizer(branches, 6)
        assert quantizer.leaves == 64
        assert quantizer.bits_per_vector == 6
        assert quantizer(vectors()).indices.max() < 64


def test_one_layer_is_a_vector_quantizer() -> None:
    quantizer, z = trained(branches=(16,)).eval(), vectors()
    assert torch.equal(quantizer.encode(z), nearest(z, quantizer.codebook(0)))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        ResidualQuantizer((4, 1), 6)
    with pytest.raises(ValueError, match="learns its codebook"):
        ResidualQuantizer((4,), 6, gradient="noise", learning="loss")
    quantizer = ResidualQuantizer((4, 4), 6)
    with pytest.raises(ValueError, match="takes latents"):
        quantizer(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="NaN"):
        quantizer(torch.full((3, 6), torch.nan))
    empty = quantizer.eval()(torch.zeros(0, 6))
    assert empty.values.shape == (0, 6)


def test_state_resumes_bit_for_bit() -> None:
    def steps(quantizer: ResidualQuantizer, first: int, last: int) -> None:
        for step in range(first, last):
            quantizer(vectors(300, seed=step))
            quantizer.after_step(generator=stream(0, "upkeep", step))

    policy = Replacement(every=2, until=10)
    whole, half, other = (trained(learning="ema", replacement=policy).train() for _ in range(3))
    steps(whole, 0, 6)
    steps(half, 0, 3)
    other.load_state_dict(half.state_dict())
    steps(other, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(
        whole.state_dict().values(), other.state_dict().values(), strict=True
    ))  # fmt: skip


def _rank(rank: int, port_file: str, out: str) -> None:
    torch.manual_seed(0)
    quantizer = trained(learning="ema", replacement=Replacement(every=2, until=9)).train()
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{port_file}", rank=rank, world_size=2
    )
    for step in range(4):
        quantizer(vectors(400, seed=step)[rank * 200 : rank * 200 + 200])
        quantizer.after_step(generator=stream(0, "upkeep", step))
    torch.save(quantizer.state_dict(), f"{out}.{rank}")
    torch.distributed.monitored_barrier()
    torch.distributed.destroy_process_group()


def test_two_ranks_agree_and_equal_one_that_sees_all(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, (str(tmp_path / "port"), str(tmp_path / "state")), nprocs=2)
    first, second = (torch.load(tmp_path / f"state.{rank}", weights_only=True) for rank in (0, 1))
    torch.manual_seed(0)
    alone = trained(learning="ema", replacement=Replacement(every=2, until=9)).train()
    for step in range(4):
        alone(vectors(400, seed=step))
        alone.after_step(generator=stream(0, "upkeep", step))
    for name, tensor in alone.state_dict().items():
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name].float(), tensor.float(), atol=1e-4), name
