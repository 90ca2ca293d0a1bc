"""Simulate the block error rate of every MCS in AWGN around its waterfall; derive the thresholds.

    python benchmarks/mcs_thresholds.py [--blocks 16]

Appends to results/bler/awgn.jsonl (resumable) and writes src/vqlink/digital/mcs_thresholds.json.
"""

from __future__ import annotations

import argparse
import json
import math
from importlib.metadata import version
from pathlib import Path

import torch

from vqlink.channels.awgn import AWGN
from vqlink.digital.fec import decode_blocks, encode_message, plan_frame
from vqlink.digital.mcs import MCS, MCS_TABLE
from vqlink.digital.modem import demap_symbols, map_bits
from vqlink.protocols import Point
from vqlink.rng import stream

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "results" / "bler" / "awgn.jsonl"
OUT = ROOT / "src" / "vqlink" / "digital" / "mcs_thresholds.json"
STEP, SEED, INFORMATION = 0.25, 0, 8192


def simulate(mcs: MCS, snr_db: float, blocks: int) -> dict[str, object]:
    """Count the lost ones of ``blocks`` code blocks."""
    uses = math.ceil(blocks * INFORMATION / mcs.efficiency)
    frame = plan_frame(uses, mcs.bits_per_symbol, float(mcs.rate))
    assert frame is not None
    random = stream(SEED, "bler", mcs.name, snr_db)
    payload = bytes(torch.randint(256, (frame.capacity,), generator=random).tolist())
    symbols = map_bits(encode_message(payload, frame), mcs.bits_per_symbol)
    out = AWGN()(symbols[None], Point(snr_db=snr_db), generator=random)
    llr = demap_symbols(out.y[0], out.noise_var.expand_as(out.y)[0], mcs.bits_per_symbol)
    _, good = decode_blocks(llr, frame)
    return {
        "mcs": mcs.name,
        "snr_db": snr_db,
        "blocks": frame.blocks,
        "errors": int((~good).sum()),
        "information": frame.information,
        "coded": frame.coded,
        "seed": SEED,
        "sionna": version("sionna-no-rt"),
    }


def shannon_db(mcs: MCS) -> float:
    """SNR at which an AWGN channel's capacity is the MCS's efficiency: the search starts here."""
    return 10 * math.log10(2**mcs.efficiency - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=16)
    blocks = parser.parse_args().blocks
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []
    done = {(row["mcs"], row["snr_db"]): row for row in rows}
    found = []
    for mcs in MCS_TABLE:
        snr = math.ceil((shannon_db(mcs) + 0.75) / STEP) * STEP
        clean: list[float] = []
        while len(clean) < 2:  # two clean points in a row end the waterfall
            row = done.get((mcs.name, snr))
            if row is None:
                row = simulate(mcs, snr, blocks)
                with ROWS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)
            clean = [*clean, snr] if row["errors"] == 0 else []
            snr += STEP
        found.append({"mcs": mcs.name, "snr_db": clean[0], "blocks": row["blocks"]})
    OUT.write_text(
        json.dumps({"source": "benchmarks/mcs_thresholds.py", "thresholds": found}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
