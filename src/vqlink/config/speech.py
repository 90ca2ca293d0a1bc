"""Recipes for speech: the transform codec of 002's first scenario."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vqlink.config.schema import Part, ReplacementConfig


class SpeechSource(Part):
    """Recordings, and how they are varied.

    Attributes:
        train, validation: folders of recordings.
        speeds: each recording is also taken at these speeds, which moves pitch and formants.
    """

    train: str
    validation: str | None = None
    speeds: tuple[float, ...] = (1.0, 0.9, 1.1)


class EnvelopeConfig(Part):
    """See :class:`vqlink.systems.speech_envelope.EnvelopeModel`."""

    sizes: tuple[Literal[16, 64, 256, 1024, 4096], ...] = Field(default=(4096,), min_length=1)
    gradient: Literal["straight_through", "noise"] = "noise"
    learning: Literal["loss", "ema", "gradient"] = "gradient"
    replacement: ReplacementConfig | None = None
    hidden: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _can_learn(self) -> EnvelopeConfig:
        other = "loss" if self.gradient == "straight_through" else "gradient"
        if self.learning not in (other, "ema"):
            raise ValueError(f"gradient {self.gradient} learns by {other} or ema")
        return self


class SpeechTraining(Part):
    """Adam, with a rate that falls to zero (cosine).

    Attributes:
        steps, frames: updates, and frames of each.
        hard: share of the steps, at the end, in which only the maps learn, from hard codewords.
        commitment: weight of that loss, under straight-through.
    """

    steps: int = Field(default=2000, ge=1)
    frames: int = Field(default=1024, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    hard: float = Field(default=0.15, ge=0, lt=1)
    commitment: float = Field(default=0.25, ge=0, allow_inf_nan=False)
    seed: int = 0


class SpeechCodecRecipe(Part):
    """One speech codec. ``deviations`` says where it departs from the paper, and why."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    paper: str
    figure: str
    source: SpeechSource
    envelope: EnvelopeConfig = EnvelopeConfig()
    training: SpeechTraining = SpeechTraining()
    deviations: tuple[str, ...] = ()
