"""The gated PixelCNN: what a cell may see, and that walking gives what the whole map gives."""

from __future__ import annotations

import math

import pytest
import torch

from vqlink.priors.pixelcnn import GatedPixelCNN

ROWS, COLUMNS, DIM, CHOICES = 5, 6, 3, 4


def prior(**options: int) -> GatedPixelCNN:
    torch.manual_seed(0)
    return GatedPixelCNN(CHOICES, DIM, width=8, depth=3, **options).eval()


def draw(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_cell_sees_all_cells_before_it_and_no_other(kernel: int) -> None:
    """Gradients tell: none from the cell itself on; some from everywhere before, no blind spot."""
    net = prior(kernel=kernel).double()
    values = draw(1, ROWS, COLUMNS, DIM).double().requires_grad_()
    logits = net(values)
    for row in range(ROWS):
        for column in range(COLUMNS):
            (slope,) = torch.autograd.grad(logits[0, row, column].sum(), values, retain_graph=True)
            seen = slope[0].abs().sum(dim=-1).flatten() > 0
            assert not seen[row * COLUMNS + column :].any()
            near = [
                (r, c)
                for r in range(max(0, row - 2), row + 1)
                for c in range(max(0, column - 2), min(COLUMNS, column + 3))
                if (r, c) < (row, column)
            ]
            assert all(bool(seen[r * COLUMNS + c]) for r, c in near)


@pytest.mark.parametrize(
    "options", [{}, {"context": 2}, {"classes": 3}, {"context": 2, "classes": 3, "kernel": 3}]
)
def test_walking_gives_the_whole_maps_logits(options: dict[str, int]) -> None:
    net = prior(**options)
    values = draw(2, ROWS, COLUMNS, DIM)
    context = draw(2, ROWS, COLUMNS, 2, seed=1) if "context" in options else None
    label = torch.tensor([0, 2]) if "classes" in options else None
    whole = net(values, context, label)
    walk = net.walk(2, ROWS, COLUMNS, context, label)
    for row in range(ROWS):
        for column in range(COLUMNS):
            torch.testing.assert_close(walk.logits(), whole[:, row, column], atol=1e-5, rtol=1e-5)
            walk.take(values[:, row, column])


def test_context_and_class_count() -> None:
    net = prior(context=2, classes=3)
    values, context = draw(1, ROWS, COLUMNS, DIM), draw(1, ROWS, COLUMNS, 2, seed=1)
    label = torch.tensor([1])
    usual = net(values, context, label)
    assert not torch.allclose(net(values, context, label + 1), usual)
    changed = context.clone()
    changed[:, -1, -1] += 1  # the context is known beforehand: the last cell reaches the one before
    assert not torch.allclose(net(values, changed, label)[:, -1, -2], usual[:, -1, -2])
    with pytest.raises(ValueError, match="a context and a label"):
        net(values)
    with pytest.raises(ValueError, match="a context and a label"):
        prior()(values, context)


def test_what_all_cells_share_takes_no_memory() -> None:
    """Here it would be 24 GiB."""
    label = torch.arange(4096) % 3
    for walk in (
        prior().walk(4096, 4096, 4),
        prior(classes=3).walk(4096, 4096, 4, label=label),
    ):
        assert all(part.untyped_storage().nbytes() < 1 << 22 for p in walk._known for part in p)


def test_walking_is_for_evaluation() -> None:
    with pytest.raises(ValueError, match="eval"):
        prior().train().walk(1, ROWS, COLUMNS)


def test_it_learns_what_can_be_learnt() -> None:
    """Each cell repeats the one before, the first of a row the one above: nearly no bits."""
    torch.manual_seed(0)
    net = GatedPixelCNN(CHOICES, CHOICES, width=16, depth=2, kernel=3)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    loss = torch.tensor(0.0)
    for _ in range(120):
        first = torch.randint(CHOICES, (16, 1, 1), generator=generator)
        cells = first.expand(16, 4, 4)
        values = torch.nn.functional.one_hot(cells, CHOICES).float()
        loss = torch.nn.functional.cross_entropy(net(values).flatten(0, 2), cells.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # One free choice of log m in sixteen cells.
    assert loss.item() == pytest.approx(math.log(CHOICES) / 16, abs=0.03)
