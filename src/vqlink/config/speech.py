"""Recipes for speech: the transform codec of 002's first scenario.

They lie in ``recipes/speech``. They share the image recipes' rules and files' format, not their
parts: a codec has no link, no loss weights and no latents of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError, model_validator

from vqlink.config.build import build_link, build_quantizer
from vqlink.config.link_parts import ValuesLinkConfig
from vqlink.config.load import (
    load_tree,
    reason_of,
)
from vqlink.config.parts import Part, Seed, Width
from vqlink.config.quantizer_parts import IdentityConfig, QAMConfig, ReplacementConfig
from vqlink.decoders.speech.expander import Expander
from vqlink.encoders.speech.compander import Compander
from vqlink.errors import VqlinkError
from vqlink.layers.mdct import HOP
from vqlink.quantizers.gradients import Learning, check_learning
from vqlink.quantizers.replacement import Replacement
from vqlink.systems.speech_envelope import EnvelopeModel
from vqlink.systems.speech_jscc import SpeechJSCC
from vqlink.systems.speech_uses import FRAME_USES

Speed = Annotated[float, Field(ge=0.25, le=4)]


class SpeechSource(Part):
    """Recordings, and how they are varied.

    Attributes:
        train, validation: folders of recordings.
        speeds: each recording is also taken at these speeds, which moves pitch and formants.
    """

    train: str
    validation: str | None = None
    speeds: tuple[Speed, ...] = Field((1.0, 0.9, 1.1), min_length=1)


class EnvelopeConfig(Part):
    """See :class:`vqlink.systems.speech_envelope.EnvelopeModel`."""

    sizes: tuple[Literal[16, 64, 256, 1024, 4096], ...] = Field(default=(4096,), min_length=1)
    gradient: Literal["straight_through", "noise"] = "noise"
    learning: Learning = "gradient"
    replacement: ReplacementConfig | None = None
    hidden: Width = 64

    @model_validator(mode="after")
    def _can_learn(self) -> EnvelopeConfig:
        check_learning(self.gradient, self.learning)
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
    clip_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    hard: float = Field(default=0.15, ge=0, lt=1)
    commitment: float = Field(default=0.25, ge=0, allow_inf_nan=False)
    seed: Seed = 0


class SpeechCodecRecipe(Part):
    """One speech codec.

    Attributes:
        filling: loudness of the noise that the decoder puts where it got zeros; 1 is that of what
            was rounded to zero.
        deviations: where it departs from the paper, and why.
    """

    kind: Literal["speech-codec"] = "speech-codec"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    paper: str
    figure: str
    source: SpeechSource
    envelope: EnvelopeConfig = EnvelopeConfig()
    filling: float = Field(default=0.3, ge=0, le=1)
    training: SpeechTraining = SpeechTraining()
    deviations: tuple[str, ...] = ()

    @property
    def rho(self) -> None:
        """None: a codec's bytes are for any link."""
        return None


class SpeechCodeTraining(Part):
    """Adam, with a rate that falls to zero (cosine).

    Attributes:
        steps, messages, frames: updates, messages of each, and frames of a message.
        snr_db: range that each message's SNR is drawn from, uniformly.
        hardness: sigma_q of a QAM's soft assignment at the first and at the last step.
    """

    steps: int = Field(default=1000, ge=1)
    messages: int = Field(default=12, ge=1)
    frames: int = Field(default=100, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0, allow_inf_nan=False)
    snr_db: tuple[FiniteFloat, FiniteFloat] = (-2.0, 20.0)
    hardness: tuple[FiniteFloat, FiniteFloat] = (5.0, 60.0)
    clip_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    seed: Seed = 0

    @model_validator(mode="after")
    def _snr_rises(self) -> SpeechCodeTraining:
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError("snr_db goes from the lowest SNR to the highest")
        return self


class SpeechCodeRecipe(Part):
    """One joint source-channel code for speech: a compander, 1.05 symbols for two samples.

    Attributes:
        quantizer: ``identity`` for any value, or a QAM, in front of which latents are mixed.
        hidden: width of the nets.
        deviations: what else there is to know.
    """

    kind: Literal["speech-code"] = "speech-code"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    paper: str
    figure: str
    source: SpeechSource
    quantizer: Annotated[IdentityConfig | QAMConfig, Field(discriminator="kind")] = IdentityConfig()
    link: ValuesLinkConfig = ValuesLinkConfig(drive_level=1.0)
    hidden: Width = 128
    training: SpeechCodeTraining = SpeechCodeTraining()
    deviations: tuple[str, ...] = ()

    @property
    def rho(self) -> Fraction:
        """Complex channel uses per sample, but for the rounding up to whole packets."""
        return Fraction(FRAME_USES, HOP)


SpeechRecipe = SpeechCodecRecipe | SpeechCodeRecipe
_ADAPTER: TypeAdapter[SpeechRecipe] = TypeAdapter(
    Annotated[SpeechRecipe, Field(discriminator="kind")]
)


def load_speech_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> SpeechRecipe:
    """A shipped speech recipe by name, or one from a file.

    Args:
        overrides: ``section.key=value`` texts, laid over the recipe in turn; the value is YAML.

    Raises:
        VqlinkError: as :func:`vqlink.config.load.load_recipe`.
    """
    return read_speech_recipe(load_tree(name_or_path, overrides, SpeechRecipe), name_or_path)


def read_speech_recipe(tree: object, name: str) -> SpeechRecipe:
    """Plain data -> recipe; ``name`` is used in messages.

    Raises:
        VqlinkError: for what doesn't fit.
    """
    try:
        return _ADAPTER.validate_python(tree)
    except ValidationError as error:
        raise VqlinkError(f"recipe {name}: {reason_of(error, tree, SpeechRecipe)}") from None


def build_envelope(config: EnvelopeConfig) -> EnvelopeModel:
    """The envelope model, initialised from torch's random state."""
    policy = config.replacement
    return EnvelopeModel(
        config.sizes,
        gradient=config.gradient,
        learning=config.learning,
        replacement=None
        if policy is None
        else Replacement(**policy.model_dump(), count="vectors", sources="share"),
        hidden=config.hidden,
    )


def build_code(recipe: SpeechCodeRecipe) -> SpeechJSCC:
    """The code of a recipe, initialised from torch's random state."""
    return SpeechJSCC(
        Compander(HOP, hidden=recipe.hidden),
        build_quantizer(recipe.quantizer),
        build_link(recipe.link),
        Expander(HOP, hidden=recipe.hidden),
        mixing=not isinstance(recipe.quantizer, IdentityConfig),
        name=recipe.name,
    )
