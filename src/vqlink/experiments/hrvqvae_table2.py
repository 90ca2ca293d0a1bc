"""``hrvqvae-table2``: time to encode and decode pictures, the search apart from the networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vqlink.experiments.cells import Cell, run_cells
from vqlink.experiments.hrvqvae_images import DIM, HierarchyRun, build
from vqlink.experiments.reproduction import Budget, Claim, Reproduction, Row, select
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.rng import stream
from vqlink.systems.autoencoder import VQAutoencoder
from vqlink.systems.vqvae2 import VQVAE2

SIZES = {
    512: {"hr": "8x8x8", "vqvae": "512", "vqvae2": "512"},
    4096: {"hr": "16x16x16", "vqvae": "4096", "vqvae2": "4096"},
    262144: {"hr": "64x64x64", "vqvae": "262144", "vqvae2": "262144"},
}
PICTURES, _BATCH = 10_000, 250
_FLAT = 2_560  # vectors that a flat search among the most codewords is timed on
_PAPER = {"hr": 0.4667842, "vqvae": 2.7087896, "vqvae2": 4.4492340}  # seconds, CIFAR-10
_NOTES = (
    "seconds for 10,000 pictures of 32x32 with 16x16 latents of D = 64 (VQ-VAE-2: 8x8 and 4x4 "
    "besides), untrained nets, float32, batches of 250, one thread; the second of two "
    "passes over the networks' batch",
    "search: the nearest codeword of every latent vector; codewords and vectors are normal, since "
    "the time of these searches doesn't depend on them but for how the parents are spread; flat "
    "searches among 262,144 are timed on 2,560 vectors and scaled",
    "decoding has no search: it is a look-up, counted with the decoder",
)


def reproduce(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Time what is missing, one after the other, and set the ratios beside the paper's."""
    sizes = list(SIZES)[: 1 if budget == "smoke" else 3]
    cells: list[Cell] = [
        {"model": model, "branches": branches, "codes": codes}
        for codes in sizes
        for model, branches in SIZES[codes].items()
    ]
    path = folder / "hrvqvae-table2.jsonl"
    rows = run_cells(cells, _run_cell, path, jobs=min(jobs, 1))
    return Reproduction(
        "hrvqvae-table2",
        "003, Table 2: seconds for 10,000 pictures, CIFAR-10's size",
        ("codes", "model", "codebooks", "encoder", "search", "decoder", "total",
         "total / HR", "search / HR"),
        tuple(_table_row(rows, row) for row in rows),
        tuple(_claim(rows, rival) for rival in ("vqvae", "vqvae2")),
        path,
        (),
        _NOTES,
    )  # fmt: skip


def _run_cell(cell: Cell) -> list[Row]:
    run = HierarchyRun(str(cell["model"]), str(cell["branches"]), False, seed=0)  # type: ignore[arg-type]
    system = build(run).eval()
    pictures = torch.rand(_BATCH, 3, 32, 32, generator=stream(0, "pictures"))
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    scale = PICTURES / _BATCH
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = (
            _of_vqvae2(system, pictures)
            if isinstance(system, VQVAE2)
            else _of_one(system, pictures)
        )
    finally:
        torch.set_num_threads(threads)
    return [{name: seconds * scale for name, seconds in times.items()}]


@torch.no_grad()
def _of_one(system: nn.Module, pictures: Tensor) -> dict[str, float]:
    assert isinstance(system, VQAutoencoder)
    latents = system.encoder(pictures)
    return {
        "encoder": _seconds(lambda: system.encoder(pictures)),
        "search": _search(system.quantizer, latents[..., 0].numel()),
        "decoder": _seconds(lambda: system.decoder(latents)),
    }


@torch.no_grad()
def _of_vqvae2(system: VQVAE2, pictures: Tensor) -> dict[str, float]:
    """The heads and enlargements between the searches count as encoder; the image as decoder."""
    dim = system.codebooks[0].dim
    sides = (4, 8, 16)
    codes = [torch.zeros(len(pictures), dim, side, side) for side in sides]

    def encoder() -> None:
        features = system._features(pictures)
        for place in range(3):
            system._latents(place, features, codes[:place])

    return {
        "encoder": _seconds(encoder),
        "search": sum(
            _search(quantizer, len(pictures) * side * side)
            for quantizer, side in zip(system.codebooks, sides, strict=True)
        ),
        "decoder": _seconds(lambda: system._image(codes)),
    }


def _search(quantizer: VectorQuantizer | ResidualQuantizer, count: int) -> float:
    """Seconds to find the codewords of ``count`` normal vectors."""
    flat = isinstance(quantizer, VectorQuantizer) and quantizer.size > 2**16
    timed = min(count, _FLAT) if flat else count
    draws = stream(0, "search")
    for parameter in quantizer.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=draws))
    vectors = torch.randn(timed, DIM, generator=draws)
    return _seconds(lambda: quantizer.encode(vectors)) * count / timed


def _seconds(work: Callable[[], object]) -> float:
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _total(row: Row) -> float:
    return float(row["encoder"] + row["search"] + row["decoder"])


def _table_row(rows: Sequence[Row], row: Row) -> tuple[str | float | None, ...]:
    ours = select(rows, codes=row["codes"], model="hr")
    ratios = (
        (round(_total(row) / _total(ours[0]), 2), round(row["search"] / ours[0]["search"], 1))
        if ours
        else (None, None)
    )
    times = (row["encoder"], row["search"], row["decoder"], _total(row))
    return (row["codes"], row["model"], row["branches"], *(round(t, 2) for t in times), *ratios)


def _claim(rows: Sequence[Row], rival: str) -> Claim:
    """The paper's ratio of the whole, judged at the codewords of its Table 1."""
    paper = _PAPER[rival] / _PAPER["hr"]
    text = (
        f"HR-VQVAE is {paper:.1f} times as fast as {rival} at {min(SIZES)} codes (paper, CIFAR-10, "
        "which doesn't give them)"
    )
    parts, held = [], []
    for codes in SIZES:
        ours, theirs = (select(rows, codes=codes, model=model) for model in ("hr", rival))
        if ours and theirs:
            whole = _total(theirs[0]) / _total(ours[0])
            search = theirs[0]["search"] / ours[0]["search"]
            held.append(whole >= paper)
            parts.append(f"{codes:,} codes: {whole:.1f} times, the search alone {search:.1f}")
    return Claim(text, held[0] if held else None, "; ".join(parts) or "not run")
