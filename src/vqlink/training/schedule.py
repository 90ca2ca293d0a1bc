"""The learning rate over a run."""

from __future__ import annotations

import math
from typing import Protocol


class Schedule(Protocol):
    """What recipes say of it: ``learning_rate`` is the peak."""

    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...


def learning_rate(step: int, config: Schedule) -> float:
    """Linear warm-up, then a cosine from the peak to zero at the last step.

    Args:
        step: optimiser steps already done.
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * cosine(done)


def cosine(done: float) -> float:
    """From 1 at the start of a run to 0 at its end; ``done`` is the share of its steps."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
