"""Constellations and codebooks of a plane, from rows and from the weights that ship."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vqlink.quantizers.constellation import qam_points
from vqlink.reporting.site.charts import scatter_chart
from vqlink.reporting.site.collect import Flat, number
from vqlink.reporting.site.markup import esc
from vqlink.zoo.catalogue import Entry

_MOST_POINTS = 4096
_CODEBOOK = re.compile(r"\bcodebook\d*$")
Plane = list[tuple[float, float]]


def point_figures(rows: Sequence[Flat]) -> str:
    """A picture of each row that has ``points`` (with ``shares``) or a ``codebook`` of pairs."""
    figures = []
    for row in rows:
        for key in ("points", "codebook"):
            points = _plane(row.get(key))
            if points is None:
                continue
            shares = _shares(row.get("shares"), len(points)) if key == "points" else None
            words = [row.get("system") or row.get("method"), row.get("shape"), row.get("bits")]
            named = [str(word) for word in words[:2] if word is not None]
            named += [f"{words[2]} bits"] if words[2] is not None else []
            what = "; area: how often each point is sent" if shares else ""
            figures.append(_figure(", ".join(named) or key, points, shares, what))
    return f'<div class="squares">{"".join(figures)}</div>' if figures else ""


def zoo_points(entry: Entry) -> str:
    """The constellation or the codebooks of weights in the zoo; empty where there are none."""
    config = json.loads((entry.folder / "config.json").read_bytes())
    quantizer = config.get("quantizer") or {}
    match quantizer.get("kind"):
        case "learned":
            with _tensors(entry) as file:
                points = file.get_tensor("quantizer.points").float()
            return _figure(f"{len(points)} points, learned with the code", *_pairs(points))
        case "qam":
            order = quantizer["order"]
            return _figure(f"{order}-QAM, fixed", *_pairs(qam_points(order)))
        case _:
            with _tensors(entry) as file:
                names = sorted(name for name in file.keys() if _CODEBOOK.search(name))  # noqa: SIM118
                books = [file.get_tensor(name) for name in names]
            drawable = [
                book.float()
                for book in books
                if book.is_floating_point() and 2 <= book.shape[0] <= _MOST_POINTS
            ]
            return "".join(_codebook(number, book) for number, book in enumerate(drawable, 1))


def _tensors(entry: Entry) -> Any:
    from safetensors import safe_open

    return safe_open(entry.folder / "model.safetensors", "pt")


def _pairs(points: Tensor) -> tuple[Plane, None, str]:
    return [(x, y) for x, y in points.tolist()], None, "; I across, Q up"


def _codebook(number: int, codebook: Tensor) -> str:
    """Codewords (K, D) on the two axes along which they differ most."""
    centred = codebook - codebook.mean(dim=0)
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    share = float(sizes[:2].square().sum() / sizes.square().sum().clamp_min(1e-12))
    flat = (centred @ axes[:2].T).tolist()
    size, dim = codebook.shape
    what = f"; seen along their two main axes, {100 * share:.0f} % of what differs"
    name = f"Codebook {number}: {size} codewords of {dim} values"
    return _figure(name, [(pair[0], pair[1]) for pair in flat], None, what)


def _figure(name: str, points: Plane, shares: Sequence[float] | None, what: str) -> str:
    drawn = scatter_chart(points, f"{name}: {len(points)} points", shares)
    return f"<figure>{drawn}<figcaption>{esc(name + what)}</figcaption></figure>"


def _plane(value: object) -> Plane | None:
    """A list of at least two pairs of finite numbers, or None for anything else."""
    if not isinstance(value, list) or not 2 <= len(value) <= _MOST_POINTS:
        return None
    points = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            return None
        x, y = number(pair[0]), number(pair[1])
        if x is None or y is None:
            return None
        points.append((x, y))
    return points


def _shares(value: object, size: int) -> list[float] | None:
    if not isinstance(value, list) or len(value) != size:
        return None
    shares = [number(share) for share in value]
    return [share or 0.0 for share in shares] if None not in shares else None
