"""Paper 000's image half: runs learn, noise is what it says, and claims follow from the rows."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import smooth_picture
from vqlink.cli.main import run as command_line
from vqlink.experiments import softvq, softvq_data, softvq_pictures, softvq_runs
from vqlink.experiments.catalogue import find
from vqlink.experiments.reproduction import Row
from vqlink.experiments.softvq_claims import codes, options_of, pair, robustness
from vqlink.experiments.softvq_curves import at_equal_snr, curve, doubling
from vqlink.experiments.softvq_images import SoftRun, build, load, noise_point, save, train
from vqlink.experiments.softvq_images import training_noise as noise_of
from vqlink.experiments.softvq_measure import measure, values_of
from vqlink.experiments.softvq_runs import OPTIONS, cell, plan
from vqlink.sources.images import write_image


def pictures(count: int = 24) -> Tensor:
    images = torch.stack([smooth_picture(32, 32, seed) for seed in range(count)])
    return (images * 255).round().to(torch.uint8)


def a_run(assignment: str, regime: str = "fixed", power: str = "none", **other: Any) -> SoftRun:
    return SoftRun(**dict(cell(assignment, regime, power)), **other)  # type: ignore[arg-type]


@pytest.mark.parametrize("assignment", ["distance", "attention", "identity"])
def test_a_run_learns(assignment: str) -> None:
    run, images = a_run(assignment, updates=30), pictures()
    before = build(run).train()(images[:16].float() / 255, None).received
    start = (before - images[:16].float() / 255).square().mean()
    _, log = train(run, images)
    assert log["train_mse"] < 0.75 * start


def test_runs_repeat_bit_for_bit() -> None:
    systems = [train(a_run("attention", "range", updates=3), pictures())[0] for _ in range(2)]
    rows = [measure(system, pictures()[:4], (0.0, 0.05)) for system in systems]
    assert rows[0] == rows[1]


def test_rows_hold_the_measured_snr_and_every_kind_that_can_be_sent() -> None:
    system = build(a_run("attention")).eval()
    rows = measure(system, pictures()[:6], (0.0, 0.05, 0.2))
    kinds = [(row["arrived_from"], row["sigma"]) for row in rows]
    few = [(kind, sigma) for kind in ("codeword", "nearest") for sigma in (0.0, 0.05)]
    assert kinds == [("mixture", 0.0), ("mixture", 0.05), ("mixture", 0.2), *few]
    for row in rows:
        if row["sigma"]:
            power = row["tx_power"] / (2 * row["sigma"] ** 2)
            assert row["snr_db"] == pytest.approx(10 * math.log10(power))
            assert row["varying_power"] < row["tx_power"]
        else:
            assert row["snr_db"] is None
    codebook = {tuple(c) for c in system.quantizer.codebook[0].tolist()}  # type: ignore[union-attr]
    images = pictures()[:2].float() / 255
    for kind in ("codeword", "nearest"):
        sent = values_of(system, kind, images).reshape(-1, 64).tolist()
        assert {tuple(vector) for vector in sent} <= codebook
    assert system.sent == "mixture"


def test_regimes_draw_the_sigmas_that_they_name() -> None:
    def sigmas(regime: str, step: int = 1) -> Tensor:
        point = noise_of(a_run("attention", regime), 500, step)
        assert point is not None
        return torch.sqrt(10 ** (-point.snr(500).double() / 10) / 2)

    assert noise_of(a_run("attention", "clean"), 5, 1) is None
    torch.testing.assert_close(
        sigmas("fixed"), torch.full((500,), 0.05).double(), rtol=1e-5, atol=0
    )
    whole = sigmas("integers")
    torch.testing.assert_close(whole, whole.round(), rtol=1e-5, atol=1e-5)
    assert sorted({round(float(s)) for s in whole}) == [1, 2, 3, 4, 5]
    wide = sigmas("range")
    assert 0.001 <= float(wide.min()) < 0.0012
    assert 0.85 < float(wide.max()) <= 1.0001
    assert float(wide.median()) == pytest.approx(0.0316, rel=0.3)
    assert not torch.equal(wide, sigmas("range", 2))
    assert noise_point(0.0) is None


def test_cells_are_unlike_each_other_and_can_be_built() -> None:
    for budget in ("smoke", "cpu", "full"):
        cells = list(itertools.chain(*plan(budget).values()))  # type: ignore[arg-type]
        assert len({str(c) for c in cells}) == len(cells)
        for which in cells if budget == "smoke" else OPTIONS:
            build(SoftRun(**dict(which)))  # type: ignore[arg-type]
    assert {c["source"] for cells in plan("full").values() for c in cells} == {"celeba"}


def test_weights_come_back(tmp_path: Path) -> None:
    run = a_run("attention", updates=2)
    system, _ = train(run, pictures())
    save(system, tmp_path / "weights.safetensors")
    again = load(run, tmp_path / "weights.safetensors")
    rows = [measure(s, pictures()[:4], (0.0, 0.5)) for s in (system, again)]
    assert rows[0] == rows[1]


def test_squares_of_pictures(tmp_path: Path) -> None:
    for name in range(2):
        write_image(smooth_picture(40, 50, seed=name), tmp_path / f"{name}.png")
    load_squares = softvq_data._load_squares
    middle = load_squares(str(tmp_path), 32, 1, 9, whole=False, cache=tmp_path / "a.npy")
    whole = load_squares(str(tmp_path), 16, 1, 9, whole=True, cache=tmp_path / "b.npy")
    crops = load_squares(str(tmp_path), 32, 3, 1, whole=False, cache=tmp_path / "c.npy")
    assert [tuple(x.shape) for x in (middle, whole, crops)] == [
        (2, 3, 32, 32), (2, 3, 16, 16), (3, 3, 32, 32),
    ]  # fmt: skip
    want = (smooth_picture(40, 50)[:, 4:36, 9:41] * 255).round()
    assert (middle[0].float() - want).abs().max() <= 1
    again = load_squares("nowhere", 32, 1, 9, whole=False, cache=tmp_path / "a.npy")
    assert torch.equal(again, middle)


def row(assignment: str, sigma: float, mse: float, power: float, **other: Any) -> Row:
    noise = 2 * sigma**2
    snr = 10 * math.log10(power / noise) if sigma else None
    return {**cell(assignment, "fixed", "none"), "arrived_from": "mixture", "sigma": sigma,
            "tx_power": power, "snr_db": snr, "varying_snr_db": snr, "mse": mse, "mixed": 9.0,
            "psnr": -10 * math.log10(mse), "ssim": 0.5, **other}  # fmt: skip


def law(assignment: str, power: float, floor: float = 0.01, **other: Any) -> list[Row]:
    """An error that depends on the measured SNR alone: floor + noise / power."""
    sigmas = (0.0, 0.001, 0.01, 0.1, 1.0)
    return [row(assignment, s, floor + s**2 / power, power, **other) for s in sigmas]


def test_volume_alone_wins_at_equal_sigma_and_not_at_equal_snr() -> None:
    """Two systems of one law, one 20 dB louder: what the paper's comparison cannot tell apart."""
    rows = [*law("distance", 1.0), *law("attention", 100.0)]
    soft, attentive = pair(rows, "fixed", "none")
    found = {claim.text: claim for claim in robustness(soft, attentive, None)}
    verdicts = [claim.held for claim in found.values()]
    assert verdicts[:2] == [True, True]
    for level, a, b in at_equal_snr(soft, attentive, (10.0, 20.0, 30.0)):
        assert a == pytest.approx(b, rel=0.3), level
    limits = doubling(soft), doubling(attentive)
    assert limits[0] is not None
    assert limits[1] is not None
    # The error doubles where sigma^2 / power is the floor: at sigma 0.1 and 1.
    assert limits[0][0] == pytest.approx(0.1, rel=0.01)
    assert limits[1][0] == pytest.approx(1.0, rel=0.01)
    assert limits[0][1] == pytest.approx(limits[1][1], abs=0.1)


