"""Which SNR a receiver should tell the decoder: the one it estimates, or the sender's.

    python benchmarks/told_snr.py [--out benchmarks/told_snr.json]

A sender prepares a picture for one SNR, the air has another. Mean PSNR over 256x256 centre crops of
the 24 Kodak pictures, noise drawn once for each; prints JSON; takes about a minute.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import torch

from vqlink.metrics.image import psnr
from vqlink.rng import complex_normal, stream
from vqlink.sources.datasets import open_images
from vqlink.systems.jscc import JSCC
from vqlink.units import noise_variance
from vqlink.zoo.catalogue import load

SYSTEM, SIDE = "jscc-q64-awgn-1-12", 256
SNR_DB = (4.0, 10.0, 16.0)


def crops() -> torch.Tensor:
    """(24, 3, SIDE, SIDE)."""
    pictures = open_images("data/kodak")
    cut = []
    for place in range(len(pictures)):
        image = pictures[place][1]
        top, left = ((side - SIDE) // 2 for side in image.shape[1:])
        cut.append(image[:, top : top + SIDE, left : left + SIDE])
    return torch.stack(cut)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    out: Path | None = parser.parse_args().out
    codec, images = load(SYSTEM), crops()
    assert isinstance(codec, JSCC)
    rows = []
    for prepared, actual in itertools.product(SNR_DB, SNR_DB):
        symbols = torch.cat([codec.to_symbols(image[None], prepared) for image in images])
        noise = complex_normal(symbols.shape, generator=stream(0, "told", actual))
        y = symbols + noise * noise_variance(actual) ** 0.5
        row: dict[str, float] = {"prepared_db": prepared, "actual_db": actual}
        for name, told in (("told_actual", actual), ("told_prepared", prepared)):
            noise_var = torch.full(y.shape[1:], noise_variance(told))[None]
            received = torch.cat(
                [codec.from_symbols(one[None], noise_var, (SIDE, SIDE)).received for one in y]
            )
            row[name] = round(float(psnr(received, images).mean()), 3)
        rows.append(row)
    document = {"system": SYSTEM, "data": "data/kodak", "side": SIDE, "rows": rows}
    text = json.dumps(document, indent=1)
    print(text)
    if out is not None:
        out.write_text(text + "\n")


if __name__ == "__main__":
    main()
