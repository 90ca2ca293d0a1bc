"""Curves and points as small SVG that takes its colours from the page, light or dark.

Marks carry their figures as titles, so pointing at one shows them. Lines are told apart by colour
and dash; the classes ``c0`` to ``c7`` and the dashes are in style.css.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from matplotlib.ticker import LogLocator, MaxNLocator

from vqlink.reporting.site.panels import (
    AXES,
    LOG_AXES,
    LOG_METRICS,
    METRICS,
    Panel,
    Spot,
)

_WIDTH, _HEIGHT = 520.0, 310.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 10.0, 10.0, 42.0
COLOURS = 8
_DECADES = 30.0
_MOST_MARKS = 256


def line_class(number: int) -> str:
    """The classes of the line of that number: colour, and dash from the ninth on."""
    return f"c{number % COLOURS} d{min(number // COLOURS, 2)}"


def metric_label(metric: str) -> str:
    """Words for a metric, with its unit."""
    return METRICS.get(metric, metric.replace("_", " "))


def is_log(panel: Panel, metric: str) -> bool:
    """Whether the metric's axis is logarithmic: error rates are, and errors over two decades."""
    if metric != "mse":
        return metric in LOG_METRICS
    values = [spot.mean for curves in panel.curves.values() for spot in curves[metric]]
    return min(values) > 0 and max(values) > _DECADES * min(values)


def curve_chart(panel: Panel, metric: str) -> str:
    """A metric over the panel's axis, with bands; empty when there is nothing to draw.

    A point that was not measured is not there. On a logarithmic axis a value of 0 has no place and
    is left out. A hollow mark is a point with outages.
    """
    log_x, log_y = panel.axis in LOG_AXES, is_log(panel, metric)
    lines = [
        (name, [s for s in curves.get(metric, ()) if _drawn(s, log_x, log_y)])
        for name, curves in panel.curves.items()
    ]
    spots = [spot for _, line in lines for spot in line]
    if not panel.axis or len({spot.x for spot in spots}) < 2:
        return ""
    across, x_ticks = _scale([s.x for s in spots], _LEFT, _WIDTH - _RIGHT, log_x)
    edges = [v for s in spots for v in (s.mean, s.mean - (s.half or 0), s.mean + (s.half or 0))]
    edges = [v for v in edges if v > 0] if log_y else edges
    up, y_ticks = _scale(edges, _HEIGHT - _BOTTOM, _TOP, log_y)
    parts = _axes(x_ticks, y_ticks, across, up, AXES[panel.axis], metric_label(metric))
    for number, (_, line) in enumerate(lines):
        parts.append(_band(line, across, up, min(edges), line_class(number)))
    for number, (name, line) in enumerate(lines):
        parts.append(_line(name, line, across, up, line_class(number)))
    label = f"{metric_label(metric)} over {AXES[panel.axis]}: {', '.join(n for n, _ in lines)}"
    return _svg(_WIDTH, _HEIGHT, label, parts)


def scatter_chart(
    points: Sequence[Sequence[float]], label: str, shares: Sequence[float] | None = None
) -> str:
    """Points of a plane, (M, 2), the origin in the middle of the picture.

    The area of a mark goes with its share, if there are shares.
    """
    reach = 1.12 * max(max(abs(x), abs(y)) for x, y in points) or 1.0
    side = 240.0

    def place(value: float) -> float:
        return (value / reach + 1) * side / 2

    middle = f"{side / 2:g}"
    parts = [f'<path class="grid" d="M0 {middle}H{side:g}M{middle} 0V{side:g}"/>']
    even = max(0.8, min(7.0, 0.15 * side / math.sqrt(len(points))))
    if len(points) > _MOST_MARKS and shares is None:
        dots = "".join(f"M{place(x):.1f} {side - place(y):.1f}h0" for x, y in points)
        parts.append(f'<path class="dots" stroke-width="{2 * even:.1f}" d="{dots}"/>')
        return _svg(side, side, label, parts)
    for number, (x, y) in enumerate(points):
        share = None if shares is None else shares[number]
        radius = even if share is None else math.sqrt(max(share, 0.0) * len(points)) * even * 0.8
        title = f"{x:.3f} {y:+.3f}i" + ("" if share is None else f", sent {100 * share:.2f} %")
        parts.append(
            f'<circle class="point" cx="{place(x):.1f}" cy="{side - place(y):.1f}" '
            f'r="{max(radius, 0.6):.1f}"><title>{title}</title></circle>'
        )
    return _svg(side, side, label, parts)


