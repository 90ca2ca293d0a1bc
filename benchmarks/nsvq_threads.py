"""NSVQ beside scikit-learn's MiniBatchKMeans over the same epochs, on two threads.

    python benchmarks/nsvq_threads.py

The rows of ``vqlink reproduce nsvq-table2`` were measured on one thread a process. Two shapes, 8
and 12 bits, seed 0, a million points; writes benchmarks/nsvq_threads.json.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import torch

from vqlink.experiments.nsvq_toys import ToyRun, draw, error, fit

OUT = Path(__file__).parent / "nsvq_threads.json"
THREADS = 2


def main() -> None:
    torch.set_num_threads(THREADS)
    rows = []
    for shape, bits in itertools.product(("moons", "swiss-roll"), (8, 12)):
        data = draw(shape)  # type: ignore[arg-type]
        row: dict[str, object] = {"shape": shape, "bits": bits, "threads": THREADS}
        for method in ("nsvq", "minibatch-kmeans"):
            codebook, seconds = fit(ToyRun(shape, bits, method, 0), data)  # type: ignore[arg-type]
            row[f"{method} seconds"] = round(seconds, 2)
            row[f"{method} mse"] = error(data, codebook)[0]
        rows.append(row)
        print(row, flush=True)
    OUT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
