"""Recipes and weights of priors: what a PixelCNN over a codec's maps is made of, and its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator

from vqlink.config.load import load_as
from vqlink.config.parts import Depth, Part, PlainTraining, Width
from vqlink.config.weights import (
    MODEL_NAME,
    Storage,
    load_strict,
    load_weights,
    read_config_as,
    read_tensors,
    sha256_of,
    write_folder,
)
from vqlink.errors import VqlinkError
from vqlink.systems.image_prior import ImagePrior
from vqlink.systems.layered_code import LayeredCode


class PriorSource(Part):
    """Pictures to learn from, as of image recipes; ``label`` names a column of classes."""

    train: str
    validation: str | None = None
    crop: int = Field(ge=2)
    label: str | None = None


class PriorNet(Part):
    """Of each map's PixelCNN; see :class:`vqlink.priors.pixelcnn.GatedPixelCNN`."""

    width: Width = 48
    depth: Depth = 6
    kernel: Literal[3, 5, 7] = 3
    dropout: float = Field(default=0.1, ge=0, lt=1)
    classes: int = Field(default=0, ge=0, le=1000)


class PriorRecipe(Part):
    """A prior over the maps of a trained codec.

    Attributes:
        codec: zoo name or weights folder of a code in layers, which stays as it is.
    """

    kind: Literal["prior"] = "prior"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    paper: str
    figure: str = "Table 3"
    codec: str
    source: PriorSource
    net: PriorNet = PriorNet()
    training: PlainTraining
    deviations: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _classes_have_labels(self) -> PriorRecipe:
        if (self.net.classes > 0) != (self.source.label is not None):
            raise ValueError("net.classes and source.label come together")
        return self

    @property
    def rho(self) -> None:
        """None: a prior is no code."""
        return None


class PriorFile(Part):
    """``config.json`` of a prior's weights folder: the recipe, and which codec it belongs to."""

    recipe: PriorRecipe
    codec_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def load_prior_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> PriorRecipe:
    """A shipped recipe of a prior by name, or one from a file.

    Args:
        overrides: ``section.key=value`` texts, laid over the recipe in turn; the value is YAML.

    Raises:
        VqlinkError: as :func:`vqlink.config.load.load_recipe`.
    """
    return load_as(PriorRecipe, name_or_path, overrides)


def build_prior(recipe: PriorRecipe, codec: LayeredCode) -> ImagePrior:
    """An untrained prior, initialised from its seed; global random state is left alone."""
    net = recipe.net
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        return ImagePrior(
            codec.maps,
            classes=net.classes,
            width=net.width,
            depth=net.depth,
            kernel=net.kernel,
            dropout=net.dropout,
        )


def open_codec(folder: Path) -> tuple[LayeredCode, str]:
    """The codec of a prior, and the sha256 of its weights.

    Raises:
        VqlinkError: for a folder of something else.
    """
    codec, _ = load_weights(folder)
    if not isinstance(codec, LayeredCode):
        raise VqlinkError(f"{folder} holds {codec.name}, which has no layers for a prior")
    return codec, sha256_of(folder / MODEL_NAME)


def save_prior(
    folder: Path,
    tensors: dict[str, torch.Tensor],
    recipe: PriorRecipe,
    codec_sha256: str,
    *,
    half: bool = False,
) -> str:
    """Write a weights folder, the tensors in float32 or float16; returns their file's sha256."""
    file = PriorFile(recipe=recipe, codec_sha256=codec_sha256)
    storage: Storage = "float16" if half else "float32"
    return write_folder(folder, tensors, file.model_dump(mode="json"), storage=storage)


def load_prior_weights(folder: Path, codec_folder: Path) -> tuple[ImagePrior, PriorRecipe]:
    """The prior of a weights folder, ready to sample and to code.

    Raises:
        VqlinkError: when the folder is incomplete, or the codec is another one.
    """
    file = read_prior_file(folder)
    codec, digest = open_codec(codec_folder)
    if digest != file.codec_sha256:
        raise VqlinkError(f"{folder} is a prior of other weights than those in {codec_folder}")
    prior = build_prior(file.recipe, codec.eval())
    load_strict(prior, read_tensors(folder), folder)
    return prior.eval(), file.recipe


def read_prior_file(folder: Path) -> PriorFile:
    """``config.json`` of a prior's weights folder.

    Raises:
        VqlinkError: when it is missing or something else.
    """
    return read_config_as(folder, PriorFile)