def test_no_claim_is_held_or_not_without_rows() -> None:
    assert {claim.held for claim in robustness({}, {}, ({}, {}))} == {None}
    assert doubling({}) is None
    assert codes([]).held is None
    quiet = law("distance", 1.0)[:3]
    assert doubling(curve(quiet, cell("distance", "fixed", "none"))) is None


def test_errors_that_double_nowhere_say_nothing_of_which_doubles_first() -> None:
    rows = [*law("distance", 1.0)[:3], *law("attention", 1.0)[:3]]
    claims = robustness(*pair(rows, "fixed", "none"), None)
    (later,) = [claim for claim in claims if "doubles" in claim.text]
    assert later.held is None


def test_options_are_judged_beside_their_own_seed() -> None:
    """The rival's other seeds are worse by themselves, and say nothing of the option."""
    sigmas = (0.05, 0.5)
    rows = [row("attention", s, 0.02, 1.0, seed=seed) for s in sigmas for seed in (1, 2)]
    rows += [row("attention", s, 0.010, 1.0) for s in sigmas]
    rows += [row("attention", s, 0.011, 1.0, sign=1) for s in sigmas]
    (plus,) = [c for c in options_of(rows) if "a plus" in c.text and "equal sigma" in c.text]
    assert plus.held is False


def test_codewords_in_place_of_mixtures_are_judged() -> None:
    for mse, held in ((0.011, True), (0.1, False)):
        rows = []
        for name in ("distance", "attention"):
            rows += law(name, 1.0)
            rows += [
                row(name, 0.0, mse, 1.0, arrived_from=kind) for kind in ("codeword", "nearest")
            ]
        assert codes(rows).held is held


def test_the_command_runs_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(softvq_runs, "_pixels", lambda source: (pictures(), pictures(4)))
    monkeypatch.setitem(softvq_runs.UPDATES, "smoke", 2)
    for figure in ("fig2", "fig4", "fig5"):
        arguments = ["reproduce", f"vqvae-awgn-{figure}", "--budget", "smoke", "--json"]
        assert command_line([*arguments, "--out", str(tmp_path)]) == 0
        document = json.loads(capsys.readouterr().out)
        assert {r["sent"] for r in document["table"]} == {"mixture", "codeword", "nearest"}
        assert all(Path(plot).exists() for plot in document["plots"])
        assert all(r["SNR dB"] is not None for r in document["table"] if r["sigma"])
    assert find("vqvae-awgn-fig4") is softvq.fig4


def test_pictures_are_drawn_from_weights_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softvq_pictures, "RUNS", tmp_path)
    monkeypatch.setattr(softvq_pictures, "load_source", lambda *_: (pictures(), pictures(20)))
    assert softvq_pictures.draw_pictures(tmp_path, "fig4", "fixed", (0.0, 0.5)) == ()
    which = cell("attention", "fixed", "none")
    save(build(a_run("attention")), tmp_path / f"{softvq_pictures.cell_name(which)}.safetensors")
    (path,) = softvq_pictures.draw_pictures(tmp_path, "fig4", "fixed", (0.0, 0.5))
    assert path.read_text().count("<image") == 3 * 3
