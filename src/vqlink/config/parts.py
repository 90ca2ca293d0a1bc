"""What all parts of a recipe share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Bounds of nets: the papers' largest, and what a wrong file may ask for at most.
Width = Annotated[int, Field(ge=1, le=1024)]
Depth = Annotated[int, Field(ge=0, le=16)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Beta = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Part(BaseModel):
    """Frozen, and a key that it does not know is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlainTraining(Part):
    """AdamW, a warm-up and a cosine to zero, in one process; see :mod:`vqlink.training.plain`."""

    steps: int = Field(ge=1)
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0, allow_inf_nan=False)
    warmup: int = Field(100, ge=0)
    ema: float = Field(0.999, ge=0, lt=1)
    clip_norm: float = Field(1.0, gt=0)
    precision: Literal["float32", "bf16"] = "float32"
    seed: Seed = 0
    log_every: int = Field(50, ge=1)
    validate_every: int = Field(1000, ge=1)
    checkpoint_seconds: float = Field(60.0, gt=0)
