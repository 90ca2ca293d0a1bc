"""A gated PixelCNN (van den Oord et al., 2016): a map of choices, one after the other.

    p(k | c) = prod_i p(k_i | k_1, ..., k_(i-1), c),  cells in raster order

Two stacks, without a blind spot: the vertical one sees the rows above, the horizontal one what lies
to the left in the row, and the vertical one's features. Both are shifted once, at their input, so
that every layer after may see its own place.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class GatedPixelCNN(nn.Module):
    """Values of the cells so far -> logits of the next choice.

    A cell's input is the codeword that its choice stands for, not the number: a tree has more
    codewords than choices, and near codewords then look alike.

    Args:
        choices: m, what a cell may be.
        dim: D, values of a codeword.
        context: values a cell of the map that is known beforehand; 0 for none.
        classes: of a class-conditional prior; 0 for none.
        width: channels.
        depth: layers.
        kernel: of the vertical stack, odd; the horizontal one has its left half and its centre.
        dropout: in training.

    Example:
        >>> prior = GatedPixelCNN(8, 64)
        >>> prior(torch.randn(2, 16, 16, 64)).shape
        torch.Size([2, 16, 16, 8])
    """

    def __init__(
        self,
        choices: int,
        dim: int,
        *,
        context: int = 0,
        classes: int = 0,
        width: int = 64,
        depth: int = 8,
        kernel: int = 5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0 or min(choices, dim, width, depth) < 1:
            raise ValueError("kernel is odd, and choices, dim, width and depth are at least 1")
        self.choices, self.dim, self.width = choices, dim, width
        self.kernel, self.reach = kernel, kernel // 2
        self.enter = nn.Linear(dim, width)
        self.vertical = nn.ModuleList(
            nn.Conv2d(width, 2 * width, (self.reach + 1, kernel)) for _ in range(depth)
        )
        self.horizontal = nn.ModuleList(
            nn.Conv1d(width, 2 * width, self.reach + 1) for _ in range(depth)
        )
        self.down = nn.ModuleList(nn.Conv2d(2 * width, 2 * width, 1) for _ in range(depth))
        self.out = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(depth))
        # Of what is known of a cell beforehand: for the gates of both stacks, in each layer.
        self.parts = 4 * width * depth
        self.context = _context_net(context, width, self.parts) if context else None
        self.label = nn.Embedding(classes, self.parts) if classes else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv1d(width, 2 * width, 1), nn.ReLU(), nn.Conv1d(2 * width, choices, 1)
        )

    def forward(
        self, values: Tensor, context: Tensor | None = None, label: Tensor | None = None
    ) -> Tensor:
        """Codewords (B, h, w, D) of a whole map -> logits (B, h, w, m), each from cells before it.

        Args:
            context: (B, h, w, C) where the prior has one.
            label: (B,) int64 classes where it has them.

        Raises:
            ValueError: for a context or label that is missing, or is not wanted.
        """
        batch, rows, columns, _ = values.shape
        x = self.enter(values).permute(0, 3, 1, 2)
        v = functional.pad(x, (0, 0, 1, 0))[:, :, :-1]  # the row above
        h = functional.pad(x, (1, 0))[..., :-1]  # the cell to the left
        known = self._known(context, label, batch, rows, columns)
        for layer in range(len(self.vertical)):
            gate = self._vertical(layer, functional.pad(v, (self.reach, self.reach, self.reach, 0)))
            beside = functional.pad(h, (self.reach, 0))
            step = self._horizontal(layer, beside, gate, known[layer][1])
            v, h = _gated(gate + known[layer][0]), h + step
        logits: Tensor = self.head(h.flatten(2)).unflatten(2, (rows, columns))
        return logits.permute(0, 2, 3, 1)

    def _vertical(self, layer: int, above: Tensor) -> Tensor:
        """(B, width, rows + reach, columns + 2 reach) -> the gate's input (B, 2 width, ...)."""
        found: Tensor = self.vertical[layer](above)
        return found

    def _horizontal(self, layer: int, beside: Tensor, gate: Tensor, known: Tensor) -> Tensor:
        """(B, width, rows, columns + reach) -> what the layer adds, (B, width, rows, columns)."""
        batch, width, rows, _ = beside.shape
        lines = beside.permute(0, 2, 1, 3).reshape(batch * rows, width, -1)
        own = self.horizontal[layer](lines).unflatten(0, (batch, rows)).permute(0, 2, 1, 3)
        inside = self.dropout(_gated(own + self.down[layer](gate) + known))
        added: Tensor = self.out[layer](inside.flatten(2))
        return added.view(inside.shape)

    def _known(
        self, context: Tensor | None, label: Tensor | None, batch: int, rows: int, columns: int
    ) -> list[tuple[Tensor, Tensor]]:
        """What context and class add to the gates of each layer's two stacks.

        Without a context all cells have the same: a view, which takes no memory.
        """
        if (context is None) != (self.context is None) or (label is None) != (self.label is None):
            raise ValueError("a context and a label are given where the prior has them, only so")
        total = self.enter.weight.new_zeros(1, self.parts, 1, 1)
        if self.label is not None and label is not None:
            total = self.label(label)[..., None, None]
        if self.context is not None and context is not None:
            found = self.context(context.permute(0, 3, 1, 2))
            total = found.to(total.dtype).add_(total)  # in place: it is what is large
        total = total.expand(batch, self.parts, rows, columns)
        halves = torch.split(total, 2 * self.width, dim=1)
        return list(zip(halves[::2], halves[1::2], strict=True))

    def walk(
        self,
        batch: int,
        rows: int,
        columns: int,
        context: Tensor | None = None,
        label: Tensor | None = None,
    ) -> Walk:
        """Cell after cell; see :class:`Walk`."""
        return Walk(self, batch, rows, columns, self._known(context, label, batch, rows, columns))


