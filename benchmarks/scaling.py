"""What a large sweep takes on one core and on 100 nodes, from measured times.

    python benchmarks/scaling.py --data data/kodak --out benchmarks/scaling.json

Measures the CPU time of a transmission with its metrics for each system (one thread), and what Ray
adds to a task that carries a 768x512 picture. The rest is arithmetic, printed as a table.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from fractions import Fraction
from pathlib import Path

import torch

from vqlink.evaluation.run import Task, run_task
from vqlink.evaluation.systems import open_channel, open_systems
from vqlink.sources.datasets import open_images

SYSTEMS = ("jscc-q64-awgn-1-12", "jpeg+ldpc5g", "hevc+ldpc5g", "vqdeepsc-4")
SNR_DB = (4.0, 12.0)

# The sweep: ten systems of each kind, 1,000 pictures, 11 points, 10 draws of a fading channel.
SWEEP = {"systems": 10, "pictures": 1000, "points": 11, "repeats": 10}
NODES, CORES = 100, 32


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="data/kodak")
    parser.add_argument("--pictures", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/scaling.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = open_images(arguments.data)[: arguments.pictures]
    measured = {name: seconds_of(name, list(images)) for name in SYSTEMS}
    document = {"seconds": measured, "ray": overhead_of_ray(images[0][1]), "sweep": SWEEP}
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    print_table(measured, document["ray"])


def seconds_of(name: str, images: list[tuple[str, torch.Tensor]]) -> float:
    """CPU seconds of one transmission, PSNR and MS-SSIM included; the first of all is left out."""
    systems = open_systems([name], open_channel("awgn")[0], Fraction(1, 12))
    taken = []
    for sample, image in [images[0], *images]:
        for snr_db in SNR_DB:
            task = Task(0, sample, image, "awgn", snr_db, (0,), 0, ("psnr", "ms_ssim"))
            start = time.process_time()
            list(run_task(task, systems))
            taken.append(time.process_time() - start)
    kept = taken[len(SNR_DB) :]
    print(f"{name}: {sum(kept) / len(kept):.2f} s", flush=True)
    return sum(kept) / len(kept)


def overhead_of_ray(image: torch.Tensor, tasks: int = 1000) -> dict[str, float]:
    """Seconds to start, and a task's own on two workers that do nothing with the picture."""
    import ray

    start = time.perf_counter()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    look = ray.remote(lambda picture: picture.shape)
    ray.get([look.remote(ray.put(image.numpy())) for _ in range(2)])
    ready = time.perf_counter()
    stored = ray.put(image.numpy())  # once for all its tasks, as the engine does
    ray.get([look.remote(stored) for _ in range(tasks)])
    ended = time.perf_counter()
    ray.shutdown()
    return {"start": ready - start, "task": (ended - ready) / tasks}


def print_table(measured: dict[str, float], ray: dict[str, float]) -> None:
    """Core hours of the sweep for ten systems like each, and hours on the nodes."""
    count = math.prod(SWEEP.values())
    tasks = count // SWEEP["repeats"]
    print(f"{count:,} transmissions, {tasks:,} tasks; Ray: {ray}")
    for name, seconds in measured.items():
        core = count * seconds
        spread = core / (NODES * CORES)
        driver = tasks * ray["task"]
        print(
            f"{name}: {core / 3600:,.0f} core hours; {NODES} nodes of {CORES} cores: "
            f"{spread / 60:.1f} min of work, {driver / 60:.1f} min of hand-outs"
        )


if __name__ == "__main__":
    main()
