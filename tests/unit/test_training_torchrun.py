"""Training started by torchrun, on one node and on two: the run that ``--devices 2`` gives."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import SMALL_NETS

pytestmark = pytest.mark.slow

_EACH_RANK = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from vqlink.training import trainer
from vqlink.cli.main import run

finished = trainer.Trainer.run

def keep(self, *args, **kwargs):
    step = finished(self, *args, **kwargs)
    tensors = {name: t.contiguous() for name, t in self.system.state_dict().items()}
    tensors |= {f"ema/{name}": t.contiguous() for name, t in self.ema.state.items()}
    save_file(tensors, Path(sys.argv[1]) / f"rank{self.fabric.global_rank}.safetensors")
    return step

trainer.Trainer.run = keep
sys.exit(run(sys.argv[2:]))
"""


def words(pictures: Path, out: Path, *more: str) -> list[str]:
    settings = [
        *SMALL_NETS, f"source.train={pictures}", "source.crop=16", "training.steps=4",
        "training.warmup=2", "training.messages=2", "training.windows=2",
    ]  # fmt: skip
    return ["train", "jscc-awgn-1-24", *(f"--set={s}" for s in settings), "--out", str(out), *more]


def torchrun(*options: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *options]


def check(process: subprocess.Popen[str]) -> str:
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    return stdout


def start(command: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights" / "model.safetensors")


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_torchrun_gives_equal_ranks_and_the_run_of_two_devices(
    picture_folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "each_rank.py"
    script.write_text(_EACH_RANK)
    spawned = [sys.executable, "-m", "vqlink.cli.main"]
    check(start([*spawned, *words(picture_folder, tmp_path / "spawned", "--devices=2")]))

    one_node = torchrun("--standalone", "--nproc-per-node=2", str(script), str(tmp_path))
    said = check(start([*one_node, *words(picture_folder, tmp_path / "one", "--devices=2")]))
    assert said.count("Trained jscc-awgn-1-24: 4 steps") == 1  # rank 0 alone
    ranks = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1)]
    assert_equal(*ranks)
    averages = {n.removeprefix("ema/"): t for n, t in ranks[1].items() if n.startswith("ema/")}
    assert_equal(averages, weights(tmp_path / "one"))
    assert_equal(weights(tmp_path / "one"), weights(tmp_path / "spawned"))


def test_two_nodes_give_the_run_of_one(picture_folder: Path, tmp_path: Path) -> None:
    """Two agents of torchrun on this machine stand for two machines."""
    one = torchrun("--standalone", "--nproc-per-node=2", "-m", "vqlink.cli.main")
    check(start([*one, *words(picture_folder, tmp_path / "one", "--devices=2")]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [
        start(
            [
                *torchrun(
                    "--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}",
                    "--master-addr=127.0.0.1", f"--master-port={port}", "-m", "vqlink.cli.main",
                ),
                *words(picture_folder, tmp_path / "two", "--devices=1", "--nodes=2"),
            ]
        )
        for rank in (0, 1)
    ]  # fmt: skip
    for node in nodes:
        check(node)
    assert_equal(weights(tmp_path / "two"), weights(tmp_path / "one"))
