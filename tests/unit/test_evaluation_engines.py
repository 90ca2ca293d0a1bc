"""Evaluation elsewhere: the same rows in the same order, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from vqlink.cli.main import run
from vqlink.evaluation.ray_engine import Job, RayEngine, measure_on_worker
from vqlink.evaluation.rows import Row, append_rows
from vqlink.evaluation.run import Task, evaluate, run_task
from vqlink.evaluation.systems import System, open_channel, open_systems
from vqlink.protocols import VqlinkError
from vqlink.sources.datasets import ImageCollection, open_images

POINTS, REPEATS = (5.0, 10.0, 15.0), 2


def opened(weights: Path) -> tuple[System, ...]:
    """A code and a digital link; a short one, so that it takes no time."""
    names = [str(weights), "jpeg+ldpc80211ad@bpsk-1/2"]
    return open_systems(names, open_channel("rician:k=4")[0], None)


def measured(
    weights: Path, images: ImageCollection, out: Path, **changes: object
) -> tuple[list[Row], bytes]:
    rows = evaluate(
        opened(weights), images, channel=open_channel("rician:k=4")[1], snr_db=POINTS,
        repeats=REPEATS, metrics=["psnr", "mse"], out=out, **changes,  # type: ignore[arg-type]
    )  # fmt: skip
    return rows, out.read_bytes()


class ReadsAhead:
    """As a cluster does: takes all tasks before it gives the first result."""

    def __init__(self, systems: tuple[System, ...]) -> None:
        self.systems, self.tasks = systems, 0

    def __call__(self, tasks: Iterator[Task]) -> Iterator[tuple[Row, ...]]:
        for task in list(tasks):
            self.tasks += 1
            yield from run_task(task, self.systems)


def test_an_engine_that_reads_ahead_gives_the_same_file(
    weights: Path, picture_folder: Path, tmp_path: Path
) -> None:
    images = open_images(str(picture_folder))
    local = measured(weights, images, tmp_path / "local.jsonl")
    engine, calls = ReadsAhead(opened(weights)), []
    ahead = measured(
        weights, images, tmp_path / "ahead.jsonl", engine=engine,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    assert ahead == local
    assert engine.tasks == 3 * 2 * 3
    assert calls == [(n, 36) for n in range(37)]


@pytest.mark.parametrize("held", [slice(0, 7), slice(20, 30), slice(3, 60, 4), slice(60, 72)])
def test_what_a_file_holds_is_not_sent_to_an_engine(
    weights: Path, picture_folder: Path, tmp_path: Path, held: slice
) -> None:
    images = open_images(str(picture_folder))
    rows, _ = measured(weights, images, tmp_path / "local.jsonl")
    whole = [pair for pair in zip(rows[::2], rows[1::2], strict=True)][held]  # noqa: C416
    append_rows(tmp_path / "part.jsonl", [row for pair in whole for row in pair])
    tasks = []

    def engine(some: Iterator[Task]) -> Iterator[tuple[Row, ...]]:
        tasks.extend(some)
        for task in tasks:
            yield from run_task(task, opened(weights))

    again, _ = measured(weights, images, tmp_path / "part.jsonl", engine=engine)
    assert again == rows
    assert sum(len(task.repeats) for task in tasks) == 36 - len(whole)


def test_a_worker_with_other_packages_or_weights_is_refused(
    weights: Path, picture_path: Path
) -> None:
    engine = RayEngine(opened(weights), "awgn", None)
    ((sample, image),) = open_images(str(picture_path))
    task = Task(0, sample, image, "awgn", 10.0, (0,), 0, ("psnr",))
    local = list(run_task(task, opened(weights)))
    job = replace(engine.job, channel=open_channel("rician:k=4")[1])
    assert measure_on_worker(job, task, image.numpy()) == local
    older = replace(job, versions=(("torch", "1.0"),))
    with pytest.raises(VqlinkError, match=r"has sionna.*, this machine has torch 1\.0"):
        measure_on_worker(older, task, image.numpy())
    with pytest.raises(VqlinkError, match="other weights"):
        measure_on_worker(replace(job, weights=("0" * 64, None)), task, image.numpy())
    assert job != Job(job.systems, "awgn", Fraction(1, 12), job.weights, 1)


def workers_of(pid: int) -> list[int]:
    """Ray's worker processes below this one that measure."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                names[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = []
    for child, name in names.items():
        above = child
        while above in parents and above != pid:
            above = parents[above]
        if above == pid and name.startswith("ray::measure_on_worker"):
            found.append(child)
    return found


@pytest.mark.slow
def test_two_workers_give_the_local_rows_though_one_is_killed(
    weights: Path, picture_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    images = open_images(str(picture_folder))
    local = measured(weights, images, tmp_path / "local.jsonl")
    killed: list[int] = []

    def kill_one(done: int, total: int) -> None:
        if not killed and (pids := workers_of(os.getpid())):
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])

    engine = RayEngine(opened(weights), open_channel("rician:k=4")[1], None, workers=2)
    spread = measured(weights, images, tmp_path / "ray.jsonl", engine=engine, progress=kill_one)
    assert killed
    assert not Path(f"/proc/{killed[0]}").exists()
    assert spread == local


@pytest.mark.slow
def test_the_command(
    weights: Path, picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    words = ["evaluate", str(weights), "--data", str(picture_folder), "--snr", "5", "10"]
    assert run([*words, "--out", str(tmp_path / "local.jsonl")]) == 0
    assert run([*words, "--out", str(tmp_path / "ray.jsonl"), "--engine", "ray"]) == 0
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()
    capsys.readouterr()
    assert run([*words, "--engine", "ray", "--address", "127.0.0.1:1"]) == 2
    assert capsys.readouterr().err.startswith("vqlink: no Ray cluster at 127.0.0.1:1")


def test_an_address_without_ray(picture_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "jpeg+ldpc5g", "--data", str(picture_path), "--address", "auto"]
    assert run(words) == 2
    assert "--engine ray" in capsys.readouterr().err
