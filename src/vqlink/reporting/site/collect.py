"""What lies in a folder of results: rows, tables of reproductions, plots, pictures, sounds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vqlink.errors import VqlinkError, one_line
from vqlink.evaluation.rows import Row, read_rows

Scalar = str | int | float | bool | None
Flat = dict[str, Any]
"""One row with a column for each of its metrics."""

PLOTS, SOUNDS = (".svg",), (".wav",)
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
COMMANDS = "commands.json"
_KEPT = ("system", "channel", "repeat", "sample", "uses", "tx_power", "flags", "seed")
_LARGEST = 64 << 20
_ABSURD = 1e100  # no figure; its square overflows


@dataclass(frozen=True)
class Claim:
    """See :class:`vqlink.experiments.reproduction.Claim`."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    text: str
    held: bool | None
    figures: str


@dataclass(frozen=True)
class Experiment:
    """An EXPERIMENT.json of ``vqlink reproduce``."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    experiment: str
    title: str
    table: list[dict[str, Scalar]]
    claims: list[Claim]
    rows: str
    plots: list[str]
    notes: list[str]


@dataclass(frozen=True)
class RowFile:
    """Rows of one file.

    Attributes:
        name: of the file without its ending; folders below the source are part of it.
        rows: with a column for each metric.
        count: lines in the file.
        command: that made them, where it is known; ``guessed`` where it is put together from rows.
    """

    path: Path
    name: str
    rows: list[Flat]
    count: int
    versions: tuple[str, ...] = ()
    command: str = ""
    guessed: bool = False


@dataclass(frozen=True)
class Results:
    """Everything that a report can show.

    Attributes:
        experiments: with the folder that each lies in.
        others: files that no part of a report knows.
    """

    experiments: tuple[tuple[Path, Experiment], ...]
    row_files: tuple[RowFile, ...]
    plots: tuple[Path, ...]
    pictures: tuple[Path, ...]
    sounds: tuple[Path, ...]
    others: tuple[Path, ...]


def collect(sources: Sequence[Path], *, leave_out: Path | None = None) -> Results:
    """Read files, and folders with all below them.

    Args:
        leave_out: a folder to pass over: the report's own, when it lies among the results.

    Raises:
        VqlinkError: a source is missing, unknown or holds nothing to show; or a file is damaged.
    """
    alone = len(sources) == 1
    files = [pair for source in sources for pair in _files(source, leave_out, alone=alone)]
    commands: dict[Path, str] = {}
    for path, _ in files:
        if path.name == COMMANDS:
            commands |= {path.parent / name: text for name, text in read_commands(path).items()}
    experiments: list[tuple[Path, Experiment]] = []
    row_files: list[RowFile] = []
    media: dict[tuple[str, ...], list[Path]] = {PLOTS: [], PICTURES: [], SOUNDS: []}
    others: list[Path] = []
    for path, name in files:
        kind = path.suffix.lower()
        if kind == ".jsonl":
            if (found := _read_rows(path, name, commands.get(path, ""))) is not None:
                row_files.append(found)
        elif kind == ".json" and path.name != COMMANDS:
            document = _read_experiment(path)
            experiments += [(path.parent, document)] if document else []
            others += [] if document else [path]
        elif (group := next((g for g in media if kind in g), None)) is not None:
            media[group].append(path)
        elif path.name != COMMANDS:
            others.append(path)
    if not row_files and not experiments:
        raise VqlinkError(
            f"no result rows in {', '.join(str(source) for source in sources)} (`vqlink evaluate "
            "--out`, `send --out` and `reproduce` write them)"
        )
    owners: dict[Path, list[str]] = {}
    for folder, document in experiments:
        name = f"vqlink reproduce {document.experiment}"
        owners.setdefault(folder / Path(document.rows).name, []).append(name)
    row_files = [
        replace(found, command="\n".join(owners[found.path]), guessed=False)
        if found.path in owners and (found.guessed or not found.command)
        else found
        for found in row_files
    ]
    return Results(
        experiments=tuple(experiments),
        row_files=tuple(row_files),
        plots=tuple(media[PLOTS]),
        pictures=tuple(media[PICTURES]),
        sounds=tuple(media[SOUNDS]),
        others=tuple(others),
    )


def number(value: object) -> float | None:
    """A number as float; None for anything else, truth values and absurd sizes too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _ABSURD else None


