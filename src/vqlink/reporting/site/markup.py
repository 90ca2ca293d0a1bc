"""Pieces of HTML; every text that comes from a file is escaped here.

``href="@SLUG"`` is a link to a page and ``src="@@NAME"`` a file of the report: ``write`` turns both
into what a folder or a single page needs. Escaped text holds no quote, so it cannot forge either.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Mapping, Sequence

from vqlink.reporting.site.charts import curve_chart, is_log, line_class, metric_label
from vqlink.reporting.site.collect import Claim, Scalar
from vqlink.reporting.site.panels import AXES, BANDS, LOG_AXES, Panel, Spot

VERDICTS = {True: "held", False: "not held", None: "open"}
_CLASSES = {True: "held", False: "missed", None: "open"}
_MARKS = {True: "✓", False: "✗", None: "○"}
_OPEN_ROWS = 16

esc = html.escape


def badge(held: bool | None) -> str:
    """Held, not held or open, by word and mark as well as colour."""
    return (
        f'<span class="badge {_CLASSES[held]}"><span aria-hidden="true">{_MARKS[held]}</span> '
        f"{VERDICTS[held]}</span>"
    )


def score(claims: Iterable[Claim]) -> str:
    """How many claims held, as a bar and in words; empty without claims."""
    found = [claim.held for claim in claims]
    counts = {held: found.count(held) for held in VERDICTS if found.count(held)}
    words = ", ".join(f"{count} {VERDICTS[held]}" for held, count in counts.items())
    bars = "".join(
        f'<i class="{_CLASSES[held]}" style="flex:{count}"></i>' for held, count in counts.items()
    )
    if not found:
        return ""
    return (
        f'<div class="score"><div class="bar" aria-hidden="true">{bars}</div><p>{words}</p></div>'
    )


def claims_table(claims: Iterable[tuple[Claim, str]]) -> str:
    """Claims with a link (HTML, may be empty) to the page of each."""
    rows = [
        f'<tr data-verdict="{_CLASSES[claim.held]}"><td>{badge(claim.held)}</td>'
        f'<td class="text">{esc(claim.text)}</td><td class="text muted">{esc(claim.figures)}</td>'
        + (f"<td>{link}</td>" if link else "")
        + "</tr>"
        for claim, link in claims
    ]
    heads = "".join(f'<th scope="col">{text}</th>' for text in ("verdict", "claim", "measured"))
    more = '<th scope="col">where</th>' if rows and "<a " in rows[0] else ""
    head = f"<tr>{heads}{more}</tr>"
    return (
        f'<div class="scroll"><table class="claims"><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[Scalar | Spot]],
    *,
    name: str,
    paper: Collection[str] = (),
    fold: bool = True,
) -> str:
    """A table that sorts on a click, and scrolls in a box of its own when it is long.

    Args:
        name: what it shows, for its caption.
        fold: whether a long one is folded away at first.
        paper: columns that hold the paper's figures.
    """
    tint = [' class="paper"' if head in paper else "" for head in heads]
    head = "".join(
        f'<th scope="col" aria-sort="none"{mark}><button type="button">{esc(text)}</button></th>'
        for text, mark in zip(heads, tint, strict=True)
    )
    cells = (
        "".join(_cell(value, column in paper) for value, column in zip(row, heads, strict=True))
        for row in rows
    )
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    whole = (
        f'<div class="scroll tall" tabindex="0" role="region" aria-label="{esc(name)}">'
        f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    shown = "" if fold and len(rows) > _OPEN_ROWS else " open"
    count = f"{len(rows):,} row" + ("s" if len(rows) != 1 else "")
    return f"<details{shown}><summary>{esc(name)} <small>{count}</small></summary>{whole}</details>"


def _cell(value: Scalar | Spot, paper: bool) -> str:
    mark = " paper" if paper else ""
    if value is None:
        return f'<td class="none{mark}">–</td>'
    if isinstance(value, Spot):
        half = "" if value.half is None else f' <span class="muted">± {value.half:.2g}</span>'
        return f'<td class="num" data-v="{value.mean!r}">{_figure(value.mean)}{half}</td>'
    if isinstance(value, bool):
        return f'<td class="{mark.strip()}">{"yes" if value else "no"}</td>'
    if isinstance(value, str):
        return f'<td class="{mark.strip()}">{esc(value)}</td>'
    shown = f"{value:,}" if isinstance(value, int) else _figure(value)
    return f'<td class="num{mark}" data-v="{value!r}">{shown}</td>'


def _figure(value: float) -> str:
    return f"{value:,.0f}" if 10000 <= abs(value) < 1e9 else f"{value:.4g}"


def command(text: str) -> str:
    """A command on its own lines."""
    return f"<pre><code>{esc(text)}</code></pre>" if text else ""


def facts(pairs: Mapping[str, str]) -> str:
    """Names and values."""
    items = "".join(f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>" for name, value in pairs.items())
    return f'<dl class="facts">{items}</dl>' if items else ""


def image(name: str, caption: str, how: str = "") -> str:
    """A plot or picture of the report's files; ``how`` is HTML.

    A click shows a picture alone; not so an SVG, whose scripts would then run.
    """
    text = esc(caption)
    shown = f'<img src="@@{esc(name)}" alt="{text}" loading="lazy">'
    if not name.lower().endswith(".svg"):
        shown = f'<a href="@@{esc(name)}">{shown}</a>'
    return f'<figure class="paperwhite">{shown}<figcaption>{text}{how}</figcaption></figure>'


def player(name: str, caption: str) -> str:
    """An audio player of one of the report's files."""
    text = esc(caption)
    return (
        f'<figure class="sound"><figcaption>{text}</figcaption>'
        f'<audio controls preload="none" src="@@{esc(name)}" aria-label="{text}"></audio></figure>'
    )


