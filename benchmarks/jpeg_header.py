"""How much of a JPEG file of a small picture is its header and tables.

    python benchmarks/jpeg_header.py

Files are fitted to the bytes that the frames of vqdeepsc-3 and vqdeepsc-4 leave for 128x128 crops.
"""

from __future__ import annotations

import json
import statistics

from vqlink.digital.codecs import PillowCodec
from vqlink.digital.fit import fit_quality
from vqlink.experiments.sweeps import Sweep
from vqlink.sources.images import to_bytes8

_BYTES = {"vqdeepsc-3": 954, "vqdeepsc-4": 2508}


def scan_bytes(file: bytes) -> int:
    """Entropy-coded bytes of all scans: what no marker segment holds."""
    at, coded = 2, 0
    while file[at + 1] != 0xD9:  # the end of the image
        marker, size = file[at + 1], int.from_bytes(file[at + 2 : at + 4], "big")
        at += 2 + size
        if marker == 0xDA:  # a scan runs until a marker that is no stuffed byte
            start = at
            while file[at] != 0xFF or file[at + 1] == 0:
                at += 1
            coded += at - start
    return coded


def main() -> None:
    sweep = Sweep("data/imagenet_sample/validation.parquet", 16, (18.0,), crop=128)
    images, codec = sweep.images(), PillowCodec("jpeg")
    for name, room in _BYTES.items():
        fits = [fit_quality(codec, to_bytes8(images[i][1]), room) for i in range(len(images))]
        files = [fit.payload for fit in fits if fit is not None]
        header = statistics.fmean(len(file) - scan_bytes(file) for file in files)
        print(json.dumps({"uses_of": name, "bytes": room, "header": header, "n": len(files)}))


if __name__ == "__main__":
    main()
