"""The experiments that ``vqlink reproduce`` knows, by name."""

from __future__ import annotations

import difflib
from importlib import import_module

from vqlink.errors import VqlinkError
from vqlink.experiments.reproduction import Experiment

_MODULES = {
    "nsvq-table1": ("nsvq_table1", "002, Table 1: NSVQ against STE and EMA in a VQ-VAE, CIFAR-10"),
    "nsvq-table2": ("nsvq_table2", "002, Table 2: codebooks of two-dimensional toy data"),
}


def entries() -> dict[str, str]:
    """Name -> what it shows."""
    return {name: title for name, (_, title) in _MODULES.items()}


def find(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        VqlinkError: for an unknown name, with the nearest one.
    """
    if name not in _MODULES:
        close = difflib.get_close_matches(name, _MODULES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise VqlinkError(f"unknown experiment {name!r}{hint} (known: {', '.join(_MODULES)})")
    module = import_module(f"vqlink.experiments.{_MODULES[name][0]}")
    experiment: Experiment = module.reproduce
    return experiment
