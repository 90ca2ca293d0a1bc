"""One message through the channel by several systems, at the same channel uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from vqlink.evaluation.rows import Row
from vqlink.evaluation.run import measure
from vqlink.evaluation.systems import System
from vqlink.metrics.table import PSNR
from vqlink.protocols import Point

Report = Callable[[str], None]


@dataclass(frozen=True)
class Arrival:
    """What one system delivered of a picture or a recording.

    Attributes:
        system: its name.
        received: (3, H, W) float32 in [0, 1], or (n,) in [-1, 1].
        metrics: by metric name, such as ``{"psnr": 31.2, "ms_ssim": 0.97}``.
        uses, rho, tx_power, status: as in a result row.
        labels: the MCS, the payload's bytes, what the system chose.
        seconds: wall time of transmission, source coding and decoding included.
        rows: the same as result rows.
    """

    system: str
    received: Tensor
    metrics: Mapping[str, float]
    uses: int
    rho: float
    tx_power: float
    status: str
    labels: Mapping[str, str | float]
    seconds: float
    rows: tuple[Row, ...]

    @property
    def shown_status(self) -> str:
        """The status, or how much of a frame was lost: ``34 % lost``."""
        lost = float(self.labels.get("lost", 0.0))
        return f"{100 * lost:.0f} % lost" if self.status == "ok" and lost > 0 else self.status


def arrival_of(rows: tuple[Row, ...], received: Tensor, seconds: float) -> Arrival:
    """An arrival from the rows of its message, of which there is at least one."""
    first = rows[0]
    return Arrival(
        system=first.system,
        received=received,
        metrics={row.metric: row.value for row in rows},
        uses=first.uses,
        rho=first.rho,
        tx_power=first.tx_power,
        status=first.status,
        labels=first.labels,
        seconds=seconds,
        rows=rows,
    )


@dataclass(frozen=True)
class SendResult:
    """A picture, what arrived of it, and the systems' PSNR over the SNR on this very picture.

    Attributes:
        source: what the user named.
        sent: (3, H, W) float32 in [0, 1].
        arrivals: one for each system, in the order that was asked for.
        channel, snr_db, seed: the point.
        sweep: PSNR rows over the SNR; ``labels["role"]`` tells ``learned``, ``fixed`` (the MCS of
            ``snr_db`` at every SNR) and ``best`` (the best MCS for each SNR).
        sweep_note: what the sweep was run on, such as a centre crop.
        command: the command line that makes this again.
    """

    source: str
    sent: Tensor
    arrivals: tuple[Arrival, ...]
    channel: str
    snr_db: float
    seed: int
    sweep: tuple[Row, ...]
    sweep_note: str
    command: str


def send(
    image: Tensor,
    systems: Sequence[System],
    *,
    channel: str,
    snr_db: float,
    seed: int,
    progress: Report | None = None,
) -> tuple[Arrival, ...]:
    """Send one picture (3, H, W) by each system over the same noise."""
    point = Point(snr_db=snr_db)
    return send_at(image, systems, channel=channel, point=point, seed=seed, progress=progress)


def send_at(
    image: Tensor,
    systems: Sequence[System],
    *,
    channel: str,
    point: Point,
    seed: int,
    progress: Report | None = None,
) -> tuple[Arrival, ...]:
    """As :func:`send`, at any kind of point."""
    arrivals = []
    for system in systems:
        if progress is not None:
            progress(system.name)
        measured = measure(
            system, image, "input", channel=channel, point=point, repeat=0, seed=seed
        )
        arrivals.append(arrival_of(measured.rows, measured.received, measured.seconds))
    return tuple(arrivals)


SWEEP_SNR_DB: tuple[float, ...] = tuple(float(snr) for snr in range(0, 21, 2))
_SWEEP_SIDE = 256


def sweep_picture(image: Tensor) -> tuple[Tensor, str]:
    """The part of a picture that a sweep runs on: its centre, at most 256 x 256."""
    height, width = image.shape[1:]
    rows, columns = min(height, _SWEEP_SIDE), min(width, _SWEEP_SIDE)
    top, left = (height - rows) // 2, (width - columns) // 2
    part = image[:, top : top + rows, left : left + columns]
    whole = (rows, columns) == (height, width)
    return part, "the whole picture" if whole else f"its centre, {columns} x {rows}"


def sweep(
    image: Tensor,
    systems: Sequence[tuple[str, System]],
    *,
    channel: str,
    seed: int,
    points: Sequence[float] = SWEEP_SNR_DB,
    progress: Report | None = None,
) -> tuple[Row, ...]:
    """PSNR of one picture over the SNR, every point simulated.

    Args:
        systems: (role, system) pairs; see :class:`SendResult`.
    """
    rows: list[Row] = []
    for role, system in systems:
        for snr_db in points:
            if progress is not None:
                progress(f"{system.name} at {snr_db:g} dB")
            measured = measure(
                system,
                image,
                "sweep",
                channel=channel,
                point=Point(snr_db=snr_db),
                repeat=0,
                seed=seed,
                metrics=(PSNR,),
            )
            (row,) = measured.rows
            rows.append(replace(row, labels={**row.labels, "role": role}))
    return tuple(rows)
