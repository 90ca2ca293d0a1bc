"""Jobs of many visitors, run a step at a time and in turn, in one thread.

A job is an iterator of events. One thread keeps the models free of locks, lets torch have all
cores, and is fair: after a step of one job comes a step of the next, so that a visitor's long
sweep doesn't hold up another's picture. A cancelled job ends before its next step.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vqlink.errors import VqlinkError

_LOG = logging.getLogger(__name__)
LAST = ("done", "failed", "cancelled")
"""Kinds of events after which none comes."""


class BusyError(VqlinkError):
    """More jobs wait than the engine takes."""


@dataclass(frozen=True)
class Event:
    """What a step of a job brought.

    Attributes:
        kind: such as ``arrival`` or ``point``; see :data:`LAST`.
        data: goes to the visitor as JSON.
        files: name -> (media type, bytes), which the visitor can fetch from the job.
        rows: result rows, a JSON line each.
    """

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    rows: tuple[str, ...] = ()


class Job:
    """One request, its events so far, and those who wait for more."""

    def __init__(self, steps: Iterator[Event]) -> None:
        self.token = secrets.token_urlsafe(16)
        self.touched = time.monotonic()
        self._steps = steps
        self._cancelled = False
        self._events: list[Event] = []
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        with self._lock:
            return bool(self._events) and self._events[-1].kind in LAST

    @property
    def followed(self) -> bool:
        """Whether somebody waits for the next event."""
        with self._lock:
            return bool(self._waiting)

    @property
    def size(self) -> int:
        """Bytes of its files."""
        with self._lock:
            return sum(len(data) for e in self._events for _, data in e.files.values())

    def cancel(self) -> None:
        """End before the next step; an ended job stays as it is."""
        self._cancelled = True

    def file(self, name: str) -> tuple[str, bytes] | None:
        """(media type, bytes) of a file that an event brought."""
        with self._lock:
            return next((e.files[name] for e in self._events if name in e.files), None)

    def rows(self) -> str:
        """The result rows so far, as JSON lines."""
        with self._lock:
            return "".join(line + "\n" for event in self._events for line in event.rows)

    async def follow(self, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """(number, event) from event ``after`` on, those that are there and those to come."""
        loop = asyncio.get_running_loop()
        while True:
            self.touched = time.monotonic()
            with self._lock:
                fresh = self._events[after:]
                if not fresh:
                    woken: asyncio.Future[None] = loop.create_future()
                    self._waiting.append((loop, woken))
            if fresh:
                for event in fresh:
                    after += 1
                    yield after, event
                    if event.kind in LAST:
                        return
                continue
            try:
                await woken
            finally:
                with self._lock:
                    self._waiting = [entry for entry in self._waiting if entry[1] is not woken]

    def step(self) -> bool:
        """Run one step; False when it was the last."""
        try:
            event = Event("cancelled") if self._cancelled else next(self._steps, Event("done"))
        except VqlinkError as mistake:
            event = Event("failed", {"error": str(mistake)})
        except Exception:
            _LOG.exception("a job of the demo failed")
            event = Event("failed", {"error": "the server made a mistake; its log has more"})
        self._post(event)
        if event.kind not in LAST:
            return True
        self._steps = iter(())  # lets go of the models and pictures that the steps held
        return False

    def _post(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)
            waiting, self._waiting = self._waiting, []
        for loop, woken in waiting:
            loop.call_soon_threadsafe(_wake, woken)


class Engine:
    """Runs jobs; keeps what ended for a while, within bounds.

    Args:
        waiting: most jobs that are unfinished at a time.
        kept: most jobs in memory.
        kept_bytes: most bytes of their files; the oldest are dropped first.
        patience: seconds after which a job that nobody follows is cancelled.
    """

    def __init__(
        self,
        *,
        waiting: int = 64,
        kept: int = 256,
        kept_bytes: int = 256_000_000,
        patience: float = 20.0,
    ) -> None:
        self._limits = (waiting, kept, kept_bytes)
        self._patience = patience
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._turns: deque[Job] = deque()
        self._wakeup = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="vqlink-demo", daemon=True)
        self._thread.start()

    def start(self, steps: Iterator[Event]) -> Job:
        """Take a job on.

        Raises:
            BusyError: when too many are waiting.
        """
        job = Job(steps)
        with self._wakeup:
            if len(self._turns) >= self._limits[0]:
                raise BusyError("too many visitors at once: try again in a few seconds")
            self._jobs[job.token] = job
            self._turns.append(job)
            self._drop_old()
            self._wakeup.notify()
        return job

    def find(self, token: str) -> Job | None:
        """A job by its token; None when there is none, or none any more."""
        with self._wakeup:
            return self._jobs.get(token)

    def close(self) -> None:
        """Stop after the step that is being run, and forget everything."""
        with self._wakeup:
            self._closing = True
            self._wakeup.notify()
        self._thread.join()
        for job in self._turns:
            job.cancel()
            job.step()
        self._turns.clear()
        self._jobs.clear()

    def _run(self) -> None:
        while True:
            with self._wakeup:
                self._wakeup.wait_for(lambda: self._turns or self._closing)
                if self._closing:
                    return
                job = self._turns[0]
            if not job.followed and time.monotonic() - job.touched > self._patience:
                job.cancel()
            more = job.step()
            with self._wakeup:
                self._turns.popleft()
                if more:
                    self._turns.append(job)
                else:
                    self._drop_old()

    def _drop_old(self) -> None:
        _, kept, kept_bytes = self._limits
        total = sum(job.size for job in self._jobs.values())
        for token, job in list(self._jobs.items()):
            if len(self._jobs) <= kept and total <= kept_bytes:
                return
            if job.ended:
                total -= job.size
                del self._jobs[token]


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
