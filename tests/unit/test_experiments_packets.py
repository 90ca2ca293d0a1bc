"""The experiment ``packet-loss``: its rows, and what is claimed of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vqlink.cli.main import run
from vqlink.experiments import packet_loss
from vqlink.experiments.cells import read_rows

ROW = {
    "bytes_of": "vqdeepsc-4", "system": "vqdeepsc-4", "layout": "interleaved",
    "concealment": "blend", "loss": 0.1, "psnr": 27.0, "psnr_ci95": 0.1, "ssim": 0.8, "lost": 0.1,
    "outages": 0, "n": 12, "packets": 35, "packets_lost": 3.5, "bytes": 41129,
}  # fmt: skip


def row(**changes: Any) -> dict[str, Any]:
    return {**ROW, **changes}


def test_claims_follow_from_the_rows(tmp_path: Path) -> None:
    file = {"layout": "file", "concealment": "none"}
    rows = [
        row(),
        row(loss=0.0, psnr=20.0),
        row(layout="bands", psnr=25.0),
        row(layout="bands", loss=0.0, psnr=29.0),  # nothing is lost there: no difference counts
        row(concealment="nearest", psnr=27.5),
        row(system="jpeg+packets", **file, psnr=20.0, outages=3),
        row(system="hevc+raptorq", **file, psnr=36.0, n=1),  # one draw has no spread
    ]
    result = packet_loss.summarise(rows, tmp_path / "rows.jsonl")
    held = {claim.text: claim.held for claim in result.claims}
    assert held["vqdeepsc-4: interleaving gains at every loss rate"] is True
    assert held["vqdeepsc-3: interleaving gains at every loss rate"] is None
    assert held["vqdeepsc-4: blend conceals better than nearest at every loss rate"] is False
    assert held["vqdeepsc-4: blend conceals better than zero at every loss rate"] is None
    assert held["vqdeepsc-4: above jpeg+packets of the same bytes from 5 % on"] is True
    assert held["vqdeepsc-4: above hevc+raptorq of the same bytes from 1 % on"] is False
    assert held["no picture of an index code is lost as a whole"] is True
    cells = [cell for line in result.table for cell in line]
    assert {"20.00 ± 0.1, 3 lost", "36.00"} <= set(cells)
    assert all(len(line) == len(result.columns) for line in result.table)


def test_it_runs_and_every_system_meets_the_same_losses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "packet-loss", "--budget", "smoke", "--out", str(tmp_path), "--json"]
    assert run(words) == 0
    capsys.readouterr()
    rows = read_rows(tmp_path / "smoke" / "packet-loss.jsonl")
    assert len(rows) == 8
    assert len({row["packets_lost"] for row in rows if row["loss"] == 0.1}) == 1
    codes = [row for row in rows if row["layout"] != "file"]
    assert len({row["psnr"] for row in codes if row["loss"] == 0}) == 1
    lossy = {row["layout"]: row["psnr"] for row in codes if row["loss"] == 0.1}
    assert lossy["interleaved"] > lossy["bands"]
