"""Whole runs: interrupted ones against uninterrupted ones, and what can't be run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.conftest import SMALL_NETS, small_recipe
from vqlink.cli.main import run
from vqlink.config.schema import Recipe
from vqlink.config.weights import load_weights, save_weights
from vqlink.protocols import VqlinkError
from vqlink.training import trainer as trainer_module
from vqlink.training.ema import Ema
from vqlink.training.loop import TrainingResult, train

SHORT = (
    "source.crop=16",
    "training.steps=6",
    "training.warmup=2",
    "training.messages=2",
    "training.windows=2",
    "training.log_every=1",
)
SETTINGS = (*SHORT, "quantizer.hardness=[5, 50]", "losses={mse: 1.0, kl: 0.01}")


def recipe_of(pictures: Path, *overrides: str) -> Recipe:
    return small_recipe("jscc-q64-awgn-1-24", f"source.train={pictures}", *SETTINGS, *overrides)


def unquantised(pictures: Path, *overrides: str) -> Recipe:
    return small_recipe("jscc-awgn-1-24", f"source.train={pictures}", *SHORT, *overrides)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "state.safetensors")


def assert_same_run(one: Path, other: Path) -> None:
    """All tensors of model, averages and optimiser, the shipped weights, and the logged losses."""
    for name in ("state.safetensors", "weights/model.safetensors"):
        first, second = load_file(one / name), load_file(other / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(key.startswith("optimizer/") for key in state(one))
    assert (one / "log.jsonl").read_text() == (other / "log.jsonl").read_text()


def interrupt_in_step(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """A signal at the worst moment: weights have moved, their averages have not."""
    update = Ema.update

    def struck(self: Ema, module: torch.nn.Module, done: int) -> None:
        if done == step:
            signal.raise_signal(number)
        update(self, module, done)

    monkeypatch.setattr(Ema, "update", struck)


@pytest.fixture(scope="module", name="whole")
def fixture_whole(tmp_path_factory: pytest.TempPathFactory, picture_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = train(recipe_of(picture_folder), folder, progress=False)
    assert result == TrainingResult(step=6, complete=True, folder=folder)
    return folder


def test_a_run_leaves_weights_state_and_logs(whole: Path, picture_folder: Path) -> None:
    system, recipe = load_weights(whole / "weights")
    assert recipe == recipe_of(picture_folder)
    averages = {k.removeprefix("ema/"): v for k, v in state(whole).items() if k[:4] == "ema/"}
    assert all(torch.equal(v, averages[k]) for k, v in system.state_dict().items())
    moved = [k for k, v in averages.items() if not torch.equal(v, state(whole)[f"model/{k}"])]
    assert moved
    records = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, 7))
    assert records[0].keys() >= {"loss", "mse", "kl", "plain_mse", "gradient_norm"}
    assert any((whole / "tensorboard").iterdir())
    # sigma_q rises linearly over the run; the last step is done at 5 + 45 * 5 / 6.
    assert averages["quantizer.hardness"].item() < state(whole)["model/quantizer.hardness"].item()
    assert state(whole)["model/quantizer.hardness"].item() == pytest.approx(42.5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(
    whole: Path,
    picture_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    recipe, folder = recipe_of(picture_folder), tmp_path / "run"
    interrupt_in_step(monkeypatch, 3, number)
    assert train(recipe, folder, progress=False) == TrainingResult(3, False, folder)
    monkeypatch.undo()
    torch.manual_seed(1)  # nothing may hang on the global stream
    assert train(recipe, folder, resume=True, progress=False) == TrainingResult(6, True, folder)
    assert_same_run(folder, whole)


def test_bf16_resumes_bit_for_bit_too(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(picture_folder, "training.precision=bf16", "training.steps=4")
    train(recipe, tmp_path / "whole", progress=False)
    interrupt_in_step(monkeypatch, 2, signal.SIGINT)
    assert not train(recipe, tmp_path / "run", progress=False).complete
    monkeypatch.undo()
    train(recipe, tmp_path / "run", resume=True, progress=False)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_killed_run_resumes_from_its_last_save_without_double_records(
    whole: Path, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = recipe_of(picture_folder), tmp_path / "run"
    interrupt_in_step(monkeypatch, 2, signal.SIGINT)
    train(recipe, folder, progress=False)
    monkeypatch.undo()
    saved = state(folder)
    step = trainer_module.Trainer.run_step

    def killed(self: trainer_module.Trainer) -> dict[str, torch.Tensor]:
        if self.step == 4:
            raise SystemExit  # nothing after the loop's own records is written
        return step(self)

    monkeypatch.setattr(trainer_module.Trainer, "run_step", killed)
    with pytest.raises(SystemExit):
        train(recipe, folder, resume=True, progress=False)
    monkeypatch.undo()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in state(folder).items())
    assert '"step": 4' in (folder / "log.jsonl").read_text()
    train(recipe, folder, resume=True, progress=False)
    assert_same_run(folder, whole)


def test_resuming_a_complete_run_changes_nothing(
    picture_folder: Path, whole: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*.*") if path.is_file()}
    assert train(recipe_of(picture_folder), whole, resume=True, progress=False).complete
    assert all(path.read_bytes() == data for path, data in before.items())


def test_validation_is_logged_when_due_and_at_the_end_once(
    picture_folder: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(
        picture_folder, f"source.validation={picture_folder}", "evaluation.samples=1",
        "evaluation.snr_db=[0, 10]", "training.validate_every=2", "training.log_every=100",
    )  # fmt: skip
    train(recipe, tmp_path / "run", progress=False)
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [(r["kind"], r["step"]) for r in records] == [("validation", s) for s in (2, 4, 6)]
    assert all(10 < r["psnr@0dB"] < r["psnr@10dB"] < 60 for r in records)


def test_training_leaves_global_random_state_alone(picture_folder: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    train(recipe_of(picture_folder, "training.steps=1"), tmp_path / "run", progress=False)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_lowers_the_loss(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one batch, always the same; what is left to chance is the channel's noise."""
    batch = trainer_module.RandomCrops.batch
    monkeypatch.setattr(
        trainer_module.RandomCrops, "batch", lambda self, step, count: batch(self, 0, count)
    )
    recipe = unquantised(
        picture_folder,
        "training.steps=40",
        "training.learning_rate=3e-3",
        "training.snr_db=[20, 20]",
    )
    train(recipe, tmp_path / "run", progress=False)
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])


