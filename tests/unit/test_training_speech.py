"""Training for speech: the rate and error that training sees are those of the codec; it learns."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import pytest
import torch

from vqlink.config.load import load_recipe, recipe_kind, recipe_names
from vqlink.config.speech import (
    SpeechCodecRecipe,
    SpeechCodeRecipe,
    load_speech_recipe,
)
from vqlink.config.speech_weights import load_speech_weights
from vqlink.errors import VqlinkError
from vqlink.metrics.audio import perceptual_snr
from vqlink.sources.audio import write_audio
from vqlink.sources.voice import synthetic_voice
from vqlink.systems.speech_codec import SpeechCodec
from vqlink.systems.speech_rate import interval_bits, interval_mean, rate_distortion
from vqlink.training.speech_loop import descend
from vqlink.training.speech_run import train_speech_recipe
from vqlink.zoo.speech import (
    SpeechEntry,
    load_speech,
    load_speech_codec,
    measure_expected,
    read_speech_config,
    speech_entries,
)


@pytest.fixture(name="voices", scope="module")
def fixture_voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voices")
    for seed in range(2):
        write_audio(synthetic_voice(2.5, seed=seed), folder / f"{seed}.wav")
    return folder


@pytest.mark.parametrize("value", [0.0, 0.3, 0.5, 1.7, -2.2])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_interval_integrals(value: float, scale: float) -> None:
    """Against sums over a fine grid."""
    grid = torch.linspace(value - 0.5, value + 0.5, 200_001, dtype=torch.float64)
    density = torch.exp(-grid.abs() / scale) / (2 * scale)
    mass = float(torch.trapezoid(density, grid))
    mean = float(torch.trapezoid(grid * density, grid)) / mass
    v, b = torch.tensor(value), torch.tensor(scale)
    assert float(interval_bits(v, b)) == pytest.approx(min(24.0, -math.log2(mass)), abs=2e-3)
    assert float(interval_mean(v, b)) == pytest.approx(mean, abs=2e-3)


def test_the_step_spends_the_bits_and_common_shifts_do_not_matter() -> None:
    random = torch.Generator().manual_seed(0)
    scale = torch.linspace(8, 2, 320).expand(40, 320)
    spectra = torch.exp2(scale) * torch.distributions.Laplace(0.0, 1.0).sample((40, 320))
    noise = torch.rand(40, 320, generator=random)
    bits = torch.tensor([150.0, 300.0]).repeat(20)
    losses = []
    for shift in (0.0, 3.0):
        step = (0.5 * scale + shift).clone().requires_grad_()
        loss, spent = rate_distortion(spectra, torch.ones(40, 320), scale, step, bits, noise)
        losses.append(loss)
        assert float((spent / bits - 1).abs().mean()) < 0.1
        (gradient,) = torch.autograd.grad(loss.sum(), step, retain_graph=True)
        assert float(gradient.sum(dim=1).abs().max()) < 1e-3
    assert torch.allclose(losses[0], losses[1], atol=1e-3)
    assert float(losses[0][1::2].mean()) < float(losses[0][0::2].mean()) - 0.5  # more bits


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"gradient": "straight_through", "learning": "loss", "replacement": None},
        {"gradient": "straight_through", "learning": "ema", "replacement": None},
        {"sizes": (64, 16)},
    ],
)
def test_codecs_learn(voices: Path, tmp_path: Path, change: dict[str, object]) -> None:
    recipe = load_speech_recipe("speech-codec", [f"source.train={voices}", "training.frames=128"])
    assert isinstance(recipe, SpeechCodecRecipe)
    envelope = recipe.envelope.model_copy(update={"sizes": (64,), **change})
    training = recipe.training.model_copy(update={"steps": 60, "learning_rate": 5e-3})
    run = recipe.model_copy(update={"envelope": envelope, "training": training})
    log: list[dict[str, float]] = []
    codec, _ = load_speech_weights(train_speech_recipe(run, tmp_path, log=log.append).weights)
    assert log[-1]["distortion_db"] > log[0]["distortion_db"] + 1
    assert isinstance(codec, SpeechCodec)
    voice = synthetic_voice(1.5, seed=7)
    assert perceptual_snr(codec.decode(codec.encode(voice, 13.2)).samples, voice) > 1


def test_codes_learn_and_repeat(voices: Path, tmp_path: Path) -> None:
    small = ["training.messages=2", "training.frames=40", "hidden=16"]
    for name in ("speech-jscc", "speech-jscc-q64"):
        recipe = load_speech_recipe(name, [f"source.train={voices}", "training.steps=15", *small])
        assert isinstance(recipe, SpeechCodeRecipe)
        log: list[dict[str, float]] = []
        folder = train_speech_recipe(recipe, _folder(tmp_path, name), log=log.append).weights
        assert log[-1]["loss"] < log[0]["loss"] - 0.5
        again: list[dict[str, float]] = []
        train_speech_recipe(recipe, _folder(tmp_path, f"{name}2"), log=again.append)
        assert log == again
        assert load_speech_weights(folder)[1] == recipe


@pytest.mark.parametrize("name", ["speech-codec", "speech-jscc-q64"])
def test_a_resumed_run_is_an_uninterrupted_one(voices: Path, tmp_path: Path, name: str) -> None:
    small = {
        "speech-codec": [
            "envelope.sizes=[64]",
            "envelope.replacement.every=4",
            "training.frames=64",
            "training.steps=60",
        ],
        "speech-jscc-q64": [
            "training.messages=2",
            "training.frames=20",
            "hidden=8",
            "training.steps=60",
        ],
    }[name]
    recipe = load_speech_recipe(name, [f"source.train={voices}", *small])
    whole = train_speech_recipe(recipe, tmp_path / "new" / "whole")
    assert (whole.step, whole.complete) == (60, True)
    with pytest.raises(VqlinkError, match="already holds a run"):
        train_speech_recipe(recipe, tmp_path / "new" / "whole")

    def interrupt(values: dict[str, float]) -> None:
        if values["step"] == 50:
            signal.raise_signal(signal.SIGINT)

    parts = _folder(tmp_path, "parts")
    stopped = train_speech_recipe(recipe, parts, log=interrupt)
    assert (stopped.step, stopped.complete) == (51, False)
    assert not stopped.weights.exists()
    other = load_speech_recipe(name, [f"source.train={voices}", *small, "training.seed=5"])
    with pytest.raises(VqlinkError, match="another recipe"):
        train_speech_recipe(other, parts, resume=True)
    log = parts / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 55}\n{"st')  # of a kill after the last save
    assert train_speech_recipe(recipe, parts, resume=True).complete
    for file in ("weights/model.safetensors", "weights/config.json", "log.jsonl"):
        assert (parts / file).read_bytes() == (tmp_path / "new" / "whole" / file).read_bytes()
    with pytest.raises(VqlinkError, match="nothing to resume"):
        train_speech_recipe(recipe, _folder(tmp_path, "empty"), resume=True)


def test_training_that_diverges_says_so_and_spoils_nothing() -> None:
    model = torch.nn.Linear(2, 1)
    before = model.weight.detach().clone()
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(VqlinkError, match="learning_rate"):
        descend(model(torch.ones(2)).sum() * torch.nan, model, optimizer, 1.0)
    assert torch.equal(model.weight, before)


def _folder(parent: Path, name: object) -> Path:
    folder = parent / str(name)
    folder.mkdir()
    return folder


def test_recipes_are_known_by_name_and_by_file(tmp_path: Path) -> None:
    assert recipe_kind("speech-codec") == "speech"
    assert recipe_kind("jscc-awgn-1-12") == "code"
    for name in recipe_names("speech"):
        recipe = load_speech_recipe(name)
        assert recipe.name == name
        assert recipe.deviations
    (tmp_path / "mine.yaml").write_text("base: speech/speech-codec.yaml\nname: mine\n")
    assert recipe_kind(str(tmp_path / "mine.yaml")) == "speech"
    assert load_speech_recipe(str(tmp_path / "mine.yaml")).name == "mine"
    for name, overrides, message in (
        ("speech-codek", [], "did you mean speech-codec"),
        ("speech-codec", ["training.step=3"], "training.step"),
        ("speech-codec", ["training.steps=many"], "steps"),
        ("speech-codec", ["envelope.gradient=straight_through"], "learns its codebook by"),
        ("speech-codec", ["nothing"], "section.key"),
        ("speech-codec", ["training.messages=3"], "does not belong to this section's kind"),
        ("speech-codec", ["source.speeds=[0.0]"], "source.speeds.0: .* 0.25"),
        ("speech-jscc", ["hidden=1000000"], "hidden: .* 1024"),
        ("speech-jscc", ["training.snr_db=[20, 0]"], "training: snr_db goes from the lowest"),
        ("speech-jscc", ["training.snr_db=[.nan, 0]"], "training.snr_db.0: .* finite"),
    ):
        with pytest.raises(VqlinkError, match=message):
            load_speech_recipe(name, overrides)
    with pytest.raises(VqlinkError, match="is for speech"):
        load_recipe("speech-jscc")


@pytest.mark.parametrize("entry", speech_entries(), ids=lambda entry: entry.name)
def test_shipped_weights(entry: SpeechEntry) -> None:
    """They load, are their recipe's, and give the manifest's figure."""
    load_speech(entry.name)
    used, shipped = read_speech_config(entry.folder), load_speech_recipe(entry.name)
    assert used.model_copy(update={"deviations": shipped.deviations}) == shipped
    assert measure_expected(entry.folder) == pytest.approx(entry.psnr_db, abs=0.05)


def test_unknown_weights() -> None:
    with pytest.raises(VqlinkError, match="speech-codec"):
        load_speech("speech-codek")
    with pytest.raises(VqlinkError, match="not a codec"):
        load_speech_codec("speech-jscc")
