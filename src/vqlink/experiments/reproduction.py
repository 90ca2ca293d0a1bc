"""What a reproduction of a paper's table or figure returns."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

Budget = Literal["smoke", "cpu", "full"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A statement of the paper, or one of this project's aims, and what was measured.

    Attributes:
        text: the claim.
        held: None where the rows don't suffice to say.
        figures: the measured figures behind it.
    """

    text: str
    held: bool | None
    figures: str


@dataclass(frozen=True)
class Reproduction:
    """One table or figure of a paper, ours beside the paper's.

    Attributes:
        name: of the experiment.
        title: what it shows.
        columns: of the table.
        table: rows of plain values; None where nothing was measured.
        claims: what held and what did not.
        rows: the file that every figure comes from.
        plots: SVG files drawn from it.
        notes: choices and deviations, a sentence each.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    table: tuple[tuple[str | int | float | None, ...], ...]
    claims: tuple[Claim, ...]
    rows: Path
    plots: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As one JSON document."""
        return {
            "experiment": self.name,
            "title": self.title,
            "table": [dict(zip(self.columns, row, strict=True)) for row in self.table],
            "claims": [vars(claim) for claim in self.claims],
            "rows": str(self.rows),
            "plots": [str(path) for path in self.plots],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) of n values; deviation 0 for one."""

    mean: float
    std: float
    n: int

    def rounded_std(self, digits: int) -> float | None:
        """To so many significant digits, for a table; None for one value, which has no spread."""
        return float(f"{self.std:.{digits}g}") if self.n > 1 else None

    def __str__(self) -> str:
        return f"{self.mean:.4g} ({self.std:.2g}, n={self.n})"


def spread(values: Iterable[float]) -> Spread | None:
    """None without values."""
    found = list(values)
    if not found:
        return None
    deviation = statistics.stdev(found) if len(found) > 1 else 0.0
    return Spread(statistics.fmean(found), deviation, len(found))


def select(rows: Sequence[Row], **wanted: object) -> list[Row]:
    """The rows whose named values are as wanted."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def paper_figures(paper: str, table: str) -> list[Row]:
    """A paper's table as rows, from the package's files."""
    text = resources.files("vqlink.experiments.papers").joinpath(f"{paper}.json").read_text()
    return list(json.loads(text)[table])


def held_in(cells: Iterable[bool | None]) -> tuple[int, int]:
    """How many of the cells that could be judged held."""
    judged = [cell for cell in cells if cell is not None]
    return sum(judged), len(judged)


def of_all(text: str, cells: Sequence[bool | None], figures: str) -> Claim:
    """The claim that every cell holds: one that fails decides, a missing one leaves it open.

    Of no cells nothing can be said.
    """
    held, judged = held_in(cells)
    missing = len(cells) - judged
    verdict = False if held < judged else None if missing or not judged else True
    if not judged:
        return Claim(text, verdict, figures or "not run")
    return Claim(text, verdict, figures + (f"; {missing} not run" if missing else ""))


def finite(value: float | None, digits: int) -> float | None:
    """Rounded for a table."""
    return None if value is None or not math.isfinite(value) else round(value, digits)


Experiment = Callable[[Budget, Path, int], Reproduction]
"""(budget, folder for rows and plots, processes) -> what came out."""
