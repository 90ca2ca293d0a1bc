"""Plots, drawn from result rows and from nothing else: a point that was not run is not there."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from vqlink.evaluation.rows import Row
from vqlink.reporting.figures import COLOURS

_STYLE = {"learned": "-", "fixed": "-", "best": "--", "": "-"}
_SUFFIX = {"learned": "", "fixed": " (fixed)", "best": " (best MCS at each SNR)", "": ""}


@dataclass(frozen=True)
class Spot:
    """Mean of the rows of one system at one SNR."""

    snr_db: float
    mean: float
    ci95: float
    outages: int
    n: int


def curves(rows: Sequence[Row]) -> dict[tuple[str, str], list[Spot]]:
    """(system, role) -> its points by rising SNR, in the order in which systems appear."""
    groups: dict[tuple[str, str], dict[float, list[Row]]] = {}
    for row in rows:
        key = (row.system, str(row.labels.get("role", "")))
        groups.setdefault(key, {}).setdefault(row.point["snr_db"], []).append(row)
    return {
        key: [_spot(snr, group) for snr, group in sorted(points.items())]
        for key, points in groups.items()
    }


def curve_figure(rows: Sequence[Row], label: str) -> str:
    """A metric over the SNR as SVG text, to stand inside an HTML page.

    Bands are 95 % confidence intervals; a hollow mark is a point with outages.

    Args:
        rows: of one metric.
        label: of the vertical axis, with its unit.
    """
    settings = {"svg.hashsalt": "vqlink", "svg.fonttype": "none", "font.size": 11,
                "text.parse_math": False}  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(8.6, 4.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        systems: dict[str, str] = {}
        for (system, role), spots in curves(rows).items():
            colour = systems.setdefault(
                system.partition("@")[0] + role.replace("fixed", "best"),
                COLOURS[len(systems) % len(COLOURS)],
            )
            _draw(axes, spots, f"{system}{_SUFFIX.get(role, '')}", colour, _STYLE.get(role, "-"))
        axes.set_xlabel("Es/N0 in dB")
        axes.set_ylabel(label)
        axes.grid(color="#8884", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=10, loc="best")
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def largest_fall(spots: Sequence[Spot]) -> float:
    """The most that is lost between neighbouring points as the SNR falls, in the metric's unit."""
    falls = [high.mean - low.mean for low, high in itertools.pairwise(spots)]
    return max(falls, default=0.0)


def _draw(axes: Axes, spots: Sequence[Spot], label: str, colour: str, style: str) -> None:
    snr = [spot.snr_db for spot in spots]
    mean = [spot.mean for spot in spots]
    axes.plot(snr, mean, style, color=colour, linewidth=2, label=label)
    if any(spot.ci95 for spot in spots):
        low = [spot.mean - spot.ci95 for spot in spots]
        high = [spot.mean + spot.ci95 for spot in spots]
        axes.fill_between(snr, low, high, color=colour, alpha=0.15, linewidth=0)
    for outage in (False, True):
        some = [spot for spot in spots if bool(spot.outages) is outage]
        axes.plot(
            [spot.snr_db for spot in some],
            [spot.mean for spot in some],
            "o",
            color=colour,
            markersize=5.5,
            markerfacecolor="white" if outage else colour,
        )


def _spot(snr_db: float, rows: Sequence[Row]) -> Spot:
    by_sample: dict[str, list[float]] = {}
    for row in rows:
        by_sample.setdefault(row.sample, []).append(row.value)
    means = [sum(values) / len(values) for values in by_sample.values()]
    mean = sum(row.value for row in rows) / len(rows)
    ci95 = 0.0
    if len(means) > 1:
        centre = sum(means) / len(means)
        variance = sum((value - centre) ** 2 for value in means) / (len(means) - 1)
        ci95 = 1.96 * math.sqrt(variance / len(means))
    outages = sum(row.status == "outage" for row in rows)
    return Spot(snr_db, mean, ci95, outages, len(rows))
