"""Recordings: formats, rates, channels, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from vqlink.errors import VqlinkError
from vqlink.sources.audio import RATE, find_recordings, read_audio, write_audio
from vqlink.sources.voice import synthetic_voice

TONE = 0.4 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)

FORMATS = [
    ("a.wav", "PCM_U8", 1e-2),
    ("a.wav", "PCM_16", 1e-4),
    ("a.wav", "PCM_24", 1e-6),
    ("a.wav", "FLOAT", 1e-7),
    ("a.flac", "PCM_16", 1e-4),
    ("a.ogg", "VORBIS", 5e-2),
]


@pytest.mark.parametrize(("name", "subtype", "error"), FORMATS)
def test_formats(tmp_path: Path, name: str, subtype: str, error: float) -> None:
    soundfile.write(tmp_path / name, TONE, RATE, subtype=subtype)
    recording = read_audio(tmp_path / name)
    assert recording.samples.dtype == torch.float32
    assert recording.samples.shape == (2 * RATE,)
    assert recording.notes == ()
    assert float((recording.samples - torch.from_numpy(TONE).float()).abs().max()) < error


def test_other_rates_and_stereo_are_converted_and_said(tmp_path: Path) -> None:
    rate = 44_100
    left = 0.4 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), rate)
    recording = read_audio(tmp_path / "a.wav")
    assert recording.samples.shape == (2 * RATE,)
    assert "2 channels" in recording.notes[0]
    assert "44100 Hz" in recording.notes[1]
    middle = slice(RATE // 2, RATE)  # a tone stays that tone, at half of its height
    wanted = torch.from_numpy(TONE).float() / 2
    assert float((recording.samples - wanted)[middle].abs().max()) < 2e-3


def test_reading_in_blocks_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks bound the memory that a small file with much silence on many channels takes."""
    noise = 0.6 * np.random.default_rng(0).standard_normal((2 * RATE + 7, 3))
    soundfile.write(tmp_path / "a.wav", noise.clip(-1, 1), RATE, subtype="PCM_16")
    whole = read_audio(tmp_path / "a.wav")
    monkeypatch.setattr("vqlink.sources.audio._BLOCK", 1000)
    blocks = read_audio(tmp_path / "a.wav")
    assert torch.equal(blocks.samples, whole.samples)
    assert blocks.notes == whole.notes
    assert any("clipped" in note for note in blocks.notes)


def test_silence_and_clipping_are_said(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(2 * RATE), RATE)
    soundfile.write(tmp_path / "loud.wav", np.clip(TONE * 5, -1, 1), RATE)
    assert "silent" in read_audio(tmp_path / "silent.wav").notes[0]
    assert "clipped" in read_audio(tmp_path / "loud.wav").notes[0]


def test_what_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", TONE[: RATE // 2], RATE)
    soundfile.write(tmp_path / "slow.wav", TONE, 1000)
    nan = TONE.copy()
    nan[5] = np.nan
    soundfile.write(tmp_path / "nan.wav", nan, RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("hello")
    whole = tmp_path / "whole.flac"
    soundfile.write(whole, TONE, RATE)
    (tmp_path / "cut.flac").write_bytes(whole.read_bytes()[:3000])
    cases = {
        "none.wav": "no such file",
        "short.wav": "too short",
        "slow.wav": "1000 Hz",
        "nan.wav": "NaN",
        "text.wav": "not a recording",
        "cut.flac": "lost sync",
        ".": "folder",
    }
    for name, message in cases.items():
        with pytest.raises(VqlinkError, match=message):
            read_audio(tmp_path / name)


def test_too_long_is_refused_by_the_header(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(601 * 4000, dtype=np.int16), 4000)
    with pytest.raises(VqlinkError, match="too long"):
        read_audio(tmp_path / "long.wav")


def test_write_and_read_back(tmp_path: Path) -> None:
    voice = synthetic_voice(1.5)
    write_audio(voice, tmp_path / "v.wav")
    assert float((read_audio(tmp_path / "v.wav").samples - voice).abs().max()) <= 0.5 / 32768
    (tmp_path / "._v.wav").write_bytes(b"what macOS leaves beside files")
    (tmp_path / "folder.wav").mkdir()
    assert find_recordings(tmp_path) == (tmp_path / "v.wav",)
    with pytest.raises(VqlinkError, match=r"\.wav"):
        write_audio(voice, tmp_path / "v.mp3")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VqlinkError, match="no recordings"):
        find_recordings(tmp_path / "empty")


def test_the_voice_is_the_same_each_time_and_like_speech() -> None:
    voice = synthetic_voice(2.0)
    assert torch.equal(voice, synthetic_voice(2.0))
    assert voice.shape == (2 * RATE,)
    assert 0.02 < float(voice.std()) < 0.3
    blocks = voice.unfold(0, 320, 320).square().mean(dim=1)
    assert float(blocks.max() / blocks.min().clamp_min(1e-12)) > 1e3  # pauses and vowels
