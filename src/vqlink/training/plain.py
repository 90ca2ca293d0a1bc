"""The loop of nets that train by themselves in one process: priors, classifiers.

Everything random in step t is drawn from streams named by t, as in :mod:`vqlink.training.trainer`,
so a run that was interrupted goes on bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from vqlink.config.parts import PlainTraining
from vqlink.errors import VqlinkError
from vqlink.rng import seeded_dropout
from vqlink.training.checkpoint import STATE_NAME, load_state, read_header, save_state
from vqlink.training.ema import Ema
from vqlink.training.interrupt import Interrupt
from vqlink.training.log import TrainingLog
from vqlink.training.loop import TrainingResult
from vqlink.training.schedule import learning_rate

Report = Callable[[int, str], None]
"""Called with the steps done and figures."""

State = dict[str, Tensor]


class PlainRun:
    """A net, its optimiser and the average of its weights, saved as they go.

    Args:
        net: freshly initialised.
        folder: of the run: state, weights and ``log.jsonl``.
        identity: what the run is of; resumption refuses another.
        loss: the step's number -> its loss, and figures to log.
        validate: averaged weights -> figures to log.
        save: writes averaged weights, for use.
    """

    def __init__(
        self,
        net: nn.Module,
        config: PlainTraining,
        folder: Path,
        *,
        identity: str,
        loss: Callable[[int], tuple[Tensor, dict[str, Tensor]]],
        validate: Callable[[State], Mapping[str, float]],
        save: Callable[[State], object],
    ) -> None:
        self.net, self.config, self.folder, self.identity = net, config, folder, identity
        self.loss, self.validate, self.save = loss, validate, save
        self.optimizer = AdamW(net.parameters(), lr=config.learning_rate, betas=(0.9, 0.98))
        self.ema = Ema(net, config.ema)

    def train(self, *, resume: bool = False, report: Report | None = None) -> TrainingResult:
        """Run to the last step; Ctrl-C and SIGTERM finish the step and save.

        Raises:
            VqlinkError: for folders and states that can't be used, and when training diverges.
        """
        config, state = self.config, self.folder / STATE_NAME
        if not resume and state.exists():
            raise VqlinkError(
                f"{self.folder} already holds a run: add --resume, or name another --out"
            )
        if resume and read_header(state).recipe != self.identity:
            raise VqlinkError(f"{state} was made by another recipe or codec: name another --out")
        step = load_state(state, self.net, self.optimizer, self.ema).step if resume else 0
        last_saved, stop = time.monotonic(), False
        with Interrupt() as interrupt, TrainingLog(self.folder, step=step, enabled=True) as log:
            while step < config.steps and not stop:
                values = self._step(step)
                step += 1
                self.ema.update(self.net, step)
                if step % config.log_every == 0:
                    figures = log.losses(step, values)
                    if report is not None:
                        report(step, figures)
                if step % config.validate_every == 0 or step == config.steps:
                    log.validation(step, self.validate(self.ema.state))
                stop = interrupt.requested
                ended = stop or step == config.steps
                if ended or time.monotonic() - last_saved > config.checkpoint_seconds:
                    self.save(self.ema.state)
                    save_state(
                        state, self.net, self.optimizer, self.ema, step=step, recipe=self.identity
                    )
                    last_saved = time.monotonic()
        return TrainingResult(step, step == config.steps, self.folder)

    def _step(self, step: int) -> dict[str, Tensor]:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        self.net.train()
        bf16 = torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16")
        with seeded_dropout(config.seed, step), bf16:
            loss, figures = self.loss(step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), config.clip_norm)
        if not torch.isfinite(norm):
            raise VqlinkError(
                f"training diverged at step {step + 1}: start again with a lower learning_rate"
            )
        self.optimizer.step()
        return {"loss": loss.detach(), "gradient_norm": norm, **figures}
