"""The classical system: a source codec, then LDPC and QAM, filling a budget of channel uses.

    image -> codec -> bytes -> CRC, LDPC, scrambling -> QAM -> channel -> equaliser -> LLRs
          -> LDPC decoder, CRC check -> bytes -> codec -> image

Everything is simulated: a block whose CRC fails is an outage, and the receiver shows mid-grey.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vqlink.channels.symbol import SymbolChannel
from vqlink.digital.codecs import BPGCodec, CodecError, PillowCodec, SourceCodec
from vqlink.digital.codes import CODES, LDPC5G, ChannelCode
from vqlink.digital.fec import Frame
from vqlink.digital.fit import Fit, fit_quality
from vqlink.digital.hevc import HEVCCodec
from vqlink.digital.jpeg_scan import JPEGScanCodec
from vqlink.digital.mcs import MCS, MCS_TABLES, parse_mcs
from vqlink.digital.modem import demap_symbols, map_bits
from vqlink.errors import did_you_mean
from vqlink.links.equalize import equalize
from vqlink.protocols import MID_GREY, Point, Reception, Transmission, VqlinkError
from vqlink.rng import Generators, check_generators, of_sample
from vqlink.sources.images import to_bytes8
from vqlink.systems.rate_choice import choose_mcs

Budget = Callable[[int, int], int]
"""(height, width) -> complex channel uses."""

CODECS = ("hevc", "hevc-ssim", "jpeg", "jpeg-scan", "jpeg2000", "webp", "avif", "bpg")


class Separation:
    """A digital image link at a given number of channel uses.

    Args:
        codec: source codec; its quality is bisected so that the payload fits.
        channel: carries complex symbols; the receiver knows h and N0.
        budget: the uses of a picture, all of which are sent: what the payload leaves free is
            filled with zeros and scrambled.
        code: channel code.
        mcs: fixed, or None for the best of the table at each point (the mean SNR in fading, since
            the transmitter doesn't know h).
    """

    def __init__(
        self,
        codec: SourceCodec,
        channel: SymbolChannel,
        budget: Budget,
        mcs: MCS | None = None,
        *,
        code: ChannelCode = LDPC5G,
    ) -> None:
        self.codec, self.channel, self.budget = codec, channel, budget
        self.mcs, self.code = mcs, code
        self._fits: dict[tuple[int, int], Fit | None] = {}
        self._fitted: Tensor | None = None

    @property
    def name(self) -> str:
        suffix = f"@{self.mcs.name}" if self.mcs else ""
        return f"{self.codec.name}+{self.code.name}{suffix}"

    def uses(self, height: int, width: int) -> int:
        """Complex channel uses of a picture: the whole budget."""
        return self.budget(height, width)

    def transmit(self, x: Tensor, point: Point, *, generator: Generators) -> Transmission:
        """Images (B, 3, H, W) float32 in [0, 1], one frame each.

        ``stats``: ``payload_bytes``, ``quality`` and ``too_small``, 1 where the coarsest payload
        does not fit: the frame goes out without it, an outage. ``labels["mcs"]`` names the MCS
        of every message (joined by a comma where the points differ).
        """
        batch, _, height, width = x.shape
        check_generators(generator, batch)
        uses = self.budget(height, width)
        snr = point.snr(batch)
        results = [
            self._one(x[i], uses, Point(snr_db=float(snr[i])), of_sample(generator, i))
            for i in range(batch)
        ]
        schemes = dict.fromkeys(result.mcs.name for result in results)
        return Transmission(
            received=torch.stack([result.image for result in results]),
            uses=torch.full((batch,), uses, dtype=torch.int64),
            tx_power=torch.tensor([result.tx_power for result in results]),
            outage=torch.tensor([result.outage for result in results]),
            stats={
                "payload_bytes": torch.tensor([float(r.payload_bytes) for r in results]),
                "quality": torch.tensor([float(r.quality) for r in results]),
                "too_small": torch.tensor([float(r.quality < 0) for r in results]),
            },
            labels={"mcs": ", ".join(schemes)},
        )

    def _one(self, image: Tensor, uses: int, point: Point, random: torch.Generator) -> _Received:
        mcs, frame, fit = self._scheme(to_bytes8(image), uses, point)
        if frame is None:  # not one block fits: nothing goes on the air
            return _Received(_mid_grey(image), 0.0, True, mcs, 0, -1)
        payload = fit.payload if fit else b""
        symbols = map_bits(self.code.encode(payload, frame), mcs.bits_per_symbol)
        received = self._receive(symbols, frame, point, random)
        tx_power = float(symbols.abs().square().mean())
        decoded = None
        if fit is not None and received is not None:
            decoded = self._decode(received, image.shape[1], image.shape[2])
        return _Received(
            image=_mid_grey(image) if decoded is None else decoded,
            tx_power=tx_power,
            outage=decoded is None,
            mcs=mcs,
            payload_bytes=len(payload),
            quality=fit.quality if fit else -1,
        )

    def _scheme(
        self, pixels: Tensor, uses: int, point: Point
    ) -> tuple[MCS, Frame | None, Fit | None]:
        """The MCS for a picture, and what :meth:`_fill` says of it."""
        mcs = self.mcs or choose_mcs(self.channel, point, uses, pixels.numel(), self.code.name)
        frame, fit = self._fill(pixels, uses, mcs)
        if fit is None and self.mcs is None:
            # The best for any picture of that size may be too slow for this one at its coarsest.
            among = self._holding(pixels, uses)
            if among:
                mcs = choose_mcs(self.channel, point, uses, pixels.numel(), self.code.name, among)
                frame, fit = self._fill(pixels, uses, mcs)
        return mcs, frame, fit

    def _fill(self, pixels: Tensor, uses: int, mcs: MCS) -> tuple[Frame | None, Fit | None]:
        """The frame, None where no block fits, and the picture in it, None where it doesn't."""
        frame = self.code.plan(uses, mcs.bits_per_symbol, float(mcs.rate))
        return frame, None if frame is None else self._fit(pixels, self.code.capacity(frame))

    def _holding(self, pixels: Tensor, uses: int) -> list[MCS]:
        """Schemes whose frames have room for the coarsest payload."""
        coarsest = len(self.codec.encode(pixels, self.codec.qualities[0]))
        plans = {
            mcs: self.code.plan(uses, mcs.bits_per_symbol, float(mcs.rate))
            for mcs in MCS_TABLES[self.code.name]
        }
        return [m for m, frame in plans.items() if frame and self.code.capacity(frame) >= coarsest]

    def _receive(
        self, symbols: Tensor, frame: Frame, point: Point, random: torch.Generator
    ) -> bytes | None:
        arrived = self.channel(symbols[None], point, generator=random)
        equalised, noise_var = equalize(arrived)
        return self._bytes(equalised[0], noise_var[0], frame)

    def _bytes(self, symbols: Tensor, noise_var: Tensor, frame: Frame) -> bytes | None:
        llr = demap_symbols(symbols, noise_var, frame.bits_per_symbol)
        return self.code.decode(llr, frame)

    @property
    def layers(self) -> int:
        return 1

    def at(self, snr_db: float, image: Tensor) -> Separation:
        """This link with the scheme that it takes at ``snr_db`` for a picture (3, H, W)."""
        uses = self.budget(image.shape[1], image.shape[2])
        mcs, _, _ = self._scheme(to_bytes8(image), uses, Point(snr_db=snr_db))
        return Separation(self.codec, self.channel, self.budget, mcs, code=self.code)

    def to_symbols(self, x: Tensor, snr_db: float) -> Tensor:
        """Images (B, 3, H, W) -> (B, uses) complex64.

        Raises:
            VqlinkError: when the coarsest payload does not fit.
        """
        return torch.stack([self._symbols(image, snr_db) for image in x])

    def _symbols(self, image: Tensor, snr_db: float) -> Tensor:
        height, width = image.shape[1:]
        uses = self.budget(height, width)
        mcs, frame, fit = self._scheme(to_bytes8(image), uses, Point(snr_db=snr_db))
        if frame is None or fit is None:
            raise VqlinkError(
                f"{width}x{height} pixels do not fit into {uses} channel uses by "
                f"{self.codec.name}+{self.code.name}@{mcs.name}: raise the rho or the SNR"
            )
        return map_bits(self.code.encode(fit.payload, frame), frame.bits_per_symbol)

    def from_symbols(self, symbols: Tensor, noise_var: Tensor, size: tuple[int, int]) -> Reception:
        """Equalised symbols (B, uses) -> images; a message whose CRC fails is mid-grey.

        Raises:
            ValueError: for a link without a fixed MCS, or too few symbols for one block.
        """
        frame = self._planned(*size)
        if frame is None:
            raise ValueError("no block fits into these channel uses")
        images: list[Tensor | None] = []
        for row, variance in zip(symbols, noise_var, strict=True):
            payload = self._bytes(row, variance, frame)
            images.append(None if payload is None else self._decode(payload, *size))
        grey = _mid_grey(torch.empty(3, *size))
        return Reception(
            torch.stack([grey if image is None else image for image in images]),
            torch.tensor([image is None for image in images]),
        )

    def holds(self, uses: int) -> bool:
        """Whether one block fits into so many channel uses; for a link with a fixed MCS."""
        return self._plan(uses) is not None

    def _planned(self, height: int, width: int) -> Frame | None:
        return self._plan(self.budget(height, width))

    def _plan(self, uses: int) -> Frame | None:
        if self.mcs is None:
            raise ValueError("a link without a fixed MCS has no frame")
        return self.code.plan(uses, self.mcs.bits_per_symbol, float(self.mcs.rate))

    def _decode(self, payload: bytes, height: int, width: int) -> Tensor | None:
        try:
            return self.codec.decode(payload, height, width).float() / 255
        except CodecError:
            return None

    def _fit(self, pixels: Tensor, capacity: int) -> Fit | None:
        """Fits of the last picture are kept: a sweep over SNR asks for the same few again."""
        if self._fitted is None or not torch.equal(self._fitted, pixels):
            self._fits, self._fitted = {}, pixels
        key = (capacity, pixels.shape[1])
        if key not in self._fits:
            self._fits[key] = fit_quality(self.codec, pixels, capacity)
        return self._fits[key]


@dataclass(frozen=True)
class _Received:
    image: Tensor
    tx_power: float
    outage: bool
    mcs: MCS
    payload_bytes: int
    quality: int


def parse_separation(text: str, channel: SymbolChannel, budget: Budget) -> Separation:
    """A classical link by its name: ``hevc+ldpc5g`` or ``jpeg+ldpc5g@16qam-1/3``.

    Raises:
        VqlinkError: for an unknown codec, code or MCS, or a codec that isn't installed.
    """
    chain, _, scheme = text.partition("@")
    codec, _, fec = chain.partition("+")
    if fec not in CODES:
        raise VqlinkError(f"unknown channel code {fec!r} in {text!r} (known: {', '.join(CODES)})")
    mcs = parse_mcs(scheme, fec) if scheme else None
    return Separation(build_codec(codec), channel, budget, mcs, code=CODES[fec])


def build_codec(name: str) -> SourceCodec:
    """A source codec by its name.

    Raises:
        VqlinkError: for an unknown name, or ``bpg`` without ``bpgenc`` on the PATH.
    """
    match name:
        case "jpeg" | "jpeg2000" | "webp" | "avif":
            return PillowCodec(name)
        case "jpeg-scan":
            return JPEGScanCodec()
        case "hevc":
            return HEVCCodec()
        case "hevc-ssim":
            return HEVCCodec(tune="ssim")
        case "bpg":
            if not BPGCodec.available():
                raise VqlinkError("bpg needs bpgenc and bpgdec on the PATH; hevc is built in")
            return BPGCodec()
        case _:
            hint = did_you_mean(name, CODECS)
            raise VqlinkError(f"unknown codec {name!r}{hint} (known: {', '.join(CODECS)})")


def _mid_grey(image: Tensor) -> Tensor:
    return torch.full_like(image, MID_GREY)
