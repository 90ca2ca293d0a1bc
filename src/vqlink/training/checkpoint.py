"""Training state in one safetensors file: tensors by name, numbers in its header. No pickle."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from vqlink.config.weights import remove_quietly
from vqlink.errors import one_line
from vqlink.protocols import VqlinkError
from vqlink.training.ema import Ema

STATE_NAME = "state.safetensors"


@dataclass(frozen=True)
class Saved:
    """Where a run stood.

    Attributes:
        step: finished steps.
        recipe: that it runs, as JSON.
        processes: that it runs in; each draws batches of its own. None where an earlier version
            wrote the file, which didn't say.
    """

    step: int
    recipe: str
    processes: int | None = None


Rival = tuple[nn.Module, Optimizer]
"""A second net in the run, such as a discriminator, with its optimiser."""


def save_state(
    path: Path,
    model: nn.Module,
    optimizer: Optimizer,
    ema: Ema | None,
    *,
    step: int,
    recipe: str,
    processes: int = 1,
    rival: Rival | None = None,
) -> None:
    """Write everything that resumption needs; an interruption leaves the last file intact.

    Args:
        ema: the averaged weights; None for a run that has none.

    Raises:
        VqlinkError: when the folder can't be written to, or the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    tensors |= {f"model/{name}": t.detach() for name, t in model.state_dict().items()}
    if ema is not None:
        tensors |= {f"ema/{name}": t for name, t in ema.state.items()}
    tensors |= _moments("optimizer", optimizer)
    if rival is not None:
        tensors |= {f"rival/{name}": t.detach() for name, t in rival[0].state_dict().items()}
        tensors |= _moments("rival_optimizer", rival[1])
    temporary = path.with_suffix(".partial")
    header = {"step": str(step), "recipe": recipe, "processes": str(processes)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({n: t.contiguous().cpu().clone() for n, t in tensors.items()}, temporary, header)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        remove_quietly(temporary)
        raise VqlinkError(f"can't save the training state to {path}: {error}") from None


def load_state(
    path: Path,
    model: nn.Module,
    optimizer: Optimizer,
    ema: Ema | None,
    *,
    rival: Rival | None = None,
) -> Saved:
    """Restore what :func:`save_state` wrote, bit for bit and in the parameters' memory format.

    Raises:
        VqlinkError: when the file is missing, unreadable, or another model's.
    """
    saved = read_header(path)
    names = ("model", "ema", "optimizer", "rival", "rival_optimizer")
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                part, rest = name.split("/", 1)
                groups[part][rest] = file.get_tensor(name)
        model.load_state_dict(groups["model"], strict=True)
        if ema is not None:
            ema.load(groups["ema"])
        _load_moments(optimizer, groups["optimizer"])
        if rival is not None:
            rival[0].load_state_dict(groups["rival"], strict=True)
            _load_moments(rival[1], groups["rival_optimizer"])
    except (SafetensorError, RuntimeError, ValueError, KeyError, IndexError) as error:
        reason = one_line(error)
        raise VqlinkError(f"{path} belongs to another model: {reason}") from None
    return saved


def read_header(path: Path) -> Saved:
    """What a state file says of the run, without its tensors.

    Raises:
        VqlinkError: when the file is missing or unreadable.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        processes = int(header["processes"]) if "processes" in header else None
        return Saved(int(header["step"]), header["recipe"], processes)
    except FileNotFoundError:
        raise VqlinkError(f"nothing to resume: {path} does not exist") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise VqlinkError(f"{path} is no training state of vqlink: {one_line(error)}") from None


def _moments(part: str, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{part}/{index}/{name}": torch.as_tensor(value)
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def _load_moments(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the optimiser's tensors, named ``INDEX/KEY`` by their parameter's place."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/")
        parameter = parameters[int(index)]
        if tensor.ndim:
            # The file is contiguous, the parameter may be channels-last; its moments go with it.
            if tensor.shape != parameter.shape:
                raise ValueError(f"{key} of parameter {index} has the shape {tuple(tensor.shape)}")
            tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