def made_by(made: str, guessed: bool = False) -> str:
    """The command behind a figure, in its caption."""
    if not made:
        return '<span class="how">The rows do not say which command made them.</span>'
    prefix = "As far as the rows tell: " if guessed else ""
    codes = "<br>".join(f"<code>{esc(line)}</code>" for line in made.splitlines())
    return f'<span class="how">{prefix}{codes}</span>'


def chart_figure(panel: Panel, metric: str, source: str, how: str) -> str:
    """A chart with legend, spread, seeds and command; empty when there is nothing to draw."""
    drawn = curve_chart(panel, metric)
    if not drawn:
        return ""
    legend = "".join(
        f'<li><i class="{line_class(number)}" aria-hidden="true"></i>{esc(name)}</li>'
        for number, name in enumerate(panel.curves)
    )
    title = f"{metric_label(metric)} over {AXES[panel.axis]}"
    log_axis = is_log(panel, metric) or panel.axis in LOG_AXES
    log = " Zeros have no place on a logarithmic axis." if log_axis else ""
    hollow = " Hollow marks: points with outages, which count." if _has_outages(panel) else ""
    words = f"{spread(panel, metric)}{log}{hollow} Rows: {source}."
    return (
        f'<figure class="chart"><p class="title">{esc(title)}</p><ul class="legend">{legend}</ul>'
        f"{drawn}<figcaption>{esc(words)}{how}</figcaption></figure>"
    )


def panel_table(panel: Panel) -> str:
    """All figures of a panel, a row for each system and point."""
    axis = [AXES[panel.axis]] if panel.axis else []
    heads = ["system", *axis, *map(metric_label, panel.metrics), "n", "outages"]
    rows: list[list[Scalar | Spot]] = []
    for name, curves in panel.curves.items():
        for place in zip(*(curves[metric] for metric in panel.metrics), strict=True):
            x = [place[0].x] if panel.axis else []
            rows.append([name, *x, *place, place[0].n, place[0].outages])
    return table(heads, rows, name=f"Figures{f' of {panel.title}' if panel.title else ''}")


def spread(panel: Panel, metric: str) -> str:
    """What the band of a metric is, over how many, and the seeds."""
    spots = [spot for curves in panel.curves.values() for spot in curves[metric]]
    counts = sorted({spot.n for spot in spots})
    over = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    bands = "; or ".join(BANDS[band] for band in panel.bands(metric))
    few = len(panel.seeds) == 1
    seeds = f" Seed{'' if few else 's'} {', '.join(panel.seeds)}." if panel.seeds else ""
    return f"Mean, {over} a point. Band: {bands}.{seeds}"


def _has_outages(panel: Panel) -> bool:
    return any(s.outages for c in panel.curves.values() for line in c.values() for s in line)
