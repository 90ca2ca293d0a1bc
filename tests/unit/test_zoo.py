"""The shipped weights: what the manifest says is what they are and give."""

from __future__ import annotations

import itertools
import json
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import vqlink
from vqlink.cli.main import run
from vqlink.config.load import load_recipe, recipe_names
from vqlink.config.weights import read_config, sha256_of
from vqlink.protocols import Point, VqlinkError
from vqlink.reporting.site.collect import Results, RowFile
from vqlink.reporting.site.pages import Files
from vqlink.reporting.site.systems import system_pages
from vqlink.rng import stream
from vqlink.systems.index_code import IndexCode
from vqlink.systems.layered_code import LayeredCode
from vqlink.zoo import catalogue
from vqlink.zoo.add import measure_expected
from vqlink.zoo.catalogue import Entry, entries, load_system
from vqlink.zoo.classifier import load_classifier
from vqlink.zoo.kinds import Kind, all_entries, kind_of
from vqlink.zoo.prior import load_prior
from vqlink.zoo.speech import load_speech

TOLERANCE_DB = 0.05

OPENERS: dict[Kind, Callable[[str], object]] = {
    "pictures": vqlink.load,
    "sentences": vqlink.load_text,
    "recordings": load_speech,
    "samples": load_prior,
    "features": load_classifier,
}
FIRST = {entry.kind: entry for entry in reversed(tuple(all_entries()))}
"""An entry of each kind."""


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


def test_all_manifests_are_in_the_list_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    manifests = catalogue.ZOO.rglob("manifest*.json")
    names = sorted(entry["name"] for path in manifests for entry in json.loads(path.read_text()))
    assert len(names) == len(set(names)), "a name is one entry's"
    assert sorted(entry.name for entry in all_entries()) == names
    assert run(["zoo", "--json"]) == 0
    assert sorted(entry["name"] for entry in json.loads(capsys.readouterr().out)) == names
    assert FIRST.keys() == OPENERS.keys()
    rows = [{"system": name, "psnr": 20.0} for name in names]
    results = Results((), (RowFile(Path("r.jsonl"), "r", list(rows), len(rows)),), (), (), (), ())
    pages = {page.title: page.body for page in system_pages(results, Files())}
    assert all("ships with vqlink" in pages[name] for name in names)


@pytest.mark.parametrize("kind", OPENERS)
@pytest.mark.parametrize("wanted", OPENERS)
def test_every_opener_says_what_a_name_is_and_who_opens_it(kind: Kind, wanted: Kind) -> None:
    entry = FIRST[kind]
    for name in (entry.name, str(entry.folder)):
        assert kind_of(name) == kind
        if kind == wanted:
            OPENERS[kind](name)
            continue
        with pytest.raises(VqlinkError, match=f"is for {kind}, not for {wanted}: ") as caught:
            OPENERS[wanted](name)
        loader = str(caught.value).split()[-3]
        assert str(caught.value).endswith(f"in Python {loader} opens it")
        assert pkgutil.resolve_name(loader) is OPENERS[kind]


@pytest.mark.parametrize(
    ("wanted", "name", "near"),
    [
        ("pictures", "jscc-q64-awgn-1-13", "jscc-q64-awgn-1-12"),
        ("pictures", "text-q33", "text-q32"),
        ("sentences", "text-q33", "text-q32"),
        ("recordings", "speech-jsc", "speech-jscc"),
        ("samples", "hrvqvae-cifar10-priors", "hrvqvae-cifar10-prior"),
        ("features", "cifar10-clasifier", "cifar10-classifier"),
    ],
)
def test_a_near_miss(wanted: Kind, name: str, near: str) -> None:
    with pytest.raises(VqlinkError, match=rf"named '{name}'; did you mean {near}\?"):
        OPENERS[wanted](name)


@pytest.mark.parametrize(
    ("name", "said"), [("text-q32", "is for sentences"), ("nothing", "no weights named")]
)
def test_an_export_that_cannot_be_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    name: str, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["export", name]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = entries()[0]
    shutil.copytree(entry.folder, tmp_path / "weights" / entry.name)
    monkeypatch.setattr(catalogue, "ZOO", tmp_path)
    load_system(entry.name)
    with (entry.folder / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(VqlinkError, match="damaged"):
        load_system(entry.name)
