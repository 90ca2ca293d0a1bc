"""What several verbs check and print in the same way."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from rich.progress import Progress

    from vqlink.evaluation.rows import Row
    from vqlink.evaluation.send import Arrival

SNR_LIMIT_DB = 100.0


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


def check_send_folder(out: Path) -> Path:
    """As :func:`check_folder` for ``vqlink send``; the file of rows that it will write there.

    Raises:
        VqlinkError: also when that file holds rows of another verb.
    """
    check_folder(out)
    rows = out / "rows.jsonl"
    made_by = known_command(rows) or "vqlink evaluate"  # which alone takes any name
    if rows.exists() and made_by.startswith("vqlink evaluate"):
        raise VqlinkError(f"{rows} was not written by `vqlink send`: name another --out")
    return rows


def replace_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows anew, and beside them which command line made them, for ``vqlink report``."""
    from vqlink.evaluation.rows import append_rows
    from vqlink.reporting.site.collect import COMMANDS

    commands = _commands(path.parent) | {path.name: "vqlink " + shlex.join(sys.argv[1:])}
    path.unlink(missing_ok=True)
    (path.parent / COMMANDS).write_text(json.dumps(commands, indent=1) + "\n", "utf-8")
    append_rows(path, rows)


def known_command(rows: Path) -> str | None:
    """What is noted beside a file of rows about its making."""
    return _commands(rows.parent).get(rows.name)


def _commands(folder: Path) -> dict[str, str]:
    from vqlink.reporting.site.collect import COMMANDS, read_commands

    path = folder / COMMANDS
    return read_commands(path) if path.exists() else {}


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


def passing_bar(*, quiet: bool) -> Progress:
    """A progress bar on a terminal's standard error that is gone when done; else nothing at all."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=quiet or not console.is_terminal)
