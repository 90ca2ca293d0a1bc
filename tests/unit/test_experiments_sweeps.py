"""Sweeps over SNR: the cells measure what evaluation measures, and claims follow from rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vqlink.evaluation.run import evaluate, summarise
from vqlink.experiments import catalogue, deepjsccq, vqdeepsc_fig3
from vqlink.experiments.reproduction import Row
from vqlink.experiments.sweeps import Sweep, at, curve, open_system, sweep_cell
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.systems.jscc import JSCC

CODE = "jscc-q64-awgn-1-12"


@pytest.fixture(name="sweep")
def fixture_sweep(picture_folder: Path) -> Sweep:
    return Sweep(str(picture_folder), 2, (4.0, 12.0), metrics=("psnr", "ssim"), crop=64)


def test_a_cell_is_the_mean_of_an_evaluation(sweep: Sweep) -> None:
    rows = sweep_cell({"system": CODE, "channel": "awgn"}, sweep=sweep, reference=CODE)
    single = evaluate(
        [open_system(CODE, "awgn", CODE)], sweep.images(), channel="awgn", snr_db=sweep.snr_db,
        metrics=["psnr"],
    )  # fmt: skip
    means = {s.point["snr_db"]: s.mean for s in summarise(single)}
    assert {row["snr_db"]: row["psnr"] for row in rows} == means
    assert all(row["pictures"] == row["n"] == 2 and not row["flags"] for row in rows)
    assert at([{**r, "system": CODE} for r in rows], "psnr", 4.0, system=CODE) == means[4.0]
    assert [x for x, _, _ in curve(rows, "psnr")] == [4.0, 12.0]


def test_pictures_are_cropped_in_the_middle_and_spread_over_the_data(sweep: Sweep) -> None:
    images = sweep.images()
    assert len(images) == 2
    assert images[0][1].shape == (3, 64, 64)
    assert images[0][0] != images[1][0]


def test_classical_links_get_the_reference_s_uses(sweep: Sweep) -> None:
    link = open_system("jpeg+ldpc5g", "awgn", CODE).transceiver
    assert link.uses(64, 64) == open_system(CODE, "awgn", CODE).transceiver.uses(64, 64)


def test_a_code_that_is_told_another_snr_does_worse(sweep: Sweep) -> None:
    image = sweep.images()[0][1][None]
    errors = {}
    for told in (None, 18.0, 2.0):
        code = open_system(CODE, "awgn", CODE, told=told).transceiver
        received = code.transmit(image, Point(snr_db=2.0), generator=stream(0, "n")).received
        errors[told] = float((received - image).square().mean())
    assert errors[None] == errors[2.0] < errors[18.0]


def test_points_on_the_air(sweep: Sweep) -> None:
    code = open_system(CODE, "awgn", CODE).transceiver
    assert isinstance(code, JSCC)
    image = sweep.images()[0][1][None]
    points = code.points(image, 10.0)
    assert points.dtype == torch.int64
    symbols = code.encode(image, 10.0)
    assert points.shape == symbols.shape
    hard = torch.view_as_complex(code.quantizer.decode(points).contiguous())  # type: ignore[operator]
    ratio = symbols / hard
    assert torch.allclose(ratio, ratio.flatten()[0].expand(ratio.shape), atol=1e-4)


def jscc_row(system: str, snr_db: float, psnr: float, **more: object) -> Row:
    return {"system": system, "snr_db": snr_db, "psnr": psnr, "psnr_ci95": 0.1, **more}


def lines(figures: dict[str, list[float]]) -> list[Row]:
    return [
        jscc_row(name, 2.0 * place, psnr)
        for name, values in figures.items()
        for place, psnr in enumerate(values)
    ]


def test_claims_of_orders() -> None:
    names = ["jscc-awgn-1-12", *(f"jscc-{q}-awgn-1-12" for q in deepjsccq.CODES)]
    good = lines(dict(zip(names, ([25, 27], [24.9, 26.9], [24.5, 26.0], [24, 25]), strict=True)))
    bad = lines(dict(zip(names, ([25, 27], [24.7, 26.9], [24.8, 26.0], [24, 28]), strict=True)))
    assert deepjsccq._close(good).held
    assert deepjsccq._monotone(good, names).held
    assert deepjsccq._graceful(good).held
    assert deepjsccq._close(bad).held is False
    assert deepjsccq._monotone(bad, names).held is False
    assert deepjsccq._graceful(bad).held is False  # 24 -> 28 dB for 2 dB
    assert deepjsccq._close([]).held is None


def test_claims_of_learned_points_and_of_links() -> None:
    def rows(gain: float) -> list[Row]:
        return lines(
            {f"jscc-{k}{m}-rayleigh-1-12": [20 + gain * (k == "l"), 25 + gain * (k == "l")]
             for m in (16, 64) for k in "lq"}
        )  # fmt: skip

    assert deepjsccq._learned(rows(0.4), "rayleigh", 0.3).held
    assert deepjsccq._learned(rows(0.2), "rayleigh", 0.3).held is False
    assert deepjsccq._learned(rows(0.2)[:2], "rayleigh", 0.3).held is None
    ours = lines({"jscc-rayleigh-1-12-log": [20.0, 25.0]})
    # Each link wins somewhere against the other; the code has to beat the better one.
    assert deepjsccq._beats_links(
        ours + lines({"a@qpsk": [19.0, 22.0], "b@16qam": [10.0, 24.0]}), ["a@qpsk", "b@16qam"]
    ).held
    assert not deepjsccq._beats_links(
        ours + lines({"a@qpsk": [21.0, 22.0], "b@16qam": [10.0, 24.0]}), ["a@qpsk", "b@16qam"]
    ).held
    fixed = deepjsccq.FIXED_LINKS
    assert deepjsccq._cliff(lines({link: [10.0, 30.0] for link in fixed})).held
    assert deepjsccq._cliff(lines({fixed[0]: [10.0, 15.0]})).held is False


def test_a_part_of_the_rows_refutes_but_does_not_confirm() -> None:
    assert deepjsccq._cliff(lines({deepjsccq.FIXED_LINKS[0]: [10.0, 30.0]})).held is None
    ours = lines({"jscc-rayleigh-1-12-log": [20.0, 25.0]})
    links = ["a@qpsk", "b@16qam"]
    ahead, behind = (lines({"a@qpsk": [x, 22.0]}) for x in (19.0, 21.0))
    assert deepjsccq._beats_links(ours + ahead, links).held is None
    assert deepjsccq._beats_links(ours + behind, links).held is False
    rows = vq_rows(bound=0.90, jpeg=0.6, used=1.0)
    code = [r for r in rows if r["scales"] == 3 or r["channel"] != "codebooks"]
    assert vqdeepsc_fig3._in_use(code).held is None
    part = [r for r in rows if r["channel"] != vqdeepsc_fig3.CHANNELS[0]]
    assert vqdeepsc_fig3._above(part, 3, vqdeepsc_fig3.JPEG).held is None
    assert vqdeepsc_fig3._above(rows, 3, vqdeepsc_fig3.JPEG).held
    clear = [{**r, "outages": 0} for r in rows]
    assert vqdeepsc_fig3._in_outage(rows, 4).held
    assert vqdeepsc_fig3._in_outage(clear, 4).held is None  # nothing to be judged by
    fine = lines({name: [24.0, 26.0] for name in ("jscc-awgn-1-12", "jscc-q4096-awgn-1-12")})
    assert deepjsccq._close(fine).held
    assert deepjsccq._close(fine[:-1]).held is None
    names = ["", "jscc-a", "jscc-b"]
    orders = lines({"jscc-a": [25.0, 27.0], "jscc-b": [24.0, 26.0]})
    assert deepjsccq._monotone(orders, names).held
    assert deepjsccq._monotone(orders[:-1], names).held is None


def test_a_wide_step_is_not_halved() -> None:
    def steps(width: float) -> list[Row]:
        return [{"system": "jscc-a", "snr_db": x * width, "psnr": 20 + 4.0 * x} for x in range(2)]

    assert deepjsccq._graceful(steps(2.0)).held is False
    assert deepjsccq._graceful(steps(4.0)).held is None


def vq_row(
    scales: int, system: str, channel: str, snr_db: float, ssim: float, **more: object
) -> Row:
    return {"scales": scales, "system": system, "channel": channel, "snr_db": snr_db, "ssim": ssim,
            "ssim_ci95": 0.01, "psnr": 25.0, "outages": 0, "n": 4, "uses": 10, **more}  # fmt: skip


def vq_rows(bound: float, jpeg: float, used: float) -> list[Row]:
    rows: list[Row] = []
    for scales in (4, 3):
        name = f"vqdeepsc-{scales}"
        rows.append({"scales": scales, "system": f"{name}-bound", "channel": "none", "ssim": bound,
                     "psnr": 30.0, "n": 4})  # fmt: skip
        rows.append({"scales": scales, "system": name, "channel": "codebooks", "used": [1.0, used]})
        for channel in vqdeepsc_fig3.CHANNELS:
            for snr_db in vqdeepsc_fig3.SNR_DB:
                rows.append(vq_row(scales, name, channel, snr_db, 0.9))
                rows += [
                    vq_row(scales, link, channel, snr_db, jpeg, outages=1)
                    for link in vqdeepsc_fig3.LINKS
                ]
    for labels, ssim in (("ordered", 0.8), ("random", 0.7), ("trained", 0.85)):
        rows += [
            vq_row(4, "vqdeepsc-4", f"uncoded, {labels} labels", snr_db, ssim)
            for snr_db in vqdeepsc_fig3.UNCODED_DB
        ]
    return rows


def test_claims_and_plot_of_figure_3(tmp_path: Path) -> None:
    good = vqdeepsc_fig3.summarise(vq_rows(0.92, 0.8, 0.9), tmp_path / "rows.jsonl")
    assert [claim.held for claim in good.claims] == [True] * 10
    assert good.plots[0].exists()
    bad = vqdeepsc_fig3.summarise(vq_rows(0.99, 0.95, 0.7), tmp_path / "rows.jsonl")
    assert [claim.held for claim in bad.claims] == [False] * 8 + [True] * 2
    none = vqdeepsc_fig3.summarise([], tmp_path / "rows.jsonl")
    assert all(claim.held is None for claim in none.claims)


def test_the_catalogue_finds_them() -> None:
    names = [n for n in catalogue.entries() if n.startswith(("deepjsccq", "vqdeepsc"))]
    assert len(names) == 9
    assert all(callable(catalogue.find(name)) for name in names)
