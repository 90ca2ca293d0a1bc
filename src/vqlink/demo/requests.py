"""What a visitor asks for, checked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SnrDb = Annotated[float, Field(ge=-10, le=40, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Token = Annotated[str, Field(max_length=64)]
Rho = Literal["1/6", "1/12", "1/24"]
SymbolChannelName = Literal["awgn", "rayleigh", "rician:k=4", "rayleigh-fast", "rician-fast:k=4"]
MAX_TEXT = 2_000


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    channel: SymbolChannelName = "awgn"
    snr_db: SnrDb = 10.0
    designed_db: SnrDb = 10.0
    """For which SNR the digital link's MCS is chosen; the channel may then be another."""
    seed: Seed = 0


class PictureRequest(_Request):
    """A picture that was uploaded, over a channel of symbols."""

    upload: Token
    rho: Rho = "1/12"


class RecordingRequest(_Request):
    """A recording that was uploaded, over a channel of symbols."""

    upload: Token


class TextRequest(BaseModel):
    """Words over a channel that erases or flips bits."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(max_length=MAX_TEXT)]
    channel: Literal["bec", "bsc"] = "bec"
    probability: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.3
    seed: Seed = 0
