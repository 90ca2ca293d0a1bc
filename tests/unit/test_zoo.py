"""The shipped weights: what the manifest says is what they are and give."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
import torch

import vqlink
from vqlink.config.load import load_recipe, recipe_names
from vqlink.config.weights import read_config, sha256_of
from vqlink.protocols import Point, VqlinkError
from vqlink.rng import stream
from vqlink.systems.index_code import IndexCode
from vqlink.systems.layered_code import LayeredCode
from vqlink.zoo import catalogue
from vqlink.zoo.add import measure_expected
from vqlink.zoo.catalogue import Entry, entries, load_system

TOLERANCE_DB = 0.05


@pytest.mark.parametrize("entry", entries(), ids=lambda e: e.name)
def test_expected_figure(entry: Entry) -> None:
    assert measure_expected(entry.folder) == pytest.approx(entry.expected.psnr_db, abs=TOLERANCE_DB)


@pytest.mark.parametrize("entry", entries(), ids=lambda e: e.name)
def test_manifest_matches_the_files(entry: Entry) -> None:
    assert sha256_of(entry.folder / "model.safetensors") == entry.sha256
    recipe = read_config(entry.folder)
    assert recipe.name == entry.recipe
    assert recipe.rho == entry.rho
    system, _, _ = load_system(entry.name)
    exact = 480 * 640 * 3 * entry.rho
    if isinstance(system, IndexCode | LayeredCode):  # CRCs and whole bytes come on top
        assert exact < system.uses(480, 640) < 1.01 * exact
    else:
        assert system.uses(480, 640) == exact
    assert sum(p.numel() for p in system.parameters()) == entry.params


@pytest.mark.parametrize("entry", entries(), ids=lambda e: e.name)
def test_weights_come_from_a_shipped_recipe(entry: Entry) -> None:
    assert entry.recipe in recipe_names()
    shipped, used = load_recipe(entry.recipe), read_config(entry.folder)
    assert used.model_copy(update={"deviations": shipped.deviations}) == shipped


def test_the_promised_codes_are_there_and_small() -> None:
    names = {entry.name for entry in entries()}
    assert names >= {f"jscc{q}-awgn-1-{r}" for q in ("", "-q64") for r in (6, 12, 24)}
    size = sum(f.stat().st_size for f in (catalogue.ZOO / "weights").rglob("*.safetensors"))
    assert size < 60e6


def test_load_gives_a_codec() -> None:
    codec = vqlink.load("jscc-q64-awgn-1-12")
    x = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    symbols = codec.encode(x, snr_db=10.0)
    assert symbols.dtype == torch.complex64
    assert symbols.numel() == codec.uses(40, 48)
    assert codec.decode(symbols, snr_db=10.0, size=(40, 48)).shape == x.shape
    sent = codec.transmit(x, Point(snr_db=10.0), generator=stream(0, "t"))
    assert sent.received.shape == x.shape
    assert not codec.training


def test_quality_rises_with_the_snr() -> None:
    """No cliff and no dip, on a small picture at every 4 dB; benchmarks have Kodak at every 2."""
    from vqlink.metrics.image import psnr
    from vqlink.sources.images import open_image

    x = open_image("sample:coffee")[None, :, 100:228, 200:328]
    for name in ("jscc-awgn-1-12", "jscc-q64-awgn-1-12"):
        codec = vqlink.load(name)
        figures = [
            float(psnr(codec.transmit(x, Point(snr_db=s), generator=stream(0, "t")).received, x))
            for s in (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)
        ]
        steps = [b - a for a, b in itertools.pairwise(figures)]
        assert all(0 < step < 3.0 for step in steps), (name, figures)


def test_unknown_name() -> None:
    with pytest.raises(VqlinkError, match="jscc-q64-awgn-1-12"):
        vqlink.load("nothing")


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = entries()[0]
    shutil.copytree(entry.folder, tmp_path / "weights" / entry.name)
    monkeypatch.setattr(catalogue, "ZOO", tmp_path)
    load_system(entry.name)
    with (entry.folder / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(VqlinkError, match="damaged"):
        load_system(entry.name)
