"""The experiment ``air``: its rows, and what is claimed of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqlink.cli.main import run
from vqlink.experiments import air
from vqlink.experiments.air_finding import SNR_DB, finding_claims
from vqlink.experiments.cells import read_rows

ROW = {
    "waveform": "single-carrier", "profile": "none", "system": "jscc-awgn-1-6", "crop": 128,
    "snr_db": 4.0, "ideal_psnr": 27.0, "psnr": 26.6, "loss": 0.4, "loss_ci95": 0.1, "outages": 0,
    "n": 24, "uses": 5000, "payload_uses": 4096,
}  # fmt: skip


def test_claims_follow_from_the_rows() -> None:
    found = [
        {"waveform": name, "snr_db": snr_db, "lost": lost, "false": 0, "n": 100}
        for name, lost in (("ofdm", 0), ("single-carrier", 1))
        for snr_db in SNR_DB
    ]
    rows = [ROW, {**ROW, "snr_db": 6.0, "loss": 0.1}, {**ROW, "waveform": "ofdm", "loss": 0.6}]
    result = air.summarise(rows, found, Path("air.jsonl"))
    assert [claim.held for claim in result.claims] == [True, None, False, None, True, False]
    assert (
        "0.400 dB (jscc-awgn-1-6 at 4 dB); 0 outages in 48 frames of 1 systems"
        in result.claims[0].figures
    )
    assert len(result.table) == 3
    assert len(result.table[0]) == len(result.columns)
    assert finding_claims([])[0].held is None


def test_a_frame_costs_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reproduce", "air", "--budget", "smoke", "--out", str(tmp_path), "--json"]) == 0
    (row,) = read_rows(tmp_path / "smoke" / "air.jsonl")
    assert row["loss"] == row["ideal_psnr"] - row["psnr"]
    assert abs(row["loss"]) < 0.6  # one small frame, with noise of its own
    assert row["outages"] == 0
    assert row["uses"] == 5160
    assert abs(row["frequency_error"]) < 1e-5
    assert abs(row["start_error"]) < 0.05
    lost = [row["lost"] for row in read_rows(tmp_path / "smoke" / "air-finding.jsonl")]
    assert lost == [0, 0]
    capsys.readouterr()
