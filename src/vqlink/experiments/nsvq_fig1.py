"""``nsvq-fig1``: Figure 1 of paper 002, a speech codec with NSVQ and with straight-through."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from vqlink.config.speech import SpeechCodecRecipe, build_envelope, load_speech_recipe
from vqlink.digital.opus import available, opus_round_trip
from vqlink.experiments.cells import Cell, run_cells
from vqlink.experiments.reproduction import Budget, Claim, Reproduction, Row, select
from vqlink.metrics.audio import check_pesq, perceptual_snr, pesq_wideband, stoi
from vqlink.reporting.figures import curves_figure
from vqlink.sources.audio import find_recordings, read_audio
from vqlink.systems.speech_codec import SpeechCodec, stream_kbps
from vqlink.systems.speech_envelope import EnvelopeModel
from vqlink.systems.speech_frames import RATES_KBPS

METRICS = ("pesq", "psnr_db", "stoi")
_LABELS = {"pesq": "PESQ (MOS-LQO, wideband)", "psnr_db": "pSNR in dB", "stoi": "STOI"}
METHODS: dict[str, dict[str, Any]] = {
    "nsvq": {},
    "ste": {"gradient": "straight_through", "learning": "loss", "replacement": None},
    "ste-replaced": {"gradient": "straight_through", "learning": "loss"},
}
_PAPER = {"pesq": 86, "psnr_db": 84, "stoi": 76}
_AIM = {"pesq": 65, "psnr_db": 75}
_NOTES = (
    "20 test recordings of 20 speakers who are not among the 82 of the training; a case is a "
    "recording at a rate, for each seed",
    "the rate is that of all bytes of the stream: frames of a constant size and 1 % of header, "
    "checks and the last frame's overlap",
    "every method has the same start N(0, 1), nets, batches, rates and steps; the recipe is "
    "speech-codec; noise filling is on for all",
    "ste-replaced, not in the paper, is straight-through with NSVQ's codebook replacement",
    "Opus by libsndfile, at its own variable rate, bisected to an average at or below ours; Ogg "
    "pages and headers are not counted for it",
    "pSNR weighs spectra by |A(z/0.92)| of the sent speech (AMR-WB); the paper does not define its",
)


def reproduce(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Train and measure what is missing of Figure 1."""
    seeds, rates = {
        "smoke": (1, (8.0, 32.0)),
        "cpu": (1, RATES_KBPS),
        "full": (5, RATES_KBPS),
    }[budget]
    names = [*METHODS, *(["opus"] if available() else [])]
    cells: list[Cell] = [
        {"method": method, "seed": seed, "kbps": kbps}
        for seed, method, kbps in itertools.product(range(seeds), names, rates)
        if method in ("nsvq", "ste") or seed == 0
    ]
    path = folder / "nsvq-fig1.jsonl"
    if jobs:
        check_pesq()
    work = functools.partial(run_cell, folder=folder, smoke=budget == "smoke")
    return summarise(run_cells(cells, work, path, jobs=jobs), path)


def run_cell(cell: Cell, folder: Path, smoke: bool) -> list[Row]:
    """One codec at one rate over the test recordings, a row each.

    Args:
        folder: where the trained weights stay.
    """
    method, kbps, seed = str(cell["method"]), float(cell["kbps"]), int(cell["seed"])
    recipe = _recipe(method, seed, smoke)
    codec = None if method == "opus" else _codec(method, recipe, folder)
    rows: list[Row] = []
    for path in find_recordings(recipe.source.validation or "")[: 2 if smoke else None]:
        sent = read_audio(path).samples
        if codec is None:
            values, rate = opus_round_trip(sent.numpy(), kbps)
            received = torch.from_numpy(values)
        else:
            data = codec.encode(sent, kbps)
            received, rate = codec.decode(data).samples, stream_kbps(data, sent.shape[0])
        rows.append(
            {
                "sample": path.stem,
                "rate_kbps": round(rate, 4),
                "pesq": round(pesq_wideband(received, sent), 4),
                "psnr_db": round(perceptual_snr(received, sent), 4),
                "stoi": round(stoi(received, sent), 5),
            }
        )
    return rows


def summarise(rows: list[Row], path: Path) -> Reproduction:
    """The table, claims and plot of the rows that there are."""
    return Reproduction(
        name="nsvq-fig1",
        title="002, Fig. 1: a speech codec whose envelopes have 12 bits",
        columns=("method", "kbit/s", "measured", "PESQ", "PESQ 95 %", "pSNR dB", "pSNR 95 %",
                 "STOI", "STOI 95 %", "n"),
        table=tuple(_table(rows)),
        claims=tuple(_claims(rows)),
        rows=path,
        plots=_plots(rows, path.parent),
        notes=_NOTES,
    )  # fmt: skip


def _recipe(method: str, seed: int, smoke: bool) -> SpeechCodecRecipe:
    recipe = load_speech_recipe("speech-codec")
    assert isinstance(recipe, SpeechCodecRecipe)
    changes = METHODS.get(method, {})
    envelope = recipe.envelope.model_copy(update=changes)
    training = recipe.training.model_copy(
        update={"seed": seed, **({"steps": 20, "frames": 256} if smoke else {})}
    )
    return recipe.model_copy(update={"envelope": envelope, "training": training})