def _drawn(spot: Spot, log_x: bool, log_y: bool) -> bool:
    return (spot.x > 0 or not log_x) and (spot.mean > 0 or not log_y)


def _scale(
    values: Sequence[float], start: float, end: float, log: bool
) -> tuple[Callable[[float], float], list[float]]:
    """Value -> place between start and end, and the ticks."""
    low, high = min(values), max(values)
    if log:
        low, high = math.log10(low), math.log10(high)
    margin = 0.04 * (high - low) or abs(high) * 0.05 or 0.5
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        shown = math.log10(value) if log else value
        return start + (shown - low) / (high - low) * (end - start)

    if log:
        ticks = LogLocator(10).tick_values(10**low, 10**high)
    else:
        ticks = MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    bottom, top = (10**low, 10**high) if log else (low, high)
    return place, [float(tick) for tick in ticks if bottom <= tick <= top]


def _axes(
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    across: Callable[[float], float],
    up: Callable[[float], float],
    x_label: str,
    y_label: str,
) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    grid = "".join(f"M{_LEFT:g} {up(y):.1f}H{right:g}" for y in y_ticks)
    parts = [
        f'<path class="grid" d="{grid}"/>' if grid else "",
        f'<path class="axis" d="M{_LEFT:g} {_TOP:g}V{bottom:g}H{right:g}"/>',
    ]
    for x in x_ticks:
        parts.append(f'<text class="mid" x="{across(x):.1f}" y="{bottom + 17:g}">{x:g}</text>')
    for y in y_ticks:
        parts.append(f'<text class="end" x="{_LEFT - 7:g}" y="{up(y) + 4:.1f}">{y:g}</text>')
    middle = (_LEFT + right) / 2
    parts.append(
        f'<text class="mid label" x="{middle:g}" y="{_HEIGHT - 6:g}">{html.escape(x_label)}</text>'
    )
    turn = f"translate(13 {(_TOP + bottom) / 2:g}) rotate(-90)"
    parts.append(f'<text class="mid label" transform="{turn}">{html.escape(y_label)}</text>')
    return parts


def _band(
    line: Sequence[Spot],
    across: Callable[[float], float],
    up: Callable[[float], float],
    least: float,
    classes: str,
) -> str:
    with_band = [spot for spot in line if spot.half]
    if len(with_band) < 2:
        return ""
    top = [f"{across(s.x):.1f} {up(s.mean + (s.half or 0)):.1f}" for s in line]
    low = [f"{across(s.x):.1f} {up(max(s.mean - (s.half or 0), least)):.1f}" for s in line]
    return f'<path class="band {classes}" d="M{"L".join([*top, *reversed(low)])}Z"/>'


def _line(
    name: str,
    line: Sequence[Spot],
    across: Callable[[float], float],
    up: Callable[[float], float],
    classes: str,
) -> str:
    if not line:
        return ""
    places = [(across(s.x), up(s.mean)) for s in line]
    drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    marks = ""
    for spot, (x, y) in zip(line, places, strict=True):
        half = "" if spot.half is None else f" ± {spot.half:.2g}"
        lost = f", {spot.outages} lost" if spot.outages else ""
        title = html.escape(f"{name}: {spot.mean:.5g}{half} at {spot.x:g}, n = {spot.n}{lost}")
        if len(line) <= 60:
            hollow = " hollow" if spot.outages else ""
            marks += (
                f'<circle class="mark{hollow}" cx="{x:.1f}" cy="{y:.1f}" r="3.6">'
                f"<title>{title}</title></circle>"
            )
    return f'<g class="{classes}"><path class="line" d="M{drawn}"/>{marks}</g>'


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" role="img" aria-label="{html.escape(label)}" '
        f'viewBox="0 0 {width:g} {height:g}">{"".join(parts)}</svg>'
    )
