"""``vqlink send`` and ``train`` with speech."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from vqlink.cli.main import run
from vqlink.sources.audio import read_audio, write_audio
from vqlink.sources.voice import synthetic_voice


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = run([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_send_writes_what_each_receiver_hears(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    voice = synthetic_voice(1.5).numpy()
    soundfile.write(tmp_path / "hello.wav", np.stack([voice, voice], 1), 16_000)
    out = tmp_path / "out"
    status, text, errors = call(
        capsys, "send", tmp_path / "hello.wav", "--snr", "8", "--out", out, "--json"
    )
    assert status == 0, errors
    rows = json.loads(text)["rows"]
    assert {row["system"] for row in rows} >= {"speech-jscc", "speech+ldpc5g"}
    assert len({row["uses"] for row in rows}) == 1
    assert all(row["stoi"] > 0.3 and row["status"] == "ok" for row in rows)
    assert rows[0]["notes"] == ["2 channels averaged to mono"]
    for name in ("sent", "speech-jscc", "speech_ldpc5g"):
        assert read_audio(out / f"{name}.wav").samples.shape == (24_000,)
    assert Image.open(out / "spectrograms.png").width > 500
    assert "speech_ldpc5g.wav" in (out / "report.html").read_text()
    assert len((out / "rows.jsonl").read_text().splitlines()) >= 2 * len(rows)


def test_the_same_command_gives_the_same_sound(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        command = ("send", "sample:voice", "--channel", "rayleigh", "--out", tmp_path / name)
        assert call(capsys, *command)[0] == 0
    for file in (tmp_path / "a").glob("*.wav"):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("send {bad}/none.wav", "no such file"),
        ("send {bad}/text.wav", "not a recording"),
        ("send {bad}/short.wav", "too short"),
        ("send sample:voice --rho 1/12", "--rho"),
        ("send sample:voice --system jscc-awgn-1-12", "is for pictures, not for recordings"),
        ("send sample:voice --against opus+ldpc5g", "speech+ldpc5g"),
        ("send sample:voice --against speech+ldpc5g@qpsk-9/9", "qpsk-1/2"),
        ("send sample:voice --channel bsc", "no SNR"),
        ("send sample:voice --system speech-codec", "speech+ldpc5g"),
        ("train speech-codec --devices 2", "--devices"),
        ("train speech-codec --resume --out {bad}/none", "nothing to resume"),
        ("train speech-codec --set training.step=2", "training.step"),
        ("train speech-codec --set source.train={bad}/nowhere --out {bad}/run", "nowhere"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str, message: str
) -> None:
    (tmp_path / "text.wav").write_text("hello")
    write_audio(synthetic_voice(0.5), tmp_path / "short.wav")
    command = words.format(bad=tmp_path).split()
    status, _, errors = call(capsys, *command)
    assert status == 2
    assert message in errors
    assert "Traceback" not in errors
