"""Figures of the experiments, as SVG text, from measured rows alone."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from torch import Tensor

# Okabe and Ito's palette, told apart with any kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

Curve = Sequence[tuple[float, float, float]]
"""(x, mean, half-width of the band), by rising x."""


def codebook_figure(points: Tensor, codebooks: Mapping[str, Tensor]) -> str:
    """Codebooks (K, 2) over the points (N, 2) that they quantise, one panel each."""
    figure = _figure(2.6 * len(codebooks), 2.9)
    for place, (name, codebook) in enumerate(codebooks.items()):
        axes = figure.add_subplot(1, len(codebooks), place + 1)
        axes.plot(*points.T.tolist(), ",", color="#BBBBBB", rasterized=True)
        axes.plot(*codebook.T.tolist(), ".", color=COLOURS[1], markersize=3)
        axes.set_title(name, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        low, high = points.min(0).values, points.max(0).values
        margin = 0.05 * (high - low)
        axes.set_xlim(float(low[0] - margin[0]), float(high[0] + margin[0]))
        axes.set_ylim(float(low[1] - margin[1]), float(high[1] + margin[1]))
    return _svg(figure)


def curves_figure(
    panels: Sequence[tuple[str, Mapping[str, Curve]]],
    x_label: str,
    *,
    log: Sequence[int] = (),
    log_x: bool = False,
) -> str:
    """Named curves with bands, one panel for each (label of the y axis, curves).

    Args:
        log: numbers of the panels whose y axis is logarithmic.
        log_x: whether the x axes are.
    """
    figure = _figure(4.6 * len(panels), 3.4)
    for place, (label, curves) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for number, (name, curve) in enumerate(curves.items()):
            colour = COLOURS[number % len(COLOURS)]
            x = [spot[0] for spot in curve]
            mean = [spot[1] for spot in curve]
            style = "--" if number >= len(COLOURS) else "-"
            marker = "o" if len(curve) < 20 else ""
            axes.plot(x, mean, style, marker=marker, markersize=3, color=colour, label=name)
            low = [m - w if math.isfinite(w) else m for _, m, w in curve]
            high = [m + w if math.isfinite(w) else m for _, m, w in curve]
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        if place in log:
            axes.set_yscale("log")
        if log_x:
            axes.set_xscale("log")
        axes.set_xlabel(x_label)
        axes.set_ylabel(label)
        axes.grid(visible=True, color="#E5E5E5", linewidth=0.6)
        if place == 0:
            axes.legend(fontsize=7, frameon=False)
    return _svg(figure)


def pictures_figure(rows: Mapping[str, Sequence[Tensor]], columns: Sequence[str]) -> str:
    """Pictures (3, H, W) in [0, 1] in a grid with a name for each row and each column."""
    figure = _figure(0.95 * len(columns) + 1.1, 0.98 * len(rows) + 0.2)
    for down, (name, pictures) in enumerate(rows.items()):
        for across, picture in enumerate(pictures):
            axes = figure.add_subplot(len(rows), len(columns), down * len(columns) + across + 1)
            axes.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if down == 0:
                axes.set_title(columns[across], fontsize=7)
            if across == 0:
                axes.set_ylabel(name, fontsize=7)
    return _svg(figure)


def points_figure(
    constellations: Mapping[str, tuple[Sequence[Sequence[float]], Sequence[float]]],
) -> str:
    """Constellations as (points (M, 2), share of each), four to a row; area goes with the share."""
    rows = -(-len(constellations) // 4)
    figure = _figure(10.4, 2.8 * rows)
    for place, (name, (points, shares)) in enumerate(constellations.items()):
        axes = figure.add_subplot(rows, 4, place + 1)
        sizes = [900 * share + 0.5 for share in shares]
        axes.scatter(
            [x for x, _ in points], [y for _, y in points], s=sizes, color=COLOURS[0], alpha=0.8
        )
        axes.set_title(name, fontsize=8)
        axes.set_aspect("equal")
        axes.tick_params(labelsize=6)
        axes.grid(visible=True, color="#E5E5E5", linewidth=0.6)
    return _svg(figure)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    FigureCanvasSVG(figure)
    return figure


def _svg(figure: Figure) -> str:
    settings = {"svg.hashsalt": "vqlink", "svg.fonttype": "none"}
    with matplotlib.rc_context(settings):
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
