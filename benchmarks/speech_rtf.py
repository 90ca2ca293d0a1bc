"""Real-time factors of the speech codec, encode and decode, on one core.

    python benchmarks/speech_rtf.py > benchmarks/speech_rtf.json

The synthetic voice of 20 s, best of 3; a factor of 0.2 means five times faster than real time.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable

import torch

from vqlink.sources.voice import synthetic_voice
from vqlink.systems.speech_frames import RATES_KBPS
from vqlink.zoo.speech import load_speech_codec

SECONDS, REPEATS = 20.0, 3


def factor(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return round(best / SECONDS, 4)


def main() -> None:
    torch.set_num_threads(1)
    voice, codec = synthetic_voice(SECONDS), load_speech_codec()
    codec.decode(codec.encode(voice[:16_000], 8.0))  # tables
    rows = []
    for kbps in RATES_KBPS:
        data = codec.encode(voice, kbps)
        row = {
            "kbps": kbps,
            "encode": factor(lambda rate=kbps: codec.encode(voice, rate)),
            "decode": factor(lambda stream=data: codec.decode(stream)),
        }
        rows.append(row)
    machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
    print(json.dumps({"seconds": SECONDS, "machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
