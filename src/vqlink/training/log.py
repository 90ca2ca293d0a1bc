"""Training logs: one JSON line a record, and the same for TensorBoard. Logs, not results."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

LOG_NAME = "log.jsonl"


class TrainingLog:
    """Context manager over ``log.jsonl`` and ``tensorboard/`` in a run's folder.

    Args:
        folder: the run's folder; made when missing.
        step: where the run stands. Records of later steps, which a killed run made after its last
            save, are dropped, for those steps come again.
        enabled: False on all ranks but the first.
    """

    def __init__(self, folder: Path, *, step: int, enabled: bool) -> None:
        self.folder, self.step, self.enabled = folder, step, enabled

    def __enter__(self) -> TrainingLog:
        if self.enabled:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / LOG_NAME
            drop_after(path, self.step)
            self._file = path.open("a")
            self._board = SummaryWriter(
                str(self.folder / "tensorboard"), purge_step=self.step + 1 if self.step else None
            )
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
        """Record validation figures (hard-quantised, transmitted); nothing where there are none."""
        if values:
            self._write("validation", step, values)

    def _write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        if not self.enabled:
            return
        self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)


def drop_after(path: Path, step: int) -> None:
    """Keep the records up to ``step``; a half-written last line goes too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["step"] <= step:
            kept.append(line + "\n")
    temporary = path.with_suffix(".partial")
    temporary.write_text("".join(kept))
    os.replace(temporary, path)