def _files(source: Path, leave_out: Path | None, *, alone: bool = True) -> list[tuple[Path, str]]:
    """Paths with their names in the report; of several sources each puts its own name first."""
    head = Path() if alone else Path(source.name)
    if source.is_dir():
        hidden = leave_out.resolve() if leave_out is not None else None
        found = [
            (path, (head / path.relative_to(source)).with_suffix("").as_posix())
            for path in sorted(source.rglob("*"))
            if path.is_file()
            and path.resolve().is_relative_to(source.resolve())  # no link to what lies elsewhere
            and not any(part.startswith(".") for part in path.relative_to(source).parts)
            and (hidden is None or hidden not in path.resolve().parents)
        ]
        if not found:
            raise VqlinkError(f"{source} holds no .jsonl files (links to elsewhere don't count)")
        return found
    if not source.exists():
        raise VqlinkError(f"{source}: no such file or folder")
    known = (".jsonl", ".json", *PLOTS, *PICTURES, *SOUNDS)
    if source.suffix.lower() not in known:
        raise VqlinkError(
            f"{source}: a report is made of .jsonl rows, or of a folder that has some"
        )
    return [(source, source.stem)]


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise VqlinkError(f"{path} is larger than {_LARGEST >> 20} MiB; split it")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise VqlinkError(f"cannot read {path}: {one_line(error)}") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise VqlinkError(f"{where} is no JSON: {one_line(error)}") from None


def read_commands(path: Path) -> dict[str, str]:
    """File of rows -> the command that made it, as a ``commands.json`` has it.

    Raises:
        VqlinkError: for anything else.
    """
    document = _json(_text(path), str(path))
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise VqlinkError(f"{path} must map names of row files to their commands")
    return document


def _read_experiment(path: Path) -> Experiment | None:
    document = _json(_text(path), str(path))
    if not isinstance(document, dict) or not {"experiment", "claims"} <= set(document):
        return None
    try:
        return TypeAdapter(Experiment).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = one_line(f"{where}: {first['msg']}")
        raise VqlinkError(f"{path} is no table of `vqlink reproduce`: {reason}") from None


def _read_rows(path: Path, name: str, command: str) -> RowFile | None:
    flat: list[Flat] = []
    for line_number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {line_number}"
        row = _json(line, where)
        if not isinstance(row, dict) or not any(
            number(value) is not None for value in row.values()
        ):
            raise VqlinkError(f"{where} is no result row: an object with figures is needed")
        if {"metric", "value", "point"} <= set(row):
            return _messages(path, name, command)
        flat.append(row)
    return RowFile(path, name, flat, len(flat), command=command) if flat else None


def _messages(path: Path, name: str, command: str) -> RowFile:
    """Rows of single messages, their metrics side by side."""
    rows = read_rows(path)
    wide: dict[tuple[object, ...], Flat] = {}
    ratios: dict[tuple[str, str], set[float]] = {}
    hashes: dict[str, set[str]] = {}
    messages: dict[str, set[str]] = {}
    for row in rows:
        ratios.setdefault((row.system, row.channel), set()).add(round(row.rho, 4))
        if version := row.weights or row.recipe:  # of a learned code, of a digital link
            hashes.setdefault(row.system, set()).add(version)
        if row.message:
            messages.setdefault(row.sample, set()).add(row.message)
    # Older rows lack a link's hash and the message: where a file knows of one alone, it's that.
    several = {system for system, found in hashes.items() if len(found) > 1}
    for row in rows:
        role = str(row.labels.get("role", ""))
        axis = tuple(sorted(row.point.items()))
        mark = row.weights or row.recipe or "unknown"
        mark = mark[:8] if row.system in several else ""
        known = {name: getattr(row, name) for name in _KEPT}
        if len(messages.get(row.sample, ())) > 1:
            known["sample"] = f"{row.sample} {row.message}"
        key = (row.system, mark, role, row.channel, round(row.rho, 9), axis, row.repeat)
        start = known | row.point | {"weights": row.weights, "recipe": row.recipe}
        start |= {"role": role} if role else {}
        start |= {"hash": mark} if several else {}
        start |= {"outages": int(row.status == "outage")}
        if len(ratios[row.system, row.channel]) == 1:  # else it goes with the message's length
            start["rho"] = round(row.rho, 4)
        wide.setdefault((*key, known["sample"], row.seed), start)[row.metric] = row.value
    versions = {f"{package} {version}" for row in rows for package, version in row.versions.items()}
    made = command or _evaluate_command(rows, path)
    return RowFile(
        path, name, list(wide.values()), len(rows), tuple(sorted(versions)), made, not command
    )


def _evaluate_command(rows: Sequence[Row], path: Path) -> str:
    """The ``vqlink evaluate`` that gives such rows of pictures; empty for other rows."""
    metrics = _unique(row.metric for row in rows)
    plain = all(set(row.point) == {"snr_db"} and "role" not in row.labels for row in rows)
    if not plain or not set(metrics) <= {"psnr", "ms_ssim", "ssim"}:
        return ""
    snr = sorted({row.point["snr_db"] for row in rows})
    repeats = max(row.repeat for row in rows) + 1
    words = ["vqlink evaluate", *_unique(row.system for row in rows), "--data DATA"]
    channels = _unique(row.channel for row in rows)
    words += [f"--channel {channels[0]}"] if len(channels) == 1 else []
    words += ["--snr", *(f"{value:g}" for value in snr), "--metric", *metrics]
    words += [f"--repeats {repeats}"] if repeats > 1 else []
    words += [f"--seed {rows[0].seed}", f"--out {path.name}"]
    return " ".join(words)


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
