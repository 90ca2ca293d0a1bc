"""``hrvqvae-table3``: what priors over three codecs make up, by its distance from real pictures."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vqlink.config.parts import PlainTraining
from vqlink.config.weights import sha256_of
from vqlink.evaluation.samples import draw
from vqlink.experiments.cells import Cell, cell_name, read_rows, run_cells
from vqlink.experiments.hrvqvae_images import HierarchyRun, build, fit, measure
from vqlink.experiments.nsvq_images import cifar10
from vqlink.experiments.reproduction import Budget, Claim, Reproduction, Row, select
from vqlink.metrics.classifier import ClassifierFeatures
from vqlink.metrics.frechet import frechet_distance
from vqlink.rng import stream
from vqlink.systems.autoencoder import VQAutoencoder
from vqlink.systems.image_prior import ImagePrior
from vqlink.systems.layered_codes import LayeredCodes, ResidualCodes, VQVAE2Codes
from vqlink.systems.vqvae2 import VQVAE2
from vqlink.training.plain import PlainRun
from vqlink.training.prior import negative_log_likelihood
from vqlink.zoo.classifier import load_classifier

_CODEC = "codec.safetensors"
CLASSIFIER = "cifar10-classifier"
MODELS = (("hr", "8x8x8"), ("vqvae2", "512"), ("vqvae", "512"))
_REAL = "real"
_PAPER_FID = {"hr": 71.38, "vqvae2": 74.43, "vqvae": 78.90}
_NET = {"width": 48, "depth": 6, "kernel": 3, "dropout": 0.1}
_TRAINING = {"batch": 16, "learning_rate": 2e-3, "precision": "bf16"}
_STEPS, _UPDATES, _SAMPLES = 4000, 10_000, 2000
_NOTES = (
    f"distance: Frechet's, on the features of {CLASSIFIER}, from the 5,085 lossless pictures of "
    "validation_exact; it is no FID, and the paper's figures stand beside it for their order alone",
    "codecs as in Table 1, as the papers have them, seed 0; a gated PixelCNN for each map, 48 "
    "channels and six layers for every codec, 4,000 steps of 16 pictures",
    f"{_SAMPLES} samples of each, seed 0, temperature 1; 'decoded' is the distance of as many "
    "pictures of validation_exact that the codec alone has coded; 'real' that of training pictures",
)


def reproduce(budget: Budget, folder: Path, jobs: int) -> Reproduction:
    """Train what is missing, sample, and set it beside the paper's order."""
    path = folder / "hrvqvae-table3.jsonl"
    updates, steps, samples = (4, 2, 4) if budget == "smoke" else (_UPDATES, _STEPS, _SAMPLES)
    runs = Path("runs/hrvqvae-table3")
    work = functools.partial(_run_cell, folder=runs, steps=steps, updates=updates, samples=samples)
    cells: list[Cell] = [{"model": _REAL, "branches": "-"}]
    cells += [{"model": model, "branches": branches} for model, branches in MODELS]
    before = len(read_rows(path))
    length = {"updates": updates, "steps": steps}
    rows = run_cells(cells, work, path, jobs=jobs, least=length)
    for row in read_rows(path)[before:]:  # what was for going on has done its part
        shutil.rmtree(_folder(runs, row, updates, steps), ignore_errors=True)
    return Reproduction(
        "hrvqvae-table3",
        "003, Table 3: pictures that priors make up, CIFAR-10's size",
        ("model", "codebooks", "distance", "decoded", "bits a picture", "fixed bits", "samples",
         "paper's FID"),
        tuple(
            (r["model"], r["branches"], round(r["distance"], 2), _rounded(r.get("decoded"), 2),
             _rounded(r.get("bits"), 0), _rounded(r.get("fixed_bits"), 0), r["samples"],
             _PAPER_FID.get(r["model"]))
            for r in rows
        ),
        (_order(rows),),
        path,
        (),
        _NOTES,
    )  # fmt: skip


