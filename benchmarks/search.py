"""Codebook search and training steps against vector-quantize-pytorch, in one run.

    python benchmarks/search.py [--threads 2] [--out benchmarks/search.json]

65,536 vectors of D = 64; after a first run, which is slower, the median of seven of ours and of
``product``, and one of theirs, which takes up to 18 s; memory as peak resident set above the
inputs; each in a process of its own. ``product`` is the bare chunked
matrix product of the same shape, which bounds what any exact search by matrix product can reach.
Prints JSON; takes about three minutes, most of them theirs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from vector_quantize_pytorch import VectorQuantize

from vqlink.quantizers.vector import VectorQuantizer

COUNT, DIM = 65_536, 64
SIZES = (512, 2048, 8192)
OURS = {
    "straight_through": ("straight_through", "loss"),
    "ema": ("straight_through", "ema"),
    "nsvq": ("noise", "gradient"),
}


def product(x: torch.Tensor, c: torch.Tensor) -> Callable[[], object]:
    bias, right = c.square().sum(1), (-2 * c).T
    rows = (1 << 21) // c.shape[0]
    buffer = torch.empty(rows, c.shape[0])

    def run() -> None:
        for start in range(0, x.shape[0], rows):
            torch.addmm(bias, x[start : start + rows], right, out=buffer)

    return run


def task(name: str, size: int, count: int = COUNT) -> Callable[[], object]:
    """What is timed: ``product``, ``ours:eval``, ``theirs:train:ema``, ..."""
    g = torch.Generator().manual_seed(0)
    x, c = torch.randn(count, DIM, generator=g), torch.randn(size, DIM, generator=g)
    if name == "product":
        return product(x, c)
    who, mode, *method = name.split(":")
    path = method[0] if method else "straight_through"
    module = ours(path, size, c) if who == "ours" else theirs(path, size, c)
    if mode == "eval":
        module.eval()
        return torch.inference_mode()(lambda: module(x))  # type: ignore[no-any-return]
    z = x.clone().requires_grad_()

    def step() -> None:
        z.grad = None
        if who == "ours":
            out = module(z, generator=g)
            loss = out.values.square().mean() + sum(out.losses.values())
        else:
            values, _, extra = module(z)
            loss = values.square().mean() + extra.sum()
        loss.backward()
        if who == "ours":
            module.after_step(generator=g)  # type: ignore[operator]

    return step


def ours(path: str, size: int, codebook: torch.Tensor) -> torch.nn.Module:
    gradient, learning = OURS[path]
    module = VectorQuantizer(size, DIM, gradient=gradient, learning=learning)  # type: ignore[arg-type]
    module.codebook.data.copy_(codebook)
    return module


def theirs(path: str, size: int, codebook: torch.Tensor) -> torch.nn.Module:
    """Their nearest counterpart: no NSVQ there, so DiVeQ, which draws noise too, stands in."""
    options = {
        "straight_through": {
            "learnable_codebook": True,
            "ema_update": False,
            "rotation_trick": False,
        },
        "ema": {"rotation_trick": False},
        "nsvq": {
            "directional_reparam": True,
            "threshold_ema_dead_code": 1,
            "learnable_codebook": True,
            "ema_update": False,
            "rotation_trick": False,
        },
    }[path]
    module = VectorQuantize(dim=DIM, codebook_size=size, **options)
    module._codebook.embed.data.copy_(codebook[None])
    return module


def measure(name: str, size: int, threads: int) -> dict[str, float]:
    """Median seconds of full runs (theirs: one), and a first one's peak memory above the inputs."""
    torch.set_num_threads(threads)
    task(name, size, 4096)()  # what only a first call does
    run = task(name, size)
    before = resident()
    peak, stop = [before], threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            peak[0] = max(peak[0], resident())

    thread = threading.Thread(target=watch)
    thread.start()
    times = []
    repeats = 1 if name.startswith("theirs") else 7
    for repeat in range(1 + repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
        if repeat == 0:
            stop.set()
            thread.join()
    return {"seconds": statistics.median(times[1:]), "mib": (peak[0] - before) / 2**20}


def resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def same_indices(threads: int) -> dict[str, int]:
    """How many of their indices differ from ours where the two nearest aren't nearly equal."""
    torch.set_num_threads(threads)
    found = {}
    for size in SIZES[:2]:
        g = torch.Generator().manual_seed(0)
        x, c = torch.randn(COUNT, DIM, generator=g), torch.randn(size, DIM, generator=g)
        a = ours("ema", size, c).eval()(x).indices
        b = theirs("ema", size, c).eval()(x)[1]
        gap = (x - c[a]).square().sum(1) - (x - c[b]).square().sum(1)
        found[str(size)] = int((gap.abs() > 1e-4).sum())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for size in SIZES:
        figures = {}
        modes = ["eval", *(f"train:{path}" for path in OURS)]
        for name in ["product", *(f"{who}:{m}" for m in modes for who in ("ours", "theirs"))]:
            # A fork has torch imported already, and no memory of the last task.
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                figures[name] = pool.submit(measure, name, size, options.threads).result()
            print(size, name, figures[name], file=sys.stderr)
        for mode in modes:
            a, b = figures[f"ours:{mode}"], figures[f"theirs:{mode}"]
            rows.append(
                {
                    "K": size,
                    "mode": mode,
                    "ours_ms": round(a["seconds"] * 1e3, 1),
                    "theirs_ms": round(b["seconds"] * 1e3, 1),
                    "times_faster": round(b["seconds"] / a["seconds"], 1),
                    "of_product": round(a["seconds"] / figures["product"]["seconds"], 2),
                    "ours_mib": round(a["mib"]),
                    "theirs_mib": round(b["mib"]),
                }
            )
    result = {
        "vectors": COUNT,
        "dim": DIM,
        "threads": options.threads,
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "different_indices": same_indices(options.threads),
        "rows": rows,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
