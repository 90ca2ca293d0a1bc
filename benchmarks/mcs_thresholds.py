"""Simulate the block error rate of every MCS in AWGN around its waterfall; derive the thresholds.

    python benchmarks/mcs_thresholds.py [--blocks 16] [--words 600]

For 5G LDPC blocks of 8,192 bits, for 802.11ad codewords of 672, about as many as a picture at rho
1/12 has. Appends to results/bler/awgn.jsonl (resumable) and writes
src/vqlink/digital/mcs_thresholds.json.
"""

from __future__ import annotations

import argparse
import json
import math
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import torch

from vqlink.channels.awgn import AWGN
from vqlink.digital.codes import CODES
from vqlink.digital.fec import Frame, decode_blocks
from vqlink.digital.ldpc80211ad import LENGTH, RATES, decode_words
from vqlink.digital.mcs import MCS, MCS_TABLES
from vqlink.digital.modem import demap_symbols, map_bits
from vqlink.protocols import Point
from vqlink.rng import stream

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "results" / "bler" / "awgn.jsonl"
OUT = ROOT / "src" / "vqlink" / "digital" / "mcs_thresholds.json"
STEP, SEED, INFORMATION = 0.25, 0, 8192


def simulate(code: str, mcs: MCS, snr_db: float, blocks: int) -> dict[str, object]:
    """Count the lost ones of ``blocks`` code blocks."""
    information = INFORMATION if code == "ldpc5g" else LENGTH * float(mcs.rate)
    uses = math.ceil(blocks * information / mcs.efficiency)
    coder = CODES[code]
    frame = coder.plan(uses, mcs.bits_per_symbol, float(mcs.rate))
    assert frame is not None
    random = stream(SEED, "bler", *(() if code == "ldpc5g" else (code,)), mcs.name, snr_db)
    size = coder.capacity(frame)
    payload = bytes(torch.randint(256, (size,), generator=random).tolist())
    bits = coder.encode(payload, frame)
    symbols = map_bits(bits, mcs.bits_per_symbol)
    out = AWGN()(symbols[None], Point(snr_db=snr_db), generator=random)
    llr = demap_symbols(out.y[0], out.noise_var.expand_as(out.y)[0], mcs.bits_per_symbol)
    return {
        "code": code,
        "mcs": mcs.name,
        "snr_db": snr_db,
        "blocks": frame.blocks,
        "errors": lost(code, mcs, llr, bits, frame),
        "information": frame.information,
        "coded": frame.coded,
        "seed": SEED,
        "sionna": version("sionna-no-rt"),
    }


def lost(code: str, mcs: MCS, llr: torch.Tensor, bits: torch.Tensor, frame: Frame) -> int:
    if code == "ldpc5g":
        return int((~decode_blocks(llr, frame)[1]).sum())
    # Linear code, symmetric channel: with the sent bits' signs taken off, all zeros were sent.
    flip = 1 - 2 * bits[: frame.blocks * LENGTH]
    words = (llr[: frame.blocks * LENGTH] * flip).reshape(-1, LENGTH)
    rate = next(rate for rate in RATES if Fraction(rate) == mcs.rate)
    return int((decode_words(words, rate)[0] > 0).any(dim=1).sum())


def shannon_db(mcs: MCS) -> float:
    """SNR at which an AWGN channel's capacity is the MCS's efficiency: the search starts here."""
    return 10 * math.log10(2**mcs.efficiency - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=16)
    parser.add_argument("--words", type=int, default=600)
    options = parser.parse_args()
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []
    done = {(row.get("code", "ldpc5g"), row["mcs"], row["snr_db"]): row for row in rows}
    found: dict[str, list[dict[str, object]]] = {code: [] for code in MCS_TABLES}
    for code, mcs in ((code, mcs) for code, table in MCS_TABLES.items() for mcs in table):
        snr = math.ceil((shannon_db(mcs) + 0.75) / STEP) * STEP
        clean: list[float] = []
        while len(clean) < 2:  # two clean points in a row end the waterfall
            row = done.get((code, mcs.name, snr))
            if row is None:
                blocks = options.blocks if code == "ldpc5g" else options.words
                row = simulate(code, mcs, snr, blocks)
                with ROWS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)
            clean = [*clean, snr] if row["errors"] == 0 else []
            snr += STEP
        found[code].append({"mcs": mcs.name, "snr_db": clean[0], "blocks": row["blocks"]})
    document = {"source": "benchmarks/mcs_thresholds.py", **found}
    OUT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