def _codec(method: str, recipe: SpeechCodecRecipe, folder: Path) -> SpeechCodec:
    """The codec of a method and seed, trained once: its weights stay beside the rows' folder."""
    path = folder / "nsvq-fig1-weights" / f"{method}-{recipe.training.seed}.safetensors"
    if path.exists():
        envelope: EnvelopeModel = build_envelope(recipe.envelope)
        envelope.load_state_dict(load_file(path))
    else:
        from vqlink.training.speech import read_frames, train_envelope

        envelope = train_envelope(recipe, read_frames(recipe.source, seed=0))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")  # processes may train the same one
        save_file(envelope.state_dict(), partial)
        partial.replace(path)
    return SpeechCodec(envelope.eval(), filling=recipe.filling)


def _table(rows: Sequence[Row]) -> list[tuple[str | int | float | None, ...]]:
    table: list[tuple[str | int | float | None, ...]] = []
    for method, kbps in itertools.product((*METHODS, "opus"), RATES_KBPS):
        found = select(rows, method=method, kbps=kbps)
        if not found:
            continue
        line: list[str | int | float | None] = [method, kbps]
        line.append(round(float(np.mean([row["rate_kbps"] for row in found])), 2))
        for metric in METRICS:
            values = [row[metric] for row in found]
            digits = 3 if metric == "stoi" else 2
            low, high = np.quantile(values, (0.025, 0.975))
            line += [round(float(np.mean(values)), digits), f"{low:.{digits}f}-{high:.{digits}f}"]
        table.append((*line, len(found)))
    return table


def _claims(rows: Sequence[Row]) -> list[Claim]:
    claims = []
    for metric in ("psnr_db", "pesq", "stoi"):
        aim = _AIM.get(metric)
        name = {"psnr_db": "pSNR", "pesq": "PESQ", "stoi": "STOI"}[metric]
        text = f"NSVQ is above straight-through in {name}"
        text += f" in at least {aim} % of the cases" if aim else " more often than not"
        won, figures = _wins(rows, metric, "nsvq", "ste")
        figures += f" (paper {_PAPER[metric]} %)" if won is not None else ""
        claims.append(Claim(text, None if won is None else won >= (aim or 50) / 100, figures))
    for metric in ("psnr_db", "pesq"):
        name = {"psnr_db": "pSNR", "pesq": "PESQ"}[metric]
        won, figures = _wins(rows, metric, "nsvq", "ste-replaced")
        text = f"NSVQ is above straight-through with the same replacement in {name} (not in 002)"
        claims.append(Claim(text, None if won is None else won > 0.5, figures))
    gains = [
        float(np.mean([a["psnr_db"] - b["psnr_db"] for a, b in _pairs(rows, kbps, "nsvq", "ste")]))
        for kbps in RATES_KBPS
        if _pairs(rows, kbps, "nsvq", "ste")
    ]
    claims.append(
        Claim(
            "NSVQ's mean gain in pSNR is 0.43 to 0.79 dB, rising with the rate",
            gains == sorted(gains) and min(gains) >= 0.43 if gains else None,
            "ours " + ", ".join(f"{gain:+.2f}" for gain in gains) + " dB" if gains else "not run",
        )
    )
    won, figures = _wins(rows, "pesq", "nsvq", "opus")
    text = "NSVQ's codec is above Opus in PESQ at the same rate (not in 002)"
    claims.append(Claim(text, None if won is None else won > 0.5, figures))
    return claims


def _pairs(rows: Sequence[Row], kbps: float, a: str, b: str) -> list[tuple[Row, Row]]:
    """The rows of two methods on the same recording, at the same rate, with the same seed."""
    others = {(row["sample"], row["seed"]): row for row in select(rows, method=b, kbps=kbps)}
    keys = [(row, (row["sample"], row["seed"])) for row in select(rows, method=a, kbps=kbps)]
    return [(row, others[key]) for row, key in keys if key in others]


def _wins(rows: Sequence[Row], metric: str, a: str, b: str) -> tuple[float | None, str]:
    pairs = [pair for kbps in RATES_KBPS for pair in _pairs(rows, kbps, a, b)]
    if not pairs:
        return None, "not run"
    gains = [one[metric] - other[metric] for one, other in pairs]
    won = sum(gain > 0 for gain in gains) / len(gains)
    return won, f"{100 * won:.0f} % of {len(pairs)}, mean difference {np.mean(gains):+.3f}"


def _plots(rows: Sequence[Row], folder: Path) -> tuple[Path, ...]:
    panels = []
    for metric in METRICS:
        curves = {}
        for method in (*METHODS, "opus"):
            curve = [_spot(select(rows, method=method, kbps=k), k, metric) for k in RATES_KBPS]
            if any(curve):
                curves[method] = [spot for spot in curve if spot is not None]
        panels.append((_LABELS[metric], curves))
    if not panels[0][1]:
        return ()
    path = folder / "nsvq-fig1.svg"
    path.write_text(curves_figure(panels, "kbit/s"), encoding="utf-8")
    return (path,)


def _spot(rows: Sequence[Row], kbps: float, metric: str) -> tuple[float, float, float] | None:
    """Mean and half the width of the range that holds 95 % of the recordings."""
    if not rows:
        return None
    values = [row[metric] for row in rows]
    low, high = np.quantile(values, (0.025, 0.975))
    return kbps, float(np.mean(values)), float(high - low) / 2
