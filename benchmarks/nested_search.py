"""The nested search of a residual tree against the flat search of as many codewords, in one run.

    python benchmarks/nested_search.py [--threads 2] [--out benchmarks/nested_search.json]

65,536 vectors of D = 64; medians of five runs after a first one (the flat search of 262,144
codewords on a sixteenth of the vectors, times 16). The vectors are sums of codewords with noise, so
that every leaf is used; ``skewed`` puts 90 % of them under one parent. The flat search is over all
leaves' codes, by :func:`vqlink.quantizers.search.nearest`. Prints JSON; takes about one minute.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.quantizers.search import nearest

COUNT, DIM = 65_536, 64
TREES = ((8, 8, 8), (16, 16, 16), (64, 64), (64, 64, 64))
TARGETS = {(8, 8, 8): 1.0, (16, 16, 16): 5.0, (64, 64): 20.0, (64, 64, 64): 100.0}


def tree(branches: tuple[int, ...]) -> ResidualQuantizer:
    """Codewords of each layer at half the size of those before."""
    quantizer = ResidualQuantizer(branches, DIM).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in range(quantizer.layers):
            codebook = quantizer.codebook(layer)
            codebook.copy_(0.5**layer * torch.randn(codebook.shape, generator=generator))
    return quantizer


def vectors(quantizer: ResidualQuantizer, *, skewed: bool) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    leaves = torch.randint(quantizer.leaves, (COUNT,), generator=generator)
    if skewed:
        below = quantizer.leaves // quantizer.branches[0]
        leaves[: int(0.9 * COUNT)] %= below  # all under the root's first codeword
    noise = 0.1 * torch.randn(COUNT, DIM, generator=generator)
    return quantizer.decode(leaves) + noise


def seconds(work: Callable[[], object], runs: int = 5) -> float:
    work()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for branches in TREES:
        quantizer = tree(branches)
        leaves = quantizer.decode(torch.arange(quantizer.leaves))
        part = 16 if quantizer.leaves > 10_000 else 1
        for skewed in (False, True):
            x = vectors(quantizer, skewed=skewed)
            some = x[::part].contiguous()
            flat = part * seconds(lambda s=some, c=leaves: nearest(s, c), 1 if part > 1 else 5)
            nested = seconds(lambda x=x, q=quantizer: q.encode(x))
            same = (nearest(some, leaves) == quantizer.encode(some)).double().mean()
            rows.append(
                {
                    "branches": list(branches), "leaves": quantizer.leaves, "skewed": skewed,
                    "nested_ms": round(1e3 * nested, 1), "flat_ms": round(1e3 * flat, 1),
                    "times_faster": round(flat / nested, 2), "target": TARGETS[branches],
                    "same_leaf": round(float(same), 4),
                }
            )  # fmt: skip
    found = {
        "vectors": COUNT, "dim": DIM, "threads": options.threads, "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(), "rows": rows,
    }  # fmt: skip
    text = json.dumps(found, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
