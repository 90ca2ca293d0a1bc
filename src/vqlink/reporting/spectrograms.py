"""Spectrograms of what was sent and what arrived, one above the other, on one scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

_RATE, _WINDOW, _HOP = 16_000, 512, 160
_RANGE_DB = 70.0
_LONGEST = 20 * _RATE  # what is drawn; more would be too fine to see


def spectrograms(recordings: Mapping[str, Tensor], path: Path) -> None:
    """Write a PNG with a panel for each title and its samples (n,) at 16 kHz.

    The scale goes from the loudest spot of the first recording 70 dB down. Of recordings longer
    than 20 s the first 20 s are drawn.
    """
    pictures = {title: _decibels(samples[:_LONGEST]) for title, samples in recordings.items()}
    top = float(next(iter(pictures.values())).max())
    figure = Figure(figsize=(9, 1.9 * len(pictures) + 0.4), layout="constrained", dpi=110)
    canvas = FigureCanvasAgg(figure)
    for place, (title, picture) in enumerate(pictures.items()):
        axes = figure.add_subplot(len(pictures), 1, place + 1)
        axes.imshow(
            picture.numpy(),
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=top - _RANGE_DB,
            vmax=top,
            extent=(0, picture.shape[1] * _HOP / _RATE, 0, _RATE / 2000),
        )
        axes.set_title(title, fontsize=9, loc="left", parse_math=False)
        axes.set_ylabel("kHz", fontsize=8)
        axes.tick_params(labelsize=7)
        if place == len(pictures) - 1:
            axes.set_xlabel("seconds", fontsize=8)
    canvas.print_png(str(path))


def spectrogram_image(
    samples: Tensor, loudest_db: float | None = None
) -> tuple[Image.Image, float]:
    """A bare picture of samples (n,), a pixel a frame of 10 ms and a bin of 31.25 Hz.

    Args:
        loudest_db: top of the scale; None for the loudest spot of these samples.

    Returns:
        The picture and the top of its scale.
    """
    picture = _decibels(samples[:_LONGEST])
    top = float(picture.max()) if loudest_db is None else loudest_db
    shade = ((picture - top) / _RANGE_DB + 1).clamp(0, 1).flip(0).numpy()
    return Image.fromarray(colormaps["magma"](shade, bytes=True)[..., :3].copy()), top


def _decibels(samples: Tensor) -> Tensor:
    """(n,) -> (bins, frames) in dB."""
    spectrum = torch.stft(
        samples.float(), _WINDOW, _HOP, window=torch.hann_window(_WINDOW), return_complex=True
    )
    return 20 * torch.log10(spectrum.abs() + 1e-5)
