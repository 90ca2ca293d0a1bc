"""Paper 003's rivals in one frame: each learns, is measured from hard codes, and is judged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import small_recipe, smooth_picture
from vqlink.config.build import build_system
from vqlink.config.weights import save_weights
from vqlink.experiments import hrvqvae, hrvqvae_fig8, hrvqvae_streams, hrvqvae_table2
from vqlink.experiments.cells import read_rows
from vqlink.experiments.hrvqvae_images import HierarchyRun, build, measure, train
from vqlink.experiments.reproduction import Row
from vqlink.quantizers.residual import ResidualQuantizer
from vqlink.quantizers.vector import VectorQuantizer
from vqlink.systems.autoencoder import VQAutoencoder
from vqlink.systems.vqvae2 import VQVAE2

RUNS = [("vqvae", "16"), ("vqvae2", "16"), ("rvq", "4x4"), ("hr", "4x4")]


def pictures(count: int = 40) -> torch.Tensor:
    images = torch.stack([smooth_picture(32, 32, seed) for seed in range(count)])
    return (images * 255).round().to(torch.uint8)


@pytest.mark.parametrize("healthy", [False, True])
@pytest.mark.parametrize(("model", "branches"), RUNS)
def test_every_model_learns(model: str, branches: str, healthy: bool) -> None:
    run = HierarchyRun(model, branches, healthy, seed=0, updates=40)  # type: ignore[arg-type]
    images = pictures()
    before = measure(build(run), images[:20])["mse"]
    (row,) = train(run, images, images[:20])
    assert row["mse"] < 0.8 * before
    assert row["bits_per_image"] == (4 * 336 if model == "vqvae2" else 4 * 256)
    assert len(row["perplexity"]) == (3 if model == "vqvae2" else 1)
    if model in ("rvq", "hr"):
        assert len(row["mse_by_layers"]) == 3
        assert row["mse_by_layers"][-1] == pytest.approx(row["mse"], rel=1e-4)


def test_runs_repeat_bit_for_bit() -> None:
    run = HierarchyRun("hr", "4x4", True, seed=1, updates=5)
    rows = [next(train(run, pictures(), pictures()[:8])) for _ in range(2)]
    for row in rows:
        del row["train_seconds"]
    assert rows[0] == rows[1]


def test_the_rivals_share_their_nets() -> None:
    flat, tree = (build(HierarchyRun(m, b, False, 0)) for m, b in (RUNS[0], RUNS[3]))  # type: ignore[arg-type]
    assert isinstance(flat, VQAutoencoder)
    assert isinstance(tree, VQAutoencoder)
    for one, other in ((flat.encoder, tree.encoder), (flat.decoder, tree.decoder)):
        shapes = [tuple(p.shape) for p in one.parameters()]
        assert shapes == [tuple(p.shape) for p in other.parameters()]
    x = torch.rand(1, 3, 32, 32)
    assert flat.encoder(x).shape == (1, 16, 16, 64)
    assert isinstance(flat.quantizer, VectorQuantizer)
    assert isinstance(tree.quantizer, ResidualQuantizer)


def test_vqvae2_has_maps_of_16_8_and_4() -> None:
    system = build(HierarchyRun("vqvae2", "16", False, 0)).eval()
    assert isinstance(system, VQVAE2)
    image, outputs = system(torch.rand(2, 3, 32, 32))
    assert image.shape == (2, 3, 32, 32)
    assert [tuple(out.indices.shape) for out in outputs] == [(2, 4, 4), (2, 8, 8), (2, 16, 16)]
    assert system.reconstruct(torch.rand(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    system.train()
    with pytest.raises(RuntimeError, match="eval"):
        system.reconstruct(torch.rand(1, 3, 32, 32))
    loss = system(torch.rand(1, 3, 32, 32))[0].sum()
    loss.backward()
    assert all(
        p.grad is not None for name, p in system.named_parameters() if "codebook" not in name
    )


def rows_of(hr: float, healthy_hr: float) -> list[Row]:
    def row(model: str, branches: str, healthy: bool, mse: float) -> Row:
        return {"model": model, "branches": branches, "healthy": healthy, "mse": mse, "psnr": 30.0,
                "ssim": 0.9, "bits_per_image": 2304.0, "perplexity": [9.0], "unused": [1],
                "mse_by_layers": [], "train_seconds": 1.0, "seed": 0, "updates": 10}  # fmt: skip

    return [
        row("hr", "8x8x8", False, hr), row("vqvae", "512", False, 1.0),
        row("vqvae2", "512", False, 0.8), row("hr", "16x16x16", True, healthy_hr),
        row("vqvae", "4096", True, 0.5),
    ]  # fmt: skip


def test_claims_follow_from_the_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for rows, verdicts in (
        (rows_of(0.55, 0.4), [True, True, True]),
        (rows_of(0.65, 0.6), [False, False, False]),
        ([], [None, None, None]),
    ):
        monkeypatch.setattr(hrvqvae, "_measure", lambda *_, r=rows: (r, tmp_path / "rows"))
        found = hrvqvae.table1("smoke", tmp_path, 1)
        assert [claim.held for claim in found.claims] == verdicts
        assert len(found.table) == len(rows)


def test_falling_and_collapsing() -> None:
    assert hrvqvae._falling([(1, 3.0, 0), (2, 2.0, 0)], "hr", 2).held
    assert hrvqvae._falling([(1, 3.0, 0), (2, 2.0, 0)], "hr", 3).held is None
    assert hrvqvae._falling([(1, 3.0, 0), (2, 3.5, 0)], "hr", 3).held is False
    grown = [
        {"model": m, "branches": b, "healthy": False, "mse": mse}
        for m in ("vqvae", "vqvae2")
        for b, mse in zip(hrvqvae.GROWTH[m], (3.0, 2.0, 2.5), strict=True)
    ]
    assert hrvqvae._collapse(grown).held
    assert hrvqvae._collapse(grown[:2]).held is None
    assert hrvqvae._collapse([{**row, "mse": 1.0 if row["branches"] == "4096" else row["mse"]}
                              for row in grown]).held is False  # fmt: skip


def test_streams_are_measured_at_the_same_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture_folder: Path
) -> None:
    recipe = small_recipe("hrvqvae-cifar10")
    folder = tmp_path / "codec"
    save_weights(folder, build_system(recipe).state_dict(), recipe)
    monkeypatch.setattr(hrvqvae_streams, "CODEC", str(folder))
    monkeypatch.setattr(hrvqvae_streams, "DATA", str(picture_folder))
    monkeypatch.setattr(hrvqvae_streams, "can_open", lambda _: True)
    monkeypatch.setattr(hrvqvae_streams, "SNR_DB", (-6.0, 20.0))
    found = hrvqvae_streams.reproduce("smoke", tmp_path, 1)
    rows = read_rows(tmp_path / "hrvqvae-streams.jsonl")
    assert len(rows) == 2 * 4
    uses = [row["uses"] for row in rows]
    assert max(uses) < 1.06 * min(uses)
    assert all(row["lost"] == 0 for row in rows if row["snr_db"] == 20)
    assert all(row["lost"] > 0.5 for row in rows if row["snr_db"] == -6)
    assert found.claims[0].held is None  # it needs 3 dB below the failing point


def test_layers_are_shown_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture_folder: Path
) -> None:
    recipe = small_recipe("hrvqvae-cifar10")
    folder = tmp_path / "codec"
    save_weights(folder, build_system(recipe).state_dict(), recipe)
    monkeypatch.setattr(hrvqvae_fig8, "CODEC", str(folder))
    monkeypatch.setattr(hrvqvae_fig8, "DATA", str(picture_folder))
    monkeypatch.setattr(hrvqvae_fig8, "can_open", lambda _: True)
    found = hrvqvae_fig8.reproduce("smoke", tmp_path, 1)
    rows = read_rows(tmp_path / "hrvqvae-fig8.jsonl")
    assert [row["layers"] for row in rows] == [0, 1, 2, 3]
    assert [row["bits"] for row in rows] == [0, 3 * 40 * 48, 6 * 40 * 48, 9 * 40 * 48]
    assert found.claims[0].held is not None


def test_the_claim_of_streams_is_judged_from_the_best_equal_form(tmp_path: Path) -> None:
    def rows(gain: float) -> list[dict[str, object]]:
        return [
            {"protection": name, "snr_db": snr, "psnr": 25.0 if snr > 0 else low}
            for name in (hrvqvae_streams.UNEQUAL, *hrvqvae_streams.EQUAL)
            for snr in hrvqvae_streams.SNR_DB
            for low in [12.0 + gain * (name == hrvqvae_streams.UNEQUAL)]
        ]

    held = hrvqvae_streams._claim(rows(4.0))
    assert held.held is True
    assert "fails at 0 dB; at -3 dB 16.00 against 12.00 dB" in held.figures
    assert hrvqvae_streams._claim(rows(2.0)).held is False
    assert hrvqvae_streams._claim(rows(4.0)[:-1]).held is None


def test_times_are_taken_apart_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hrvqvae_table2, "_BATCH", 2)
    found = hrvqvae_table2.reproduce("smoke", tmp_path, 1)
    rows = read_rows(tmp_path / "hrvqvae-table2.jsonl")
    assert {row["model"] for row in rows} == {"hr", "vqvae", "vqvae2"}
    assert all(min(row["encoder"], row["search"], row["decoder"]) > 0 for row in rows)
    assert [claim.held is None for claim in found.claims] == [False, False]

    def claim(vqvae_total: float) -> bool | None:
        part = {"codes": 512, "encoder": 1.0, "decoder": 1.0}
        made = [{**part, "model": "hr", "search": 1.0},
                {**part, "model": "vqvae", "search": vqvae_total - 2}]  # fmt: skip
        return hrvqvae_table2._claim(made, "vqvae").held

    assert claim(18.0) is True  # the paper's ratio is 5.8
    assert claim(17.0) is False
