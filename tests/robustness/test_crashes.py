"""Runs that are killed, disks that are full, folders that can't be written, weights that rot."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import small_recipe
from vqlink.config import weights as weights_module
from vqlink.config.schema import Recipe
from vqlink.config.weights import load_weights
from vqlink.protocols import VqlinkError
from vqlink.training import checkpoint
from vqlink.training import trainer as trainer_module
from vqlink.training.loop import train
from vqlink.zoo import catalogue
from vqlink.zoo.catalogue import entries, load_system

KILLS = 20

# Forks, so that a killed run costs its own time and not that of importing torch.
_KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
from vqlink.config.schema import Recipe
from vqlink.training.checkpoint import read_header
from vqlink.training.loop import train
import vqlink.training.trainer

recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
folder, kills = Path(sys.argv[2]), int(sys.argv[3])
state = folder / "state.safetensors"

def start():
    child = os.fork()
    if child == 0:
        try:
            result = train(recipe, folder, resume=state.exists(), progress=False)
            os._exit(0 if result.complete else 1)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(2)
    return child

steps = []
draws = random.SystemRandom()
while len(steps) < kills:
    # While it saves every step, no moment is unlike another; some fall into the start of a run.
    child = start()
    time.sleep(draws.uniform(0.0, 2.0))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the run ended by itself: {status}"
    steps.append(read_header(state).step if state.exists() else 0)
_, status = os.waitpid(start(), 0)
assert status == 0, status
print(json.dumps(steps))
"""


def recipe_of(pictures: Path, *overrides: str) -> Recipe:
    return small_recipe(
        "jscc-q64-awgn-1-24", f"source.train={pictures}", f"source.validation={pictures}",
        "evaluation.samples=1", "evaluation.snr_db=[10]", "training.validate_every=50",
        "source.crop=16", "training.warmup=2", "training.messages=1", "training.windows=1",
        "training.log_every=1", "training.checkpoint_seconds=0.0001", *overrides,
    )  # fmt: skip


