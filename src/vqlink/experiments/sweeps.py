"""Sweeps over SNR: the cells of the figures that show quality over channel quality.

A cell is one system over one channel. Its rows, one an SNR, are means over pictures and draws of
the channel, of hard messages that were simulated; ``vqlink evaluate`` gives the single ones.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vqlink.config.channels import channel_name, parse_channel
from vqlink.config.load import recipe_hash
from vqlink.config.weights import MODEL_NAME, sha256_of
from vqlink.evaluation.run import evaluate, summarise
from vqlink.evaluation.systems import System, open_systems
from vqlink.experiments.cells import Cell
from vqlink.experiments.reproduction import Row, select
from vqlink.reporting.figures import Curve
from vqlink.sources.datasets import ImageCollection, open_images
from vqlink.systems.index_code import IndexCode
from vqlink.systems.jscc import JSCC
from vqlink.zoo.catalogue import entries, load_system, weights_folder


@dataclass(frozen=True)
class Sweep:
    """What a cell is measured on.

    Attributes:
        data: location of the pictures.
        samples: number of pictures, evenly spread over the data.
        snr_db: points.
        repeats: draws of the channel for each picture and point.
        metrics: names.
        crop: side of the centre crop; None for whole pictures.
        seed: of the noise.
    """

    data: str
    samples: int
    snr_db: tuple[float, ...]
    repeats: int = 1
    metrics: tuple[str, ...] = ("psnr", "ms_ssim")
    crop: int | None = None
    seed: int = 0

    def images(self) -> ImageCollection:
        """The pictures."""
        whole = open_images(self.data)
        count = min(self.samples, len(whole))
        chosen = [index * len(whole) // count for index in range(count)]
        return ImageCollection(
            [whole[index][0] for index in chosen],
            lambda place: self._cropped(whole[chosen[place]][1]),
        )

    def _cropped(self, image: Tensor) -> Tensor:
        if self.crop is None:
            return image
        top, left = ((side - self.crop) // 2 for side in image.shape[1:])
        return image[:, top : top + self.crop, left : left + self.crop]


def weights_of(name: str) -> str:
    """A learned system's zoo name, or the folder of its run in ``runs/`` while it has none."""
    folder = Path("runs") / name / "weights"
    known = any(entry.name == name for entry in entries())
    return str(folder) if not known and folder.is_dir() else name


def can_open(name: str) -> bool:
    """Whether a system is classical or has weights, in the zoo or in ``runs/``."""
    folder = Path("runs") / name / "weights"
    return "+" in name or folder.is_dir() or any(entry.name == name for entry in entries())


def weights_now(cell: Cell) -> str | None:
    """The sha256 of the weights that a cell's system would be measured with; None without any."""
    name = str(cell["system"])
    if "+" in name or not can_open(name):
        return None
    return sha256_of(weights_folder(weights_of(name)) / MODEL_NAME)


def open_system(name: str, channel: str, reference: str, *, told: float | None = None) -> System:
    """The system over a channel; a classical link gets the uses of the learned ``reference``.

    Args:
        told: the SNR in dB that both ends of a JSCC code are told, whatever it is; None: the real.
    """
    config = parse_channel(channel)
    if "+" in name:
        return open_systems([weights_of(reference), name], config, None)[-1]
    (system,) = open_systems([weights_of(name)], config, None)
    if told is not None:
        assert isinstance(system.transceiver, JSCC)
        system.transceiver.told_snr_db = told
    return system


def sweep_cell(cell: Cell, *, sweep: Sweep, reference: str) -> list[Row]:
    """One system over one channel: a row for each SNR."""
    told = cell.get("told")
    system = open_system(
        str(cell["system"]),
        str(cell["channel"]),
        reference,
        told=None if told is None else float(told),
    )
    started = time.monotonic()
    rows = evaluate(
        [system],
        sweep.images(),
        channel=channel_name(parse_channel(str(cell["channel"]))),
        snr_db=sweep.snr_db,
        repeats=sweep.repeats,
        seed=sweep.seed,
        metrics=sweep.metrics,
    )
    seconds = round(time.monotonic() - started, 1)
    summaries = summarise(rows)
    found = []
    for snr_db in sweep.snr_db:
        here = {s.metric: s for s in summaries if s.point["snr_db"] == snr_db}
        first = here[sweep.metrics[0]]
        found.append(
            {
                "snr_db": snr_db,
                **{name: here[name].mean for name in sweep.metrics},
                **{f"{name}_ci95": here[name].ci95 for name in sweep.metrics},
                "pictures": len({row.sample for row in rows}),
                "repeats": sweep.repeats,
                "outages": first.outages,
                "n": first.n,
                "uses": first.uses,
                "rho": first.rho,
                "tx_power": first.tx_power,
                "flags": list(first.flags),
                "weights": system.weights,
                "recipe": system.recipe,
                "data": sweep.data,
                "noise_seed": sweep.seed,
                "cell_seconds": seconds,
            }
        )
    return found


def bound_row(name: str, sweep: Sweep) -> Row:
    """What an index code's net gives without quantization and channel: means over the pictures."""
    from vqlink.metrics.table import metrics_for

    code, recipe, weights = load_system(weights_of(name))
    assert isinstance(code, IndexCode)
    totals = dict.fromkeys(sweep.metrics, 0.0)
    images = sweep.images()
    for place in range(len(images)):
        image = images[place][1][None]
        received = code.reconstruct(image)
        for metric in metrics_for(*image.shape[2:]):
            if metric.name in totals:
                totals[metric.name] += float(metric.function(received, image)[0])
    means = {name: total / len(images) for name, total in totals.items()}
    return {**means, "n": len(images), "weights": weights, "recipe": recipe_hash(recipe)}


def curve(rows: Sequence[Row], metric: str, **cell: object) -> Curve:
    """(SNR, mean, half-width of the 95 % interval) of one cell, by rising SNR."""
    found = sorted(select(rows, **cell), key=lambda row: float(row["snr_db"]))
    return [(row["snr_db"], row[metric], row[f"{metric}_ci95"] or 0.0) for row in found]


def at(rows: Sequence[Row], metric: str, snr_db: float, **cell: object) -> float | None:
    """The mean at one SNR; None where it was not run."""
    found = select(rows, snr_db=snr_db, **cell)
    return float(found[0][metric]) if found else None
