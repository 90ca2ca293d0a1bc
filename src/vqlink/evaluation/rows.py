"""Result rows: one measured value of one message, as one JSON line that other tools read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from vqlink.errors import one_line
from vqlink.protocols import Point, TextTransmission, Transmission, VqlinkError
from vqlink.rng import stream

POWER_TOLERANCE_DB = 0.1
VERSIONS = {name: version(name) for name in ("vqlink", "torch", "sionna-no-rt")}
"""Of the packages that decide a figure; in every row."""


@dataclass(frozen=True)
class Row:
    """One metric of one transmitted message.

    Attributes:
        system: as the user names it.
        recipe: hash of a learned system's recipe, or of a digital image link's settings; None for
            other links, and in older rows of digital links.
        weights: sha256 of a learned system's; None for digital links.
        channel: canonical name, such as ``rayleigh``.
        point: the channel's axis and its value, such as ``{"snr_db": 10.0}``.
        repeat, sample: which draw of the noise, and which message.
        metric, unit, value: one finite figure.
        uses, rho: complex channel uses, all counted, and their ratio to the source values (colours
            of pixels, samples of sound, characters of a text).
        tx_power: measured mean power; the budget is 1.
        status: ``ok`` or ``outage``; an outage's value is that of the stand-in picture.
        flags: ``power`` where tx_power is more than 0.1 dB off the budget.
        labels: what the system chose, such as its MCS.
        seed: of the channel's streams.
        versions: of the packages that decide the figure.
        message: :func:`digest` of what was sent, since names of messages repeat between data sets;
            None in older rows.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    system: str
    recipe: str | None
    weights: str | None
    channel: str
    point: dict[str, float]
    repeat: int
    sample: str
    metric: str
    unit: str
    value: float
    uses: int
    rho: float
    tx_power: float
    status: str
    flags: list[str]
    labels: dict[str, str | float]
    seed: int
    versions: dict[str, str] = field(default_factory=dict)
    message: str | None = None


_ROW = TypeAdapter(Row)
_START = b'{"system": '  # of every line that to_line makes


class Sender(Protocol):
    """What a row says of an opened system."""

    @property
    def name(self) -> str: ...

    @property
    def recipe(self) -> str | None: ...

    @property
    def weights(self) -> str | None: ...


@dataclass(frozen=True)
class Case:
    """One message over one channel at one point: what its rows say whatever system sends it.

    Attributes:
        axis, value: ``snr_db`` or ``probability``, and where on it, as it was written.
        repeat, sample, channel, seed, message: as in a row.
    """

    channel: str
    axis: str
    value: float
    sample: str
    repeat: int
    seed: int
    message: str

    def noise(self) -> torch.Generator:
        """The channel's stream: of (seed, point, repeat, sample) alone, alike for all systems."""
        return channel_noise(self.seed, self.value, self.repeat, self.sample)


def channel_noise(seed: int, value: float, repeat: int, sample: str) -> torch.Generator:
    """The channel's stream at one point of its axis, for one message."""
    return stream(seed, "channel", value, repeat, sample)


@dataclass(frozen=True)
class Figure:
    """What a metric says of one message."""

    metric: str
    unit: str
    value: float


def axis_of(point: Point) -> tuple[str, float]:
    """The point's axis and its value as it was written: 0.6 stays 0.6, which a tensor rounds.

    Raises:
        ValueError: for a point that differs between messages.
    """
    axis = "probability" if point.snr_db is None else "snr_db"
    value = getattr(point, axis)
    if isinstance(value, Tensor) and value.ndim:
        raise ValueError("messages that are compared are sent at one point")
    return axis, float(value)


