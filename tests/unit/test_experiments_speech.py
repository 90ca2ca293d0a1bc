"""Figure 1 of 002: what its summary says of rows, and Opus beside it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from vqlink.digital.opus import available, opus_round_trip, packet_bytes
from vqlink.experiments.nsvq_fig1 import summarise
from vqlink.sources.voice import synthetic_voice
from vqlink.systems.speech_frames import RATES_KBPS


def rows(gain: float) -> list[dict[str, Any]]:
    """Ten recordings, in nine of which NSVQ is ahead by ``gain`` dB."""
    found = []
    for method, kbps, number in itertools.product(("nsvq", "ste"), RATES_KBPS, range(10)):
        ahead = gain if method == "nsvq" and number else 0.0
        found.append(
            {
                "method": method, "seed": 0, "kbps": kbps, "sample": f"r{number}",
                "rate_kbps": 1.01 * kbps, "pesq": 2 + ahead, "psnr_db": kbps / 4 + ahead,
                "stoi": 0.8,
            }
        )  # fmt: skip
    return found


def test_wins_and_gains(tmp_path: Path) -> None:
    result = summarise(rows(0.5), tmp_path / "nsvq-fig1.jsonl")
    psnr, pesq, stoi, *rest = result.claims
    assert psnr.held
    assert "90 % of 60" in psnr.figures
    assert pesq.held
    assert stoi.held is False  # ties are no wins
    assert [claim.held for claim in rest] == [None, None, True, None]
    assert result.table[0][:3] == ("nsvq", 8.0, 8.08)
    assert result.table[0][-1] == 10
    assert result.plots[0].read_text().count("<svg") == 1


def test_losses_are_told(tmp_path: Path) -> None:
    claims = summarise(rows(-0.5), tmp_path / "nsvq-fig1.jsonl").claims
    assert claims[0].held is False
    assert "0 % of 60" in claims[0].figures
    assert summarise([], tmp_path / "x.jsonl").claims[0].held is None


@pytest.mark.skipif(not available(), reason="libsndfile without Opus")
def test_opus_stays_below_the_rate() -> None:
    voice = synthetic_voice(2.0).numpy()
    received, kbps = opus_round_trip(voice, 16.4)
    assert received.shape == voice.shape
    assert 0.7 * 16.4 < kbps <= 16.4


def test_packet_bytes_leave_pages_and_headers_out() -> None:
    def page(*sizes: int) -> bytes:
        lacing = bytes(sizes)
        return b"OggS" + bytes(22) + bytes([len(sizes)]) + lacing + bytes(sum(sizes))

    assert packet_bytes(page(19) + page(200) + page(40, 50) + page(7)) == 97
    assert packet_bytes(b"") == 0
