"""A picture as a frame of a radio, and what a receiver makes of a recording.

The header names the system by a hash; the receiver looks it up among the zoo's weights, the
classical links, and weights folders that its user names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vqlink.air.arrays import Complex
from vqlink.air.frame import WAVEFORMS, Found, Uses, build_frame, find_frames, frame_uses
from vqlink.air.header import Header, name_id
from vqlink.air.sigmf import Recording
from vqlink.channels.awgn import AWGN
from vqlink.digital.mcs import MCS_TABLES
from vqlink.protocols import SymbolSystem, VqlinkError
from vqlink.sources.images import MAX_PIXELS, MIN_SIDE
from vqlink.systems.separation import CODECS, Separation, parse_separation
from vqlink.zoo.catalogue import entries, load_system

DEFAULT_SPS = 4


@dataclass(frozen=True)
class Sent:
    """A frame.

    Attributes:
        chips: (uses.total,) complex128 of mean power 1.
        header: what it says of itself.
        system: the full name, with the MCS of a classical link.
        uses: of its parts.
    """

    chips: Complex
    header: Header
    system: str
    uses: Uses


def transmit_frame(
    image: Tensor,
    system: SymbolSystem,
    weights: str | None,
    *,
    snr_db: float,
    waveform: str = "single-carrier",
) -> Sent:
    """One picture (3, H, W) as a frame.

    Args:
        system: what sends it.
        weights: sha256 of a learned system's weights; None for a classical link.
        snr_db: Es/N0 that the transmitter prepares for.

    Raises:
        VqlinkError: when the picture doesn't fit the header or a classical link's uses.
    """
    height, width = image.shape[1:]
    if isinstance(system, Separation):
        system = system.at(snr_db, image)
    payload = system.to_symbols(image[None], snr_db)[0].cpu().numpy()
    try:
        header = Header(
            system=name_id(system.name),
            weights=weights_id(weights),
            height=height,
            width=width,
            uses=len(payload),
            layers=system.layers,
            snr_db=snr_db,
        )
        chips = build_frame(header, payload, WAVEFORMS[waveform])
    except ValueError as error:
        raise VqlinkError(f"the picture cannot be sent in one frame: {error}") from None
    return Sent(chips, header, system.name, frame_uses(len(payload), WAVEFORMS[waveform]))


def weights_id(sha256: str | None) -> int:
    """The first 32 bits of a hash; 0 for None."""
    return int(sha256[:8], 16) if sha256 else 0


Outcome = Literal["ok", "outage", "unknown"]


@dataclass(frozen=True)
class Delivery:
    """What came of one frame of a recording.

    Attributes:
        outcome: ``ok``; ``outage``: the air lost it; ``unknown``: this receiver lacks its system.
        message: one line for the user.
        found: the frame.
        system: full name; empty where it isn't known.
        image: (3, H, W) float32 in [0, 1]; None unless ``ok``.
        lost: part of an index code's bits in blocks that failed.
    """

    outcome: Outcome
    message: str
    found: Found
    system: str = ""
    image: Tensor | None = None
    lost: float = 0.0


class Directory:
    """The systems that a receiver knows: zoo, classical links and some weights folders.

    Args:
        folders: weights folders.
    """

    def __init__(self, folders: Sequence[str] = ()) -> None:
        self._learned: list[tuple[str, str]] = []
        self._opened: dict[tuple[str, str], SymbolSystem] = {}
        for folder in folders:
            system, _, sha256 = load_system(folder)
            self._learned.append((system.name, sha256))
            self._opened[system.name, sha256] = system
        self._learned += [(entry.name, entry.sha256) for entry in entries()]
        self._links = {name_id(name): name for name in _link_names()}

    def open(self, header: Header) -> SymbolSystem:
        """The system of a header, checked against what the header says.

        Raises:
            VqlinkError: when it isn't known here, has other weights, or the header contradicts it.
        """
        system = self._find(header)
        height, width = header.height, header.width
        if min(height, width) < MIN_SIDE or height * width > MAX_PIXELS:
            raise VqlinkError(f"its header tells of a picture of {width}x{height}, out of bounds")
        if (system.uses(height, width), system.layers) != (header.uses, header.layers):
            raise VqlinkError(
                f"its header tells {header.uses} symbols in {header.layers} layers, {system.name} "
                f"has {system.uses(height, width)} in {system.layers}: made by another version?"
            )
        return system

    def _find(self, header: Header) -> SymbolSystem:
        if header.weights == 0 and header.system in self._links:
            uses = header.uses
            link = parse_separation(self._links[header.system], AWGN(), lambda h, w: uses)
            if not link.holds(uses):
                raise VqlinkError(f"its header tells {uses} symbols, too few for {link.name}")
            return link
        named = [one for one in self._learned if name_id(one[0]) == header.system]
        for name, sha256 in named:
            if weights_id(sha256) != header.weights:
                continue
            if (name, sha256) not in self._opened:  # the zoo's: folders are open already
                self._opened[name, sha256] = load_system(name)[0]
            return self._opened[name, sha256]
        if named:
            here = ", ".join(sha256[:8] for _, sha256 in named)
            raise VqlinkError(
                f"it was sent by {named[0][0]} with weights {header.weights:08x}, here it has "
                f"{here}: name the folder of the sender's with --system"
            )
        raise VqlinkError(
            f"it was sent by a system that is not known here (name {header.system:08x}, weights "
            f"{header.weights:08x}): name its folder with --system"
        )


def receive_frames(recording: Recording, sps: int, directory: Directory) -> Iterator[Delivery]:
    """All frames of a recording, in the order of time, each with a picture or a reason."""
    for found in find_frames(recording.read, len(recording), sps):
        yield _deliver(found, directory)


def samples_per_chip(recording: Recording) -> int:
    """What the meta file says, or 4.

    Raises:
        VqlinkError: when it says nonsense.
    """
    value = recording.extra.get("samples_per_symbol", DEFAULT_SPS)
    if value != int(value) or not 2 <= value <= 64:
        raise VqlinkError(f"vqlink:samples_per_symbol is a whole number from 2 to 64, not {value}")
    return int(value)


def _deliver(found: Found, directory: Directory) -> Delivery:
    if found.status == "cut":
        text = f"it is cut off: the recording has {100 * found.there:.0f} % of "
        return Delivery("outage", text + ("it" if found.header else "its header"), found)
    if found.status == "end":
        text = "its end is not where its header tells: samples are missing or disturbed, an outage"
        return Delivery("outage", text, found)
    if found.header is None:
        return Delivery("outage", "its header could not be read (CRC): an outage", found)
    try:
        system = directory.open(found.header)
    except VqlinkError as error:
        return Delivery("unknown", str(error), found)
    reception = system.from_symbols(
        torch.from_numpy(found.symbols).to(torch.complex64)[None],
        torch.from_numpy(found.noise_var).float()[None],
        (found.header.height, found.header.width),
    )
    if bool(reception.outage[0]):
        text = f"its payload ({system.name}) could not be decoded (CRC): an outage"
        return Delivery("outage", text, found, system.name)
    lost = float(reception.stats["lost"][0]) if "lost" in reception.stats else 0.0
    text = "received" if lost == 0 else f"received, {100 * lost:.0f} % lost"
    return Delivery("ok", text, found, system.name, reception.received[0], lost)


def _link_names() -> Iterator[str]:
    for codec in CODECS:
        for code, table in MCS_TABLES.items():
            yield from (f"{codec}+{code}@{mcs.name}" for mcs in table)
