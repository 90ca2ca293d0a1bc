"""Classifiers and the Frechet distance on their features: training, weights, ``vqlink sample``."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from scipy.linalg import sqrtm
from torch import Tensor, nn

from vqlink.cli.main import run
from vqlink.config.classifier import ClassifierRecipe, load_classifier_recipe
from vqlink.config.load import recipe_names
from vqlink.config.weights import MODEL_NAME, sha256_of
from vqlink.errors import VqlinkError
from vqlink.metrics import frechet
from vqlink.metrics.classifier import ClassifierFeatures, PictureClassifier
from vqlink.metrics.frechet import FrechetMeter, frechet_distance
from vqlink.rng import stream
from vqlink.training.classifier import shifted, train_classifier
from vqlink.zoo.classifier import (
    ClassifierEntry,
    classifier_entries,
    load_classifier,
    measure_accuracy,
    measure_expected,
    open_meter,
)


@pytest.fixture(name="pictures")
def fixture_pictures(tmp_path: Path) -> Path:
    """Dark pictures are of class 0, bright ones of class 1."""
    random = np.random.default_rng(0)

    def picture(label: int) -> dict[str, object]:
        buffer = io.BytesIO()
        pixels = random.integers(128 * label, 127 + 128 * label, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    labels = [0, 1] * 8
    table = pyarrow.table({"image": [picture(label) for label in labels], "label": labels})
    path = tmp_path / "pictures.parquet"
    pyarrow.parquet.write_table(table, path)
    return path


def recipe_of(pictures: Path, **training: float) -> ClassifierRecipe:
    settings = {"steps": 8, "batch": 8, "log_every": 1, "validate_every": 4, "warmup": 0, "ema": 0}
    return ClassifierRecipe.model_validate(
        {
            "name": "small", "paper": "003", "classes": 2, "width": 4,
            "source": {
                "train": str(pictures), "validation": str(pictures), "crop": 32, "label": "label",
            },
            "training": {**settings, **training},
        }
    )  # fmt: skip


def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(
    pictures: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(pictures)
    assert train_classifier(recipe, tmp_path / "whole").complete

    def interrupt(step: int, _: str) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    assert train_classifier(recipe, tmp_path / "parts", report=interrupt).step == 3
    assert train_classifier(recipe, tmp_path / "parts", resume=True).complete
    for file in ("state.safetensors", "weights/model.safetensors"):
        whole, parts = (load_file(tmp_path / run_ / file) for run_ in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_it_learns(pictures: Path, tmp_path: Path) -> None:
    train_classifier(recipe_of(pictures, steps=60, learning_rate=0.01), tmp_path / "run")
    assert measure_accuracy(tmp_path / "run/weights") == 1.0


def test_shifts_are_of_four_pixels_at_most() -> None:
    ramp = torch.arange(32.0).expand(64, 1, 32, 32)
    moved = shifted(ramp, generator=stream(0, "shift"))
    by = (moved - ramp)[:, 0, 16, 16]
    assert {int(x) for x in by} == set(range(-4, 5))
    down = shifted(ramp.mT, generator=stream(1, "shift")) - ramp.mT
    assert {int(x) for x in down[:, 0, 16, 16]} == set(range(-4, 5))


class _Means(nn.Module):
    """Three features: the mean of each colour."""

    num_features = 3

    def forward(self, x: Tensor) -> Tensor:
        return x.double().mean(dim=(2, 3)) / 255


def test_the_distance_is_that_of_two_gaussians() -> None:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), Dowson and Landau (1982)."""
    g = stream(0, "pictures")
    real, made = torch.rand(50, 3, 8, 8, generator=g), 0.8 * torch.rand(40, 3, 8, 8, generator=g)
    found = frechet_distance(real.split(16), made.split(7), _Means())
    x, y = (_Means()((p * 255).round()).numpy() for p in (real, made))
    cov = [np.cov(v, rowvar=False) for v in (x, y)]
    root = np.trace(sqrtm(cov[0] @ cov[1])).real
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(cov[0]) + np.trace(cov[1])
    assert found == pytest.approx(expected - 2 * root, rel=1e-6)
    assert frechet_distance([real], [real], _Means()) == pytest.approx(0, abs=1e-9)
    assert frechet_distance([real], [real.clamp(0, 1) + 1e-4], _Means()) < 1e-5  # 8 bits alone
    with pytest.raises(VqlinkError, match="at least two"):
        frechet_distance([real], [made[:1]], _Means())


def test_only_inceptions_is_called_fid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meter = FrechetMeter(ClassifierFeatures(PictureClassifier(2, 4)), "small")
    for real in (True, False):
        meter.add(torch.rand(4, 3, 32, 32), real=real)
    assert meter.distance().title == "Frechet distance on the features of small"
    with pytest.raises(VqlinkError, match="no file"):
        open_meter("inception:nowhere.pth")
    (tmp_path / "other.pth").write_bytes(b"a pickle of unknown origin")
    with pytest.raises(VqlinkError, match="torch-fidelity publishes"):
        open_meter(f"inception:{tmp_path / 'other.pth'}")

    def unreachable(*_: object, **__: object) -> None:
        raise frechet.URLError("no route to host")

    monkeypatch.setattr(frechet, "FrechetInceptionDistance", unreachable)
    with pytest.raises(VqlinkError, match="inception:FILE"):
        open_meter("inception")
    monkeypatch.setattr(frechet, "FrechetInceptionDistance", lambda *_, **__: _inception())
    meter = open_meter("inception")
    for real in (True, False):
        meter.add(torch.rand(4, 3, 32, 32), real=real)
    assert meter.distance().title == "FID"


def _inception() -> nn.Module:
    from torchmetrics.image.fid import FrechetInceptionDistance

    return FrechetInceptionDistance(_Means())


def test_from_the_command_line(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(recipe_of(pictures).model_dump(mode="json")))
    assert run(["train", str(file), "--out", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"]
    weights = str(tmp_path / "run/weights")
    words = ["sample", "hrvqvae-cifar10-prior", "-n", "4", "--side", "24"]
    words += ["--out", str(tmp_path / "grid.png"), "--features", weights]
    assert run([*words, "--against", str(pictures), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"] == "Frechet distance on the features of small"
    assert found["distance"] > 0
    assert found["real"] == 16
    small = tmp_path / "small.png"
    Image.new("RGB", (20, 40)).save(small)
    for more, message in (
        (["--against", "nowhere"], "nowhere"),
        (["--against", str(small)], "smaller than the samples"),
        (["--against", str(pictures), "--features", "cifar10-clasifier"], "did you mean"),
        (["--against", str(pictures), "-n", "1"], "at least two samples"),
    ):
        assert run([*words, *more]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert run(["send", "sample:cat", "--system", weights]) == 2
    assert "is for features" in capsys.readouterr().err


@pytest.mark.parametrize("name", recipe_names("classifier"))
def test_shipped_recipes_are_valid(name: str) -> None:
    assert load_classifier_recipe(name).name == name
    with pytest.raises(VqlinkError, match="did you mean"):
        load_classifier_recipe(name + "s")


@pytest.mark.parametrize("entry", classifier_entries(), ids=lambda entry: entry.name)
def test_what_ships_is_what_the_manifest_says(entry: ClassifierEntry) -> None:
    assert sha256_of(entry.folder / MODEL_NAME) == entry.sha256
    classifier = load_classifier(entry.name)
    assert sum(p.numel() for p in classifier.parameters()) == entry.params
    assert measure_expected(entry.folder) == pytest.approx(entry.feature, rel=0.005)
    assert entry.accuracy > 0.8
