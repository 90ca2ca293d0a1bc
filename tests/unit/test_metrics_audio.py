"""Speech metrics: against theory, other implementations, and their own limits."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from vqlink.metrics.audio import (
    HOP,
    perceptual_snr,
    perceptual_weights,
    pesq_wideband,
    split_frames,
    stoi,
)
from vqlink.sources.voice import synthetic_voice


def noisy(voice: torch.Tensor, level: float) -> torch.Tensor:
    noise = torch.randn(voice.shape, generator=torch.Generator().manual_seed(0))
    return voice + level * noise


def test_more_noise_is_worse_in_every_metric() -> None:
    pytest.importorskip("pesq")
    voice = synthetic_voice(3.0)
    for metric in (pesq_wideband, stoi, perceptual_snr):
        clean, some, much = (metric(noisy(voice, level), voice) for level in (0.0, 1e-3, 3e-2))
        assert clean > some > much, metric.__name__


def test_a_gain_error_is_the_snr_that_it_should_be() -> None:
    """R = 0.9 S: whatever the weights, signal to error is 1 / 0.1^2."""
    voice = synthetic_voice(2.0)
    assert perceptual_snr(0.9 * voice, voice) == pytest.approx(20.0, abs=1e-3)


def test_noise_at_a_resonance_counts_less_than_white_noise() -> None:
    source = noisy(torch.zeros(48_000), 0.01).numpy()
    poles = [1.0, -2 * 0.98 * np.cos(2 * np.pi * 1500 / 16_000), 0.98**2]
    sound = torch.from_numpy(lfilter([1.0], poles, source)).float()
    white = torch.randn(48_000, generator=torch.Generator().manual_seed(1))
    shaped = torch.from_numpy(lfilter([1.0], poles, white.numpy())).float()
    errors = [0.2 * float(sound.std()) * noise / noise.std() for noise in (white, shaped)]
    plain, hidden = (perceptual_snr(sound + error, sound) for error in errors)
    assert hidden > plain + 3


def test_weights_are_those_of_the_normal_equations() -> None:
    frame = split_frames(synthetic_voice(1.0))[20]
    x = frame.double().numpy()
    x = np.concatenate([x[:1], x[1:] - 0.68 * x[:-1]])
    x = x * torch.hann_window(640, dtype=torch.float64).numpy()
    r = np.array([x[: 640 - k] @ x[k:] for k in range(17)])
    r *= np.exp(-0.5 * (2 * np.pi * 60 / 16000 * np.arange(17)) ** 2)
    r[0] = r[0] * 1.0001 + 1e-9
    a = np.concatenate([[1.0], solve_toeplitz(r[:16], -r[1:])]) * 0.92 ** np.arange(17)
    angle = np.pi / HOP * (np.arange(HOP) + 0.5)
    wanted = np.abs(np.exp(-1j * np.outer(angle, np.arange(17))) @ a)
    ours = perceptual_weights(frame[None])[0].numpy()
    np.testing.assert_allclose(ours, wanted, rtol=1e-4)


def test_silence_has_flat_weights_and_bounded_values() -> None:
    silence, voice = torch.zeros(16_000), synthetic_voice(1.0)
    assert torch.allclose(perceptual_weights(split_frames(silence)), torch.ones(51, HOP))
    assert perceptual_snr(silence, silence) == 0
    assert perceptual_snr(silence, voice) == pytest.approx(0.0, abs=1e-6)
    assert perceptual_snr(voice, silence) == -100
    assert perceptual_snr(voice, voice) == 100
    assert stoi(silence, voice) == 0


def test_pesq_of_silence_is_its_lowest_value() -> None:
    pytest.importorskip("pesq")
    voice = synthetic_voice(2.0)
    assert pesq_wideband(torch.zeros_like(voice), voice) == 1.0
    assert math.isfinite(pesq_wideband(voice, voice))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        perceptual_snr(torch.zeros(100), torch.zeros(101))


def test_pesq_of_a_long_recording_is_the_mean_of_its_pieces() -> None:
    """In a process of its own: the package pesq alone crashes on 60 utterances."""
    pytest.importorskip("pesq")
    code = (
        "import torch; from vqlink.metrics.audio import pesq_wideband as p\n"
        "from vqlink.sources.voice import synthetic_voice as voice\n"
        "burst = torch.cat([voice(2.0)[:6400], torch.zeros(6400)]).repeat(60)\n"
        "noise = 0.01 * torch.randn(burst.shape, generator=torch.Generator().manual_seed(0))\n"
        "pieces = zip((burst + noise).tensor_split(3), burst.tensor_split(3))\n"
        "print(p(burst + noise, burst), sum(p(a, b) for a, b in pieces) / 3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, mean = map(float, done.stdout.split())
    assert whole == pytest.approx(mean)
    assert 1.0 < whole < 4.6


def test_pauses_of_a_long_recording_do_not_count_in_pesq() -> None:
    pytest.importorskip("pesq")
    voice = synthetic_voice(4.0)
    pause = torch.zeros(16_000 * 40)
    sent = torch.cat([voice, pause])
    assert pesq_wideband(noisy(sent, 1e-4), sent) > 3.5
    assert pesq_wideband(torch.zeros_like(sent), sent) == 1.0


def test_pesq_says_that_a_recording_is_too_short() -> None:
    pytest.importorskip("pesq")
    with pytest.raises(ValueError, match="quarter of a second"):
        pesq_wideband(torch.zeros(3999), torch.zeros(3999))
