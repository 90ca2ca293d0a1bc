"""Training logs: one JSON line a record, and the same for TensorBoard. Logs, not results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class TrainingLog:
    """Context manager over ``log.jsonl`` and ``tensorboard/`` in a run's folder.

    Args:
        folder: the run's folder; made when missing.
        step: where the run goes on; records beyond it, of steps that a crash took back, go.
        enabled: False on all ranks but the first.
    """

    def __init__(self, folder: Path, *, step: int, enabled: bool) -> None:
        self.folder, self.step, self.enabled = folder, step, enabled

    def __enter__(self) -> TrainingLog:
        if self.enabled:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / "log.jsonl"
            _keep_until(path, self.step)
            self._file = path.open("a")
            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step + 1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.enabled:
            self._file.close()
            self._board.close()

    def losses(self, step: int, values: Mapping[str, Tensor]) -> str:
        """Record one step's losses; returns them as a short line for the progress bar."""
        plain = {name: float(value) for name, value in values.items()}
        self._write("train", step, plain)
        return f"loss {plain['loss']:.5f}"

    def validation(self, step: int, values: Mapping[str, float]) -> None:
        """Record validation figures (hard-quantised, transmitted)."""
        self._write("validation", step, values)

    def _write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        if not self.enabled:
            return
        self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)


def _keep_until(path: Path, step: int) -> None:
    """Drop records after ``step``, and a line that was cut off."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            continue
    path.write_text("".join(kept))
