"""Cells: the independent runs that a table or a figure is made of.

A cell is a mapping of plain values, such as ``{"bits": 9, "method": "nsvq", "seed": 0}``. Its rows
go to one JSONL file the moment it is finished, so an interrupted experiment goes on with the cells
that are missing. Several processes share the work, one thread each.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vqlink.errors import NotFiniteError
from vqlink.evaluation.rows import whole_lines
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
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise VqlinkError(f"{path}: not a file of result rows") from None
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
    weights: Callable[[Cell], str | None] | None = None,
) -> list[Row]:
    """Run the cells whose rows are not yet in ``path``; return the rows of all of them.

    Args:
        cells: in the order in which they start.
        work: a module-level function (it is sent to other processes): cell -> its rows.
        path: the JSONL file; a row is ``{**cell, **what work returned}``.
        jobs: processes, one thread each; 1 stays in this one, with all threads; 0 runs nothing and
            returns the rows that there are.
        least: on how much each row must have been measured, by its own keys: ``{"samples": 200}``.
        weights: the sha256 of what a cell would be measured with now, which its rows' own
            ``weights`` must be; None where that can't be known.

    A cell that fails, or Ctrl-C, ends the run: no further cell starts, and what the others finish
    is kept.

    Raises:
        VqlinkError: for rows that were measured on less, those of a smaller budget, or with other
            weights, and for a cell whose values are not finite or whose process was killed.
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
    if weights is not None:
        for cell in cells:
            rows = [row for row in held if _key(row, cells) == _key(cell, cells)]
            _check_weights(rows, weights(cell), cell, path)
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
        measured = _in_turn(missing, work) if jobs == 1 else _shared(missing, work, jobs)
        for cell, rows in measured:
            _append(path, cell, rows)
            bar.advance(task)
    wanted = {_key(cell, cells) for cell in cells}
    return [row for row in read_rows(path, cells[0]) if _key(row, cells) in wanted]


def _in_turn(
    cells: Sequence[Cell], work: Callable[[Cell], list[Row]]
) -> Iterator[tuple[Cell, list[Row]]]:
    for cell in cells:
        with _named(cell):
            rows = work(cell)
        yield cell, rows


def _shared(
    cells: Sequence[Cell], work: Callable[[Cell], list[Row]], jobs: int
) -> Iterator[tuple[Cell, list[Row]]]:
    """Cells and their rows as processes finish them.

    No more are handed out than there are processes: what waits in an executor's queue can't be
    called back for certain, and would run on after Ctrl-C.
    """
    if not cells:
        return
    waiting = iter(cells)
    running: dict[Future[list[Row]], Cell] = {}
    failed: BaseException | None = None
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread) as pool:
        for cell in itertools.islice(waiting, jobs):
            running[pool.submit(work, cell)] = cell
        while running:
            try:
                finished = wait(running, return_when=FIRST_COMPLETED).done
            except KeyboardInterrupt as interrupt:
                failed = interrupt
                continue
            for future in finished:
                cell = running.pop(future)
                try:
                    with _named(cell):
                        rows = future.result()
                except BaseException as error:
                    failed = failed or error
                    continue
                yield cell, rows
                if failed is None:
                    for following in itertools.islice(waiting, 1):
                        running[pool.submit(work, following)] = following
    if failed is not None:
        raise failed


@contextmanager
def _named(cell: Cell) -> Iterator[None]:
    """What ends a cell that a user can do something about, as one line that names it."""
    try:
        yield
    except NotFiniteError as error:
        raise VqlinkError(f"{cell_name(cell)}: {error}") from None
    except BrokenProcessPool:
        raise VqlinkError(
            f"{cell_name(cell)}: its process was killed, for want of memory perhaps; the same "
            "command goes on, with fewer --jobs if so"
        ) from None


def _check_weights(rows: Sequence[Row], now: str | None, cell: Cell, path: Path) -> None:
    """Refuse rows that were measured with other weights than one would take now."""
    old = {row["weights"] for row in rows if row.get("weights")} - {now}
    if now is not None and old:
        raise VqlinkError(
            f"{path} holds rows of other weights of {cell_name(cell)} ({min(old)[:8]}, not "
            f"{now[:8]}): take these out, or name another --out"
        )


def _key(row: Mapping[str, Any], cells: Sequence[Cell]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in cells[0])


def _append(path: Path, cell: Cell, rows: list[Row]) -> None:
    """Add all rows of a cell or none: half a cell would count as a whole one."""
    try:
        text = "".join(json.dumps({**cell, **row}, allow_nan=False) + "\n" for row in rows)
    except ValueError:
        raise VqlinkError(f"{cell_name(cell)}: a figure is not finite") from None
    try:
        kept = whole_lines(path.read_bytes()) if path.exists() else b""
    except VqlinkError as error:
        raise VqlinkError(f"{path}: {error}") from None
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(kept + text.encode())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _one_thread() -> None:
    torch.set_num_threads(1)
