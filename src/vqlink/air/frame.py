"""Frames: a header and payload symbols as chips, and what a recording has of them.

stream = header (400 symbols) + payload, interleaved; scrambled; carried by a waveform
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vqlink.air import header as head
from vqlink.air.arrays import Complex, Float
from vqlink.air.header import Header, decode_header, encode_header
from vqlink.air.ofdm import OFDM
from vqlink.air.sequences import SCRAMBLING_INIT, interleaver, qpsk
from vqlink.air.single_carrier import SingleCarrier
from vqlink.air.sync import (
    MAX_DRIFT,
    SURE,
    Candidate,
    Read,
    find_preambles,
    measure_drift,
    received_chips,
)
from vqlink.air.waveform import POSTAMBLE, PREAMBLE, Waveform, postamble

WAVEFORMS: dict[str, Waveform] = {waveform.name: waveform for waveform in (SingleCarrier(), OFDM())}

Status = Literal["ok", "header", "cut", "end"]


@dataclass(frozen=True)
class Uses:
    """Complex channel uses of a frame, all counted.

    Attributes:
        sync: preamble and postamble.
        pilots: pilots, training, prefixes and filling.
    """

    sync: int
    header: int
    pilots: int
    payload: int

    @property
    def total(self) -> int:
        return self.sync + self.header + self.pilots + self.payload


def frame_uses(payload: int, waveform: Waveform) -> Uses:
    """The uses of a frame with ``payload`` symbols."""
    rest = waveform.chips(head.USES + payload) - PREAMBLE - head.USES - payload
    return Uses(PREAMBLE + POSTAMBLE, head.USES, rest, payload)


def build_frame(header: Header, payload: Complex, waveform: Waveform) -> Complex:
    """A header and payload symbols of mean power 1 -> the frame's chips.

    Raises:
        ValueError: when the header tells another number of symbols, or cannot hold its values.
    """
    if header.uses != len(payload):
        raise ValueError(f"the header tells {header.uses} symbols, the payload has {len(payload)}")
    stream = np.concatenate([encode_header(header), payload[interleaver(len(payload))]])
    body = waveform.modulate(stream * qpsk(len(stream), SCRAMBLING_INIT))
    return np.concatenate([body, postamble()])


@dataclass(frozen=True)
class Found:
    """A frame in a recording.

    Attributes:
        status: ``ok``; ``header``: a preamble, but no header that can be read; ``cut``: the
            recording ends within the frame; ``end``: no postamble where the header tells the end.
        waveform: by name.
        start: in samples, of the first chip's peak.
        frequency: offset in cycles a chip.
        drift: of the sender's clock; see :class:`vqlink.air.sync.Candidate`.
        snr_db: Es/N0 as estimated; of the header alone where there is no more.
        header: None unless it was read.
        symbols, noise_var: (uses,) of the payload, equalised, with the noise on each; empty unless
            ``ok``.
        there: part of the frame's chips that the recording has.
    """

    status: Status
    waveform: str
    start: float
    frequency: float
    drift: float
    snr_db: float
    header: Header | None
    symbols: Complex
    noise_var: Float
    there: float


def find_frames(read: Read, length: int, sps: int) -> Iterator[Found]:
    """The frames of a recording, in the order of time.

    Args:
        read, length: the recording in samples.
        sps: samples a chip.
    """
    free = -float("inf")  # the end of the last frame: what looks like a preamble before is none
    for candidate in find_preambles(read, length, sps):
        if candidate.start < free:
            continue
        found = _receive(read, length, sps, candidate)
        if found.header is None and candidate.likeness < SURE:
            continue  # noise, most likely
        if found.header is not None and found.status != "end":
            chips = WAVEFORMS[found.waveform].chips(head.USES + found.header.uses)
            free = found.start + chips * sps  # less than its end, however the clocks differ
        yield found


def _receive(read: Read, length: int, sps: int, candidate: Candidate) -> Found:
    waveform = WAVEFORMS[candidate.waveform]
    empty = np.empty(0)
    lost = Found(
        "header", candidate.waveform, candidate.start, candidate.frequency, 0.0, float("nan"), None,
        empty.astype(np.complex128), empty, 1.0,
    )  # fmt: skip
    last = (length - candidate.start) / sps  # chips that the recording has
    count = waveform.chips(head.USES)
    before = max(0.0, -candidate.start / sps)  # chips that went by before it began
    if before > 0.5 or last < count - 0.5:
        return replace(lost, status="cut", there=max(0.0, min(last, count) - before) / count)
    chips = received_chips(read, candidate, 0, count, sps)
    first = waveform.demodulate(chips, head.USES)
    scrambling = qpsk(head.USES, SCRAMBLING_INIT)
    header = decode_header(first.symbols * scrambling.conj(), first.noise_var)
    lost = replace(
        lost, snr_db=first.snr_db, frequency=candidate.frequency + first.frequency, header=header
    )
    if header is None:
        return lost
    total = head.USES + header.uses
    count = waveform.chips(total)
    whole = (count + POSTAMBLE) * (1 - MAX_DRIFT) - 0.5
    if last < whole:
        return replace(lost, status="cut", there=last / whole)
    closer = replace(candidate, frequency=lost.frequency)
    drift = measure_drift(read, closer, count, sps)
    if drift is None:
        return replace(lost, status="end")
    closer = replace(closer, drift=drift)
    body = waveform.demodulate(received_chips(read, closer, 0, count, sps), total)
    payload = slice(head.USES, total)
    symbols = body.symbols[payload] * qpsk(total, SCRAMBLING_INIT)[payload].conj()
    order = interleaver(header.uses)
    in_order, noise_var = np.empty_like(symbols), np.empty(len(symbols))
    in_order[order] = symbols
    noise_var[order] = body.noise_var[payload]
    return Found(
        "ok", candidate.waveform, candidate.start, lost.frequency + body.frequency, closer.drift,
        body.snr_db, header, in_order, noise_var, 1.0,
    )  # fmt: skip
