"""What several verbs check and print in the same way."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from rich.progress import Progress

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


def note_command(rows: Path) -> None:
    """Say beside a file of rows which command line made them, for ``vqlink report``."""
    command = "vqlink " + shlex.join(sys.argv[1:])
    (rows.parent / "commands.json").write_text(json.dumps({rows.name: command}) + "\n", "utf-8")


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
