"""A picture from one process to another over UDP on loopback, with packets dropped on purpose.

    python benchmarks/udp_loopback.py [--out results/udp-loopback.jsonl]

For each loss rate `vqlink rx --udp` and `vqlink tx --udp` run as processes of their own; a row has
what both say, and the PSNR of the file that the receiver wrote. Takes about a minute.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from vqlink.metrics.image import psnr
from vqlink.sources.images import open_image, read_image

PICTURE, SYSTEM = "sample:hubble", "vqdeepsc-4"
LOSSES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
VQLINK = (sys.executable, "-m", "vqlink.cli.main")


def once(loss: float, out: Path) -> dict[str, object]:
    """One picture at one loss rate."""
    receiver = subprocess.Popen(
        [*VQLINK, "rx", "--udp", "127.0.0.1:0", "-o", str(out), "--json"],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert receiver.stderr is not None
    place = receiver.stderr.readline().split()[-1]
    sender = subprocess.run(
        [*VQLINK, "tx", PICTURE, "--system", SYSTEM, "--udp", place, "--json", "--loss", str(loss)],
        text=True, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    text, _ = receiver.communicate(timeout=60)
    sent, got = json.loads(sender.stdout), json.loads(text)
    value = float(psnr(read_image(out)[None], open_image(PICTURE)[None])[0])
    return {
        "system": SYSTEM,
        "picture": PICTURE,
        "probability": loss,
        "seed": sent["seed"],
        "packets": sent["packets"],
        "bytes": sent["bytes"],
        "dropped": sent["dropped"],
        "received": got["received"],
        "part_lost": round(got["lost"], 4),
        "psnr": round(value, 3),
        "seconds": sent["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    out: Path | None = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        rows = [json.dumps(once(loss, Path(folder, "received.png"))) for loss in LOSSES]
    print(*rows, sep="\n")
    if out is not None:
        out.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
