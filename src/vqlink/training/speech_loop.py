"""The loop of speech training: plain steps in one process, saved as they go.

Everything random in step t is drawn from streams named by t, as in :mod:`vqlink.training.trainer`,
so a run that was interrupted goes on bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vqlink.errors import VqlinkError
from vqlink.training.checkpoint import STATE_NAME, load_state, read_header, save_state
from vqlink.training.interrupt import Interrupt
from vqlink.training.schedule import cosine

Log = Callable[[dict[str, float]], None]
_SAVE_SECONDS = 60.0
_LOG_EVERY = 50


class Checkpoint:
    """Where a run stands, in its folder.

    Args:
        folder: of the run.
        recipe: what it runs, as JSON.
        resume: go on from what is there; else nothing may be there.

    Attributes:
        step: finished steps.

    Raises:
        VqlinkError: for a state that is missing, unreadable, another recipe's or in the way.
    """

    def __init__(self, folder: Path, recipe: str, *, resume: bool) -> None:
        self.path, self.recipe, self.resume = folder / STATE_NAME, recipe, resume
        self.step = 0
        if not resume and self.path.exists():
            raise VqlinkError(f"{folder} already holds a run: add --resume, or name another --out")
        if resume:
            saved = read_header(self.path)
            if saved.recipe != recipe:
                raise VqlinkError(
                    f"{self.path} was made by another recipe: resume with the same recipe and "
                    "--set, or name another --out"
                )
            self.step = saved.step

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Bring a new model and optimiser to where the run stands."""
        if self.resume:
            load_state(self.path, model, optimizer, None)

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        save_state(self.path, model, optimizer, None, step=self.step, recipe=self.recipe)


def descend(
    loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer, clip_norm: float
) -> None:
    """One update along the loss's clipped gradient.

    Raises:
        VqlinkError: when the gradient is not finite; the weights are then as before.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    if not bool(torch.isfinite(norm)):
        raise VqlinkError("training diverges: start again with a lower training.learning_rate")
    optimizer.step()


def run_steps(
    model: nn.Module,
    optimizer: torch.optim.Adam,
    one_step: Callable[[int], Mapping[str, Tensor]],
    *,
    steps: int,
    learning_rate: float,
    log: Log | None,
    checkpoint: Checkpoint | None,
) -> None:
    """Steps until the last one; with a checkpoint, from it on, and until Ctrl-C or SIGTERM.

    Args:
        one_step: takes the number of finished steps, updates the model, and returns what there is
            to log.
        learning_rate: at the start of a cosine that ends at zero.
        log: given every fiftieth step and the last.
        checkpoint: saved each minute and at the end; None keeps nothing and leaves signals alone.
    """
    if checkpoint is None:
        for step in range(steps):
            _run(optimizer, one_step, step, steps, learning_rate, log)
        return
    checkpoint.restore(model, optimizer)
    with Interrupt() as interrupt:
        last_saved = time.monotonic()
        while checkpoint.step < steps and not interrupt.requested:
            _run(optimizer, one_step, checkpoint.step, steps, learning_rate, log)
            checkpoint.step += 1
            if time.monotonic() - last_saved > _SAVE_SECONDS:
                checkpoint.save(model, optimizer)
                last_saved = time.monotonic()
        checkpoint.save(model, optimizer)


def _run(
    optimizer: torch.optim.Adam,
    one_step: Callable[[int], Mapping[str, Tensor]],
    step: int,
    steps: int,
    learning_rate: float,
    log: Log | None,
) -> None:
    optimizer.param_groups[0]["lr"] = learning_rate * cosine(step / steps)
    values = one_step(step)
    if log is not None and (step % _LOG_EVERY == 0 or step == steps - 1):
        log({"step": step, **{name: float(value) for name, value in values.items()}})
