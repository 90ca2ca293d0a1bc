"""Exponential moving average of a module's floating-point state."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ema:
    """Averaged weights: ``average <- d average + (1 - d) weights``.

    Early on the decay is min(d, (1 + t) / (10 + t)), so that the random start is soon forgotten.
    Buffers that are not floating point are copied.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: t.detach().clone() for name, t in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the weights after optimiser step ``step`` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        live = module.state_dict()
        names = [name for name, t in self.state.items() if t.is_floating_point()]
        torch._foreach_lerp_(
            [self.state[name] for name in names], [live[name] for name in names], 1 - decay
        )
        for name, tensor in self.state.items():
            if not tensor.is_floating_point():
                tensor.copy_(live[name])

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over a saved average.

        Raises:
            ValueError: when its names or shapes are another module's.
        """
        shapes = {name: tensor.shape for name, tensor in self.state.items()}
        if shapes != {name: tensor.shape for name, tensor in state.items()}:
            raise ValueError("the saved average belongs to another model")
        for name, tensor in self.state.items():
            tensor.copy_(state[name])
