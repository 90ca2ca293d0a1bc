"""From rows of any experiment to curves that may stand on the same axes, with their spread."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from vqlink.reporting.site.collect import Flat, number

AXES = {
    "erasure": "erasure probability",
    "probability": "probability of erasure, flip or loss",
    "sigma": "deviation of the noise in each real value",
    "snr_db": "Es/N0 in dB",
    "kbps": "kbit/s",
    "updates": "updates",
    "bits": "bits a vector",
    "epochs": "epochs",
}
LOG_AXES = ("sigma",)
_POINTS = ("erasure", "probability", "sigma", "snr_db", "kbps")
METRICS = {
    "psnr": "PSNR in dB",
    "similarity": "similarity of sentences",
    "loss": "loss beside the ideal link in dB",
    "pesq": "PESQ",
    "psnr_db": "weighted SNR in dB",
    "psnr_weighted": "weighted SNR in dB",
    "ms_ssim": "MS-SSIM",
    "ssim": "SSIM",
    "mse": "mean squared error",
    "stoi": "STOI",
    "bleu1": "BLEU-1",
    "bleu4": "BLEU-4",
    "token_accuracy": "share of tokens read right",
    "sentence_accuracy": "share of sentences read right",
    "ideal_psnr": "PSNR of the ideal link in dB",
    "perplexity": "perplexity of the codebook",
    "bit_error_rate": "bit error rate",
    "block_error_rate": "block error rate",
    "entropy_bits": "entropy in bits",
    "peak_to_mean_db": "peak to mean power in dB",
    "lost": "headers lost",
    "dead": "codewords never used",
}
LOG_METRICS = ("bit_error_rate",)

_APART = ("channel", "data", "source", "shape", "rho", "kind", "scales", "waveform")
"""What must not share axes where it differs."""
_SPLIT = (*_APART, "bits", "regime", "power", "profile", "crop", "epochs", "told", "sent",
          "arrived_from", "replacement", "updates")  # fmt: skip
_NUMBERS = ("bits", "scales", "heads", "sign", "crop", "epochs", "told", "updates", "rho")
_NO_NAME = ("sample", "weights", "recipe", "status", "noise_seed", "seed")
_COUNTS = ("n", "blocks", "images")
_MOST_LINES = 10
SEEDS_OF = ("seed", "noise_seed")

RECORDED, MESSAGES, SEEDS, NOTHING = "recorded", "messages", "seeds", "nothing"
BANDS = {
    RECORDED: "95 % interval of the mean over messages, as the rows record it",
    MESSAGES: "95 % interval of the mean over messages (1.96 s / sqrt(n))",
    SEEDS: "one standard deviation over seeds to either side",
    NOTHING: "none: one run, or one figure a point",
}


@dataclass(frozen=True)
class Spot:
    """One metric of one system at one point.

    Attributes:
        x: on the axis; 0 in a panel without one.
        half: half-width of the band; None where the rows give none.
        band: which of ``BANDS`` the half-width is.
        n: messages or runs behind the mean.
    """

    x: float
    mean: float
    half: float | None
    band: str
    n: int
    outages: int


@dataclass(frozen=True)
class Panel:
    """Curves that may stand on the same axes.

    Attributes:
        title: what all of them share and other panels don't.
        axis: a key of ``AXES``; empty where the rows have one point each.
        curves: name of the line -> metric -> its spots by rising x.
        facts: what all rows of the file share.
    """

    title: str
    axis: str
    metrics: tuple[str, ...]
    curves: Mapping[str, Mapping[str, Sequence[Spot]]]
    facts: Mapping[str, str]
    seeds: tuple[str, ...]

    def bands(self, metric: str) -> tuple[str, ...]:
        """Which kinds of spread the curves of a metric show."""
        spots = [spot for curve in self.curves.values() for spot in curve.get(metric, ())]
        kinds = dict.fromkeys(spot.band for spot in spots)
        return tuple(kinds)


def panels(rows: Sequence[Flat]) -> list[Panel]:
    """Rows of any kind -> panels; rows without a metric that is known give none."""
    groups: dict[tuple[object, ...], list[Flat]] = {}
    for row in map(_with_block_errors, rows):
        if metrics := _metrics(row):
            names = tuple(sorted(_identity(row)))
            groups.setdefault((metrics, names), []).append(row)
    made = [panel for group in groups.values() for panel in _split(group)]
    if len(groups) == 1:
        return made
    return [replace(panel, title=panel.title or _named(panel.facts)) for panel in made]


def _named(facts: Mapping[str, str]) -> str:
    return facts.get("system", facts.get("method", ""))


def line_name(identity: Mapping[str, object]) -> str:
    """Words for what a line or a panel is."""
    parts = []
    for name, value in identity.items():
        if value is None or value == "":
            continue
        if isinstance(value, bool):
            parts.append(name if value else f"no {name}")
        elif name in ("system", "method", "kind", "profile", "shape"):
            parts.append(str(value))
        else:
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            parts.append(f"{name.replace('_', ' ')} {shown}")
    return ", ".join(parts) or "all rows"


def _with_block_errors(row: Flat) -> Flat:
    blocks, errors = number(row.get("blocks")), number(row.get("errors"))
    return row if not blocks or errors is None else row | {"block_error_rate": errors / blocks}


def _metrics(row: Flat) -> tuple[str, ...]:
    known = [name for name in METRICS if number(row.get(name)) is not None]
    more = [
        name
        for name in row
        if f"{name}_ci95" in row and name not in known and number(row[name]) is not None
    ]
    return tuple(known + more)


def _identity(row: Flat) -> dict[str, object]:
    """What a row is of: names, truth values, and the numbers that settings have."""
    first = {name: row[name] for name in ("system", "method") if name in row}
    rest = {
        name: value
        for name, value in row.items()
        if name not in _NO_NAME
        and (isinstance(value, str | bool) or (name in _NUMBERS and not isinstance(value, list)))
    }
    return {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in (first | rest).items()
    }


def _axis(rows: Sequence[Flat]) -> str:
    counts = {
        name: len({x for row in rows if (x := number(row.get(name))) is not None}) for name in AXES
    }
    for name in _POINTS:
        if counts[name] > 1:
            return name
    best = max(("bits", "updates", "epochs"), key=lambda name: counts[name])
    return best if counts[best] > 1 else ""


def _split(rows: Sequence[Flat]) -> list[Panel]:
    axis = _axis(rows)
    named = [
        ({k: v for k, v in _identity(row).items() if k != axis}, row)
        for row in rows
        if not axis or number(row.get(axis)) is not None
    ]
    values: dict[str, dict[str, object]] = {}
    for identity, _ in named:
        for name, value in identity.items():
            values.setdefault(name, {})[repr(value)] = value
    varying = [name for name, found in values.items() if len(found) > 1]
    facts = {k: str(next(iter(v.values()))) for k, v in values.items() if len(v) == 1}
    apart = [name for name in varying if name in _APART]
    for name in _SPLIT:
        if _most_lines(named, varying, apart) <= _MOST_LINES:
            break
        if name in varying and name not in apart:
            apart.append(name)
    groups: dict[str, list[tuple[dict[str, object], Flat]]] = {}
    for identity, row in named:
        title = line_name({k: identity[k] for k in apart}) if apart else ""
        title = title if axis else ", ".join(word for word in (title, _at(row)) if word)
        inside = {k: identity[k] for k in varying if k not in apart}
        groups.setdefault(title, []).append((inside, row))
    return [_panel(title, axis, group, facts) for title, group in sorted(groups.items())]


def _at(row: Flat) -> str:
    points = {name: number(row.get(name)) for name in _POINTS}
    return ", ".join(f"{AXES[name]}: {x:g}" for name, x in points.items() if x is not None)


def _most_lines(
    named: Iterable[tuple[dict[str, object], Flat]], varying: Sequence[str], apart: Sequence[str]
) -> int:
    lines: dict[str, set[str]] = {}
    for identity, _ in named:
        panel = repr([identity.get(name) for name in apart])
        line = repr([identity.get(name) for name in varying if name not in apart])
        lines.setdefault(panel, set()).add(line)
    return max((len(found) for found in lines.values()), default=0)


def _panel(
    title: str,
    axis: str,
    group: Sequence[tuple[dict[str, object], Flat]],
    facts: Mapping[str, str],
) -> Panel:
    metrics = _metrics(group[0][1])
    cells: dict[str, dict[float, list[Flat]]] = {}
    for inside, row in group:
        x = number(row.get(axis)) or 0.0
        name = line_name(inside) if inside else _named(facts) or "all rows"
        cells.setdefault(name, {}).setdefault(x, []).append(row)
    curves = {
        name: {
            metric: [_spot(x, metric, rows) for x, rows in sorted(points.items())]
            for metric in metrics
        }
        for name, points in cells.items()
    }
    found = (row.get(name) for _, row in group for name in SEEDS_OF)
    seeds = {str(seed) for seed in found if seed is not None}
    return Panel(title, axis, metrics, curves, facts, tuple(sorted(seeds)))


def _spot(x: float, metric: str, rows: Sequence[Flat]) -> Spot:
    values = [value for row in rows if (value := number(row.get(metric))) is not None]
    outages = sum(int(number(row.get("outages")) or 0) for row in rows)
    counts = (next((c for k in _COUNTS if (c := number(row.get(k)))), 1) for row in rows)
    messages = int(sum(counts))
    mean = statistics.fmean(values)
    recorded = number(rows[0].get(f"{metric}_ci95"))
    samples = _means(rows, metric, "sample")
    seeds = _means(rows, metric, "seed")
    if len(samples) > 1:
        half = 1.96 * statistics.stdev(samples) / math.sqrt(len(samples))
        return Spot(x, mean, half, MESSAGES, len(values), outages)
    if len(seeds) > 1:
        return Spot(x, mean, statistics.stdev(seeds), SEEDS, len(seeds), outages)
    if len(rows) == 1 and recorded is not None:
        return Spot(x, mean, recorded, RECORDED, messages, outages)
    return Spot(x, mean, None, NOTHING, messages, outages)


def _means(rows: Sequence[Flat], metric: str, key: str) -> list[float]:
    groups: dict[str, list[float]] = {}
    for row in rows:
        value = number(row.get(metric))
        if key in row and value is not None:
            groups.setdefault(repr(row[key]), []).append(value)
    return [statistics.fmean(values) for values in groups.values()]
