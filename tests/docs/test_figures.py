"""The tables that benchmarks/figures.py writes into pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import figures


def test_fading_has_spreads_and_losses_and_says_nothing_that_rows_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"system": "a", "snr_db": 0.0, "psnr": 21.0, "psnr_ci95": 2.14, "outages": 0}
    row |= {"pictures": 12, "repeats": 5}
    rows = [
        row,
        {**row, "snr_db": 4.0, "psnr_ci95": None},  # a picture alone has no interval
        {**row, "system": "b+ldpc5g", "outages": 3},
    ]
    (tmp_path / "results").mkdir()
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / "results" / "deepjsccq-rayleigh.jsonl").write_text(lines, encoding="utf-8")
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    text = "\n".join(figures._fading())
    assert "| a | 21.00 ± 2.1 | 21.00 |" in text
    assert "| b+ldpc5g | 21.00 ± 2.1, 3 lost |  |" in text
    assert "1/5" not in text
