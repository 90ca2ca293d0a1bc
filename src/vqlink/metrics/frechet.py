"""Frechet distances between sets of pictures: how far made-up ones are from real ones.

The mean and covariance of a net's features over each set make two Gaussians; their Frechet distance
(Heusel et al., 2017) falls as the sets become alike, and also with the number of pictures: compare
equal numbers alone. With Inception's features it is the FID; with others it is no FID, and is never
called so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics.image.fid import FrechetInceptionDistance

from vqlink.errors import VqlinkError, one_line

INCEPTION = "inception"
_WEIGHTS_NAME = "weights-inception-2015-12-05-6726825d.pth"
_FEATURES = 2048  # of Inception's last pooling layer, as FID is defined
_WEIGHTS_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


@dataclass(frozen=True)
class Distance:
    """A Frechet distance.

    Attributes:
        features: the net's name.
        value: at least 0; 0 for equal means and covariances.
        real, made: pictures in each set.
    """

    features: str
    value: float
    real: int
    made: int

    @property
    def title(self) -> str:
        """What it may be called."""
        if self.features == INCEPTION:
            return "FID"
        return f"Frechet distance on the features of {self.features}"


class FrechetMeter:
    """Collects pictures of two sets, batch by batch.

    Args:
        features: of pictures as 8-bit pixels, uint8 (B, 3, H, W) -> (B, F), with a
            ``num_features``; or ``"inception"``, whose weights are fetched unless given.
        name: of the net.
        weights: file of Inception's weights, the one that torch-fidelity publishes: others give no
            FID, and it is a pickle, which nobody else's may be.

    Raises:
        VqlinkError: when Inception or its weights can't be had.
    """

    def __init__(
        self, features: Module | str, name: str = INCEPTION, *, weights: Path | None = None
    ) -> None:
        self.name = name
        self._metric = (
            _inception(weights) if isinstance(features, str) else FrechetInceptionDistance(features)
        )

    def add(self, pictures: Tensor, *, real: bool) -> None:
        """Pictures (B, 3, H, W) in [0, 1] of one of the sets; rounded to 8 bits first."""
        pixels = (pictures.clamp(0, 1) * 255).round().to(torch.uint8)
        self._metric.update(pixels, real=real)

    def distance(self) -> Distance:
        """Of all pictures so far.

        Raises:
            VqlinkError: when a set has fewer than two pictures.
        """
        counts = [
            int(getattr(self._metric, f"{kind}_features_num_samples")) for kind in ("real", "fake")
        ]
        if min(counts) < 2:
            raise VqlinkError("a Frechet distance takes at least two pictures of each set")
        # Rounding can leave a hair below zero between equal sets.
        return Distance(self.name, max(0.0, float(self._metric.compute())), *counts)


def frechet_distance(real: Iterable[Tensor], made: Iterable[Tensor], features: Module) -> float:
    """Between two sets of pictures, given in batches (B, 3, H, W) in [0, 1].

    Args:
        features: as of :class:`FrechetMeter`.

    Raises:
        VqlinkError: when a set has fewer than two pictures.
    """
    meter = FrechetMeter(features, type(features).__name__)
    for batches, is_real in ((real, True), (made, False)):
        for batch in batches:
            meter.add(batch, real=is_real)
    return meter.distance().value


def _inception(weights: Path | None) -> FrechetInceptionDistance:
    if weights is not None:
        if not weights.is_file():
            raise VqlinkError(f"{weights}: no file of Inception's weights there")
        if sha256(weights.read_bytes()).hexdigest() != _WEIGHTS_SHA256:
            raise VqlinkError(
                f"{weights} is not the file {_WEIGHTS_NAME} that torch-fidelity publishes"
            )
    path = None if weights is None else str(weights)
    try:
        return FrechetInceptionDistance(_FEATURES, feature_extractor_weights_path=path)
    except ModuleNotFoundError:
        raise VqlinkError("FID needs torch-fidelity: pip install 'vqlink[fid]'") from None
    except URLError as error:
        raise VqlinkError(
            f"Inception's weights can't be fetched ({one_line(error.reason)}): give their file as "
            "--features inception:FILE, or take --features cifar10-classifier"
        ) from None
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise VqlinkError(f"Inception's weights can't be read: {one_line(error)}") from None