@pytest.mark.slow
def test_killed_twenty_times_it_ends_as_if_it_never_was(
    picture_folder: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(picture_folder, "training.steps=2000")
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    (tmp_path / "killer.py").write_text(_KILLER)
    words = [sys.executable, str(tmp_path / "killer.py"), str(tmp_path / "recipe.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, kills in (("killed", KILLS), ("whole", 0)):
        done = subprocess.run(
            [*words, str(tmp_path / name), str(kills)], capture_output=True, text=True,
            env=environment, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        steps = json.loads(done.stdout)
        if kills:
            assert len(steps) == KILLS
            assert steps == sorted(steps)  # nothing that was saved is ever lost
            assert 0 < steps[-1] < 2000
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def assert_same_run(one: Path, other: Path) -> None:
    """State, shipped weights and log; and nothing half-written lies about."""
    for name in ("state.safetensors", "weights/model.safetensors"):
        first, second = load_file(one / name), load_file(other / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())
    for name in ("log.jsonl", "weights/config.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert not list(one.rglob("*.partial"))


class Killed(BaseException):
    """Stands for SIGKILL between two lines."""


@pytest.mark.parametrize("where", ["save_weights", "save_state"])
def test_a_kill_within_the_last_save_leaves_no_stale_weights(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    recipe = recipe_of(picture_folder, "training.steps=3", "training.checkpoint_seconds=1000")
    train(recipe, tmp_path / "whole", progress=False)
    real = getattr(trainer_module, where)

    def killed(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)
        raise Killed

    steps = iter((False, True, False))

    def stop_once(self: trainer_module.Trainer, asked: bool) -> bool:
        return next(steps)

    monkeypatch.setattr(trainer_module.Trainer, "_agree", stop_once)
    assert not train(recipe, tmp_path / "run", progress=False).complete
    monkeypatch.setattr(trainer_module, where, killed)
    with pytest.raises(Killed):
        train(recipe, tmp_path / "run", resume=True, progress=False)
    monkeypatch.undo()
    assert train(recipe, tmp_path / "run", resume=True, progress=False).complete
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def _no_space(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _not_allowed(*args: object, **kwargs: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("module", [checkpoint, weights_module], ids=["state", "weights"])
@pytest.mark.parametrize("failure", [_no_space, _not_allowed], ids=["full", "unwritable"])
def test_a_checkpoint_that_fails_leaves_the_last_good_one(
    picture_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    failure: Callable[..., None],
) -> None:
    recipe = recipe_of(picture_folder, "training.steps=4")
    train(recipe, tmp_path / "whole", progress=False)
    step = trainer_module.Trainer.run_step

    def then_fail(self: trainer_module.Trainer) -> dict[str, torch.Tensor]:
        if self.step == 2:
            monkeypatch.setattr(module, "save_file", failure)
        return step(self)

    monkeypatch.setattr(trainer_module.Trainer, "run_step", then_fail)
    with pytest.raises(VqlinkError, match=r"can't save .*(No space|Permission)") as caught:
        train(recipe, tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert checkpoint.read_header(tmp_path / "run" / "state.safetensors").step == 2
    load_weights(tmp_path / "run" / "weights")
    assert train(recipe, tmp_path / "run", resume=True, progress=False).complete
    assert_same_run(tmp_path / "run", tmp_path / "whole")


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from vqlink.config.schema import Recipe
from vqlink.errors import VqlinkError
from vqlink.training import trainer
from vqlink.training.loop import train

recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
step = trainer.Trainer.run_step

def then_full(self):
    if self.step == 2:  # from here on no file grows beyond 20,000 bytes
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    return step(self)

trainer.Trainer.run_step = then_full
try:
    train(recipe, Path(sys.argv[2]), progress=False)
except VqlinkError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.slow
def test_a_file_system_that_takes_no_more(picture_folder: Path, tmp_path: Path) -> None:
    """The operating system's own refusal, in the middle of a file."""
    recipe = recipe_of(picture_folder, "training.steps=4")
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path / "recipe.json"), str(run)],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("can't save weights to")
    assert done.stdout.count("\n") == 1
    assert not list(run.rglob("*.partial"))
    assert checkpoint.read_header(run / "state.safetensors").step == 2
    train(recipe, tmp_path / "whole", progress=False)
    assert train(recipe, run, resume=True, progress=False).complete
    assert_same_run(run, tmp_path / "whole")


def test_any_byte_of_the_weights_is_under_the_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = min(entries(), key=lambda e: (e.folder / "model.safetensors").stat().st_size)
    whole = (entry.folder / "model.safetensors").read_bytes()
    shutil.copytree(entry.folder, tmp_path / "weights" / entry.name)
    monkeypatch.setattr(catalogue, "ZOO", tmp_path)
    for at in (0, 8, 100, len(whole) // 2, len(whole) - 1):
        damaged = whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :]
        (entry.folder / "model.safetensors").write_bytes(damaged)
        with pytest.raises(VqlinkError, match="damaged"):
            load_system(entry.name)
    (entry.folder / "model.safetensors").write_bytes(whole)
    load_system(entry.name)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["encoder"].update(width=[10**9, 10**9]),
        lambda c: c["encoder"].update(depth=[10**6, 1]),
        lambda c: c["encoder"].update(channels=10**9),
        lambda c: c["decoder"].update(features=10**12),
        lambda c: c["encoder"].update(width=[0, -5]),
    ],
)
def test_a_config_of_absurd_size_takes_no_memory(
    change: Callable[[dict[str, dict[str, object]]], None], weights: Path, tmp_path: Path
) -> None:
    shutil.copytree(weights, tmp_path / "absurd")
    config = json.loads((weights / "config.json").read_text())
    change(config)
    (tmp_path / "absurd" / "config.json").write_text(json.dumps(config))
    with pytest.raises(VqlinkError, match=r"config\.json: (en|de)coder"):
        load_weights(tmp_path / "absurd")
