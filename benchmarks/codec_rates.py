"""PSNR of the source codecs alone, their payloads fitted to a rate.

    python benchmarks/codec_rates.py data/kodak --codec hevc --bpp 0.25 1.0 --every 2

Prints one JSON document: the mean over pictures of PSNR on 8-bit RGB pixels.
"""

from __future__ import annotations

import argparse
import json

import torch

from vqlink.digital.codecs import SourceCodec
from vqlink.digital.fit import fit_quality
from vqlink.digital.hevc import HEVCCodec
from vqlink.metrics.image import psnr
from vqlink.sources.datasets import open_images
from vqlink.systems.separation import build_codec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--codec", nargs="+", default=["hevc"], help="also hevc420, hevc444")
    parser.add_argument("--bpp", nargs="+", type=float, default=[0.25, 1.0])
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    images = [image for _, image in open_images(options.data)][:: options.every]
    found = []
    for name in options.codec:
        codec: SourceCodec = (
            HEVCCodec(int(name[4:])) if name in ("hevc420", "hevc444") else build_codec(name)
        )
        for bpp in options.bpp:
            values, rates = zip(*(_one(codec, image, bpp) for image in images), strict=True)
            found.append(
                {
                    "codec": name,
                    "bpp": bpp,
                    "measured_bpp": round(sum(rates) / len(rates), 4),
                    "psnr_db": round(sum(values) / len(values), 3),
                    "pictures": len(images),
                }
            )
    print(json.dumps(found, indent=1))


def _one(codec: SourceCodec, image: torch.Tensor, bpp: float) -> tuple[float, float]:
    height, width = image.shape[1:]
    pixels = torch.round(image * 255).to(torch.uint8)
    fit = fit_quality(codec, pixels, int(bpp * height * width / 8))
    if fit is None:
        raise SystemExit(f"{codec.name} does not reach {bpp} bit per pixel")
    decoded = codec.decode(fit.payload, height, width).float() / 255
    return float(psnr(decoded[None], image[None])), len(fit.payload) * 8 / height / width


if __name__ == "__main__":
    main()
