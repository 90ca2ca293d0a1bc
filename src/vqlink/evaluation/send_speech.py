"""One recording through the channel by several systems, at the same channel uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec

from torch import Tensor

from vqlink.config.channels import ChannelConfig
from vqlink.config.speech import speech_recipe_hash
from vqlink.digital.mcs import parse_mcs
from vqlink.errors import VqlinkError
from vqlink.evaluation.rows import Row, power_flags
from vqlink.evaluation.systems import symbol_channel
from vqlink.metrics.audio import perceptual_snr, pesq_wideband, stoi
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.systems.speech_codec import SpeechCodec
from vqlink.systems.speech_jscc import SpeechJSCC
from vqlink.systems.speech_link import SpeechLink
from vqlink.zoo.speech import load_speech, load_speech_codec, speech_entries

CODEC_LINK = "speech+ldpc5g"
UNITS = {"pesq": "MOS", "stoi": "", "psnr_weighted": "dB"}
_METRICS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "pesq": pesq_wideband,
    "stoi": stoi,
    "psnr_weighted": perceptual_snr,
}
_PACKAGES = {"pesq": "pesq", "stoi": "pystoi"}


@dataclass(frozen=True)
class SpeechSystem:
    """A speech transceiver with what its result rows say of it."""

    name: str
    transceiver: SpeechJSCC | SpeechLink
    recipe: str | None = None
    weights: str | None = None


@dataclass(frozen=True)
class SpeechArrival:
    """What one system delivered; fields as of :class:`vqlink.evaluation.send.Arrival`.

    Attributes:
        received: (n,) float32 in [-1, 1].
    """

    system: str
    received: Tensor
    metrics: Mapping[str, float]
    uses: int
    rho: float
    tx_power: float
    status: str
    seconds: float
    rows: tuple[Row, ...]
    labels: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def shown_status(self) -> str:
        """``ok``, ``outage``, or how many frames were concealed."""
        lost = float(self.labels.get("lost", 0.0))
        return self.status if self.status != "ok" or lost == 0 else f"{100 * lost:.0f} % lost"


def open_speech_systems(names: Sequence[str], channel: ChannelConfig) -> tuple[SpeechSystem, ...]:
    """Speech codes by zoo name or folder, and ``speech+ldpc5g[@MCS]``; all of the same uses.

    Raises:
        VqlinkError: for an unknown system or MCS, or a channel that carries no symbols.
    """
    return tuple(_open(name, channel) for name in names)


def default_speech_systems() -> tuple[str, ...]:
    """The shipped codes, and the codec over LDPC and QAM."""
    codes = [entry.name for entry in speech_entries() if entry.name != "speech-codec"]
    return (*codes, CODEC_LINK)


def send_speech(
    samples: Tensor,
    systems: Sequence[SpeechSystem],
    *,
    channel: str,
    snr_db: float,
    seed: int,
    sample: str = "input",
    repeat: int = 0,
    progress: Callable[[str], None] | None = None,
) -> tuple[SpeechArrival, ...]:
    """Send one recording (n,) by each system, over noise that belongs to its name and the point."""
    arrivals = []
    for system in systems:
        if progress is not None:
            progress(system.name)
        start = time.perf_counter()
        noise = stream(seed, "channel", snr_db, repeat, sample)
        point = Point(snr_db=snr_db)
        sent = system.transceiver.transmit(samples[None], point, generator=noise)
        seconds = time.perf_counter() - start
        labels: dict[str, str | float] = {**sent.labels}
        labels |= {name: float(value[0]) for name, value in sent.stats.items()}
        uses, power = int(sent.uses[0]), float(sent.tx_power[0])
        status = "outage" if bool(sent.outage[0]) else "ok"
        metrics = measure_speech(sent.received[0], samples)
        rows = tuple(
            Row(
                system=system.name,
                recipe=system.recipe,
                weights=system.weights,
                channel=channel,
                point={"snr_db": snr_db},
                repeat=repeat,
                sample=sample,
                metric=name,
                unit=UNITS[name],
                value=value,
                uses=uses,
                rho=uses / samples.shape[0],
                tx_power=power,
                status=status,
                flags=power_flags(power),
                labels=labels,
                seed=seed,
                versions={name: version(name) for name in ("vqlink", "torch", "sionna-no-rt")},
            )
            for name, value in metrics.items()
        )
        arrivals.append(
            SpeechArrival(
                system=system.name,
                received=sent.received[0],
                metrics=metrics,
                uses=uses,
                rho=uses / samples.shape[0],
                tx_power=power,
                status=status,
                seconds=seconds,
                rows=rows,
                labels=labels,
            )
        )
    return tuple(arrivals)


def measure_speech(received: Tensor, sent: Tensor) -> dict[str, float]:
    """PESQ, STOI and weighted SNR; those whose package isn't installed are left out."""
    return {
        name: function(received, sent)
        for name, function in _METRICS.items()
        if name not in _PACKAGES or find_spec(_PACKAGES[name]) is not None
    }


def _open(name: str, channel: ChannelConfig) -> SpeechSystem:
    symbols = symbol_channel(channel)
    chain, _, scheme = name.partition("@")
    if "+" in chain:
        if chain != CODEC_LINK:
            raise VqlinkError(f"unknown speech link {name!r} (known: {CODEC_LINK}[@MCS])")
        mcs = parse_mcs(scheme) if scheme else None
        return SpeechSystem(name, SpeechLink(load_speech_codec(), symbols, mcs))
    system, recipe, sha256 = load_speech(name)
    if isinstance(system, SpeechCodec):
        raise VqlinkError(f"{name} is a codec: over a channel it is {CODEC_LINK}")
    system.link.channel = symbols
    return SpeechSystem(name, system, recipe=speech_recipe_hash(recipe), weights=sha256)
