"""The links of image and speech codes, as parts of a recipe."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from vqlink.config.channels import AWGNConfig, ChannelConfig
from vqlink.config.parts import Part


class ValuesLinkConfig(Part):
    """Latents as channel symbols; see :class:`vqlink.links.values.ValuesLink`."""

    kind: Literal["values"] = "values"
    channel: ChannelConfig = AWGNConfig()
    power: Literal["message", "constellation", "none"] = "message"
    equalizer: Literal["none", "zero_forcing", "mmse"] = "zero_forcing"
    precode: bool = False
    mixing: bool = False
    drive_level: float = Field(1.0, gt=0, allow_inf_nan=False)


MODEMS = {"bpsk": 1, "qpsk": 2, "16qam": 4, "64qam": 6, "256qam": 8}
"""Bits a symbol."""

_RATES = "5G LDPC codes have rates from 1/5 to 11/12, and down to 1/50 by repetition"


def _is_rate(rate: str) -> bool:
    return Fraction(1, 50) <= Fraction(rate) <= Fraction(11, 12)


class IndexLinkConfig(Part):
    """Codeword numbers over a digital link; see :class:`vqlink.links.indices.IndexLink`."""

    kind: Literal["indices"] = "indices"
    channel: ChannelConfig = AWGNConfig()
    code: Literal["ldpc5g", "ldpc80211ad", "none"] = "ldpc5g"
    rate: str = Field("1/3", pattern=r"^[1-9][0-9]*/[1-9][0-9]*$")
    modem: Literal["bpsk", "qpsk", "16qam", "64qam", "256qam"] = "16qam"
    interleave: bool = True
    lost: Literal["hard", "conceal", "soft"] = "hard"

    @model_validator(mode="after")
    def _rate_exists(self) -> IndexLinkConfig:
        if self.code == "ldpc80211ad" and self.rate not in ("1/2", "5/8", "3/4", "13/16"):
            raise ValueError("802.11ad's codes have rates 1/2, 5/8, 3/4 and 13/16")
        if self.code == "ldpc5g" and not _is_rate(self.rate):
            raise ValueError(_RATES)
        return self


class LayersLinkConfig(Part):
    """A coded stream for each layer; see :class:`vqlink.systems.layered_code.LayeredCode`.

    Attributes:
        rates: of 5G LDPC, a layer each; low ones protect more.
    """

    kind: Literal["layers"] = "layers"
    channel: ChannelConfig = AWGNConfig()
    rates: tuple[Annotated[str, Field(pattern=r"^[1-9][0-9]*/[1-9][0-9]*$")], ...]
    modem: Literal["bpsk", "qpsk", "16qam", "64qam", "256qam"] = "qpsk"
    interleave: bool = True

    @model_validator(mode="after")
    def _rates_exist(self) -> LayersLinkConfig:
        if not all(_is_rate(rate) for rate in self.rates):
            raise ValueError(_RATES)
        return self
