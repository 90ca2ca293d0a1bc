"""Signals that wait for the end of the step."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Context manager that notes Ctrl-C and SIGTERM in ``requested`` instead of raising.

    An exception could fall between the optimiser's step and that of the averaged weights, and what
    is then saved would be neither. A second Ctrl-C raises KeyboardInterrupt at once. Outside the
    main thread, where Python allows no handlers, it does nothing. The former handlers come back.

    Args:
        forward: pass the signal on to this process's children, as the parent of a run on several
            devices does: a terminal tells them of Ctrl-C itself, but ``kill`` does not. It goes on
            as SIGTERM, which may come twice.
    """

    def __init__(self, *, forward: bool = False) -> None:
        self.requested = False
        self.forward = forward
        self._former: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            # None stands for a handler that was not installed from Python.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        for child in multiprocessing.active_children() if self.forward else ():
            if child.pid is not None:
                os.kill(child.pid, signal.SIGTERM)