def _run_cell(cell: Cell, *, folder: Path, steps: int, updates: int, samples: int) -> list[Row]:
    images, test = cifar10()
    features = ClassifierFeatures(load_classifier(CLASSIFIER))
    if samples < 1000:  # a smoke test
        test = test[:250]

    def distance(made: Iterator[Tensor]) -> float:
        return frechet_distance(_pictures(test), made, features)

    if cell["model"] == _REAL:
        chosen = torch.randperm(len(images), generator=stream(0, "real"))[:samples]
        return [{"distance": distance(_pictures(images[chosen])), "samples": samples}]
    run = HierarchyRun(str(cell["model"]), str(cell["branches"]), False, 0, updates)  # type: ignore[arg-type]
    own = _folder(folder, cell, updates, steps)
    codec = _codec(run, images, own / _CODEC)
    digest = sha256_of(own / _CODEC)
    prior = _prior(_codes(codec), images, own / "prior", steps, codec=digest)
    quality: dict[str, Any] = measure(codec, test)
    codec.eval()
    codes = prior.codes
    with torch.no_grad():
        bits = [torch.stack(prior(codes.encode(part))).sum(dim=0) for part in _pictures(test)]
    return [
        {
            "distance": distance(draw(prior, samples, (32, 32), seed=0)),
            "decoded": distance(codes.decode(codes.encode(p)) for p in _pictures(test[:samples])),
            "bits": float(torch.cat(bits).mean()),
            "fixed_bits": prior.fixed_bits(32, 32),
            "samples": samples,
            "mse": quality["mse"],
            "psnr": quality["psnr"],
            "updates": updates,
            "steps": steps,
        }
    ]


def _folder(runs: Path, cell: Mapping[str, Any], updates: int, steps: int) -> Path:
    name = cell_name({key: cell[key] for key in ("model", "branches")})
    return runs / f"{name}-{updates}-{steps}"


def _codec(run: HierarchyRun, images: Tensor, path: Path) -> nn.Module:
    """The trained codec of a run, which is kept: the prior's training goes on with it."""
    if path.exists():
        codec = build(run)
        codec.load_state_dict(load_file(path))
        return codec.eval()
    codec = fit(run, images)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: t.contiguous() for name, t in codec.state_dict().items()}, partial)
    partial.replace(path)
    return codec.eval()


def _codes(codec: nn.Module) -> LayeredCodes:
    if isinstance(codec, VQVAE2):
        return VQVAE2Codes(codec)
    assert isinstance(codec, VQAutoencoder)
    return ResidualCodes(codec, stride=2)


def _prior(
    codes: LayeredCodes, images: Tensor, folder: Path, steps: int, *, codec: str
) -> ImagePrior:
    """The trained prior over a codec's maps; goes on where an interrupted run stands.

    Args:
        codec: the sha256 of the codec, which makes the maps.

    Raises:
        KeyboardInterrupt: when the run is interrupted again.
    """
    config = PlainTraining.model_validate({**_TRAINING, "steps": steps})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        prior = ImagePrior(codes, **_NET)  # type: ignore[arg-type]

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        generator = stream(config.seed, "prior", step)
        rows = torch.randint(len(images), (config.batch,), generator=generator)
        return negative_log_likelihood(prior, images[rows].float() / 255)

    folder.mkdir(parents=True, exist_ok=True)
    averaged = folder / "average.safetensors"
    run = PlainRun(
        prior, config, folder, identity=json.dumps([config.model_dump(), _NET, codec]),
        loss=loss, validate=lambda _: {}, save=lambda state: save_file(state, averaged),
    )  # fmt: skip
    if not run.train(resume=(folder / "state.safetensors").exists()).complete:
        raise KeyboardInterrupt
    prior.load_state_dict(load_file(averaged))
    return prior.eval()


def _pictures(images: Tensor) -> Iterator[Tensor]:
    for part in torch.split(images, 250):
        yield part.float() / 255


def _order(rows: Sequence[Row]) -> Claim:
    text = "samples over the tree are nearest to real pictures, then VQ-VAE-2's, then VQ-VAE's"
    found = {m: r["distance"] for m, _ in MODELS for r in select(rows, model=m)}
    if len(found) < len(MODELS):
        return Claim(text, None, "not run")
    figures = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    return Claim(text, found["hr"] < found["vqvae2"] < found["vqvae"], figures)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
