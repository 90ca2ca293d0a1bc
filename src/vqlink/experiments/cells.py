"""Cells: the independent runs that a table or a figure is made of.

A cell is a mapping of plain values, such as ``{"bits": 9, "method": "nsvq", "seed": 0}``. Its rows
go to one JSONL file the moment it is finished, so an interrupted experiment goes on with the cells
that are missing. Several processes share the work, one thread each.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vqlink.protocols import VqlinkError

Cell = Mapping[str, str | int | float | bool]
Row = dict[str, Any]


def cell_name(cell: Cell) -> str:
    """A file-name-safe name, unique among the cells of an experiment."""
    return "-".join(f"{key}={value}" for key, value in cell.items())


def read_rows(path: Path, names: Collection[str] = ()) -> list[Row]:
    """The rows of finished cells; a line that an interruption cut short is ignored.

    Args:
        names: what every row has to say.

    Raises:
        VqlinkError: for a line in the middle that is no JSON object, or a row without a name.
    """
    if not path.exists():
        return []
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                break
            raise VqlinkError(f"{path}, line {number}: not a result row") from None
        if not isinstance(row, dict) or not set(names) <= set(row):
            raise VqlinkError(
                f"{path}, line {number}: not a row of this experiment; move the file away to start "
                "anew"
            )
        rows.append(row)
    return rows


def run_cells(
    cells: Sequence[Cell],
    work: Callable[[Cell], list[Row]],
    path: Path,
    *,
    jobs: int = 1,
    progress: bool = True,
    least: Mapping[str, int] | None = None,
) -> list[Row]:
    """Run the cells whose rows are not yet in ``path``; return the rows of all of them.

    Args:
        cells: in the order in which they start.
        work: a module-level function (it is sent to other processes): cell -> its rows.
        path: the JSONL file; a row is ``{**cell, **what work returned}``.
        jobs: processes, one thread each; 1 stays in this one, with all threads; 0 runs nothing and
            returns the rows that there are.
        least: on how much each row must have been measured, by its own keys: ``{"samples": 200}``.

    Raises:
        VqlinkError: for rows that were measured on less, those of a smaller budget.
    """
    if not cells:
        return []
    held = read_rows(path, cells[0])
    for name, count in (least or {}).items():
        few = [row[name] for row in held if row.get(name, count) < count]
        if few:
            raise VqlinkError(
                f"{path} holds rows of a smaller --budget ({name} {few[0]}, not {count}): name "
                "another --out"
            )
    done = {_key(row, cells) for row in held}
    missing = [cell for cell in cells if _key(cell, cells) not in done] if jobs else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not progress,
    ) as bar:
        there = sum(_key(cell, cells) in done for cell in cells)
        task = bar.add_task(path.stem, total=len(cells), completed=there)
        if jobs == 1:
            for cell in missing:
                _append(path, cell, work(cell))
                bar.advance(task)
        elif missing:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread) as pool:
                futures = {pool.submit(work, cell): cell for cell in missing}
                try:
                    for future in as_completed(futures):
                        _append(path, futures[future], future.result())
                        bar.advance(task)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
    wanted = {_key(cell, cells) for cell in cells}
    return [row for row in read_rows(path, cells[0]) if _key(row, cells) in wanted]


def _key(row: Mapping[str, Any], cells: Sequence[Cell]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in cells[0])


def _append(path: Path, cell: Cell, rows: list[Row]) -> None:
    """All rows of a cell in one write, after a line that was cut short is taken off."""
    kept = path.read_bytes() if path.exists() else b""
    text = "".join(json.dumps({**cell, **row}, allow_nan=False) + "\n" for row in rows)
    if kept and not kept.endswith(b"\n"):
        path.write_bytes(kept[: kept.rfind(b"\n") + 1])
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _one_thread() -> None:
    torch.set_num_threads(1)
