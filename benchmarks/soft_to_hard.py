"""A training step of the soft-to-hard quantizer against eq. 12 as printed.

    python benchmarks/soft_to_hard.py [--threads 2] [--out benchmarks/soft_to_hard.json]

Forward and backward of 32 x 4096 symbols onto square QAM. ``plain`` builds the M-wide softmax;
``factorised`` is QAMQuantizer, ``chunked`` ConstellationQuantizer, whose points may be anything and
learned. Medians; memory as peak resident set above the inputs; a process each. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from vqlink.quantizers.constellation import ConstellationQuantizer, qam_points
from vqlink.quantizers.qam import QAMQuantizer, plain_soft_points

SYMBOLS, HARDNESS = 32 * 4096, 10.0
WAYS = ("factorised", "chunked", "plain")


def measure(way: str, order: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    z = torch.randn(SYMBOLS, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    points = qam_points(order)
    quantizer = (
        QAMQuantizer(order, hardness=HARDNESS)
        if way == "factorised"
        else ConstellationQuantizer(points, learned=True, hardness=HARDNESS)
    )

    def step() -> None:
        z.grad = None
        soft = way == "plain"
        values = plain_soft_points(z, points, HARDNESS) if soft else quantizer(z).values
        values.square().sum().backward()

    def resident() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(s.split()[1]) for s in lines if s.startswith("VmRSS"))

    before = resident()
    peak, stop = [before], threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            peak[0] = max(peak[0], resident())

    thread = threading.Thread(target=watch)
    thread.start()
    step()
    stop.set()
    thread.join()
    times = []
    for _ in range(2 if way == "plain" else 7):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return {"seconds": statistics.median(times), "mib": (peak[0] - before) / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for order in (64, 4096):
        found = {}
        for way in WAYS:
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                found[way] = pool.submit(measure, way, order, options.threads).result()
        for way in WAYS:
            rows.append(
                {
                    "M": order,
                    "way": way,
                    "ms": round(found[way]["seconds"] * 1e3, 1),
                    "mib": round(found[way]["mib"]),
                    "times_faster": round(found["plain"]["seconds"] / found[way]["seconds"], 1),
                }
            )
    result = {"symbols": SYMBOLS, "threads": options.threads, "torch": torch.__version__}
    text = json.dumps({**result, "rows": rows}, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
