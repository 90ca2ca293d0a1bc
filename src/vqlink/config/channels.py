"""Channels as data: the tagged union of a recipe's ``channel`` and the command line's names.

| text | channel |
|---|---|
| ``awgn`` | AWGN |
| ``rayleigh``, ``rayleigh-fast`` | Rayleigh, one h a message or one a symbol |
| ``rician``, ``rician:k=10``, ``rician-fast:k=2`` | Rician; K is a linear power ratio |
| ``bec``, ``bsc`` | binary erasure and binary symmetric channel |
| ``packet``, ``packet:64`` | packet erasure, so many symbols a packet (of pictures: bytes) |
"""

from __future__ import annotations

from typing import Annotated, Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field

from vqlink.channels import AWGN, BEC, BSC, Fading, PacketErasure, Rayleigh, Rician
from vqlink.errors import did_you_mean
from vqlink.protocols import Channel, VqlinkError

DEFAULT_K_FACTOR = 4.0
"""K of a Rician channel that names none: 6 dB, a clear but not dominant line of sight."""

DEFAULT_PACKET_SIZE = 64
"""Symbols in a packet where none are named."""


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AWGNConfig(_Config):
    """Additive white Gaussian noise."""

    kind: Literal["awgn"] = "awgn"


class RayleighConfig(_Config):
    """Rayleigh fading, ``slow`` (one h a message) or ``fast`` (one a symbol)."""

    kind: Literal["rayleigh"] = "rayleigh"
    fading: Fading = "slow"


class RicianConfig(_Config):
    """Rician fading; ``k_factor`` is linear, line of sight over scatter."""

    kind: Literal["rician"] = "rician"
    fading: Fading = "slow"
    k_factor: float = Field(default=DEFAULT_K_FACTOR, ge=0, allow_inf_nan=False)


class BECConfig(_Config):
    """Binary erasure channel."""

    kind: Literal["bec"] = "bec"


class BSCConfig(_Config):
    """Binary symmetric channel."""

    kind: Literal["bsc"] = "bsc"


class PacketErasureConfig(_Config):
    """Packet erasure; ``packet_size`` in successive symbols."""

    kind: Literal["packet"] = "packet"
    packet_size: int = Field(default=DEFAULT_PACKET_SIZE, ge=1)


ChannelConfig = Annotated[
    AWGNConfig | RayleighConfig | RicianConfig | BECConfig | BSCConfig | PacketErasureConfig,
    Field(discriminator="kind"),
]

_NAMES: dict[str, ChannelConfig] = {
    "awgn": AWGNConfig(),
    "rayleigh": RayleighConfig(),
    "rayleigh-fast": RayleighConfig(fading="fast"),
    "rician": RicianConfig(),
    "rician-fast": RicianConfig(fading="fast"),
    "bec": BECConfig(),
    "bsc": BSCConfig(),
    "packet": PacketErasureConfig(),
}
_ALIASES = {"rayleigh-slow": "rayleigh", "rician-slow": "rician"}


def build_channel(config: ChannelConfig) -> Channel:
    """The channel that ``config`` describes."""
    match config:
        case AWGNConfig():
            return AWGN()
        case RayleighConfig(fading=fading):
            return Rayleigh(fading)
        case RicianConfig(fading=fading, k_factor=k_factor):
            return Rician(k_factor, fading)
        case BECConfig():
            return BEC()
        case BSCConfig():
            return BSC()
        case PacketErasureConfig(packet_size=packet_size):
            return PacketErasure(packet_size)
        case _:
            assert_never(config)


def parse_channel(text: str) -> ChannelConfig:
    """A channel as a person writes it, ``NAME`` or ``NAME:SETTING``; case does not matter.

    Raises:
        VqlinkError: for an unknown name (with the list and the nearest), or a bad setting.

    >>> parse_channel("rician-fast:k=2")
    RicianConfig(kind='rician', fading='fast', k_factor=2.0)
    """
    name, colon, setting = text.strip().lower().partition(":")
    text = text if len(text) <= 60 else text[:57] + "..."
    name = _ALIASES.get(name, name)
    if name not in _NAMES:
        raise VqlinkError(_unknown(name))
    config = _NAMES[name]
    if not colon:
        return config
    try:
        match config:
            case RicianConfig(fading=fading) if setting.startswith("k="):
                return RicianConfig(fading=fading, k_factor=float(setting[2:]))
            case PacketErasureConfig():
                return PacketErasureConfig(packet_size=int(setting))
    except ValueError as error:  # not a number, or (pydantic's is a ValueError) out of range
        raise VqlinkError(f"channel {text!r}: {_usage(config)}") from error
    raise VqlinkError(f"channel {text!r}: {_usage(config)}")


def channel_name(config: ChannelConfig) -> str:
    """The one text that :func:`parse_channel` reads back as ``config``; for rows and labels.

    >>> channel_name(RicianConfig(k_factor=10))
    'rician:k=10'
    """
    match config:
        case RayleighConfig(fading="fast"):
            return "rayleigh-fast"
        case RicianConfig(fading=fading, k_factor=k_factor):
            name = "rician-fast" if fading == "fast" else "rician"
            return f"{name}:k={repr(k_factor).removesuffix('.0')}"
        case PacketErasureConfig(packet_size=packet_size):
            return f"packet:{packet_size}"
        case _:
            return config.kind


def _unknown(name: str) -> str:
    name = name if len(name) <= 40 else name[:37] + "..."
    hint = did_you_mean(name, _NAMES)
    return f"unknown channel {name!r}{hint} (known: {', '.join(_NAMES)})"


def _usage(config: ChannelConfig) -> str:
    match config:
        case RicianConfig():
            return "write the K factor, a power ratio >= 0, as rician:k=10"
        case PacketErasureConfig():
            return "write the symbols in a packet, a whole number >= 1, as packet:64"
        case _:
            return f"{config.kind} takes no setting after its name"
