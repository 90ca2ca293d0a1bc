"""A small classifier of pictures, whose features a Frechet distance is taken in."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional


class PictureClassifier(nn.Module):
    """Pictures -> classes: a residual net of six blocks at three scales (He et al., 2016).

    Args:
        classes: how many.
        width: channels at the first scale; twice and four times as many at the others.

    Attributes:
        num_features: values of :meth:`features`.
    """

    def __init__(self, classes: int, width: int = 24) -> None:
        super().__init__()
        widths = (width, width, 2 * width, 2 * width, 4 * width, 4 * width)
        self.classes, self.num_features = classes, widths[-1]
        self.enter = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            *(_Block(a, b) for a, b in zip((width, *widths), widths, strict=False))
        )
        self.norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, classes) logits."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, num_features), what the last layer sees."""
        x = self.enter((x - 0.5) * 4).contiguous(memory_format=torch.channels_last)
        return functional.relu(self.norm(self.blocks(x))).mean(dim=(2, 3))


class ClassifierFeatures(nn.Module):
    """The features as torchmetrics takes them: 8-bit pixels (B, 3, H, W) -> (B, F) float32."""

    def __init__(self, classifier: PictureClassifier) -> None:
        super().__init__()
        self.classifier = classifier.eval()
        self.num_features = classifier.num_features

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.classifier.features(x.float() / 255)


@torch.no_grad()
def accuracy(classifier: PictureClassifier, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The part of the pictures whose class comes out first.

    Args:
        batches: pictures (B, 3, H, W) in [0, 1] and their classes (B,).
    """
    classifier.eval()
    right = [(classifier(sent).argmax(dim=1) == label).float() for sent, label in batches]
    return float(torch.cat(right).mean())


class _Block(nn.Module):
    """Normalise, rectify, convolve, twice; half the size where the channels double."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        stride = 2 if out > channels else 1
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.skip = (
            nn.Identity() if stride == 1 else nn.Conv2d(channels, out, 1, stride=2, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(functional.relu(self.norm1(x)))
        out = self.conv2(functional.relu(self.norm2(out)))
        total: Tensor = self.skip(x) + out
        return total
