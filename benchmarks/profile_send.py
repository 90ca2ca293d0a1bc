"""Where `vqlink send` spends its time on a 768 x 512 picture, everything warm.

    python benchmarks/profile_send.py

Times each stage of each default system in one process, after one untimed round, and the start-up
of `vqlink --help` in fresh ones. Writes benchmarks/profile_send.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vqlink.digital import fec, modem
from vqlink.evaluation.systems import default_systems, open_channel, open_systems
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.sources.images import open_image
from vqlink.systems import separation
from vqlink.systems.separation import Separation

OUT = Path(__file__).with_suffix(".json")
LINKS = ("hevc+ldpc5g", "jpeg+ldpc5g")


def photograph() -> torch.Tensor:
    """A bundled photograph, 512 rows and 768 columns."""
    image = open_image("sample:astronaut")
    return torch.cat([image, image[:, :, :256].flip(2)], dim=2)


def main() -> None:
    seconds: dict[str, float] = defaultdict(float)

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **options)
            seconds[stage] += time.perf_counter() - start
            return result

        return call

    rho, image = Fraction(1, 12), photograph()
    channel, _ = open_channel("awgn")
    systems = open_systems((*default_systems(rho), *LINKS), channel, rho)
    separation.fit_quality = timed("source codec, fitted to the budget", separation.fit_quality)
    fec.encode_message = timed("LDPC encoder", fec.encode_message)
    fec.decode_message = timed("LDPC decoder", fec.decode_message)
    separation.demap_symbols = timed("demapper", modem.demap_symbols)
    totals: dict[str, float] = {}
    for round_ in range(2):
        seconds.clear()
        for system in systems:
            if isinstance(system.transceiver, Separation):
                system.transceiver._fitted = None  # fit again: that is part of a send
            start = time.perf_counter()
            noise = stream(0, "profile", round_)
            system.transceiver.transmit(image[None], Point(snr_db=10.0), generator=noise)
            totals[system.name] = round(time.perf_counter() - start, 3)
    start_up = min(_help() for _ in range(3))
    document = {
        "picture": "768 x 512, AWGN 10 dB, rho 1/12",
        "threads": torch.get_num_threads(),
        "seconds by system": totals,
        "seconds by stage of the digital links": {k: round(v, 3) for k, v in seconds.items()},
        "seconds of vqlink --help": round(start_up, 3),
        "versions": {name: version(name) for name in ("torch", "sionna-no-rt", "pillow-heif")},
    }
    OUT.write_text(json.dumps(document, indent=1) + "\n")
    print(OUT.read_text())


def _help() -> float:
    command = [sys.executable, "-m", "vqlink.cli.main", "--help"]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
