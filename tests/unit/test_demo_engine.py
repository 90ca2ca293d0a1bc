"""Jobs of the page: turns, events, cancellation, bounds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from vqlink.demo.engine import BusyError, Engine, Event, Job
from vqlink.errors import VqlinkError


@pytest.fixture
def engine() -> Iterator[Engine]:
    started = Engine(waiting=4, patience=5.0)
    yield started
    started.close()


def kinds(job: Job, after: int = 0) -> list[str]:
    async def collect() -> list[str]:
        return [event.kind async for _, event in job.follow(after)]

    return asyncio.run(asyncio.wait_for(collect(), 10))


def gated(gate: threading.Event, steps: int = 3) -> Iterator[Event]:
    for _ in range(steps):
        assert gate.wait(10)
        yield Event("arrival")


def test_events_come_in_order_and_end(engine: Engine) -> None:
    job = engine.start(iter([Event("working"), Event("arrival", {"psnr": 30.0})]))
    assert kinds(job) == ["working", "arrival", "done"]
    assert kinds(job, after=1) == ["arrival", "done"]  # a browser that comes back
    assert job.ended


def test_two_jobs_take_turns(engine: Engine) -> None:
    order: list[str] = []
    gate = threading.Event()

    def steps(name: str) -> Iterator[Event]:
        for _ in range(3):
            gate.wait(10)
            order.append(name)
            yield Event("arrival")

    jobs = [engine.start(steps(name)) for name in "ab"]
    gate.set()
    for job in jobs:
        kinds(job)
    assert order == list("ababab")


def test_a_cancelled_job_ends_before_its_next_step(engine: Engine) -> None:
    gate = threading.Event()
    job = engine.start(gated(gate, steps=100))
    job.cancel()
    gate.set()
    assert kinds(job)[-1] == "cancelled"
    assert len(kinds(job)) <= 2


def test_a_users_mistake_is_told_and_a_fault_is_not(engine: Engine) -> None:
    def mistaken() -> Iterator[Event]:
        raise VqlinkError("there is nothing to send")
        yield

    def broken() -> Iterator[Event]:
        raise RuntimeError("/home/me/secret")
        yield

    async def last(job: Job) -> Event:
        return [event async for _, event in job.follow()][-1]

    told = asyncio.run(last(engine.start(mistaken())))
    assert (told.kind, told.data["error"]) == ("failed", "there is nothing to send")
    hidden = asyncio.run(last(engine.start(broken())))
    assert hidden.kind == "failed"
    assert "secret" not in str(hidden.data)
    assert kinds(engine.start(iter([]))) == ["done"]  # the engine lives on


def test_too_many_are_refused(engine: Engine) -> None:
    gate = threading.Event()
    jobs = [engine.start(gated(gate)) for _ in range(4)]
    with pytest.raises(BusyError, match="try again"):
        engine.start(iter([]))
    gate.set()
    assert [kinds(job)[-1] for job in jobs] == ["done"] * 4


def test_what_nobody_follows_is_cancelled() -> None:
    engine = Engine(patience=0.1)

    def endless() -> Iterator[Event]:
        while True:
            time.sleep(0.01)
            yield Event("point")

    job = engine.start(endless())
    deadline = time.monotonic() + 10
    while not job.ended and time.monotonic() < deadline:
        time.sleep(0.02)
    assert kinds(job)[-1] == "cancelled"
    engine.close()


def test_old_files_are_dropped() -> None:
    engine = Engine(kept_bytes=2_500)
    big = Event("arrival", files={"0.png": ("image/png", b"x" * 1_000)})
    jobs = []
    for _ in range(5):
        jobs.append(engine.start(iter([big])))
        kinds(jobs[-1])
    deadline = time.monotonic() + 5
    while engine.find(jobs[2].token) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [engine.find(job.token) is not None for job in jobs] == [False] * 3 + [True] * 2
    assert jobs[4].file("0.png") == ("image/png", b"x" * 1_000)
    engine.close()


def test_closing_ends_what_is_left() -> None:
    engine = Engine()
    gate = threading.Event()
    gate.set()
    job = engine.start(gated(gate, steps=10_000_000))
    engine.close()
    assert kinds(job)[-1] == "cancelled"
    assert engine.find(job.token) is None
