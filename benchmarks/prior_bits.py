"""Bits a picture takes with a prior as the entropy coder's model, beside fixed-length indices.

    python benchmarks/prior_bits.py [--data data/cifar10/validation_exact.parquet] [--pictures 128]

Real bytes: the pictures' maps are range-coded, decoded again and compared. Writes
benchmarks/prior_bits.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from vqlink.sources.datasets import open_images
from vqlink.zoo.prior import load_prior

OUT = Path(__file__).parent / "prior_bits.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", default="hrvqvae-cifar10-prior")
    parser.add_argument("--data", default="data/cifar10/validation_exact.parquet")
    parser.add_argument("--pictures", type=int, default=128)
    options = parser.parse_args()
    prior, images = load_prior(options.prior), open_images(options.data)
    sent = torch.stack([images[i][1] for i in range(options.pictures)])
    start = time.perf_counter()
    data = prior.compress(sent)
    seconds = time.perf_counter() - start
    maps = prior.codes.encode(sent)
    lossless = all(torch.equal(a, b) for a, b in zip(prior.decompress(data), maps, strict=True))
    with torch.no_grad():
        expected = torch.stack(prior(maps))
    fixed = prior.fixed_bits(sent.shape[-2], sent.shape[-1])
    bits = 8 * len(data) / len(sent)
    document = {
        "prior": options.prior,
        "data": options.data,
        "pictures": len(sent),
        "lossless": lossless,
        "fixed_bits": fixed,
        "bits": round(bits, 1),
        "saving": round(1 - bits / fixed, 4),
        "expected_bits_of_layers": [round(float(layer.mean()), 1) for layer in expected],
        "expected_std": round(float(expected.sum(dim=0).std()), 1),
        "seconds_to_encode": round(seconds, 1),
        "threads": torch.get_num_threads(),
    }
    OUT.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
