"""What several verbs check and print in the same way."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from fractions import Fraction

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from vqlink.evaluation.rows import Row
    from vqlink.evaluation.send import Arrival

SNR_LIMIT_DB = 100.0

INTERRUPTED = 130
"""Exit status after Ctrl-C."""

_arguments: ContextVar[Sequence[str]] = ContextVar("arguments", default=())


def keep_arguments(arguments: Sequence[str]) -> None:
    """Remember what follows ``vqlink`` on the command line that runs."""
    _arguments.set(tuple(arguments))


def command_line() -> str:
    """The command line that runs, to be noted beside what it makes."""
    return shlex.join(["vqlink", *_arguments.get()])


def check_snr(values: Sequence[float]) -> None:
    """Raise VqlinkError unless every SNR is a finite number of dB that makes sense."""
    for value in values:
        if not math.isfinite(value) or abs(value) > SNR_LIMIT_DB:
            raise VqlinkError(f"--snr must lie between -100 and 100 dB, not {value}")


def check_folder(path: Path) -> None:
    """Make an output folder and try it, before the work whose results it will hold.

    Raises:
        VqlinkError: when nothing can be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".vqlink-write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise VqlinkError(f"cannot write to {path}: {reason}; name another --out") from None


def ratio_of(rho: str | None) -> Fraction | None:
    """What ``--rho`` says.

    Raises:
        VqlinkError: for what is no ratio.
    """
    from vqlink.units import parse_ratio

    try:
        return None if rho is None else parse_ratio(rho)
    except ValueError as error:
        raise VqlinkError(str(error)) from None


def check_send_folder(out: Path) -> Path:
    """As :func:`check_folder` for ``vqlink send``; the file of rows that it will write there.

    Raises:
        VqlinkError: also when that file was made by anything else.
    """
    check_folder(out)
    rows = out / "rows.jsonl"
    check_maker(rows, "send")
    return rows


def check_maker(rows: Path, verb: Literal["send", "evaluate"]) -> None:
    """Raise VqlinkError for a file of rows that another command made, by what is noted beside it.

    Without a note it is taken for one of ``vqlink evaluate``, which adds to a file and loses none
    of its rows.
    """
    made_by = _commands(rows.parent).get(rows.name) or "vqlink evaluate"
    if rows.exists() and made_by.split()[:2] != ["vqlink", verb]:
        raise VqlinkError(f"{rows} was not written by `vqlink {verb}`: name another --out")


def replace_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows anew, and beside them which command line made them, for ``vqlink report``."""
    from vqlink.evaluation.rows import append_rows

    path.unlink(missing_ok=True)
    _note(path, command_line())
    append_rows(path, rows)


def note_command(path: Path) -> None:
    """Note beside a file of rows that this command line adds to it, after those that did before."""
    lines = _commands(path.parent).get(path.name, "").splitlines() if path.exists() else []
    _note(path, "\n".join(dict.fromkeys([*lines, command_line()])))


def _note(rows: Path, command: str) -> None:
    from vqlink.reporting.site.collect import COMMANDS

    path = rows.parent / COMMANDS
    text = json.dumps(_commands(rows.parent) | {rows.name: command}, indent=1) + "\n"
    partial = path.with_suffix(".partial")  # the notes of other files are not to be lost
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _commands(folder: Path) -> dict[str, str]:
    from vqlink.reporting.site.collect import COMMANDS, read_commands

    path = folder / COMMANDS
    return read_commands(path) if path.exists() else {}


def run_folder(recipe: str) -> Path:
    """Where a training goes unless told: by the name of the recipe or of its file.

    A copy that still has its original's ``name`` doesn't go into the original's folder.
    """
    from vqlink.config.load import recipe_path

    return Path("runs") / recipe_path(recipe).stem


def arrival_row(
    arrival: Arrival, channel: str, point: Mapping[str, float], **more: Any
) -> dict[str, Any]:
    """What ``send --json`` says of one system."""
    return {
        "system": arrival.system,
        "channel": channel,
        "point": dict(point),
        "rho": arrival.rho,
        "uses": arrival.uses,
        "tx_power": arrival.tx_power,
        "status": arrival.status,
        **arrival.metrics,
        "labels": dict(arrival.labels),
        **more,
        "seconds": round(arrival.seconds, 3),
    }


def drop_report(out: Path) -> None:
    """Remove vqlink's report of another message, which new rows would stand beside."""
    report = out / "report.html"
    if report.is_file() and "<title>vqlink" in report.read_text("utf-8", errors="replace")[:2000]:
        report.unlink()


def print_json(document: Any) -> None:
    """One JSON document, and nothing else, on standard output."""
    json.dump(document, sys.stdout, indent=1, allow_nan=False)
    print()


def file_name(system: str) -> str:
    """A system's name as a file name."""
    return "".join(c if c.isalnum() or c in "-." else "_" for c in system.strip("/\\."))


def is_watched() -> bool:
    """Whether standard error is a terminal, where progress is shown with ``--json`` too."""
    from rich.console import Console

    return Console(stderr=True).is_terminal


def passing_bar() -> Progress:
    """A progress bar on a terminal's standard error that is gone when done; else nothing at all."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True, disable=not is_watched())


@contextmanager
def passing_words(text: str) -> Iterator[Callable[[str], None]]:
    """As :func:`passing_bar`, words beside a spinner; gives what changes them."""
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)) as status:
        yield lambda words: status.update(Text(words))


def table_console() -> Console:
    """Standard output; in a pipe a table is as wide as it needs to be."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=240)


def table_of(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", figures: bool = True
) -> Table:
    """A table that shows every text as it is, brackets too.

    Args:
        figures: all columns but the first hold figures, which stand to the right, unbroken.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, style="table.title") if title else None)
    for number, head in enumerate(heads):
        if figures and number:
            table.add_column(Text(head), justify="right", no_wrap=True)
        else:
            table.add_column(Text(head), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