def test_initial_weights_are_taken_over(picture_folder: Path, tmp_path: Path) -> None:
    # A vanishing learning rate keeps what the run started from.
    recipe = recipe_of(picture_folder, "training.steps=1", "training.learning_rate=1e-30")
    wide = recipe_of(picture_folder, "encoder.channels=32", "training.seed=5")
    source = trainer_module.build_system(wide).state_dict()
    source["encoder.head.bias"] = torch.arange(32.0)
    save_weights(tmp_path / "start", source, wide)
    started = recipe.model_copy(
        update={"training": recipe.training.model_copy(
            update={"init_from": str(tmp_path / "start")})}
    )  # fmt: skip
    train(started, tmp_path / "a", progress=False)
    train(recipe, tmp_path / "b", initial=tmp_path / "start", progress=False)
    one, other = state(tmp_path / "a"), state(tmp_path / "b")
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    stem, head = one["model/encoder.stem.weight"], one["model/encoder.head.bias"]
    assert torch.allclose(stem, source["encoder.stem.weight"], rtol=0, atol=1e-20)
    assert head.shape[0] < source["encoder.head.bias"].shape[0]  # narrower: the leading part
    assert torch.allclose(head, source["encoder.head.bias"][: head.shape[0]], rtol=0, atol=1e-20)


