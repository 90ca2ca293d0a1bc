"""Imports go one way: DESIGN.md's order of the packages, read from the source of every module.

errors, units, rng, protocols <- stage folders <- systems <- config
    <- training, evaluation, zoo, deploy <- reporting, experiments, demo, cli
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vqlink

ROOT = Path(vqlink.__file__).parent

LAYERS = (
    {"errors", "units", "rng", "protocols"},
    {
        "sources", "encoders", "quantizers", "links", "channels", "digital", "decoders", "metrics",
        "layers", "air", "packets", "priors",
    },
    {"systems"},
    {"config", "recipes"},
    {"training", "evaluation", "zoo", "deploy"},
    {"reporting", "experiments", "demo", "cli"},
)  # fmt: skip
RANK = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}
STAGES = LAYERS[1]

WITHIN_STAGES = {
    ("encoders", "layers"),
    ("decoders", "layers"),
    ("links", "channels"),
    ("links", "digital"),
    ("air", "digital"),
}
"""Stage folders that may import another."""

WITHIN_TOP = {
    ("evaluation", "zoo"),
    ("evaluation", "deploy"),
    ("deploy", "zoo"),
    ("experiments", "reporting"),
    ("cli", "demo"),
    ("cli", "experiments"),
    ("cli", "reporting"),
    ("demo", "reporting"),
}
"""Peers at the top: evaluation opens systems by name or export, the verbs write reports."""


def package_of(path: Path) -> str:
    """The top-level name below vqlink: a folder's or a module's."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports_of(source: str) -> Iterator[str]:
    """Modules of vqlink that the source imports anywhere, in functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("vqlink"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            if node.module == "vqlink":
                yield from (f"vqlink.{alias.name}" for alias in node.names)
            elif (node.module or "").startswith("vqlink."):
                yield str(node.module)


def complaint(importer: str, imported: str) -> str | None:
    """Why ``importer`` may not import ``imported`` (both packages below vqlink), or None."""
    if importer == imported or imported == "__version__":
        return None
    for package in (importer, imported):
        if package not in RANK:
            return f"{package} has no place in the order of the packages"
    if RANK[importer] < RANK[imported]:
        return f"{importer} imports upwards from {imported}"
    if RANK[importer] == RANK[imported] > 0:
        allowed = WITHIN_STAGES if importer in STAGES else WITHIN_TOP
        # recipes are data beside config
        if (importer, imported) not in allowed and importer != "config":
            return f"{importer} imports its peer {imported}"
    return None


MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    importer = package_of(path)
    assert importer in RANK, f"{importer} has no place in the order of the packages"
    wrong = [
        why
        for module in imports_of(path.read_text())
        if (why := complaint(importer, module.split(".")[1])) is not None
    ]
    assert not wrong


def test_the_rule_would_notice() -> None:
    assert complaint("encoders", "decoders")
    assert complaint("quantizers", "layers")
    assert complaint("channels", "links")
    assert complaint("systems", "config")
    assert complaint("training", "zoo")
    assert complaint("protocols", "channels")
    assert complaint("config", "training")
    assert complaint("links", "somewhere")
    assert complaint("links", "channels") is None
    assert complaint("decoders", "layers") is None
    assert complaint("cli", "zoo") is None
    found = list(
        imports_of("def f():\n    from vqlink.zoo.catalogue import find\nfrom vqlink import cli\n")
    )
    assert sorted(found) == ["vqlink.cli", "vqlink.zoo.catalogue"]


def test_importing_vqlink_changes_no_global_state() -> None:
    """Random state, default dtype, threads, determinism and environment are the user's."""
    modules = [
        "vqlink." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in MODULES
        if path.name != "__init__.py"
    ]
    script = f"""
import importlib, os, signal, torch
def state():
    return (
        torch.random.get_rng_state().tolist(), torch.get_default_dtype(), torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled(),
        signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM),
    )
before = state()
for name in {modules!r}:
    importlib.import_module(name)
assert state() == before, [a == b for a, b in zip(state(), before)]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
