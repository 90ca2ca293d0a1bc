"""Quality of speech: (received, sent), samples (n,) at 16 kHz -> one value an utterance."""

from __future__ import annotations

import math
import statistics
from typing import Any

import torch
from torch import Tensor

from vqlink.protocols import VqlinkError

RATE = 16_000
WINDOW, HOP = 640, 320
"""Samples of the frames that the perceptual weights belong to, and from one to the next."""

_ORDER, _PRE_EMPHASIS, _GAMMA = 16, 0.68, 0.92
_LAG_HZ, _WHITE = 60.0, 1.0001
_PESQ_LONGEST = 20 * RATE
_LOWEST_PESQ = 1.0
"""Where PESQ's scale ends, and what a recording gets in which it finds no speech at all."""


def pesq_wideband(received: Tensor, sent: Tensor) -> float:
    """MOS-LQO of ITU-T P.862.2, about 1.0 to 4.64.

    Recordings of more than 20 s are scored in equal pieces of at most that, and the mean over the
    pieces in which something is said is returned: P.862 is made for 8 to 20 s, and the package
    pesq writes beyond its memory from the fifty-first utterance on. A recording in which PESQ
    finds no utterance, sent or received, gets the lowest value: a failed decode counts.

    Raises:
        VqlinkError: the package pesq is not installed.
        ValueError: for recordings of different lengths, or below a quarter of a second.
    """
    pesq = _package("pesq")
    _check(received, sent)
    if sent.shape[0] < RATE // 4:
        raise ValueError(f"PESQ takes a quarter of a second or more, not {sent.shape[0]} samples")
    count = -(-sent.shape[0] // _PESQ_LONGEST)
    pieces = zip(sent.cpu().tensor_split(count), received.cpu().tensor_split(count), strict=True)
    spoken = [(a, b) for a, b in pieces if count == 1 or _pesq(pesq, a, a) is not None]
    values = [_pesq(pesq, a, b) for a, b in spoken] or [None]
    return statistics.fmean(_LOWEST_PESQ if value is None else value for value in values)


def _pesq(pesq: Any, sent: Tensor, received: Tensor) -> float | None:
    """None where PESQ finds no utterance in one of the two."""
    try:
        value = float(pesq.pesq(RATE, sent.numpy(), received.numpy(), "wb"))
    except (pesq.NoUtterancesError, ZeroDivisionError, ValueError):
        return None
    return value if math.isfinite(value) else None


def check_pesq() -> None:
    """Raise VqlinkError when the package pesq is not installed, before work that ends with it."""
    _package("pesq")


def stoi(received: Tensor, sent: Tensor) -> float:
    """Short-time objective intelligibility (Taal et al., 2011), about 0 to 1; 0 for silence.

    Raises:
        VqlinkError: the package pystoi is not installed.
    """
    pystoi = _package("pystoi")
    _check(received, sent)
    if not bool(received.any()) or not bool(sent.any()):
        return 0.0
    return float(pystoi.stoi(sent.double().cpu().numpy(), received.double().cpu().numpy(), RATE))


def perceptual_snr(received: Tensor, sent: Tensor) -> float:
    """Perceptually weighted SNR in dB: sum |W S|^2 / sum |W (S - R)|^2 over frames and bins.

    S and R are short-time spectra (Hann, 40 ms each 20 ms), W the weights of the sent speech, see
    :func:`perceptual_weights`. Limited to +-100 dB; 0 for silence that arrived as silence.
    """
    _check(received, sent)
    received, sent = received.cpu(), sent.cpu()
    frames = split_frames(sent)
    weights = perceptual_weights(frames)
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    spectrum = torch.fft.rfft(frames.double() * window)
    error = torch.fft.rfft((frames - split_frames(received)).double() * window)
    middles = (weights[:, 1:] + weights[:, :-1]) / 2
    full = torch.cat([weights[:, :1], middles, weights[:, -1:]], dim=1).double()
    signal = float((full * spectrum.abs()).square().sum())
    noise = float((full * error.abs()).square().sum())
    if noise == 0:
        return 0.0 if signal == 0 else 100.0
    return 10 * math.log10(min(max(signal / noise, 1e-10), 1e10))


def split_frames(signal: Tensor) -> Tensor:
    """(n,) -> (ceil(n / HOP) + 1, WINDOW): half-overlapping frames, zeros before and after."""
    count = -(-signal.shape[-1] // HOP) + 1
    padded = torch.nn.functional.pad(signal.float(), (HOP, count * HOP - signal.shape[-1]))
    return padded.unfold(-1, WINDOW, HOP)


def perceptual_weights(frames: Tensor) -> Tensor:
    """(F, WINDOW) samples -> (F, HOP) weights |A(z / 0.92)| at the middles of HOP frequency bins.

    A is the linear predictor of order 16 of the pre-emphasised frame: the weighting of AMR-WB
    (3GPP TS 26.190), which lets noise be louder where the speech is. Frames of silence get ones.
    """
    emphasised = frames.double()
    emphasised = torch.cat(
        [emphasised[:, :1], emphasised[:, 1:] - _PRE_EMPHASIS * emphasised[:, :-1]], dim=1
    )
    windowed = emphasised * torch.hann_window(WINDOW, dtype=torch.float64)
    power = torch.fft.rfft(windowed, n=2 * WINDOW).abs().square()
    correlation = torch.fft.irfft(power)[:, : _ORDER + 1]
    lags = torch.arange(_ORDER + 1, dtype=torch.float64)
    correlation = correlation * torch.exp(-0.5 * (2 * math.pi * _LAG_HZ / RATE * lags) ** 2)
    correlation[:, 0] = correlation[:, 0] * _WHITE + 1e-9
    predictor = _levinson(correlation) * _GAMMA**lags
    angle = math.pi / HOP * (torch.arange(HOP, dtype=torch.float64) + 0.5)
    phases = torch.exp(-1j * angle[:, None] * lags)
    return (predictor.to(torch.complex128) @ phases.T).abs().float()


def _levinson(correlation: Tensor) -> Tensor:
    """(F, p + 1) autocorrelations -> (F, p + 1) predictors 1, a_1 .. a_p (Levinson, Durbin)."""
    predictor = torch.zeros_like(correlation)
    predictor[:, 0] = 1
    error = correlation[:, 0].clone()
    for order in range(1, correlation.shape[1]):
        known = predictor[:, :order]
        reflection = -(known * correlation[:, 1 : order + 1].flip(1)).sum(1) / error
        predictor[:, : order + 1] = predictor[:, : order + 1] + reflection[:, None] * predictor[
            :, : order + 1
        ].flip(1)
        error = error * (1 - reflection.square())
    return predictor


def _check(received: Tensor, sent: Tensor) -> None:
    if received.ndim != 1 or received.shape != sent.shape:
        raise ValueError(
            f"two recordings (n,) of one length, not {tuple(received.shape)}, {tuple(sent.shape)}"
        )


def _package(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        extra = "pesq" if name == "pesq" else "speech"
        raise VqlinkError(f"this metric needs {name}: pip install 'vqlink[{extra}]'") from None
