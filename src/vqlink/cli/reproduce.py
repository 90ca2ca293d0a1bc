"""``vqlink reproduce``: one table or figure of a paper, ours beside the paper's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqlink.cli.options import check_folder, print_json, table_console, table_of
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from vqlink.experiments.reproduction import Reproduction

_BUDGETS = ("smoke", "cpu", "full")


def reproduce_command(
    experiment: Annotated[
        str | None, typer.Argument(metavar="EXPERIMENT", help="leave out to list them")
    ] = None,
    budget: Annotated[
        str, typer.Option(help="smoke: seconds; cpu: hours on two cores; full: the paper's extent")
    ] = "cpu",
    out: Annotated[Path, typer.Option(help="folder of rows, table and plots")] = Path("results"),
    jobs: Annotated[
        int,
        typer.Option(min=0, help="processes, one thread each; 0: only what was measured before"),
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="print the table as JSON alone")] = False,
) -> None:
    """Reproduce a table or a figure of a paper.

    Rows of finished parts stay in OUT, so an interrupted experiment goes on where it was; table and
    claims go to EXPERIMENT.json there. With the rows that ship in results/, the table and the plots
    are redrawn from them at once.
    """
    from vqlink.experiments import catalogue

    if experiment is None:
        _list(catalogue.entries(), as_json)
        return
    if budget not in _BUDGETS:
        raise VqlinkError(f"--budget is one of {', '.join(_BUDGETS)}, not {budget!r}")
    run = catalogue.find(experiment)
    check_folder(out)
    # A smoke test's rows must never mix with measurements.
    folder = out / "smoke" if budget == "smoke" else out
    result = run(budget, folder, jobs)  # type: ignore[arg-type]
    document = result.document()
    folder.mkdir(parents=True, exist_ok=True)  # nothing was run, and nothing was there
    (folder / f"{result.name}.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    if as_json:
        print_json(document)
    else:
        _print(result)


def _list(entries: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json([{"name": name, "title": title} for name, title in entries.items()])
        return
    for name, title in entries.items():
        print(f"{name:16} {title}")


def _print(result: Reproduction) -> None:
    from rich.text import Text

    console = table_console()
    cells = [["" if value is None else str(value) for value in row] for row in result.table]
    console.print(table_of(result.columns, cells, title=result.title, figures=False))
    verdicts = {True: "held", False: "not held", None: "open"}
    # Sentences are lines: a pipe's reader finds them unbroken.
    for claim in result.claims:
        verdict = (f"{verdicts[claim.held]:9}", "bold")
        console.print(Text.assemble(verdict, f"{claim.text}: {claim.figures}"), soft_wrap=True)
    for note in result.notes:
        console.print(Text(f"- {note}", style="dim"), soft_wrap=True)
    print(f"rows: {result.rows}", *(f"plot: {path}" for path in result.plots), sep="\n")
