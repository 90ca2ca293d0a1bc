"""The classifiers that ship, for Frechet distances: their manifest, loading, how weights get in.

    python -m vqlink.zoo.classifier runs/cifar10-classifier/weights

measures the accuracy on the recipe's pictures for validation, too.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import TypeAdapter

from vqlink.config.classifier import load_classifier_weights
from vqlink.config.weights import read_tensors, write_folder
from vqlink.errors import VqlinkError
from vqlink.metrics.classifier import ClassifierFeatures, PictureClassifier, accuracy
from vqlink.sources.labelled import LabelledPictures
from vqlink.zoo.cases import SMALL, small_pictures
from vqlink.zoo.kinds import Kind
from vqlink.zoo.manifest import STRICT, ZOO, find_folder, read_manifest, write_manifest

if TYPE_CHECKING:
    from vqlink.metrics.frechet import FrechetMeter

MANIFEST = ZOO / "manifest_classifier.json"


@dataclass(frozen=True)
class ClassifierEntry:
    """One classifier.

    Attributes:
        accuracy: on the pictures that its recipe names for validation.
        feature: mean over all features of :func:`vqlink.zoo.cases.small_pictures`.
    """

    __pydantic_config__ = STRICT
    kind: ClassVar[Kind] = "features"

    name: str
    paper: str
    classes: int
    params: int
    sha256: str
    accuracy: float
    feature: float

    @property
    def folder(self) -> Path:
        return ZOO / "weights" / self.name

    def document(self) -> dict[str, Any]:
        """As a plain mapping with the keys of every zoo entry."""
        return {
            "name": self.name,
            "recipe": self.name,
            "paper": self.paper,
            "source": "images",
            "channel": None,
            "params": self.params,
            "sha256": self.sha256,
            "classes": self.classes,
            "accuracy": self.accuracy,
            "expected": {"case": SMALL, "feature": self.feature},
        }


_ENTRIES = TypeAdapter(tuple[ClassifierEntry, ...])


@lru_cache(maxsize=1)
def classifier_entries() -> tuple[ClassifierEntry, ...]:
    """All classifiers in the manifest.

    Raises:
        VqlinkError: when the file is damaged.
    """
    return read_manifest(_ENTRIES, MANIFEST)


def load_classifier(name_or_folder: str) -> PictureClassifier:
    """A classifier by zoo name or weights folder.

    Raises:
        VqlinkError: for an unknown name, or a zoo file that isn't what the manifest says.
    """
    folder = find_folder(name_or_folder, classifier_entries(), "features", "classifier")
    return load_classifier_weights(folder)[0]


def open_meter(features: str) -> FrechetMeter:
    """A meter on ``inception``, ``inception:FILE``, a classifier of the zoo or a weights folder.

    Raises:
        VqlinkError: for what is unknown, or can't be fetched.
    """
    from vqlink.metrics.frechet import INCEPTION, FrechetMeter  # late: torchmetrics takes seconds

    name, colon, file = features.partition(":")
    if name == INCEPTION:
        return FrechetMeter(INCEPTION, weights=Path(file) if colon else None)
    known = classifier_entries()
    folder = find_folder(features, known, "features", "features", besides=[INCEPTION])
    classifier, recipe = load_classifier_weights(folder)
    return FrechetMeter(ClassifierFeatures(classifier), recipe.name)


@torch.no_grad()
def measure_expected(folder: Path) -> float:
    """The mean feature of the manifest's case."""
    classifier, _ = load_classifier_weights(folder)
    return round(float(classifier.features(small_pictures()).mean()), 5)


def measure_accuracy(folder: Path) -> float:
    """On the pictures that the recipe names for validation.

    Raises:
        VqlinkError: when they aren't there.
    """
    classifier, recipe = load_classifier_weights(folder)
    source = recipe.source
    if source.validation is None:
        raise VqlinkError(f"{recipe.name} names no pictures for validation")
    pictures = LabelledPictures(
        source.validation, source.label, source.crop, recipe.classes, seed=0
    )
    return round(accuracy(classifier, pictures.parts(250)), 4)


def add(folder: Path) -> ClassifierEntry:
    """Copy one weights folder into the zoo, in half precision, and into its manifest."""
    _, recipe = load_classifier_weights(folder)
    target, tensors = ZOO / "weights" / recipe.name, read_tensors(folder)
    tree = recipe.model_dump(mode="json")
    sha256 = write_folder(target, tensors, tree, storage="float16")
    classifier, _ = load_classifier_weights(target)
    entry = ClassifierEntry(
        name=recipe.name,
        paper=recipe.paper,
        classes=recipe.classes,
        params=sum(parameter.numel() for parameter in classifier.parameters()),
        sha256=sha256,
        accuracy=measure_accuracy(target),
        feature=measure_expected(target),
    )
    write_manifest(MANIFEST, [asdict(e) for e in (*classifier_entries(), entry)])
    classifier_entries.cache_clear()
    return entry


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(add(Path(argument)))