def rows_of(
    system: Sender,
    sent: Transmission | TextTransmission,
    place: int,
    case: Case,
    figures: Iterable[Figure],
    *,
    values: int,
    versions: Mapping[str, str] = VERSIONS,
) -> tuple[Row, ...]:
    """The rows of message ``place`` of a transmission, one for each figure.

    Args:
        values: source values of the message, which rho is relative to.
        versions: of the packages that decide the figures.
    """
    uses, tx_power = int(sent.uses[place]), float(sent.tx_power[place])
    labels: dict[str, str | float] = {}
    if isinstance(sent, Transmission):
        labels |= sent.labels
    labels |= {name: float(stat[place]) for name, stat in sent.stats.items()}
    return tuple(
        Row(
            system=system.name,
            recipe=system.recipe,
            weights=system.weights,
            channel=case.channel,
            point={case.axis: case.value},
            repeat=case.repeat,
            sample=case.sample,
            metric=figure.metric,
            unit=figure.unit,
            value=figure.value,
            uses=uses,
            rho=uses / values,
            tx_power=tx_power,
            status="outage" if bool(sent.outage[place]) else "ok",
            flags=power_flags(tx_power),
            labels=labels,
            seed=case.seed,
            versions=dict(versions),
            message=case.message,
        )
        for figure in figures
    )


def digest(message: bytes | str | Tensor) -> str:
    """What tells messages apart whose names are alike: 12 hexadecimal digits of a sha256.

    Args:
        message: a text, a picture's 8-bit pixels, a recording's float32 samples, or bytes.
    """
    if isinstance(message, Tensor):
        message = message.detach().cpu().contiguous().numpy().tobytes()
    elif isinstance(message, str):
        message = message.encode()
    return sha256(message).hexdigest()[:12]


def power_flags(tx_power: float) -> list[str]:
    """``["power"]`` for a message more than 0.1 dB off its budget of 1."""
    off = abs(10 * math.log10(tx_power)) if tx_power > 0 else math.inf
    return ["power"] if off > POWER_TOLERANCE_DB else []


def to_line(row: Row) -> str:
    """A row as one line of JSON, without the line's end."""
    return json.dumps(asdict(row), allow_nan=False)


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows to a JSONL file, made with its folder when missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(to_line(row) + "\n" for row in rows)
    with path.open("a") as file:
        file.write(text)


def read_rows(path: Path) -> list[Row]:
    """All rows of a JSONL file.

    Raises:
        VqlinkError: when the file can't be read, or a line is no row (with its number).
    """
    return _rows(_bytes(path), path)


def mend_rows(path: Path) -> list[Row]:
    """All rows of a JSONL file that will be appended to, after :func:`whole_lines` of it.

    The file stays as it is unless every line of it is a row, but for the beginning of one.

    Raises:
        VqlinkError: as :func:`read_rows`.
    """
    data = _bytes(path)
    try:
        whole = whole_lines(data, _START)
    except VqlinkError as error:
        raise VqlinkError(f"{path}: {error}") from None
    rows = _rows(whole, path)
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    elif len(whole) > len(data):
        with path.open("ab") as file:
            file.write(whole[len(data) :])
    return rows


def whole_lines(data: bytes, start: bytes = b'{"') -> bytes:
    """Lines of JSON objects of which an interruption may have cut the last.

    The beginning of an object is cut off, and a whole one gets its newline; other lines aren't
    looked at.

    Args:
        start: what every object begins with.

    Raises:
        VqlinkError: for a last line without its end that is neither.
    """
    end = data.rfind(b"\n") + 1
    last = data[end:]
    if not last:
        return data
    try:
        if isinstance(json.loads(last), dict):
            return data + b"\n"
    except (ValueError, RecursionError):
        pass
    if last.startswith(start) or start.startswith(last):
        return data[:end]
    raise VqlinkError(f"its last line is no result row, nor the beginning of one: {_shown(last)}")


def _shown(line: bytes) -> str:
    return one_line(repr(line.decode("utf-8", "replace")), 60)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VqlinkError(f"cannot read the rows in {path}: {error}") from None


def _rows(data: bytes, path: Path) -> list[Row]:
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise VqlinkError(f"cannot read the rows in {path}: {error}") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(_ROW.validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            reason = one_line(f"{where}: {first['msg']}")
            raise VqlinkError(f"{path}, line {number} is no result row: {reason}") from None
    return rows
