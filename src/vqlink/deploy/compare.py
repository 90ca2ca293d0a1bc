"""Hold an exported code to PyTorch: the same numbers, and how long each takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from vqlink.channels.awgn import AWGN
from vqlink.config.build import LearnedSystem
from vqlink.deploy.nets import (
    IndexReceiver,
    ValuesReceiver,
    ValuesTransmitter,
    hard_points,
    nets_of,
)
from vqlink.deploy.onnx_codec import OnnxCodec
from vqlink.metrics.image import psnr
from vqlink.protocols import Point, Transceiver, VqlinkError
from vqlink.rng import stream
from vqlink.sources.images import open_image

TOLERANCE = 1e-4
SAMPLES = ("sample:astronaut", "sample:coffee", "sample:cat", "sample:rocket")
"""Pictures that come with vqlink's dependencies."""


@dataclass(frozen=True)
class Agreement:
    """The largest differences to PyTorch.

    Attributes:
        latents: in front of the quantizer.
        decisions: how much farther from its latent a chosen codeword lies than the nearest one.
            A latent on the border of two may fall to either; it is not above 0 otherwise.
        pixels: of the decoded picture, from the same received symbols or labels.
    """

    latents: float
    decisions: float
    pixels: float

    @property
    def holds(self) -> bool:
        return max(self.latents, self.decisions, self.pixels) <= TOLERANCE


@dataclass(frozen=True)
class Seconds:
    """Median time of one picture at each end."""

    encode: float
    decode: float


def check(system: LearnedSystem, codec: OnnxCodec) -> Agreement:
    """Compare on sample pictures of uneven sizes, at 0, 10 and 20 dB.

    Raises:
        VqlinkError: when they differ by more than the tolerance.
    """
    found = [
        agreement(system, codec, picture(name, *size), snr_db)
        for name, size, snr_db in zip(
            SAMPLES, ((100, 92), (16, 16), (257, 131), (64, 200)), (0.0, 10.0, 20.0, 10.0),
            strict=True,
        )
    ]  # fmt: skip
    worst = Agreement(*(max(values) for values in zip(*map(astuple, found), strict=True)))
    if not worst.holds:
        raise VqlinkError(
            f"the exported {codec.name} differs from PyTorch: {worst}; another version of "
            "onnxruntime may help"
        )
    return worst


@torch.no_grad()
def agreement(system: LearnedSystem, codec: OnnxCodec, image: Tensor, snr_db: float) -> Agreement:
    """Compare both ends on one picture (1, 3, H, W); the decoder sees what noise left."""
    transmitter, receiver = nets_of(system)
    snr = torch.tensor([snr_db])
    exported = codec.encode(image, snr)
    if isinstance(transmitter, ValuesTransmitter):
        assert isinstance(receiver, ValuesReceiver)
        (found,) = codec.encode(image, snr, names=["latents"])
        symbols, latents = transmitter(image, snr)
        hard = hard_points(transmitter.system.quantizer, latents)
        gain = symbols.norm() / hard.norm()
        chosen = hard_points(transmitter.system.quantizer, exported[0] / gain)
        differences = [float((found - latents).abs().max())]
        decisions = [_excess(latents, chosen, hard)]
        frame = torch.view_as_complex(symbols.flatten(1, 3))
        noisy = AWGN()(frame, Point(snr_db=snr_db), generator=stream(0, "check")).y
        arrived: tuple[Tensor, ...] = (torch.view_as_real(noisy).reshape(symbols.shape),)
        pixels = receiver(*arrived, snr)
    else:
        assert isinstance(receiver, IndexReceiver)
        count = len(receiver.inputs)
        both = transmitter(image)
        arrived, scales = both[:count], both[count:]
        exported_latents = codec.encode(image, snr, names=[f"latents{n}" for n in range(count)])
        differences = [
            float((a - b).abs().max()) for a, b in zip(exported_latents, scales, strict=True)
        ]
        decisions = [
            _excess(z, receiver.codewords(n, exported[n]), receiver.codewords(n, arrived[n]))
            for n, z in enumerate(scales)
        ]
        pixels = receiver(*arrived)
    decoded = codec.decode(arrived, snr, (pixels.shape[2], pixels.shape[3]))
    return Agreement(max(differences), max(decisions), float((decoded - pixels).abs().max()))


def _excess(latents: Tensor, chosen: Tensor, nearest: Tensor) -> float:
    distances = [(latents - points).norm(dim=-1) for points in (chosen, nearest)]
    return float((distances[0] - distances[1]).max())


def through_channel(system: Transceiver, snr_db: Sequence[float]) -> tuple[float, ...]:
    """Mean PSNR in dB over the sample pictures at each SNR of the system's channel.

    The channel's draws depend on SNR and picture alone: every form of a code meets the same.
    """
    means = []
    for value in snr_db:
        figures = []
        for name in SAMPLES:
            image = picture(name, 256, 256)
            noise = stream(0, "export", value, name)
            sent = system.transmit(image, Point(snr_db=value), generator=noise)
            figures.append(float(psnr(sent.received, image)))
        means.append(statistics.mean(figures))
    return tuple(means)


def seconds_of_pytorch(system: LearnedSystem, image: Tensor, *, rounds: int = 5) -> Seconds:
    """Of the traced nets in PyTorch, channels last, as vqlink runs them."""
    system = system.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    transmitter, receiver = nets_of(system)
    image = image.to(memory_format=torch.channels_last)
    snr = torch.full((image.shape[0],), 10.0)
    with torch.no_grad():
        if isinstance(transmitter, ValuesTransmitter):
            sent: tuple[Tensor, ...] = (transmitter(image, snr)[0],)
            return Seconds(
                _median(lambda: transmitter(image, snr), rounds),
                _median(lambda: receiver(*sent, snr), rounds),
            )
        sent = transmitter(image)[: len(receiver.inputs)]
        return Seconds(
            _median(lambda: transmitter(image), rounds), _median(lambda: receiver(*sent), rounds)
        )


def seconds_of_onnx(codec: OnnxCodec, image: Tensor, *, rounds: int = 5) -> Seconds:
    """Of onnxruntime."""
    snr = torch.full((image.shape[0],), 10.0)
    sent = codec.encode(image, snr)
    size = (image.shape[2], image.shape[3])
    return Seconds(
        _median(lambda: codec.encode(image, snr), rounds),
        _median(lambda: codec.decode(sent, snr, size), rounds),
    )


def picture(name: str, height: int, width: int) -> Tensor:
    """The centre of a sample picture, (1, 3, height, width)."""
    image = open_image(name)
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[None, :, top : top + height, left : left + width].contiguous()


def _median(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
