"""Paper 003's Table 3: a codec and a prior for each model, resumed, and the order judged."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from tests.conftest import smooth_picture
from vqlink.experiments import hrvqvae_table3 as table3
from vqlink.experiments.cells import read_rows
from vqlink.training.plain import PlainRun

MODELS = (("hr", "4x4"), ("vqvae2", "8"), ("vqvae", "16"))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    images = torch.stack([smooth_picture(32, 32, seed) for seed in range(12)])
    images = (images * 255).round().to(torch.uint8)
    monkeypatch.setattr(table3, "cifar10", lambda: (images, images[:8]))
    monkeypatch.setattr(table3, "MODELS", MODELS)
    monkeypatch.setattr(table3, "_NET", {"width": 4, "depth": 1, "kernel": 3, "dropout": 0.1})
    monkeypatch.chdir(tmp_path)


def test_every_model_is_sampled_and_measured(tmp_path: Path) -> None:
    found = table3.reproduce("smoke", tmp_path, jobs=1)
    rows = read_rows(found.rows)
    assert [row["model"] for row in rows] == ["real", "hr", "vqvae2", "vqvae"]
    assert all(row["distance"] > 0 and row["samples"] == 4 for row in rows)
    assert [row["fixed_bits"] for row in rows[1:]] == [4 * 256, 3 * 336, 4 * 256]
    # Untrained priors say little; pictures that were only coded are nearer than made-up ones.
    assert all(0.5 * row["fixed_bits"] < row["bits"] < 2 * row["fixed_bits"] for row in rows[1:])
    assert found.claims[0].held is not None
    assert found.table[1][-1] == 71.38
    before = found.rows.read_bytes()
    table3.reproduce("smoke", tmp_path, jobs=1)
    assert found.rows.read_bytes() == before


def test_an_interrupted_prior_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_rows(table3.reproduce("smoke", tmp_path / "whole", jobs=1).rows)
    assert not list((tmp_path / "runs/hrvqvae-table3").iterdir())  # nothing to begin from is left
    step, done = PlainRun._step, []

    def interrupted(self: PlainRun, number: int) -> dict[str, torch.Tensor]:
        done.append(number)
        if len(done) == 1:
            signal.raise_signal(signal.SIGINT)
        return step(self, number)

    monkeypatch.setattr(PlainRun, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        table3.reproduce("smoke", tmp_path / "parts", jobs=1)
    assert read_rows(table3.reproduce("smoke", tmp_path / "parts", jobs=1).rows) == whole
    assert done[:3] == [0, 1, 0]  # the first prior went on at its second step


def test_the_order_is_judged_when_all_are_there() -> None:
    def rows(**distances: float) -> list[dict[str, object]]:
        return [{"model": name, "distance": value} for name, value in distances.items()]

    assert table3._order(rows(hr=1, vqvae2=2)).held is None
    assert table3._order(rows(hr=1, vqvae2=2, vqvae=3)).held is True
    assert table3._order(rows(hr=2, vqvae2=1, vqvae=3)).held is False