def test_codewords_that_are_taken_over_begin_their_schedule_anew(
    picture_folder: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(
        "hrvqvae-cifar10", f"source.train={picture_folder}", "source.validation=null",
        "training.steps=2", "quantizer.replacement={every: 2, until: 2}",
    )  # fmt: skip
    source = trainer_module.build_system(recipe).state_dict()
    source["quantizers.0.steps"].fill_(4000)
    save_weights(tmp_path / "start", source, recipe)
    train(recipe, tmp_path / "run", initial=tmp_path / "start", progress=False)
    assert int(state(tmp_path / "run")["model/quantizers.0.steps"]) == 2


def test_what_cannot_be_trained_is_one_clear_line(
    whole: Path, picture_folder: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(picture_folder)
    with pytest.raises(VqlinkError, match="already holds a run: add --resume"):
        train(recipe, whole, progress=False)
    with pytest.raises(VqlinkError, match="nothing to resume"):
        train(recipe, tmp_path / "none", resume=True, progress=False)
    assert not (tmp_path / "none").exists()
    other = recipe_of(picture_folder, "training.learning_rate=1")
    with pytest.raises(VqlinkError, match=r"another recipe \(training\.learning_rate differs\)"):
        train(other, whole, resume=True, progress=False)
    with pytest.raises(VqlinkError, match=r"another recipe \(quantizer"):
        train(recipe_of(picture_folder, "quantizer.order=16"), whole, resume=True, progress=False)
    with pytest.raises(VqlinkError, match="by 1 process, not 2"):
        train(recipe, whole, resume=True, devices=2, progress=False)
    earlier = tmp_path / "earlier.safetensors"
    with safe_open(whole / "state.safetensors", framework="pt") as file:
        header = file.metadata()
    header.pop("processes")
    save_file({"x": torch.zeros(1)}, earlier, header)
    trainer_module.check_same_run(earlier, recipe, 4)  # nobody knows how many they were
    with pytest.raises(VqlinkError, match="no such file or folder"):
        train(recipe_of(tmp_path / "nowhere"), tmp_path / "run", progress=False)
    with pytest.raises(VqlinkError, match="no weights folder"):
        train(
            recipe_of(picture_folder, f"training.init_from={tmp_path}/none"),
            tmp_path / "run", progress=False,
        )  # fmt: skip
    with pytest.raises(VqlinkError, match="smaller than the 128x128 training crop"):
        train(recipe_of(picture_folder, "source.crop=128"), tmp_path / "run", progress=False)
    (tmp_path / "file").touch()
    with pytest.raises(VqlinkError, match="can't make the folder"):
        train(recipe, tmp_path / "file" / "run", progress=False)
    with pytest.raises(VqlinkError, match="start from 1"):
        train(recipe, tmp_path / "run", devices=0, progress=False)


@pytest.mark.parametrize(
    "name", ["jscc-awgn-1-24", "jscc-q64-awgn-1-24", "jscc-l64-awgn-1-12", "hrvqvae-cifar10"]
)
def test_divergence_stops_before_it_ruins_the_weights(
    name: str, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        trainer_module.RandomCrops, "batch",
        lambda self, step, count: torch.full((count, 3, 16, 16), float("nan")),
    )  # fmt: skip
    with pytest.raises(VqlinkError, match=r"diverged at step 1 .*learning_rate"):
        train(
            small_recipe(name, f"source.train={picture_folder}", "source.validation=null"),
            tmp_path / "run", progress=False,
        )  # fmt: skip


def test_a_damaged_state_is_one_clear_line(picture_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(VqlinkError, match="no training state"):
        train(recipe_of(picture_folder), tmp_path, resume=True, progress=False)


def command(pictures: Path, out: Path, *more: str) -> list[str]:
    settings = [*SMALL_NETS, *SETTINGS, f"source.train={pictures}", "training.steps=100000"]
    words = [sys.executable, "-m", "vqlink.cli.main", "train", "jscc-q64-awgn-1-24"]
    return [*words, *(f"--set={text}" for text in settings), "--out", str(out), *more]


def test_the_command_starts_from_a_zoo_name(
    picture_folder: Path, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []

    def find(name: str) -> SimpleNamespace:
        found.append(name)
        return SimpleNamespace(folder=weights)

    monkeypatch.setattr("vqlink.zoo.catalogue.find", find)
    monkeypatch.chdir(tmp_path)
    words = command(picture_folder, tmp_path / "run", "--set=training.init_from=some-code")[3:]
    more = [
        "--set=training.seed=7",
        "--set=training.steps=1",
        "--set=training.learning_rate=1e-30",
        "--json",
    ]
    assert run([*words, *more]) == 0
    assert found == ["some-code"]
    started, source = state(tmp_path / "run"), load_file(weights / "model.safetensors")
    stem = "encoder.stem.weight"  # random, unlike what starts from the DCT
    assert torch.allclose(started[f"model/{stem}"], source[stem], rtol=0, atol=1e-20)


def test_the_command_refuses_to_overwrite_a_run(
    whole: Path, picture_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command(picture_folder, whole)[3:]) == 2
    assert "add --resume" in capsys.readouterr().err


def wait_for_steps(out: Path, process: subprocess.Popen[str]) -> None:
    log = out / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 3):
        time.sleep(0.05)
    assert process.poll() is None, process.stderr.read() if process.stderr else ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_saves_on_a_signal_and_says_how_to_go_on(
    picture_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "a run"
    process = subprocess.Popen(
        command(picture_folder, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_steps(out, process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "Interrupted and saved at step" in stdout
    assert stdout.rstrip().endswith(f"--out '{out}' --resume")
    lines = (out / "log.jsonl").read_text().splitlines()
    assert f"step {json.loads(lines[-1])['step']} of" in stdout
    load_weights(out / "weights")


@pytest.mark.slow
def test_kill_9_at_any_time_leaves_a_state_that_loads(picture_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(picture_folder, "training.steps=100000", "training.checkpoint_seconds=0.001")
    for round_ in range(3):
        more = ["--set=training.checkpoint_seconds=0.001", *(["--resume"] if round_ else [])]
        process = subprocess.Popen(
            command(picture_folder, tmp_path, *more), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_for_steps(tmp_path, process)
        time.sleep(5 + 0.0173 * round_)
        process.kill()
        process.communicate()
        assert trainer_module.read_header(tmp_path / "state.safetensors").step > 0
    trainer_module.check_same_run(tmp_path / "state.safetensors", recipe, 1)
