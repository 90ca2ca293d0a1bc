"""Recipes and weights of classifiers, whose features measure how natural pictures look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from vqlink.config.load import load_as
from vqlink.config.parts import Part, PlainTraining
from vqlink.config.weights import load_strict, read_config_as, read_tensors
from vqlink.metrics.classifier import PictureClassifier


class ClassifierSource(Part):
    """Parquet files of pictures of one size, with a column of classes."""

    train: str
    validation: str | None = None
    crop: int = Field(ge=8, le=512)
    label: str


class ClassifierRecipe(Part):
    """A classifier; see :class:`vqlink.metrics.classifier.PictureClassifier`."""

    kind: Literal["classifier"] = "classifier"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    paper: str
    figure: str = "Table 3"
    source: ClassifierSource
    classes: int = Field(ge=2, le=1000)
    width: int = Field(24, ge=1, le=128)
    training: PlainTraining
    deviations: tuple[str, ...] = ()

    @property
    def rho(self) -> None:
        """None: a classifier is no code."""
        return None


def load_classifier_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> ClassifierRecipe:
    """A shipped recipe of a classifier by name, or one from a file.

    Args:
        overrides: ``section.key=value`` texts, laid over the recipe in turn; the value is YAML.

    Raises:
        VqlinkError: as :func:`vqlink.config.load.load_recipe`.
    """
    return load_as(ClassifierRecipe, name_or_path, overrides)


def build_classifier(recipe: ClassifierRecipe) -> PictureClassifier:
    """An untrained classifier, initialised from its seed; global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        classifier = PictureClassifier(recipe.classes, recipe.width)
    return classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def load_classifier_weights(folder: Path) -> tuple[PictureClassifier, ClassifierRecipe]:
    """The classifier of a weights folder, ready to use.

    Raises:
        VqlinkError: when the folder is incomplete, or something else's.
    """
    recipe = read_config_as(folder, ClassifierRecipe)
    classifier = build_classifier(recipe)
    load_strict(classifier, read_tensors(folder), folder)
    return classifier.eval(), recipe
