"""The frame header: 17 bytes under 5G LDPC of rate 1/5 with CRC-24A, as 400 QPSK symbols."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from vqlink.air.arrays import Complex, Float
from vqlink.digital import fec
from vqlink.digital.modem import demap_symbols, map_bits

VERSION = 1
FIELDS = {
    "version": 4,
    "layers": 4,
    "system": 32,
    "weights": 32,
    "height": 16,
    "width": 16,
    "snr": 8,
    "uses": 24,
}
"""Name and bits of each field, in the order of transmission, the highest bit first."""

_BITS = sum(FIELDS.values())
_FRAME = fec.plan_payload(_BITS, bits_per_symbol=2, rate=1 / 5)
USES = _FRAME.bits // 2


@dataclass(frozen=True)
class Header:
    """What the receiver must know of a message.

    Attributes:
        system: of the system's name; see :func:`name_id`.
        weights: the first 32 bits of the sha256 of its weights; 0 for classical systems.
        height, width: of the picture, in pixels.
        uses: payload symbols.
        layers: scales of latents.
        snr_db: Es/N0 that the transmitter prepared for, in steps of 0.5 dB.
    """

    system: int
    weights: int
    height: int
    width: int
    uses: int
    layers: int = 1
    snr_db: float = 10.0


def name_id(name: str) -> int:
    """The first 32 bits of the sha256 of a system's name in UTF-8."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def encode_header(header: Header) -> Complex:
    """A header -> (USES,) QPSK symbols of magnitude 1.

    Raises:
        ValueError: for a value that its field cannot hold.
    """
    values = {
        "version": VERSION,
        "layers": header.layers,
        "system": header.system,
        "weights": header.weights,
        "height": header.height,
        "width": header.width,
        "snr": round(2 * (min(max(header.snr_db, -64.0), 63.5) + 64)),
        "uses": header.uses,
    }
    bits: list[int] = []
    for name, width in FIELDS.items():
        if not 0 <= values[name] < 1 << width:
            raise ValueError(f"{name} {values[name]} does not fit into {width} bits")
        bits += [values[name] >> place & 1 for place in range(width - 1, -1, -1)]
    coded = fec.encode_bits(torch.tensor([bits], dtype=torch.float32), _FRAME)
    symbols: Complex = map_bits(coded, 2)[0].numpy().astype(np.complex128)
    return symbols


def decode_header(symbols: Complex, noise_var: Float) -> Header | None:
    """Equalised symbols (USES,) and their noise -> the header; None where it is lost.

    Lost is a header whose CRC fails, of another version, or of an empty picture.
    """
    llr = demap_symbols(
        torch.from_numpy(symbols.astype(np.complex64)),
        torch.from_numpy(noise_var.astype(np.float32)).clamp_min(1e-9),
        2,
    )
    decoded, good = fec.decode_blocks(llr, _FRAME)
    if not bool(good.all()):
        return None
    values, bits = {}, [int(ratio > 0) for ratio in decoded[0, :_BITS]]
    for name, width in FIELDS.items():
        values[name] = int("".join(map(str, bits[:width])), 2)
        bits = bits[width:]
    snr_db = values.pop("snr") / 2 - 64
    version = values.pop("version")
    if version != VERSION or not all(values[name] for name in ("height", "width", "uses")):
        return None
    return Header(**values, snr_db=snr_db)