class Walk:
    """The prior in raster order with its features kept: each cell costs one cell's convolutions.

    Use :meth:`logits` and :meth:`take` in turn, rows * columns times. The same numbers come out
    whatever is done with the logits, which an entropy coder relies on.
    """

    def __init__(
        self,
        prior: GatedPixelCNN,
        batch: int,
        rows: int,
        columns: int,
        known: list[tuple[Tensor, Tensor]],
    ) -> None:
        if prior.training:
            raise ValueError("the prior walks in evaluation mode: call eval() first")
        self._prior, self._known = prior, known
        self._size = (batch, rows, columns)
        reach, depth = prior.reach, len(prior.vertical)
        blank = prior.enter.weight
        # The last rows of each layer's vertical input, and the row of each one's horizontal input.
        self._above = [
            blank.new_zeros(batch, prior.width, reach + 1, columns + 2 * reach)
            for _ in range(depth)
        ]
        self._beside = [
            blank.new_zeros(batch, prior.width, columns + reach) for _ in range(depth + 1)
        ]
        self._gates: list[Tensor] = []
        self._entered = blank.new_zeros(batch, prior.width, columns)
        self._row = self._column = 0

    @torch.no_grad()
    def logits(self) -> Tensor:
        """(B, m) of the next cell."""
        if self._column == 0:
            self._begin_row()
        prior, at = self._prior, self._column
        left = self._entered[:, :, at - 1] if at else torch.zeros_like(self._entered[:, :, 0])
        self._beside[0][:, :, at + prior.reach] = left
        for layer, (here, after) in enumerate(pairwise(self._beside)):
            beside = here[:, :, None, at : at + prior.reach + 1]
            gate = self._gates[layer][..., at : at + 1]
            known = self._known[layer][1][:, :, self._row, None, at : at + 1]
            step = prior._horizontal(layer, beside, gate, known)
            after[:, :, at + prior.reach] = here[:, :, at + prior.reach] + step[:, :, 0, 0]
        found: Tensor = prior.head(self._beside[-1][:, :, at + prior.reach, None])
        return found[..., 0]

    @torch.no_grad()
    def take(self, values: Tensor) -> None:
        """The codewords (B, D) of the cell whose logits were asked for."""
        self._entered[:, :, self._column] = self._prior.enter(values)
        self._column += 1
        if self._column == self._size[2]:
            self._row, self._column = self._row + 1, 0

    def _begin_row(self) -> None:
        """Vertical features of a whole row at once: they need the rows above alone."""
        prior = self._prior
        row = self._entered[:, :, None]
        self._gates = []
        for layer, above in enumerate(self._above):
            above.copy_(above.roll(-1, dims=2))
            above[:, :, -1] = functional.pad(row[:, :, 0], (prior.reach, prior.reach))
            gate = prior._vertical(layer, above)
            self._gates.append(gate)
            row = _gated(gate + self._known[layer][0][:, :, self._row, None])
        for line in self._beside:
            line.zero_()
        self._entered = torch.zeros_like(self._entered)


def _gated(x: Tensor) -> Tensor:
    signal, gate = x.chunk(2, dim=1)
    return torch.tanh(signal) * torch.sigmoid(gate)


def _context_net(channels: int, width: int, parts: int) -> nn.Module:
    """A known map -> what each layer's gates get of it. Nothing here has to be causal."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(width, parts, 1),
    )
