"""What a receiver makes of blocks that it can't decode: hard decisions, the mean, or soft labels.

On training pictures, since the weight of the ratios (``_TRUST``) is chosen by it:

    python benchmarks/soft_labels.py --out benchmarks/soft_labels.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from vqlink.experiments.sweeps import Sweep, open_system
from vqlink.metrics.image import psnr, ssim
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.systems import index_code
from vqlink.systems.index_code import IndexCode

SNR_DB = (-6.0, -3.0, 0.0, 3.0, 4.0)
RECEIVERS = (("hard", 0.0), ("conceal", 0.0), ("soft", 0.5), ("soft", 0.7), ("soft", 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sweep = Sweep("data/imagenet_sample/train.parquet", options.pictures, SNR_DB, crop=128)
    images = sweep.images()
    x = torch.stack([images[place][1] for place in range(len(images))])
    grey = torch.full_like(x, 0.5)
    rows = [{"receiver": "mid-grey", "ssim": float(ssim(grey, x).mean())}]
    for name in ("vqdeepsc-4", "vqdeepsc-3"):
        for lost, trust in RECEIVERS:
            index_code._TRUST = trust
            code = open_system(name, "awgn", name).transceiver
            assert isinstance(code, IndexCode)
            code.link.lost = lost  # type: ignore[assignment]
            for snr_db in SNR_DB:
                noise = [stream(0, "noise", snr_db, place) for place in range(len(x))]
                received = code.transmit(x, Point(snr_db=snr_db), generator=noise).received
                rows.append(
                    {
                        "system": name, "receiver": lost, "trust": trust, "snr_db": snr_db,
                        "ssim": round(float(ssim(received, x).mean()), 4),
                        "psnr": round(float(psnr(received, x).mean()), 2),
                    }
                )  # fmt: skip
                print(json.dumps(rows[-1]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
